//! Downloads that are executed as they arrive (`curl … | bash`), and insecure downloads.

use super::lex::{Command, Word};
use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    for command in &part.script.commands {
        if runs_input(command) && feeds(part, command) {
            let message = "this runs whatever the server sends, as root, even if the download is cut off: save the file, \
                           verify its checksum, then run it";
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
            let message = format!(
                "{flag} accepts any certificate, so that anybody in between can replace the download"
            );
            findings.error(part.at(command.at), "insecure-download", message);
        }
    }
}

/// Whether a word has short options that include this one.
fn short(word: &str, option: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(option)
}

fn is_shell(name: &str) -> bool {
    matches!(
        name,
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh"
    )
}

fn is_interpreter(name: &str) -> bool {
    is_shell(name)
        || matches!(name, "perl" | "ruby" | "node" | "php" | "lua")
        || name.starts_with("python")
}

/// Whether the command executes text.
fn runs_input(command: &Command) -> bool {
    command
        .program()
        .is_some_and(|name| is_interpreter(name) || matches!(name, "eval" | "source" | "."))
}

/// Whether an interpreter with these arguments executes its standard input.
fn runs_stdin(name: &str, arguments: &[Word]) -> bool {
    let is_stdin =
        |word: &Word| matches!(word.raw.as_str(), "-" | "/dev/stdin" | "/proc/self/fd/0");
    if matches!(name, "source" | ".") {
        return arguments.first().is_some_and(is_stdin);
    }
    if !is_interpreter(name) {
        return false;
    }
    // Options that take the next word as their value, and options that provide the program text.
    let (with_value, elsewhere): (&[char], &[char]) = match name {
        "perl" | "ruby" => (&['I'], &['e', 'E', 'n', 'p']),
        "node" | "php" | "lua" => (&[], &['e', 'p', 'r', 'f', 'm']),
        name if name.starts_with("python") => (&['W', 'X'], &['c', 'm']),
        _ => (&['o', 'O'], &['c']),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if is_stdin(word) {
            return true;
        }
        let Some(letters) = word.raw.strip_prefix(['-', '+']) else {
            return false;
        };
        if letters == "-" {
            return words.next().is_none_or(is_stdin);
        }
        if letters.starts_with('-') {
            if matches!(letters, "-rcfile" | "-init-file") {
                words.next();
            }
            continue;
        }
        if is_shell(name) && letters.contains('s') {
            return true;
        }
        if letters.contains(elsewhere) {
            return false;
        }
        if letters.ends_with(with_value) {
            words.next();
        }
    }
    true
}

fn feeds(part: &Part<'_>, command: &Command) -> bool {
    let commands = &part.script.commands;
    let downloads = |n: usize| {
        matches!(
            commands[n].program(),
            Some("curl" | "wget" | "wget2" | "fetch" | "aria2c")
        )
    };
    let (name, arguments) = command.arguments();
    // The input of a pipe or a redirection, unless the arguments name a program.
    if name.is_some_and(|name| runs_stdin(name, arguments)) {
        let mut from = command.reads;
        while let Some(n) = from {
            if downloads(n) {
                return true;
            }
            from = commands[n].reads;
        }
        if command
            .inputs
            .iter()
            .any(|range| range.clone().any(downloads))
        {
            return true;
        }
    }
    // bash <(curl …), bash -c "$(curl …)", eval "$(curl …)"
    let is_text = |index: usize| {
        name.is_some_and(|name| !is_interpreter(name))
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
