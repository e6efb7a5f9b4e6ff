//! `read` without an input: a step's standard input is /dev/null, so `read` fails at once.

use super::lex::Command;
use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    let script = &part.script;
    // `exec <file` is an input for all later commands.
    let is_exec = |command: &Command| command.words.first().is_some_and(|it| it.raw == "exec");
    if asks_terminal(part) || part.has(|command| command.has_input && is_exec(command)) {
        return;
    }
    // A function reads what its caller reads.
    let feeds_function = |command: &Command| {
        (command.has_input || command.reads.is_some())
            && command
                .program()
                .is_none_or(|name| script.functions.contains(name))
    };
    let functions_have_input = !script.fed.is_empty() || part.has(feeds_function);
    for (index, command) in script.commands.iter().enumerate() {
        let may_have_input = command.has_input
            || command.reads.is_some()
            || names_descriptor(command)
            || script.fed.iter().any(|inside| inside.contains(&index))
            || functions_have_input && script.is_in_function(command.at);
        if command.program() == Some("read") && !may_have_input && part.behind(command).is_none() {
            let message =
                "a step's standard input is /dev/null, so read fails: use a param instead";
            findings.error(part.at(command.at), "read-without-input", message);
        }
    }
}

/// `-u 3`, `-ru3`
fn names_descriptor(command: &Command) -> bool {
    command.literals().any(|word| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        let letters = letters.split(['d', 'i', 'n', 'N', 'p', 't', 'a']).next();
        letters.is_some_and(|letters| letters.contains('u'))
    })
}

/// Whether the part tests if somebody is there to answer.
fn asks_terminal(part: &Part<'_>) -> bool {
    ["-t 0", "-t 1", "tty -s", "*i*"]
        .iter()
        .any(|test| part.text.contains(test))
}
