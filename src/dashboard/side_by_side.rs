//! Two texts beside each other, line by line: aligned by a diff, runs of the same lines folded, bounded in work and size.

use std::time::{Duration, Instant};

use maud::{Markup, html};
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};

use super::words;

/// How long a diff may take; what is left then is not aligned line by line.
const DEADLINE: Duration = Duration::from_millis(700);
/// Lines of the same text around what differs.
const AROUND: usize = 3;
/// Rows shown.
const ROWS_MAX: usize = 800;
/// Characters of a line shown.
const LINE_MAX: usize = 1_000;

/// Two texts, compared.
pub(super) struct SideBySide {
    old: Vec<String>,
    new: Vec<String>,
    hunks: Vec<Vec<DiffOp>>,
    /// The deadline passed: the rest is beside each other as it stands.
    is_cut: bool,
}

/// One line, or none, of each text, by index.
type Row = (Option<usize>, Option<usize>);

/// What is drawn of a comparison.
#[derive(Default)]
struct Shown {
    /// Lines that are the same before each hunk, and the hunk's rows.
    hunks: Vec<(usize, Vec<(DiffTag, Row)>)>,
    same_after: usize,
    /// Whether there is more than is drawn.
    is_cut: bool,
}

impl SideBySide {
    /// Compares them; takes up to the deadline of this thread.
    pub(super) fn of(old: &str, new: &str) -> Self {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (old, new) = (lines(old), lines(new));
        let began = Instant::now();
        let deadline = Some(began + DEADLINE);
        let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, deadline);
        let is_cut = began.elapsed() >= DEADLINE;
        let has_news = ops.iter().any(|op| op.tag() != DiffTag::Equal);
        let hunks = if has_news {
            group_diff_ops(ops, AROUND)
        } else {
            Vec::new()
        };
        Self {
            old,
            new,
            hunks,
            is_cut,
        }
    }

    pub(super) fn is_same(&self) -> bool {
        self.hunks.is_empty()
    }

    /// The first line that differs, counted from 1, in the old and in the new text.
    pub(super) fn first(&self) -> Option<(usize, usize)> {
        let mut ops = self.hunks.iter().flatten();
        let first = ops.find(|op| op.tag() != DiffTag::Equal)?;
        Some((first.old_range().start + 1, first.new_range().start + 1))
    }

    /// As it is shown under these two headings.
    pub(super) fn draw(&self, names: (&str, &str)) -> Markup {
        let shown = self.shown();
        html! {
            @if self.is_cut {
                p.dim { "They differ so much that the comparison was stopped early: some lines below would have matches further on." }
            }
            div.compare {
                div.row.names { div { (names.0) } div { (names.1) } }
                @for (same_before, rows) in &shown.hunks {
                    (folded(*same_before))
                    @for (tag, row) in rows { (self.row(*tag, *row)) }
                }
                (folded(shown.same_after))
            }
            @if shown.is_cut { p.dim { "More differs than is shown here; download both to see all of it." } }
        }
    }

    /// The first rows of what differs, and how many lines are folded around them.
    fn shown(&self) -> Shown {
        let mut shown = Shown::default();
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
        shown.same_after = self.new.len() - new_at;
        shown
    }

    fn row(&self, tag: DiffTag, (old, new): Row) -> Markup {
        let line = |lines: &[String], index: usize| cut(&lines[index]);
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

/// The lines of an operation beside each other.
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
        let compared = SideBySide::of(&lines("before"), &lines("<now>"));
        assert_eq!(compared.first(), Some((50, 50)));
        let drawn = compared.draw(("Before", "This one")).into_string();
        assert!(drawn.contains("… 46 lines the same") && drawn.contains("… 47 lines the same"));
        assert!(drawn.contains("<del>before</del>") && drawn.contains("<ins>&lt;now&gt;</ins>"));
        assert!(!drawn.contains("line 46<") && drawn.contains("line 47<"));
        assert!(SideBySide::of("a\nb", "a\nb").is_same());
    }

    #[test]
    fn a_line_more_is_aligned() {
        let compared = SideBySide::of("a\nb\nc\n", "a\nx\nb\nc\n");
        assert_eq!(compared.first(), Some((2, 2)));
        let drawn = compared.draw(("", "")).into_string();
        assert_eq!(drawn.matches("<ins>").count(), 1);
        assert_eq!(drawn.matches("<del>").count(), 0);
    }

    #[test]
    fn texts_that_have_nothing_in_common_take_bounded_time_and_room() {
        let text = |name: &str| {
            (0..60_000)
                .map(|n| format!("{name} {n}\n"))
                .collect::<String>()
        };
        let began = Instant::now();
        let compared = SideBySide::of(&text("old"), &text("new"));
        assert!(began.elapsed() < DEADLINE * 10, "{:?}", began.elapsed());
        assert!(compared.draw(("", "")).into_string().len() < 200_000);
    }
}
