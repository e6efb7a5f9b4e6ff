//! Marks in a script's first lines, for the supervisor that runs the script. The script is signed,
//! so nothing on its way can change them.

use std::fmt;

const KEEP_PROCESSES: &str = "# hyprbox: keep-processes";
const CONFIRM: &str = "# hyprbox: confirm ";
/// The longest wait for a confirmation.
pub const CONFIRM_SECONDS_MAX: u64 = 3_600;
/// More bytes than the comments at a script's head need.
pub const SCRIPT_HEAD_BYTES: usize = 64 * 1024;

/// What a script's comments at its head, or the end of its first line of code, say about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScriptMarks {
    /// Processes that the script leaves running stay alive. The preset has `keepProcesses: true`.
    pub keep_processes: bool,
    /// After its last step the job waits this long for a confirmation, and without one is undone.
    /// The preset has `confirm`.
    pub confirm_seconds: Option<u64>,
}

impl ScriptMarks {
    /// Reads the marks of the script that begins with these bytes.
    pub fn read(head: &[u8]) -> Self {
        let mut marks = Self::default();
        let lines = head
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        for line in lines {
            let is_comment = line.is_empty() || line.starts_with(b"#");
            let mut rest = std::str::from_utf8(line).unwrap_or_default();
            let mut found = marks;
            while let Some(code) = found.take_last(rest) {
                rest = code;
            }
            // In a comment, a mark is the whole line.
            if !is_comment || rest.is_empty() {
                marks = found;
            }
            if !is_comment {
                break;
            }
        }
        marks
    }

    /// Reads the mark at the end of a line, and returns the rest of the line before it.
    fn take_last<'l>(&mut self, line: &'l str) -> Option<&'l str> {
        let (code, mark) = line.split_at(line.rfind("# hyprbox: ")?);
        if !code.is_empty() && !code.ends_with(' ') {
            return None;
        }
        if mark == KEEP_PROCESSES {
            self.keep_processes = true;
        } else {
            let seconds = mark.strip_prefix(CONFIRM)?.parse().ok()?;
            if !(1..=CONFIRM_SECONDS_MAX).contains(&seconds) {
                return None;
            }
            self.confirm_seconds = Some(seconds);
        }
        Some(code.trim_end())
    }
}

/// What follows the code of the first line. Agents that don't know `confirm` read the last mark.
impl fmt::Display for ScriptMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seconds) = self.confirm_seconds {
            write!(f, " {CONFIRM}{seconds}")?;
        }
        if self.keep_processes {
            write!(f, " {KEEP_PROCESSES}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(keep_processes: bool, confirm_seconds: Option<u64>) -> ScriptMarks {
        ScriptMarks {
            keep_processes,
            confirm_seconds,
        }
    }

    #[test]
    fn marks_are_read_as_they_are_written() {
        for marks in [
            marks(false, None),
            marks(true, None),
            marks(false, Some(300)),
            marks(true, Some(60)),
        ] {
            let script = format!("set -e{marks}\necho 1\n");
            assert_eq!(ScriptMarks::read(script.as_bytes()), marks, "{script}");
        }
    }

    #[test]
    fn only_whole_marks_at_the_head_count() {
        for (script, expected) in [
            ("# hyprbox: keep-processes\necho\n", marks(true, None)),
            (
                "#!/bin/bash\n\n# x\n# hyprbox: confirm 5\necho\n",
                marks(false, Some(5)),
            ),
            ("echo 1\n# hyprbox: keep-processes\n", marks(false, None)),
            ("echo 1# hyprbox: keep-processes\n", marks(false, None)),
            ("echo # hyprbox: confirm 0\n", marks(false, None)),
            ("echo # hyprbox: confirm 3601\n", marks(false, None)),
            ("echo # hyprbox: confirm x\n", marks(false, None)),
            ("# Uses # hyprbox: confirm 5\necho\n", marks(false, None)),
            (
                "# hyprbox: keep-processes, maybe\necho\n",
                marks(false, None),
            ),
            ("", marks(false, None)),
        ] {
            assert_eq!(ScriptMarks::read(script.as_bytes()), expected, "{script:?}");
        }
    }
}
