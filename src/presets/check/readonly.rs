//! Commands that set a param. Params are read-only, so such a command ends the step.

use crate::presets::schema::Preset;

use super::lex::Command;
use super::{Findings, Part, Word};

pub(super) fn check(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    let mut set: Vec<(usize, &str)> = Vec::new();
    for (at, name) in &part.script.sets {
        set.push((*at, name));
    }
    for command in &part.script.commands {
        if command.program() != Some("alias") {
            set.extend(command.assigns.iter().map(|it| (it.at, it.name.as_str())));
        }
        set.extend(set_by_words(command));
    }
    for (at, name) in set {
        if preset.param(name).is_some() {
            let message = format!(
                "${name} is a param and read-only, so this ends the step: use a variable with another name"
            );
            findings.error(part.at(at), "readonly-param", message);
        }
    }
}

/// Variables that a command sets because its arguments name them.
fn set_by_words(command: &Command) -> Vec<(usize, &str)> {
    let (Some(program), words) = command.arguments() else {
        return Vec::new();
    };
    let named = |word: &'_ Word| word.literal.clone().unwrap_or_default();
    let (with_value, only): (&[char], Option<usize>) = match program {
        "read" => (&['d', 'i', 'n', 'N', 'p', 't', 'u'], None),
        "mapfile" | "readarray" => (&['d', 'n', 'O', 's', 'u', 'C', 'c'], None),
        // Only the second argument is a variable: `getopts ab name`.
        "getopts" => (&[], Some(1)),
        "local" => (&[], None),
        "unset" => {
            if words.iter().any(|word| named(word) == "-f") {
                return Vec::new();
            }
            (&[], None)
        }
        "printf" => {
            let at = words.iter().position(|word| named(word) == "-v");
            let target = at.and_then(|at| words.get(at + 1));
            return target
                .and_then(|word| Some((word.at, word.literal.as_deref()?)))
                .into_iter()
                .collect();
        }
        _ => return Vec::new(),
    };
    let mut names = Vec::new();
    let mut skip = false;
    for word in words {
        let Some(text) = word.literal.as_deref() else {
            skip = false;
            continue;
        };
        if skip {
            skip = false;
            continue;
        }
        if program == "read" && text == "-a" {
            continue;
        }
        if let Some(options) = text.strip_prefix('-') {
            skip = options.ends_with(with_value);
            continue;
        }
        let name = text.split('[').next().unwrap_or(text);
        names.push((word.at, name));
    }
    match only {
        Some(index) => names.get(index).copied().into_iter().collect(),
        None => names,
    }
}
