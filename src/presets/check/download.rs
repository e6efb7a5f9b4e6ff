//! Programs that are run as they arrive from elsewhere: `curl … | bash`.

use super::lex::Command;
use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    for command in &part.script.commands {
        if runs_input(command) && feeds(part, command) {
            let message = "this runs whatever the other side sends, as root, even if only half of it arrives: download it, \
                           check its sum, and then run it";
            findings.error(part.at(command.at), "download-to-shell", message);
        }
        let insecure = match command.program() {
            Some("curl") => command
                .literals()
                .find(|word| *word == "--insecure" || short(word, 'k')),
            Some("wget") => command
                .literals()
                .find(|word| *word == "--no-check-certificate"),
            _ => None,
        };
        if let Some(flag) = insecure {
            let message =
                format!("{flag} takes the answer of anybody who is in between for the server's");
            findings.error(part.at(command.at), "insecure-download", message);
        }
    }
}

/// Whether a word is of short options, this one among them.
fn short(word: &str, option: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(option)
}

fn is_shell(name: &str) -> bool {
    matches!(
        name,
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "perl" | "ruby" | "node"
    ) || name.starts_with("python")
}

/// Whether the command runs text that it is given.
fn runs_input(command: &Command) -> bool {
    command
        .program()
        .is_some_and(|name| is_shell(name) || matches!(name, "eval" | "source" | "."))
}

fn feeds(part: &Part<'_>, command: &Command) -> bool {
    let commands = &part.script.commands;
    let downloads = |n: usize| matches!(commands[n].program(), Some("curl" | "wget"));
    let (name, arguments) = command.arguments();
    // Of a pipe, if it has no file of its own to run.
    let mut from = command.reads;
    if name.is_some_and(is_shell)
        && arguments
            .iter()
            .all(|word| word.raw.starts_with('-') || word.raw == "/dev/stdin")
    {
        while let Some(n) = from {
            if downloads(n) {
                return true;
            }
            from = commands[n].reads;
        }
    }
    // bash <(curl …), bash -c "$(curl …)", eval "$(curl …)"
    let is_text = |index: usize| {
        name.is_some_and(|name| !is_shell(name))
            || arguments[index].raw.starts_with("<(")
            || index > 0
                && arguments[index - 1]
                    .literal
                    .as_deref()
                    .is_some_and(|word| short(word, 'c') || short(word, 'e'))
    };
    (0..arguments.len())
        .any(|index| is_text(index) && arguments[index].commands.clone().any(downloads))
}
