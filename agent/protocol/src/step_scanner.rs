//! Finds the lines that announce steps in output that arrives in pieces.

use crate::{STEP_LINE_MAX, STEP_LINE_PREFIX, StepLine, StepOrder, parse_step_line};

/// Reads a job's stdout, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepScanner {
    order: StepOrder,
    /// The unfinished line, if it may announce a step.
    line: Vec<u8>,
    /// Whether the next byte begins a line.
    at_line_start: bool,
}

impl Default for StepScanner {
    fn default() -> Self {
        Self::resume(StepOrder::default(), "", false)
    }
}

impl StepScanner {
    /// A scanner that continues after the step in `order`. If the last line `is_open`, `line` is
    /// what [`StepScanner::unfinished_line`] returned.
    pub fn resume(order: StepOrder, line: &str, is_open: bool) -> Self {
        Self {
            order,
            line: line.as_bytes().to_vec(),
            at_line_start: !is_open,
        }
    }

    /// The last step.
    pub fn order(&self) -> StepOrder {
        self.order
    }

    /// The unfinished line, if it may announce a step; otherwise empty.
    pub fn unfinished_line(&self) -> &str {
        std::str::from_utf8(&self.line).unwrap_or_default()
    }

    /// Bytes are missing before the next ones.
    pub fn skip_gap(&mut self) {
        self.line.clear();
        self.at_line_start = false;
        self.order.has_gap = true;
    }

    /// Reads the next bytes. Calls `found` for each line that announces a step, with the index in
    /// `bytes` after the line.
    pub fn read(&mut self, bytes: &[u8], mut found: impl FnMut(StepLine<'_>, usize)) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let line_end = memchr::memchr(b'\n', rest).map(|end| end + 1);
            let piece = &rest[..line_end.unwrap_or(rest.len())];
            at += piece.len();
            let may_announce = !self.line.is_empty() || (self.at_line_start && begins_step(piece));
            self.at_line_start = line_end.is_some();
            if !may_announce {
                continue;
            }
            let room = (STEP_LINE_MAX + 2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if line_end.is_none() {
                if !begins_step(&self.line) || self.line.len() > STEP_LINE_MAX {
                    self.line.clear();
                }
                continue;
            }
            let text = std::str::from_utf8(&self.line).ok();
            let step = text.and_then(|text| parse_step_line(text.strip_suffix('\n')?));
            if let Some(step) = step
                && self.order.accept(&step)
            {
                found(step, at);
            }
            self.line.clear();
        }
    }
}

/// Whether a line that begins like this may announce a step.
fn begins_step(line: &[u8]) -> bool {
    let prefix = STEP_LINE_PREFIX.as_bytes();
    let length = line.len().min(prefix.len());
    line[..length] == prefix[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number, name and end of each step that is announced if stdout arrives in these pieces.
    fn found(pieces: &[&[u8]]) -> Vec<(u32, String, usize)> {
        let mut steps = Vec::new();
        let mut scanner = StepScanner::default();
        let (mut offset, mut is_open) = (0, false);
        for piece in pieces {
            // As the server does between two calls.
            let line = scanner.unfinished_line().to_owned();
            scanner = StepScanner::resume(scanner.order(), &line, is_open);
            scanner.read(piece, |step, end| {
                steps.push((step.number, step.name.to_owned(), offset + end));
            });
            offset += piece.len();
            is_open = !piece.ends_with(b"\n");
        }
        steps
    }

    #[test]
    fn a_step_is_found_however_its_line_is_split() {
        let text =
            "before\n==> [1/3] Één\nx ==> [2/3] no\n==> [2/3] Two\n==> [3/3] open".as_bytes();
        let expected = [(1, "Één".to_owned(), 23), (2, "Two".to_owned(), 52)];
        assert_eq!(found(&[text]), expected);
        for at in 0..text.len() {
            let (one, two) = text.split_at(at);
            let cuts_a_character = std::str::from_utf8(one).is_err();
            assert!(cuts_a_character || found(&[one, two]) == expected, "{at}");
        }
        let mut whole = StepScanner::default();
        let mut count = 0;
        for byte in text.chunks(1) {
            whole.read(byte, |_, _| count += 1);
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn a_script_that_announces_steps_for_ever_is_bounded() {
        let all: String = (0..100_000)
            .map(|n| format!("==> [{}/999] s\n", n % 1_000))
            .collect();
        assert_eq!(found(&[all.as_bytes()]).len(), crate::MAX_STEPS);
        let long = format!("==> [1/2] {}\n", "x".repeat(1_000_000));
        assert_eq!(found(&[long.as_bytes()]), []);
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(1_000).collect();
        assert_eq!(found(&pieces), []);
        let mut scanner = StepScanner::default();
        scanner.read(&long.as_bytes()[..500_000], |_, _| {});
        assert!(scanner.line.capacity() <= 2 * STEP_LINE_MAX);
        assert_eq!(found(&[b"==> [1/2] \xff\n"]), []);
    }

    #[test]
    fn after_a_gap_steps_may_be_missing_and_a_line_without_its_beginning_announces_nothing() {
        let mut scanner = StepScanner::default();
        let mut numbers = Vec::new();
        scanner.read(b"==> [1/9] One\n==> [2/", |step, _| {
            numbers.push(step.number)
        });
        scanner.skip_gap();
        scanner.read(b"==> [5/9] Five\n==> [7/9] Seven\n", |step, _| {
            numbers.push(step.number);
        });
        scanner.read(b"==> [6/9] too late\n", |step, _| numbers.push(step.number));
        assert_eq!(numbers, [1, 7]);
    }
}
