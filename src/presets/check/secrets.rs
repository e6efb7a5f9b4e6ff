//! Secrets on command lines. Every user of the machine can read those, in /proc and with `ps`.

use crate::presets::schema::{ParamKind, Preset};

use super::{Findings, Part};

/// Builtins of bash, which start no process whose arguments are visible.
const BUILT_IN: &[&str] = &[
    "echo",
    "printf",
    "[",
    "test",
    "read",
    "mapfile",
    "readarray",
    "export",
    "declare",
    "typeset",
    "local",
    "readonly",
    ":",
    "true",
    "false",
    "cd",
    "let",
    "set",
    "shift",
    "return",
    "exit",
    "unset",
    "wait",
    "trap",
    "eval",
    "pwd",
    "umask",
];

pub(super) fn check(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    for command in &part.script.commands {
        let Some(name) = command
            .words
            .first()
            .and_then(|word| word.literal.as_deref())
        else {
            continue;
        };
        if BUILT_IN.contains(&name) || part.script.functions.contains(name) {
            continue;
        }
        for word in &command.words[1..] {
            for expansion in part.expansions(word) {
                let is_secret = preset
                    .param(&expansion.name)
                    .is_some_and(|param| param.kind == ParamKind::Secret);
                // ${secret:+yes} reveals only that the secret is set.
                if is_secret && !expansion.guarded {
                    let message = format!(
                        "${} is on the command line of {name}, where every user can read it: pass it on standard input, \
                         as in printf '%s' \"${}\" | {name}",
                        expansion.name, expansion.name
                    );
                    findings.error(part.at(expansion.at), "secret-in-argv", message);
                }
            }
        }
    }
}
