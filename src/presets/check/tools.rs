//! Checks by other programs: bash itself, and shellcheck if it is installed.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::presets::schema::{ParamKind, Preset};

use super::{Finding, Findings, Part, Severity};

/// How long a program may take. shellcheck takes minutes for a generated script of thousands of
/// variables.
const PATIENCE: Duration = Duration::from_secs(20);

/// The programs to use.
#[derive(Debug, Clone, Copy)]
pub struct Tools {
    bash: bool,
    shellcheck: bool,
    /// How long each may take.
    patience: Duration,
}

impl Tools {
    /// The installed ones.
    pub fn installed() -> Self {
        let starts = |program: &str| {
            let mut command = Command::new(program);
            command
                .arg("--version")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        Self {
            bash: starts("bash"),
            shellcheck: starts("shellcheck"),
            patience: PATIENCE,
        }
    }

    /// None, as if nothing was installed.
    #[cfg(test)]
    pub fn installed_none() -> Self {
        Self {
            bash: false,
            shellcheck: false,
            patience: PATIENCE,
        }
    }

    /// The same, but each program may take only this long.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same without shellcheck.
    pub fn without_shellcheck(self) -> Self {
        Self {
            shellcheck: false,
            ..self
        }
    }

    /// Whether bash is there to check the syntax.
    pub fn has_bash(self) -> bool {
        self.bash
    }

    /// Whether shellcheck is there.
    pub fn has_shellcheck(self) -> bool {
        self.shellcheck
    }

    /// Runs `bash -n` on each part and marks the parts that it refuses.
    pub(super) fn syntax(self, parts: &mut [Part<'_>], findings: &mut Findings) {
        if !self.bash {
            return;
        }
        for part in parts {
            let Outcome::Finished(output) = run(
                Command::new("bash").args(["--norc", "--noprofile", "-n"]),
                part.text,
                self.patience,
            ) else {
                continue;
            };
            let complaints = String::from_utf8_lossy(&output.stderr);
            // The first complaint is the cause; later ones are consequences.
            if let Some((line, message)) = complaints.lines().find_map(complaint) {
                // If something is missing at the end, bash reports the line after the last.
                let lines = part.text.trim_end_matches('\n').lines().count().max(1);
                let place = part.scalar.place((line.clamp(1, lines), 1));
                let indent = part
                    .text
                    .lines()
                    .nth(line.clamp(1, lines) - 1)
                    .unwrap_or_default();
                let indent = indent.chars().take_while(|c| c.is_whitespace()).count();
                findings.error(
                    (place.0, place.1 + indent),
                    "syntax",
                    format!("bash: {message}"),
                );
                part.is_bash = false;
            }
        }
    }

    /// Runs shellcheck on all parts at once and maps its findings to the file.
    pub(super) fn shellcheck(self, preset: &Preset, parts: &[Part<'_>], findings: &mut Findings) {
        if !self.shellcheck {
            return;
        }
        let (script, lines) = script(preset, parts);
        // Variables lost with a subshell: parts are subshells on purpose, and `undefined-variable`
        // covers them.
        let mut command = Command::new("shellcheck");
        command.args([
            "--shell=bash",
            "--norc",
            "--format=json",
            "--exclude=SC2030,SC2031",
            "-",
        ]);
        let output = match run(&mut command, &script, self.patience) {
            Outcome::Finished(output) => output,
            Outcome::CantRun => return,
            Outcome::TimedOut => {
                let seconds = self.patience.as_secs();
                findings.add(
                    Severity::Note,
                    (1, 1),
                    "shellcheck",
                    format!(
                        "shellcheck was stopped after {seconds} s, so its findings are missing"
                    ),
                );
                return;
            }
        };
        let comments: Vec<Comment> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        for comment in comments {
            let found = lines.iter().rev().find(|(first, _)| *first <= comment.line);
            let Some((first, part)) = found.map(|(first, index)| (first, &parts[*index])) else {
                continue;
            };
            let inner = (comment.line - first + 1, comment.column);
            if inner.0 > part.text.lines().count() {
                continue;
            }
            let (line, column) = part.scalar.place(inner);
            // One of our rules has already reported this place.
            if findings
                .list
                .iter()
                .any(|known| (known.line, known.column) == (line, column))
            {
                continue;
            }
            findings.list.push(Finding {
                line,
                column,
                severity: match comment.level.as_str() {
                    "error" => Severity::Error,
                    "warning" => Severity::Warning,
                    _ => Severity::Note,
                },
                rule: format!("SC{}", comment.code),
                message: comment.message,
            });
        }
    }
}

/// A finding of shellcheck.
#[derive(serde::Deserialize)]
struct Comment {
    line: usize,
    column: usize,
    level: String,
    code: u32,
    message: String,
}

/// The parts as functions whose bodies are subshells, as in a rendered script, and the first line
/// of each text.
fn script(preset: &Preset, parts: &[Part<'_>]) -> (String, Vec<(usize, usize)>) {
    let mut text = "set -euo pipefail\n".to_owned();
    for param in &preset.params {
        // A number needs no quotes; a text can be anything.
        let value = match param.kind {
            ParamKind::Int { .. } | ParamKind::Port => "22",
            ParamKind::Bool => "$([[ -e /a ]] && echo true || echo false)",
            ParamKind::String { .. } | ParamKind::Enum { .. } | ParamKind::Secret => "$(cat /a)",
        };
        let _ = writeln!(text, "{0}={value}\nreadonly {0}\n: \"${0}\"", param.name);
    }
    let mut lines = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let _ = writeln!(text, "hyprbox_{index}() (");
        lines.push((text.matches('\n').count() + 1, index));
        let _ = writeln!(
            text,
            "{}\n)\nhyprbox_{index}",
            part.text.trim_end_matches('\n')
        );
    }
    (text, lines)
}

/// `bash: line 3: syntax error near …` → 3 and the rest.
fn complaint(line: &str) -> Option<(usize, String)> {
    let (_, rest) = line.split_once("line ")?;
    let (number, message) = rest.split_once(": ")?;
    // bash reports an unterminated here-document at the end of the text.
    let begin = message
        .split_once("here-document at line ")
        .map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
    let number = begin.unwrap_or(number);
    Some((number.parse().ok()?, message.to_owned()))
}

/// Result of running a program.
enum Outcome {
    Finished(Output),
    CantRun,
    /// It took too long and was stopped.
    TimedOut,
}

/// Runs the command with `input`, and stops it after a time.
fn run(command: &mut Command, input: &str, patience: Duration) -> Outcome {
    let child = command
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = child.spawn() else {
        return Outcome::CantRun;
    };
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Outcome::CantRun;
    };
    let input = input.to_owned();
    // In a thread, because the program may write before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let (stdout, stderr) = (read_all(stdout), read_all(stderr));
    // Both pipes close when the program ends.
    let deadline = Instant::now() + patience;
    let until = || deadline.saturating_duration_since(Instant::now());
    let read = stdout
        .recv_timeout(until())
        .and_then(|out| Ok((out, stderr.recv_timeout(until())?)));
    let Ok((stdout, stderr)) = read else {
        let _ended = child.kill();
        let _status = child.wait();
        return Outcome::TimedOut;
    };
    let Ok(status) = child.wait() else {
        return Outcome::CantRun;
    };
    // A program that ended early has closed its input; its output is complete.
    let _ended_early = writer.join();
    Outcome::Finished(Output {
        status,
        stdout,
        stderr,
    })
}

fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Output before an error is still useful.
        let _read = pipe.read_to_end(&mut bytes);
        let _too_late = sender.send(bytes);
    });
    receiver
}
