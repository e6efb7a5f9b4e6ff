//! `read` without an input: a step's standard input is /dev/null, so `read` fails at once.

use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    let script = &part.script;
    // A function may be called with an input, and `exec` may open one for all later commands.
    let may_have_input = script.feeds_compounds
        || script.commands.iter().any(|command| {
            let feeds = command.has_input || command.reads.is_some();
            let is_function = command
                .program()
                .is_none_or(|name| script.functions.contains(name));
            let is_exec = command.words.first().is_some_and(|word| word.raw == "exec");
            feeds && (is_function || is_exec)
        });
    if may_have_input {
        return;
    }
    for command in &script.commands {
        let names_descriptor = command.literals().any(|word| word.starts_with("-u"));
        if command.program() == Some("read")
            && !command.has_input
            && command.reads.is_none()
            && !names_descriptor
            && part.behind(command).is_none()
        {
            let message =
                "a step's standard input is /dev/null, so read fails: use a param instead";
            findings.error(part.at(command.at), "read-without-input", message);
        }
    }
}
