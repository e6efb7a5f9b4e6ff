//! The lines with which a script announces its steps: [`render`](super::render) writes them, and
//! readers of a job's output parse them. `assets/steps.js` parses the same lines.

/// Suffix of a step that is skipped because it is already done.
pub(super) const DONE: &str = " (already done)";
/// Precedes a step's name after its verify has failed.
pub(super) const VERIFY_FAILED: &str = "verify failed: ";

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

/// Prefix of a step's lines: `==> [2/5]`.
pub(super) fn label(number: usize, of: usize) -> String {
    format!("==> [{number}/{of}]")
}

/// Parses a line of stdout that announces a step. A script may print such lines itself: the caller
/// knows which step can come next.
pub fn parse_step_line(line: &str) -> Option<StepLine<'_>> {
    let (number, of, text) = parse_label(line)?;
    let done = text.strip_suffix(DONE);
    Some(StepLine {
        number,
        of,
        name: done.unwrap_or(text),
        is_done: done.is_some(),
    })
}

/// The names of the steps that a rendered script announces, in order.
pub fn script_steps(script: &str) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for line in script.lines() {
        let text = line
            .trim_start()
            .strip_prefix(r"printf '%s\n' '")
            .and_then(|rest| rest.strip_suffix('\''))
            .map(|quoted| quoted.replace(r"'\''", "'"));
        let Some(text) = text else { continue };
        let Some(step) = parse_step_line(&text) else {
            continue;
        };
        if usize::try_from(step.number) == Ok(steps.len() + 1) {
            steps.push(step.name.to_owned());
        }
    }
    steps
}

/// Parses a line of stderr that reports a failed verify, and returns the step's number.
pub fn failed_verify(line: &str) -> Option<u32> {
    let (number, _, text) = parse_label(line)?;
    text.starts_with(VERIFY_FAILED).then_some(number)
}

fn parse_label(line: &str) -> Option<(u32, u32, &str)> {
    let (count, text) = line.strip_prefix("==> [")?.split_once("] ")?;
    let (number, of) = count.split_once('/')?;
    let counted = |digits: &str| {
        let is_number =
            (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    (!text.is_empty()).then_some((counted(number)?, counted(of)?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_script_names_its_steps() {
        let script = "x\nif true; then\n  printf '%s\\n' '==> [1/2] It'\\''s one (already done)'\nelse\n\
            printf '%s\\n' '==> [1/2] It'\\''s one'\nfi\nprintf '%s\\n' '==> [2/2] Two'\necho '==> [3/3] x'\n";
        assert_eq!(script_steps(script), ["It's one", "Two"]);
    }

    #[test]
    fn a_step_line_round_trips() {
        let line = format!("{} Set the [SSH] port", label(2, 15));
        let step = parse_step_line(&line).expect("a step");
        assert_eq!((step.number, step.of, step.is_done), (2, 15, false));
        assert_eq!(step.name, "Set the [SSH] port");
        let done = parse_step_line("==> [2/5] Update (already done)").expect("a step");
        assert_eq!((done.name, done.is_done), ("Update", true));
        assert_eq!(failed_verify("==> [3/5] verify failed: Update"), Some(3));
        assert_eq!(failed_verify("==> [3/5] Update"), None);
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
        ] {
            assert_eq!(parse_step_line(line), None, "{line:?}");
        }
    }
}
