//! The difference between two frozen scripts, in bounded time and memory.

use std::fmt::Write as _;
use std::time::Duration;

use similar::{Algorithm, TextDiff};

/// Longest time for aligning lines; the rest is then replaced as a whole.
const TIMEOUT: Duration = Duration::from_millis(700);
/// Most lines of both scripts together that are aligned one by one.
const LINES_MAX: usize = 50_000;
/// Lines of context around a change.
const CONTEXT: usize = 3;

/// Unified diff of two named scripts; empty if they are equal.
pub fn unified(a: (&str, &str), b: (&str, &str)) -> String {
    let (old_name, old) = a;
    let (new_name, new) = b;
    if old == new {
        return String::new();
    }
    if line_count(old) + line_count(new) > LINES_MAX {
        return replaced(a, b);
    }
    TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(TIMEOUT)
        .diff_lines(old, new)
        .unified_diff()
        .context_radius(CONTEXT)
        .header(old_name, new_name)
        .to_string()
}

fn line_count(text: &str) -> usize {
    memchr::memchr_iter(b'\n', text.as_bytes()).count()
}

/// A unified diff with one hunk, from the first line that differs to the last.
fn replaced((old_name, old): (&str, &str), (new_name, new): (&str, &str)) -> String {
    let lines = || old.split_inclusive('\n').zip(new.split_inclusive('\n'));
    let before = lines().take_while(|(old, new)| old == new).count();
    let (old_all, new_all) = (
        old.split_inclusive('\n').count(),
        new.split_inclusive('\n').count(),
    );
    let after = old
        .split_inclusive('\n')
        .rev()
        .zip(new.split_inclusive('\n').rev())
        .take(old_all.min(new_all) - before)
        .take_while(|(old, new)| old == new)
        .count();
    let (head, tail) = (before.min(CONTEXT), after.min(CONTEXT));
    let start = before - head;
    let counts = (
        old_all - start - (after - tail),
        new_all - start - (after - tail),
    );
    // A range without lines is named after the line before it.
    let range = |count: usize| match count {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{count}", start + 1),
    };
    let mut diff = format!("--- {old_name}\n+++ {new_name}\n");
    // Writing to a String can't fail.
    let _ = writeln!(diff, "@@ -{} +{} @@", range(counts.0), range(counts.1));
    let mut put = |sign: char, line: &str| {
        diff.push(sign);
        diff.push_str(line);
        if !line.ends_with('\n') {
            diff.push_str("\n\\ No newline at end of file\n");
        }
    };
    let old_lines = || old.split_inclusive('\n');
    old_lines()
        .skip(start)
        .take(head)
        .for_each(|line| put(' ', line));
    old_lines()
        .skip(before)
        .take(old_all - before - after)
        .for_each(|line| put('-', line));
    new.split_inclusive('\n')
        .skip(before)
        .take(new_all - before - after)
        .for_each(|line| put('+', line));
    old_lines()
        .skip(old_all - after)
        .take(tail)
        .for_each(|line| put(' ', line));
    diff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_only_the_changes_and_their_context() {
        let diff = unified(("job/a", "one\ntwo\n"), ("job/b", "one\n2\n"));
        assert_eq!(
            diff,
            "--- job/a\n+++ job/b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
        );
        assert_eq!(unified(("a", "same\n"), ("b", "same\n")), "");
    }

    #[test]
    fn one_hunk_equals_a_line_by_line_diff() {
        let texts = [
            ("one\ntwo\n", "one\n2\n"),
            ("", "a\nb\n"),
            ("a\n", ""),
            ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nx\n6\n7\n8\n9\n"),
            ("1\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n6\n"),
            ("a\nb", "a\nc"),
            ("a\na\n", "a\na\na\n"),
        ];
        for (old, new) in texts {
            let (a, b) = (("a", old), ("b", new));
            assert_eq!(replaced(a, b), unified(a, b), "{old:?} {new:?}");
        }
    }

    #[test]
    fn scripts_with_nothing_in_common_are_replaced_as_a_whole() {
        let text = |word: &str| {
            (0..60_000)
                .map(|n| format!("{word}{n}\n"))
                .collect::<String>()
        };
        let (old, new) = (text("a"), text("b"));
        let diff = unified(("a", &old), ("b", &new));
        assert!(diff.contains("@@ -1,60000 +1,60000 @@\n-a0\n"));
        assert_eq!(diff.lines().count(), 120_003);
    }
}
