//! What a job does not have, although the script may rely on it.

use super::super::{Findings, Part, Severity};

/// Interpreters whose scripts bash runs.
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash"];
/// Shells whose scripts bash may understand differently.
const OTHER_SHELLS: &[&str] = &["zsh", "ksh", "ksh93", "mksh"];

/// The program that a script's first line names, if that is not a shell.
pub fn foreign_interpreter(first_line: &str) -> Option<&str> {
    interpreter(first_line)
        .filter(|program| !SHELLS.contains(program) && !OTHER_SHELLS.contains(program))
}

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    let first = part.text.lines().next().unwrap_or_default();
    let interpreter = interpreter(first);
    if let Some(program) = interpreter
        && !SHELLS.contains(&program)
    {
        let message = format!(
            "the script is for {program}, and a step is bash: call {program} in the step, as in {program} - <<'END'"
        );
        if OTHER_SHELLS.contains(&program) {
            findings.warning((1, 1), "interpreter", message);
        } else {
            findings.error((1, 1), "interpreter", message);
        }
    }
    if part.text.starts_with('\u{feff}') {
        let message = "the script begins with a byte order mark, which bash reads as part of the first word: remove it";
        findings.error((1, 1), "byte-order-mark", message);
    }
    if part.text.contains("\r\n") {
        let message = "lines end with CR LF, and bash reads the CR as part of the last word: convert them, as in sed -i 's/\\r$//'";
        findings.warning((1, 1), "line-ends", message);
    }
    names_itself(part, findings);
    if matches!(interpreter, Some("sh" | "dash" | "ash")) {
        echoes_escapes(part, findings);
    }
}

/// The program that the `#!` line names: `/usr/bin/env -S python3 -u` → `python3`.
pub(super) fn interpreter(first_line: &str) -> Option<&str> {
    let mut words = first_line.strip_prefix("#!")?.split_whitespace();
    let base = |path: &'_ str| path.rsplit('/').next().map(|name| name.len());
    let mut program = words.next()?;
    program = &program[program.len() - base(program)?..];
    if program == "env" {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        program = &program[program.len() - base(program)?..];
    }
    Some(program)
}

/// A script that reaches bash through a pipe has no file.
fn names_itself(part: &Part<'_>, findings: &mut Findings) {
    let zero = part.script.specials.iter().find(|it| it.name == "0");
    let source = part
        .script
        .expansions
        .iter()
        .find(|it| it.name == "BASH_SOURCE");
    let at = zero
        .map(|it| it.at)
        .into_iter()
        .chain(source.map(|it| it.at));
    if let Some(at) = at.min() {
        let message = "the script reads its own name or folder. A job's script has no file: $0 is bash, and the working directory is /. Write the path that is meant";
        findings.warning(part.at(at), "own-file", message);
    }
}

/// dash's echo replaces `\n`; bash's does not.
fn echoes_escapes(part: &Part<'_>, findings: &mut Findings) {
    for command in &part.script.commands {
        let has_escape = |raw: &str| {
            ["\\n", "\\t", "\\033", "\\e", "\\c"]
                .iter()
                .any(|it| raw.contains(it))
        };
        let is_echo = command.program() == Some("echo");
        let has_option = command.literals().next().is_some_and(|word| word == "-e");
        if is_echo && !has_option && command.words.iter().any(|word| has_escape(&word.raw)) {
            findings.add(
                Severity::Note,
                part.at(command.at),
                "echo-escapes",
                "a script for sh may rely on echo replacing escapes such as \\n. bash prints them as they are: write printf '%b\\n' …",
            );
        }
    }
}
