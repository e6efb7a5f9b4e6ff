//! apt commands that ask questions. Nobody can answer: standard input is /dev/null.

use super::{Findings, Part};

pub(super) fn check(part: &Part<'_>, findings: &mut Findings) {
    let frontend = part.text.contains("DEBIAN_FRONTEND");
    for command in &part.script.commands {
        let Some(program) = command
            .program()
            .filter(|name| matches!(*name, "apt" | "apt-get" | "aptitude"))
        else {
            continue;
        };
        // A variable may contain the missing options.
        if command
            .arguments()
            .1
            .iter()
            .any(|word| word.literal.is_none() && !word.raw.contains('/'))
        {
            continue;
        }
        let words: Vec<&str> = command.literals().collect();
        let Some(verb) = words.iter().find(|word| {
            matches!(
                **word,
                "install"
                    | "remove"
                    | "purge"
                    | "upgrade"
                    | "dist-upgrade"
                    | "full-upgrade"
                    | "autoremove"
                    | "build-dep"
                    | "reinstall"
            )
        }) else {
            continue;
        };
        let short = |option: char| {
            move |word: &&&str| {
                word.starts_with('-')
                    && !word.starts_with("--")
                    && !word.starts_with("-o")
                    && word.contains(option)
            }
        };
        let is_dry_run = words.iter().any(|word| {
            matches!(
                *word,
                "--simulate"
                    | "--just-print"
                    | "--dry-run"
                    | "--no-act"
                    | "--recon"
                    | "--print-uris"
                    | "--assume-no"
            )
        }) || words.iter().any(|word| short('s')(&word));
        if is_dry_run {
            continue;
        }
        let quiet: usize = words
            .iter()
            .filter(short('q'))
            .map(|word| word.matches('q').count())
            .sum();
        let says_yes = words
            .iter()
            .any(|word| matches!(*word, "--yes" | "--assume-yes" | "--force-yes"))
            || words.iter().any(|word| short('y')(&word))
            || quiet >= 2 && program == "apt-get"
            || words.iter().any(|word| word.contains("Assume-Yes"));
        let place = part.at(command.at);
        if !says_yes {
            let message = format!(
                "{program} {verb} asks for confirmation and aborts without an answer: add --yes"
            );
            findings.error(place, "interactive-apt", message);
        } else if !frontend && !matches!(*verb, "remove" | "autoremove") {
            let message = format!(
                "{program} {verb} lets packages ask questions: export DEBIAN_FRONTEND=noninteractive first"
            );
            findings.warning(place, "interactive-apt", message);
        }
    }
}
