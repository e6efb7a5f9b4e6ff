//! The lines with which a script announces its steps, as [`render`](super::render) writes them.
//! Readers of a job's output parse them with [`hyprbox_protocol::parse_step_line`].

use hyprbox_protocol::{CheckState, STEP_LINE_PREFIX, UNDO_LINE_PREFIX, parse_step_line};

/// Occurs in the script of a check only.
pub(super) const CHECK_MARK: &str = "\nhyprbox_ask() {\n";

/// Prefix of a step's lines: `==> [2/5]`.
pub(super) fn label(number: usize, of: usize) -> String {
    format!("{STEP_LINE_PREFIX}{number}/{of}]")
}

/// Prefix of the line that announces the undo of a step: `==> undo [2/5]`.
pub(super) fn undo_label(number: usize, of: usize) -> String {
    format!("{UNDO_LINE_PREFIX}{number}/{of}]")
}

/// The numbers of the steps that a rendered script can undo, from 1.
pub fn undo_steps(script: &str) -> Vec<u32> {
    let quoted = script.lines().filter_map(|line| {
        let quoted = line.trim_start().strip_prefix(r"printf '%s\n' '")?;
        let label = quoted.strip_prefix(UNDO_LINE_PREFIX)?;
        label.split('/').next()?.parse().ok()
    });
    quoted.collect()
}

/// The names of the steps that a rendered script announces, in order.
pub fn script_steps(script: &str) -> Vec<String> {
    let is_check = script.contains(CHECK_MARK);
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
            let found = CheckState::split(step.name).filter(|_| is_check);
            steps.push(found.map_or(step.name, |(name, _)| name).to_owned());
        }
    }
    steps
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
    fn a_label_is_parsed_as_it_was_written() {
        let line = format!("{} Set the port", label(2, 15));
        let step = parse_step_line(&line).expect("a step");
        assert_eq!((step.number, step.of), (2, 15));
    }
}
