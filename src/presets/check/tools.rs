//! Programs that know bash better than any rule here: bash itself, and shellcheck where it is
//! installed.

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

/// Which of them to ask.
#[derive(Debug, Clone, Copy)]
pub struct Tools {
    bash: bool,
    shellcheck: bool,
}

impl Tools {
    /// Those that are installed.
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
        }
    }

    /// The same without shellcheck.
    pub fn without_shellcheck(self) -> Self {
        Self {
            shellcheck: false,
            ..self
        }
    }

    /// Whether there is a bash to ask about syntax.
    pub fn has_bash(self) -> bool {
        self.bash
    }

    /// Whether there is a shellcheck.
    pub fn has_shellcheck(self) -> bool {
        self.shellcheck
    }

    /// `bash -n` of each part. One that it refuses is bash no more.
    pub(super) fn syntax(self, parts: &mut [Part<'_>], findings: &mut Findings) {
        if !self.bash {
            return;
        }
        for part in parts {
            let Answer::Output(output) = ask(
                Command::new("bash").args(["--norc", "--noprofile", "-n"]),
                part.text,
            ) else {
                continue;
            };
            let complaints = String::from_utf8_lossy(&output.stderr);
            // The first says what; those behind it are about the rest that made no sense then.
            if let Some((line, message)) = complaints.lines().find_map(complaint) {
                // What is missed at the end is missed behind the last line.
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

    /// shellcheck's findings, of all parts at once, each in the place of the file that it is about.
    pub(super) fn shellcheck(self, preset: &Preset, parts: &[Part<'_>], findings: &mut Findings) {
        if !self.shellcheck {
            return;
        }
        let (script, lines) = script(preset, parts);
        // Variables that are gone with their subshell: parts are subshells on purpose, and
        // `undefined-variable` knows.
        let mut command = Command::new("shellcheck");
        command.args([
            "--shell=bash",
            "--norc",
            "--format=json",
            "--exclude=SC2030,SC2031",
            "-",
        ]);
        let output = match ask(&mut command, &script) {
            Answer::Output(output) => output,
            Answer::None => return,
            Answer::TooLate => {
                let seconds = PATIENCE.as_secs();
                findings.add(
                    Severity::Note,
                    (1, 1),
                    "shellcheck",
                    format!("shellcheck was ended after {seconds} s, so its findings are missing"),
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
            // A rule of ours has said it, in words of presets.
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

/// What shellcheck says.
#[derive(serde::Deserialize)]
struct Comment {
    line: usize,
    column: usize,
    level: String,
    code: u32,
    message: String,
}

/// The parts as functions whose bodies are subshells, as in a rendered script; and the line on
/// which each text begins.
fn script(preset: &Preset, parts: &[Part<'_>]) -> (String, Vec<(usize, usize)>) {
    let mut text = "set -euo pipefail\n".to_owned();
    for param in &preset.params {
        // A number needs no quotes; of a text nothing is known.
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
    // A here-document without an end is told of at the text's end.
    let begin = message
        .split_once("here-document at line ")
        .map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
    let number = begin.unwrap_or(number);
    Some((number.parse().ok()?, message.to_owned()))
}

/// What a program said.
enum Answer {
    Output(Output),
    /// It can't be run.
    None,
    /// It did not end in time.
    TooLate,
}

/// Runs the command with `input`, and ends it after [`PATIENCE`].
fn ask(command: &mut Command, input: &str) -> Answer {
    let child = command
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = child.spawn() else {
        return Answer::None;
    };
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Answer::None;
    };
    let input = input.to_owned();
    // It may write before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let (stdout, stderr) = (read_all(stdout), read_all(stderr));
    // Both pipes are closed when it has ended.
    let deadline = Instant::now() + PATIENCE;
    let until = || deadline.saturating_duration_since(Instant::now());
    let read = stdout
        .recv_timeout(until())
        .and_then(|out| Ok((out, stderr.recv_timeout(until())?)));
    let Ok((stdout, stderr)) = read else {
        let _ended = child.kill();
        let _status = child.wait();
        return Answer::TooLate;
    };
    let Ok(status) = child.wait() else {
        return Answer::None;
    };
    // One that ended early closed its input, and has said what there is to say.
    let _ended_early = writer.join();
    Answer::Output(Output {
        status,
        stdout,
        stderr,
    })
}

fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is worth reading.
        let _read = pipe.read_to_end(&mut bytes);
        let _too_late = sender.send(bytes);
    });
    receiver
}
