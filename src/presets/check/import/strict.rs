//! Where `set -euo pipefail` would change what a script does that was written without it: failures
//! that the script ignores, and pipes of which only the last part counted. (Unset variables are in
//! `inputs`.) Every step runs under these options.

use std::collections::BTreeSet;

use super::super::lex::{Command, CommandKind};
use super::super::pipes::writes_at_once;
use super::super::{Findings, Part, Severity};
use super::stranger::interpreter;

/// Programs that read their input and rarely fail.
const FILTERS: &[&str] = &[
    "awk", "gawk", "mawk", "sed", "sort", "uniq", "tr", "cut", "head", "tail", "tee", "wc",
    "xargs", "rev", "tac", "nl", "fold", "column", "paste", "join", "base64", "od", "xxd", "jq",
    "yes", "seq", "env", "set", "ps", "free", "uptime", "lsblk", "true", ":", "for", "while",
];

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    let options = Options::of(part);
    let commands = &part.script.commands;
    let writers: BTreeSet<usize> = commands.iter().filter_map(|it| it.reads).collect();
    let ended: Vec<usize> = (0..commands.len())
        .filter(|index| !writers.contains(index) && counts(part, *index))
        .collect();
    let mut reported = BTreeSet::new();
    if !options.errexit.is_empty() {
        // The script decides about failures itself from its first `set` on.
    } else if let Some(first) = ended.iter().find(|index| is_work(&commands[**index])) {
        findings.add(
            Severity::Note,
            part.at(commands[first_of_pipe(commands, *first)].at),
            "stops-at-failure",
            "the script goes on after a command that fails. A step ends at the first one, with its exit code: add || true where a failure does not matter",
        );
    }
    for index in &ended {
        let command = &commands[*index];
        if options.decides(Mode::Errexit, command.at) {
            continue;
        }
        let tested = emptiness_is_tested(part, command);
        if let Some(message) = answers(command).or(tested) {
            findings.warning(part.at(command.at), "ignored-failure", message);
            reported.insert(*index);
        }
    }
    exit_codes(part, &options, &reported, findings);
    functions(part, &options, findings);
    for (index, command) in commands.iter().enumerate() {
        let Some(writer) = command.reads else {
            continue;
        };
        // The whole pipe is reported once, at its first part that may fail.
        if commands[writer].reads.is_none() && !options.decides(Mode::Pipefail, command.at) {
            pipe(part, index, writer, findings);
        }
    }
}

/// The first command of the pipe that ends with this one.
fn first_of_pipe(commands: &[Command], last: usize) -> usize {
    let mut first = last;
    while let Some(writer) = commands[first].reads {
        first = writer;
    }
    first
}

#[derive(Clone, Copy)]
enum Mode {
    Errexit,
    Pipefail,
}

/// Where the script itself turns the options on or off.
#[derive(Debug, Default)]
struct Options {
    errexit: Vec<usize>,
    pipefail: Vec<usize>,
}

impl Options {
    fn of(part: &Part<'_>) -> Self {
        let mut options = Self::default();
        let first = part.text.lines().next().unwrap_or_default();
        if interpreter(first).is_some()
            && first
                .split_whitespace()
                .skip(1)
                .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains('e'))
        {
            options.errexit.push(0);
        }
        for command in &part.script.commands {
            if command.program() != Some("set") {
                continue;
            }
            let words: Vec<&str> = command.literals().collect();
            for (index, word) in words.iter().enumerate() {
                let is_flag = word.starts_with(['-', '+']) && *word != "--";
                let named = words
                    .get(index + 1)
                    .filter(|_| is_flag && word.ends_with('o'));
                if is_flag && word.contains('e') || named == Some(&"errexit") {
                    options.errexit.push(command.at);
                }
                if named == Some(&"pipefail") {
                    options.pipefail.push(command.at);
                }
            }
        }
        options
    }

    /// Whether the script has turned the option on or off before this position.
    fn decides(&self, option: Mode, at: usize) -> bool {
        let set = match option {
            Mode::Errexit => &self.errexit,
            Mode::Pipefail => &self.pipefail,
        };
        set.iter().any(|before| *before < at || *before == 0)
    }
}

/// Whether `set -e` ends the script if the command fails.
fn counts(part: &Part<'_>, index: usize) -> bool {
    let command = &part.script.commands[index];
    let is_empty = command.words.is_empty()
        && command.assigns.is_empty()
        && command.kind == CommandKind::Simple;
    if is_empty || command.is_tested || command.is_background || part.is_unseen(index) {
        return false;
    }
    if part.behind(command).is_some() {
        return false;
    }
    // In `$(…)`, `set -e` is off, and only the last command counts.
    let inside = part.script.commands.iter().find(|outer| {
        let within = |range: &std::ops::Range<usize>| range.contains(&index);
        outer.assigns.iter().any(|it| within(&it.commands))
    });
    inside.is_none_or(|outer| {
        let mut ranges = outer.assigns.iter().map(|it| &it.commands);
        ranges.any(|range| range.contains(&index) && index + 1 == range.end)
    })
}

/// Whether the command does something that can fail.
fn is_work(command: &Command) -> bool {
    let idle = [
        "echo", "printf", "exit", "return", "set", "shift", "true", ":", "export", "local",
        "declare", "readonly", "trap", "shopt", "umask", "break", "continue", "unset", "alias",
    ];
    command
        .program()
        .is_some_and(|program| !idle.contains(&program))
}

/// For a command whose exit status is an answer rather than a failure: what to do.
fn answers(command: &Command) -> Option<String> {
    let ends = "and set -e ends the step there";
    match command.kind {
        CommandKind::Arithmetic => {
            return Some(format!(
                "(( … )) fails if its result is 0, {ends}: write i=$((i + 1)), or add || true"
            ));
        }
        CommandKind::Test => {
            return Some(format!(
                "[[ … ]] fails if it does not hold, {ends}: put it into an if"
            ));
        }
        CommandKind::Simple => {}
    }
    let program = command.program()?;
    let words: Vec<&str> = command.literals().collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let first = words.first().copied().unwrap_or_default();
    let what = match program {
        "grep" | "egrep" | "fgrep" | "zgrep" | "rg" | "pgrep" | "pidof" => "fails without a match",
        "diff" | "cmp" => "fails if the files differ",
        "let" | "expr" => "fails if its result is 0",
        "[" | "test" => "fails if it does not hold",
        "pkill" | "killall" => "fails if there is no such process",
        "kill" => "fails if the process has ended",
        "which" | "type" | "hash" => "fails if there is no such command",
        "command" if first == "-v" => "fails if there is no such command",
        "id" | "getent" => "fails if there is no such entry",
        "mountpoint" => "fails if nothing is mounted there",
        "umount" => "fails if nothing is mounted there",
        "ping" => "fails without an answer",
        "read" => "fails at the end of its input",
        "systemctl" if first.starts_with("is-") || first == "status" => {
            "fails if the unit is not in that state"
        }
        "service" if has(&["status"]) => "fails if the service does not run",
        "dpkg" if has(&["-s", "-l", "-L"]) => "fails if the package is not installed",
        "rpm" if words.iter().any(|word| word.starts_with("-q")) => {
            "fails if the package is not installed"
        }
        "mkdir" if !words.iter().any(|word| is_flag(word, 'p', "--parents")) => {
            "fails if the folder exists"
        }
        "rm" if !words.iter().any(|word| is_flag(word, 'f', "--force")) => {
            "fails if there is no such file"
        }
        "ln" if !words.iter().any(|word| is_flag(word, 'f', "--force")) => {
            "fails if the link exists"
        }
        "rmdir" => "fails if the folder is missing or not empty",
        "useradd" | "adduser" | "groupadd" | "addgroup" => "fails if the name exists",
        "userdel" | "deluser" | "groupdel" | "delgroup" => "fails if the name does not exist",
        "wait" => "returns the exit code of what it waits for",
        _ => return None,
    };
    Some(format!(
        "{program} {what}, {ends}: put it into an if, or add || true if that is all right"
    ))
}

/// `x=$(…)` whose result may be empty, which shows that the command may fail.
fn emptiness_is_tested(part: &Part<'_>, command: &Command) -> Option<String> {
    let assign = command.assigns.first()?;
    if !command.words.is_empty() || assign.commands.is_empty() {
        return None;
    }
    let name = &assign.name;
    let is_tested = ["-z", "-n", "! -z", "! -n"].iter().any(|test| {
        let forms = [
            format!("{test} ${name} "),
            format!("{test} \"${name}\""),
            format!("{test} ${{{name}}}"),
            format!("{test} \"${{{name}}}\""),
        ];
        forms.iter().any(|form| part.text.contains(form))
    });
    is_tested.then(|| {
        format!(
            "if the command in {name}=$(…) fails, set -e ends the step there, before the script tests whether ${name} is empty: add || true before the parenthesis"
        )
    })
}

fn is_flag(word: &str, letter: char, long: &str) -> bool {
    word == long || word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
}

/// `$?` after a command that ends the script if it fails.
fn exit_codes(
    part: &Part<'_>,
    options: &Options,
    reported: &BTreeSet<usize>,
    findings: &mut Findings,
) {
    let commands = &part.script.commands;
    for special in part.script.specials.iter().filter(|it| it.name == "?") {
        if options.decides(Mode::Errexit, special.at) {
            continue;
        }
        // The command with `$?`, and the one that runs before it.
        let Some(user) = commands.iter().rposition(|it| it.at <= special.at) else {
            continue;
        };
        let is_command = |it: &Command| {
            !it.words.is_empty() || !it.assigns.is_empty() || it.kind != CommandKind::Simple
        };
        let Some(before) = commands[..user].iter().rposition(is_command) else {
            continue;
        };
        if !counts(part, before) || reported.contains(&before) || !is_work(&commands[before]) {
            continue;
        }
        let program = commands[before].program().unwrap_or("the command");
        let (line, _) = part.at(special.at);
        let message = format!(
            "if {program} fails, set -e ends the step here, before line {line} reads $?: write if {program} …; then, or code=0; {program} … || code=$?"
        );
        findings.warning(
            part.at(commands[before].at),
            "exit-code-read-later",
            message,
        );
    }
}

/// A function whose last command is `a && b`: it fails if `a` does.
fn functions(part: &Part<'_>, options: &Options, findings: &mut Findings) {
    let text: Vec<char> = part.text.chars().collect();
    for body in &part.script.bodies {
        let last = part.script.commands.iter().rev().find(|command| {
            body.contains(&command.at) && (!command.words.is_empty() || !command.assigns.is_empty())
        });
        let Some(last) = last else { continue };
        let before: String = text[body.start..last.at].iter().collect();
        if !before.trim_end().ends_with("&&")
            || part.behind(last).is_some()
            || options.decides(Mode::Errexit, last.at)
        {
            continue;
        }
        let message = "the function ends with … && …, so it fails if the first part does not hold, and set -e ends the step where it is called: write if …; then …; fi";
        findings.warning(part.at(last.at), "ignored-failure", message);
    }
}

/// A pipe of which a part before the last may fail.
fn pipe(part: &Part<'_>, reader: usize, first: usize, findings: &mut Findings) {
    let commands = &part.script.commands;
    let mut last = reader;
    while let Some(next) = commands.iter().position(|it| it.reads == Some(last)) {
        last = next;
    }
    if part.is_unseen(last)
        || commands[last].is_background
        || part.behind(&commands[last]).is_some()
    {
        return;
    }
    let mut at = Some(last)
        .filter(|last| *last != first)
        .and_then(|last| commands[last].reads);
    let mut writers = Vec::new();
    while let Some(index) = at {
        writers.push(index);
        at = commands[index].reads;
    }
    for index in writers.into_iter().rev() {
        let writer = &commands[index];
        let Some(program) = writer.program() else {
            continue;
        };
        let fails_with_an_answer = answers(writer).is_some();
        if !fails_with_an_answer && (FILTERS.contains(&program) || writes_at_once(writer)) {
            continue;
        }
        let severity = if fails_with_an_answer {
            Severity::Warning
        } else {
            Severity::Note
        };
        let message = format!(
            "if {program} fails, the whole pipe fails under pipefail, whatever its last part returns: write {{ {program} … || true; }} | … if that does not matter"
        );
        findings.add(severity, part.at(writer.at), "pipe-failure", message);
        return;
    }
}
