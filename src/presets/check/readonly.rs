//! Commands that set a param. Params are read-only, so such a command ends the step.

use crate::presets::schema::Preset;

use super::lex::Command;
use super::{Findings, Part, Word, may_be_empty};

pub(super) fn check(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    let mut set: Vec<(usize, &str)> = Vec::new();
    for (at, name) in &part.script.sets {
        set.push((*at, name));
    }
    for command in &part.script.commands {
        let survives = survives(command);
        if command.program() != Some("alias") && !survives {
            set.extend(command.assigns.iter().map(|it| (it.at, it.name.as_str())));
        }
        if !survives {
            set.extend(set_by_words(command));
        }
    }
    for (at, name) in set {
        if preset.param(name).is_some() {
            let message = format!(
                "${name} is a param and read-only, so this ends the step: use a variable with another name"
            );
            findings.error(part.at(at), "readonly-param", message);
        }
    }
    for expansion in &part.script.expansions {
        let param = preset.param(&expansion.name);
        if expansion.assigns && param.is_some_and(may_be_empty) {
            let name = &expansion.name;
            let message = format!(
                "${name} is a param and read-only, so this ends the step if the param is empty: write ${{{name}:-…}}"
            );
            findings.error(part.at(expansion.at), "readonly-param", message);
        }
    }
}

/// These builtins only fail, and a condition ignores that; other assignments end the shell.
fn survives(command: &Command) -> bool {
    let program = command.program();
    command.is_tested
        && matches!(
            program,
            Some("unset" | "declare" | "typeset" | "local" | "wait")
        )
}

/// Variables that a command sets because its arguments name them.
fn set_by_words(command: &Command) -> Vec<(usize, &str)> {
    let (Some(program), words) = command.arguments() else {
        return Vec::new();
    };
    let first = words.first().and_then(|word| word.literal.as_deref());
    // Options that take a value, and those whose value is a variable.
    let (with_value, with_name): (&[char], &[char]) = match program {
        "read" => (&['d', 'i', 'n', 'N', 'p', 't', 'u'], &['a']),
        "mapfile" | "readarray" => (&['d', 'n', 'O', 's', 'u', 'C', 'c'], &[]),
        "wait" => (&[], &['p']),
        "printf" if first.is_some_and(|word| word.starts_with("-v")) => (&[], &['v']),
        // Only the second argument is a variable: `getopts ab name`.
        "getopts" | "local" | "declare" | "typeset" | "unset" => (&[], &[]),
        _ => return Vec::new(),
    };
    // `declare -f name` and `declare -p name` print something.
    let inspects: &[char] = match program {
        "declare" | "typeset" | "local" => &['f', 'F', 'p'],
        "unset" => &['f'],
        _ => &[],
    };
    let mut named = Vec::new();
    let mut plain = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(text) = word.literal.as_deref() else {
            continue;
        };
        let Some(options) = text.strip_prefix(['-', '+']).filter(|it| !it.is_empty()) else {
            plain.push((word.at, variable(text)));
            continue;
        };
        if options.contains(inspects) {
            return Vec::new();
        }
        // An option's value is the rest of the word, or the next word.
        let Some(at) = options.find(|c| with_value.contains(&c) || with_name.contains(&c)) else {
            continue;
        };
        let is_name = options[at..].starts_with(with_name);
        let value = match &options[at + 1..] {
            "" => words.next().and_then(value_of),
            value => Some((word.at, value)),
        };
        if let Some((at, value)) = value.filter(|_| is_name) {
            named.push((at, variable(value)));
        }
    }
    match program {
        // The arguments are a format, or processes.
        "printf" | "wait" => named,
        "getopts" => plain.get(1).copied().into_iter().collect(),
        _ => [named, plain].concat(),
    }
}

fn value_of(word: &Word) -> Option<(usize, &str)> {
    Some((word.at, word.literal.as_deref()?))
}

/// `name` of `name[0]`.
fn variable(text: &str) -> &str {
    text.split('[').next().unwrap_or(text)
}
