//! Readers of a pipe that exit before their writer does. The writer then gets SIGPIPE and exits
//! with 141. With `pipefail` that is the exit status of the pipe, although the reader succeeded:
//! the step fails, or a condition takes the wrong branch.

use super::lex::Command;
use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    // `unless` runs without pipefail.
    if part.field == "unless" || part.text.contains("+o pipefail") || part.text.contains("set +e") {
        return;
    }
    for (index, command) in part.script.commands.iter().enumerate() {
        let Some(writer) = command.reads.map(|writer| &part.script.commands[writer]) else {
            continue;
        };
        let Some((what, advice)) = ends_early(command) else {
            continue;
        };
        if writes_at_once(writer) || part.is_unseen(index) || is_meant(part, command, what) {
            continue;
        }
        let effect = if command.is_tested {
            "counts as failed in this condition, although"
        } else if part.script.is_in_function(command.at) {
            "fails, and with it the step or the condition that calls the function, although"
        } else {
            "fails the step, although"
        };
        let message = format!(
            "{what} exits before it has read everything, and the command before it may then end with 141 (SIGPIPE). With \
             pipefail the whole pipe then {effect} {what} succeeded: {advice}"
        );
        findings.warning(part.at(command.at), "early-reader", message);
    }
}

/// Whether the command's failure is ignored. A failing search is not: it takes the wrong branch.
fn is_meant(part: &Part<'_>, command: &Command, what: &str) -> bool {
    part.behind(command).is_some_and(|rest| {
        let rest = rest.trim_start();
        !what.starts_with("grep") || rest.starts_with("true") || rest.starts_with(':')
    })
}

/// If the command stops reading before the end of its input: its name, and how to fix that.
fn ends_early(command: &Command) -> Option<(&'static str, &'static str)> {
    let words: Vec<&str> = command.literals().collect();
    let short = |option: char| {
        words.iter().any(|word| {
            let Some(letters) = word.strip_prefix('-') else {
                return false;
            };
            // An option's value may follow it in the same word: `-eq`, `-A1`.
            let letters = letters.split(['e', 'f', 'A', 'B', 'C', 'D', 'd']).next();
            !word.starts_with("--") && letters.unwrap_or_default().contains(option)
        })
    };
    let long = |option: &str| words.iter().any(|word| word.starts_with(option));
    let herestring = "write grep -q … <<<\"$(…)\", or leave out -q and add >/dev/null";
    match command.program()? {
        "grep" | "egrep" | "fgrep" | "zgrep" | "rg" => {
            if short('q') || long("--quiet") || long("--silent") {
                Some(("grep -q", herestring))
            } else if short('m') || long("--max-count") {
                Some(("grep -m", "write grep … <<<\"$(…)\""))
            } else {
                None
            }
        }
        "head" => {
            let reads_all = words.iter().any(|word| {
                let number = word
                    .trim_start_matches("--lines=")
                    .trim_start_matches("--bytes=");
                let number = number.trim_start_matches("-n").trim_start_matches("-c");
                number.starts_with('-')
                    && number[1..].starts_with(|c: char| c.is_ascii_digit())
                    && number.len() < word.len()
            });
            let pair = words
                .windows(2)
                .any(|pair| matches!(pair[0], "-n" | "-c") && pair[1].starts_with('-'));
            (!reads_all && !pair).then_some((
                "head",
                "write head … <<<\"$(…)\", or sed -n 1p, which reads everything",
            ))
        }
        "sed" => words
            .iter()
            .any(|word| is_sed_quit(word))
            .then_some(("sed with q", "write sed … <<<\"$(…)\"")),
        "awk" | "gawk" | "mawk" => words
            .iter()
            .any(|word| exits_with_success(word))
            .then_some(("awk with exit", "write awk … <<<\"$(…)\"")),
        _ => None,
    }
}

/// Whether an awk program exits early with 0. With another code the pipe fails in any case.
fn exits_with_success(program: &str) -> bool {
    !program.contains("END")
        && program.split("exit").skip(1).any(|rest| {
            let code = rest.trim_start_matches([' ', '\t', '(']);
            !code.starts_with(|c: char| c.is_ascii_digit()) || code.starts_with('0')
        })
}

/// `q`, `1q`, `/x/q`, `1p;1q`
fn is_sed_quit(script: &str) -> bool {
    script.split([';', '{', '}']).any(|command| {
        let command = command.trim();
        let address = command.strip_suffix(['q', 'Q']);
        address.is_some_and(|address| {
            address.chars().all(|c| c.is_ascii_digit() || c == '$')
                || address.len() > 1 && address.starts_with('/') && address.ends_with('/')
        })
    })
}

/// Whether the command writes little and at once, so that it is done before a reader can exit.
pub(super) fn writes_at_once(command: &Command) -> bool {
    let mut literals = command.literals();
    match command.program() {
        Some(
            "echo" | "printf" | "uname" | "id" | "hostname" | "date" | "whoami" | "arch" | "nproc"
            | "pwd" | "which" | "command" | "type" | "readlink" | "realpath" | "basename"
            | "dirname" | "stat" | "wc" | "getconf" | "mktemp" | "tty" | "whereis" | "hostnamectl"
            | "sha256sum" | "sha1sum" | "md5sum" | "lsb_release" | "cut" | "file" | "getcap",
        ) => true,
        // One entry, one line.
        Some("getent") => command.arguments().1.len() > 1,
        Some("head" | "tail") => literals.any(|word| matches!(word, "-1" | "-n1" | "1")),
        _ => literals.any(|word| matches!(word, "--version" | "-V" | "-version" | "version")),
    }
}
