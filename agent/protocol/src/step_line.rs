//! The lines with which a script announces its steps. The server's renderer writes them; the
//! supervisor, the server and the command line parse them. `assets/steps.js` follows the same
//! rules.

use serde::{Deserialize, Serialize};

/// What every line about a step begins with.
pub const STEP_LINE_PREFIX: &str = "==> [";
/// What a line that announces the undo of a step begins with.
pub const UNDO_LINE_PREFIX: &str = "==> undo [";
/// Suffix of a step that is skipped because it is already done.
pub const STEP_DONE: &str = " (already done)";
/// Precedes a step's name after its verify has failed.
pub const STEP_VERIFY_FAILED: &str = "verify failed: ";
/// The most characters of a line about a step. A longer line announces nothing.
const STEP_LINE_CHARS: usize = 600;
/// The most bytes of such a line.
pub const STEP_LINE_MAX: usize = 4 * STEP_LINE_CHARS;

/// A line on stdout that announces a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine<'l> {
    /// Counted from 1.
    pub number: u32,
    /// Number of steps.
    pub of: u32,
    /// The step's name.
    pub name: &'l str,
    /// Whether the step is skipped because it is already done.
    pub is_done: bool,
}

/// What a check found about a step. Its line is printed once that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum CheckState {
    /// The step is already done.
    Ok,
    /// The step would run.
    WouldRun,
    /// The step has no `unless`, needs a secret to know, or took longer than a minute.
    CantTell,
}

impl CheckState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Ok, Self::WouldRun, Self::CantTell];

    /// The state in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::WouldRun => "would run",
            Self::CantTell => "can't tell",
        }
    }

    /// Splits the name that a check prints, such as `Set the SSH port (would run)`, into the step's
    /// name and the state. `None` if it has no state.
    pub fn split(printed: &str) -> Option<(&str, Self)> {
        let (name, state) = printed.strip_suffix(')')?.rsplit_once(" (")?;
        let state = Self::ALL
            .into_iter()
            .find(|known| known.as_str() == state)?;
        Some((name, state))
    }
}

/// Parses a line of stdout that announces a step. A script may print such lines itself: a
/// [`StepOrder`] knows which step can come next.
pub fn parse_step_line(line: &str) -> Option<StepLine<'_>> {
    let (number, of, text) = parse_label(line)?;
    let done = text.strip_suffix(STEP_DONE);
    Some(StepLine {
        number,
        of,
        name: done.unwrap_or(text),
        is_done: done.is_some(),
    })
}

/// Parses a line of stderr that reports a failed verify, and returns the step's number.
pub fn failed_verify(line: &str) -> Option<u32> {
    let (number, _, text) = parse_label(line)?;
    text.starts_with(STEP_VERIFY_FAILED).then_some(number)
}

fn parse_label(line: &str) -> Option<(u32, u32, &str)> {
    let (count, text) = line.strip_prefix(STEP_LINE_PREFIX)?.split_once("] ")?;
    if line.chars().nth(STEP_LINE_CHARS).is_some() {
        return None;
    }
    let (number, of) = count.split_once('/')?;
    let counted = |digits: &str| {
        let is_number =
            (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    (!text.is_empty()).then_some((counted(number)?, counted(of)?, text))
}

/// Decides which announcements count. Scripts may print similar lines themselves: only one with
/// the next number and the same total counts, so there are at most 999.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepOrder {
    /// The last step; 0 before the first.
    pub number: u32,
    /// The number of steps; 0 before the first.
    pub of: u32,
    /// Output is missing since the last step, so that steps may be missing as well.
    pub has_gap: bool,
}

impl StepOrder {
    /// Whether this announcement counts; the step is then the last one.
    pub fn accept(&mut self, line: &StepLine<'_>) -> bool {
        let is_next = line.number == self.number + 1 || (self.has_gap && line.number > self.number);
        let is_step = is_next && line.number <= line.of && (self.of == 0 || line.of == self.of);
        if is_step {
            *self = Self {
                number: line.number,
                of: line.of,
                has_gap: false,
            };
        }
        is_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_line_has_a_number_a_total_and_a_name() {
        let step = parse_step_line("==> [2/15] Set the [SSH] port").expect("a step");
        assert_eq!((step.number, step.of, step.is_done), (2, 15, false));
        assert_eq!(step.name, "Set the [SSH] port");
        let done = parse_step_line("==> [2/5] Update (already done)").expect("a step");
        assert_eq!((done.name, done.is_done), ("Update", true));
        assert_eq!(failed_verify("==> [3/5] verify failed: Update"), Some(3));
        assert_eq!(failed_verify("==> [3/5] Update"), None);
    }

    #[test]
    fn a_checks_line_has_a_state() {
        for state in CheckState::ALL {
            let printed = format!("Set (x) (ok) ({})", state.as_str());
            assert_eq!(CheckState::split(&printed), Some(("Set (x) (ok)", state)));
        }
        for other in ["", "Set", "Set (maybe)", "(ok)", "Set (ok) ", "Set(ok)"] {
            assert_eq!(CheckState::split(other), None, "{other}");
        }
    }

    #[test]
    fn other_lines_are_not_step_lines() {
        for line in [
            "==> [x/5] no",
            "==> [/] no",
            " ==> [1/2] no",
            "==> [1/2]",
            "==> [1/2] ",
            "==> [+1/2] no",
            "==> [1000/2] no",
            "==> [1] no",
            "",
            &format!("==> [1/2] {}", "é".repeat(591)),
        ] {
            assert_eq!(parse_step_line(line), None, "{line:?}");
        }
    }

    #[test]
    fn only_the_next_step_of_the_same_total_counts() {
        let mut order = StepOrder::default();
        let mut accepts = |line| order.accept(&parse_step_line(line).expect("a step line"));
        for (line, counts) in [
            ("==> [2/3] not the first", false),
            ("==> [1/3] One", true),
            ("==> [1/3] again", false),
            ("==> [2/9] another total", false),
            ("==> [3/3] too early", false),
            ("==> [2/3] Two", true),
            ("==> [3/3] Three", true),
            ("==> [4/3] too many", false),
        ] {
            assert_eq!(accepts(line), counts, "{line}");
        }
        let mut order = StepOrder {
            has_gap: true,
            ..StepOrder::default()
        };
        assert!(order.accept(&parse_step_line("==> [2/3] Two").expect("a step line")));
        assert!(!order.has_gap);
    }
}
