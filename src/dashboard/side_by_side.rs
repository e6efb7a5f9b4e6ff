//! Two texts side by side, aligned by a diff, with equal lines folded. Work and size are bounded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::{Duration, Instant};

use maud::{Markup, html};
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};

use super::words;

/// How long a diff may take. The rest is then not aligned.
const DEADLINE: Duration = Duration::from_millis(700);
/// Equal lines shown around differences.
const AROUND: usize = 3;
/// Maximum number of rows shown.
const ROWS_MAX: usize = 800;
/// Maximum number of characters shown per line.
const LINE_MAX: usize = 1_000;

/// Maximum number of lines compared per text.
const LINES_MAX: usize = 50_000;
/// Maximum number of bytes compared per text: a script may have many params of 64 KiB.
const TEXT_MAX: usize = 8 * 1024 * 1024;

/// A text and the ranges of its lines.
struct Lines {
    text: String,
    lines: Vec<Range<usize>>,
    /// Lines were left out at the beginning.
    is_cut_before: bool,
    /// Lines were left out at the end.
    is_cut_after: bool,
}

impl Lines {
    /// The first lines, or the last ones.
    fn of(text: String, last: bool) -> Self {
        let all = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
        let left_out = all.saturating_sub(LINES_MAX);
        let skipped = if last { left_out } else { 0 };
        let (mut at, mut is_cut_after) = (0, false);
        let mut lines = Vec::with_capacity(all - left_out);
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let start = at;
            at += line.len();
            if index < skipped {
                continue;
            }
            if lines.len() == LINES_MAX || at > TEXT_MAX {
                is_cut_after = true;
                break;
            }
            let line = line.strip_suffix('\n').unwrap_or(line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            lines.push(start..start + line.len());
        }
        Self {
            is_cut_before: skipped > 0,
            is_cut_after,
            text,
            lines,
        }
    }

    fn line(&self, index: usize) -> &str {
        self.lines
            .get(index)
            .map_or("", |range| &self.text[range.clone()])
    }
}

/// The comparison of two texts.
pub(super) struct SideBySide {
    old: Lines,
    new: Lines,
    /// Whether the beginning of each is left out.
    pub(super) is_cut_before: (bool, bool),
    hunks: Vec<Vec<DiffOp>>,
    /// The comparison is not complete: the deadline passed, or a text was too long.
    is_cut: bool,
}

/// One line, or none, of each text, by index.
type Row = (Option<usize>, Option<usize>);

/// The part of a comparison that is drawn.
#[derive(Default)]
struct Excerpt {
    /// For each hunk: the number of equal lines before it, and its rows.
    hunks: Vec<(usize, Vec<(DiffTag, Row)>)>,
    same_after: usize,
    /// Whether there is more than is drawn.
    is_cut: bool,
}

impl SideBySide {
    /// Compares two texts from their beginnings. Blocks up to the deadline.
    pub(super) fn of(old: String, new: String) -> Self {
        Self::compare(Lines::of(old, false), Lines::of(new, false), DEADLINE)
    }

    /// Compares the ends of texts that have too many lines.
    pub(super) fn of_ends(old: String, new: String) -> Self {
        Self::compare(Lines::of(old, true), Lines::of(new, true), DEADLINE)
    }

    fn compare(old: Lines, new: Lines, patience: Duration) -> Self {
        let began = Instant::now();
        let deadline = Some(began + patience);
        let ops = {
            let all = |lines: &Lines| -> Vec<u64> {
                let hashes = lines
                    .lines
                    .iter()
                    .map(|range| hash(&lines.text[range.clone()]));
                hashes.collect()
            };
            capture_diff_slices_deadline(Algorithm::Myers, &all(&old), &all(&new), deadline)
        };
        let is_cut = began.elapsed() >= patience || old.is_cut_after || new.is_cut_after;
        let has_news = ops.iter().any(|op| op.tag() != DiffTag::Equal);
        let hunks = if has_news {
            group_diff_ops(ops, AROUND)
        } else {
            Vec::new()
        };
        Self {
            is_cut_before: (old.is_cut_before, new.is_cut_before),
            old,
            new,
            hunks,
            is_cut,
        }
    }

    pub(super) fn is_same(&self) -> bool {
        self.hunks.is_empty() && !self.is_cut
    }

    /// The first line that differs, counted from 1, in the old and in the new text.
    pub(super) fn first(&self) -> Option<(usize, usize)> {
        let mut ops = self.hunks.iter().flatten();
        let first = ops.find(|op| op.tag() != DiffTag::Equal)?;
        Some((first.old_range().start + 1, first.new_range().start + 1))
    }

    /// Draws the comparison under these two headings.
    pub(super) fn draw(&self, names: (&str, &str)) -> Markup {
        let shown = self.excerpt();
        html! {
            @if self.is_cut {
                p.dim { "The outputs differ so much that the comparison stopped early. Some lines below may match lines further on." }
            }
            div.compare {
                div.row.names { div { (names.0) } div { (names.1) } }
                @for (same_before, rows) in &shown.hunks {
                    (folded(*same_before))
                    @for (tag, row) in rows { (self.row(*tag, *row)) }
                }
                (folded(shown.same_after))
            }
            @if shown.is_cut { p.dim { "Not all differences are shown here. Download both to see the rest." } }
        }
    }

    /// The first rows that differ, and the number of lines folded around them.
    fn excerpt(&self) -> Excerpt {
        let mut shown = Excerpt::default();
        let (mut left, mut new_at) = (ROWS_MAX, 0);
        for hunk in &self.hunks {
            let all = hunk
                .iter()
                .flat_map(|op| rows(op).map(|row| (op.tag(), row)));
            let rows: Vec<_> = all.take(left).collect();
            left -= rows.len();
            let start = hunk.first().map_or(new_at, |op| op.new_range().start);
            shown.hunks.push((start - new_at, rows));
            new_at = hunk.last().map_or(new_at, |op| op.new_range().end);
            if left == 0 {
                shown.is_cut = true;
                return shown;
            }
        }
        shown.same_after = self.new.lines.len() - new_at;
        shown
    }

    fn row(&self, tag: DiffTag, (old, new): Row) -> Markup {
        let line = |lines: &Lines, index: usize| cut(lines.line(index));
        html! {
            @if tag == DiffTag::Equal {
                div.row.same {
                    div data-n=[old.map(|n| n + 1)] { (old.map(|n| line(&self.old, n)).unwrap_or_default()) }
                    div data-n=[new.map(|n| n + 1)] { (new.map(|n| line(&self.new, n)).unwrap_or_default()) }
                }
            } @else {
                div.row {
                    div.del data-n=[old.map(|n| n + 1)] { @if let Some(n) = old { del { (line(&self.old, n)) } } }
                    div.ins data-n=[new.map(|n| n + 1)] { @if let Some(n) = new { ins { (line(&self.new, n)) } } }
                }
            }
        }
    }
}

/// Lines with the same hash count as equal. A collision, one in 2^64, would only hide a difference.
fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

/// The rows of an operation.
fn rows(op: &DiffOp) -> impl Iterator<Item = Row> + use<> {
    let (old, new) = (op.old_range(), op.new_range());
    (0..old.len().max(new.len())).map(move |n| {
        let at = |range: &std::ops::Range<usize>| (n < range.len()).then_some(range.start + n);
        (at(&old), at(&new))
    })
}

fn folded(lines: usize) -> Markup {
    html! {
        @if lines > 0 { p.fold { "… " (words::count(lines as u64, "line", "lines")) " the same" } }
    }
}

fn cut(line: &str) -> String {
    let mut shown: String = line.chars().take(LINE_MAX).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    words::visible(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_and_the_rest_folded() {
        let lines = |replaced: &str| {
            (1..=100)
                .map(|n| {
                    if n == 50 {
                        format!("{replaced}\n")
                    } else {
                        format!("line {n}\n")
                    }
                })
                .collect::<String>()
        };
        let compared = SideBySide::of(lines("before"), lines("<now>"));
        assert_eq!(compared.first(), Some((50, 50)));
        let drawn = compared.draw(("Previous", "This run")).into_string();
        assert!(drawn.contains("… 46 lines the same") && drawn.contains("… 47 lines the same"));
        assert!(drawn.contains("<del>before</del>") && drawn.contains("<ins>&lt;now&gt;</ins>"));
        assert!(!drawn.contains("line 46<") && drawn.contains("line 47<"));
        assert!(SideBySide::of("a\nb".to_owned(), "a\nb".to_owned()).is_same());
    }

    #[test]
    fn of_many_lines_the_ends_are_compared() {
        let text = |last: &str| "x\n".repeat(LINES_MAX) + last;
        let compared = SideBySide::of_ends(text("one"), text("two"));
        assert_eq!(compared.is_cut_before, (true, true));
        assert_eq!(compared.first(), Some((LINES_MAX, LINES_MAX)));
        let compared = SideBySide::of(text("one"), text("two"));
        assert!(!compared.is_same() && compared.first().is_none());
    }

    #[test]
    fn a_line_more_is_aligned() {
        let compared = SideBySide::of("a\nb\nc\n".to_owned(), "a\nx\nb\nc\n".to_owned());
        assert_eq!(compared.first(), Some((2, 2)));
        let drawn = compared.draw(("", "")).into_string();
        assert_eq!(drawn.matches("<ins>").count(), 1);
        assert_eq!(drawn.matches("<del>").count(), 0);
    }

    #[test]
    fn what_is_not_compared_by_the_deadline_is_not_aligned() {
        let lines = |text: &str| Lines::of(text.to_owned(), false);
        let compare = |patience| {
            SideBySide::compare(lines("a\nsame\nb\n"), lines("x\ny\nsame\nz\n"), patience)
        };
        let aligned = |compared: &SideBySide| {
            let mut ops = compared.hunks.iter().flatten();
            ops.any(|op| op.tag() == DiffTag::Equal)
        };
        let late = compare(Duration::ZERO);
        assert!(late.is_cut && !aligned(&late));
        assert!(aligned(&compare(Duration::from_secs(3_600))));
    }

    #[test]
    fn texts_that_have_nothing_in_common_take_bounded_room() {
        let text = |name: &str| {
            (0..60_000)
                .map(|n| format!("{name} {n}\n"))
                .collect::<String>()
        };
        let compared = SideBySide::of(text("old"), text("new"));
        assert!(compared.draw(("", "")).into_string().len() < 200_000);
    }
}
