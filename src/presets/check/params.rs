//! Params and variables: those that nothing uses, those that nothing sets, those without quotes.

use std::collections::BTreeSet;

use crate::presets::locate::{Aim, Segment, locate};
use crate::presets::schema::{Param, ParamKind, Preset};

use super::lex::is_name;
use super::{Findings, Part};

/// A param that no step looks at asks people for nothing.
pub(super) fn unused(file: &str, preset: &Preset, parts: &[Part<'_>], findings: &mut Findings) {
    // Text that is run, or names that are computed, may use anything.
    let is_open = |part: &Part<'_>| {
        part.text.contains("${!") || part.has(|c| matches!(c.program(), Some("eval")))
    };
    if parts.iter().any(is_open) {
        return;
    }
    let mut used = BTreeSet::new();
    for part in parts {
        used.extend(
            part.script
                .expansions
                .iter()
                .map(|expansion| expansion.name.as_str()),
        );
        used.extend(part.script.bare_names.iter().map(String::as_str));
    }
    for param in &preset.params {
        if !used.contains(param.name.as_str()) {
            let path = [Segment::Key("params"), Segment::Key(&param.name)];
            let place = locate(file, &path, Aim::Key).unwrap_or((1, 1));
            let message = format!(
                "no step uses ${}: use it, or take the param away",
                param.name
            );
            findings.warning(place, "unused-param", message);
        }
    }
}

/// A variable that is neither a param nor set in the same part ends it, by `set -u`. Names in capitals may come from the
/// environment.
pub(super) fn undefined(
    preset: &Preset,
    parts: &[Part<'_>],
    part: &Part<'_>,
    findings: &mut Findings,
) {
    if part.has(|command| matches!(command.program(), Some("eval" | "source" | "."))) {
        return;
    }
    let set = set_names(part);
    let mut told = BTreeSet::new();
    for expansion in &part.script.expansions {
        let name = expansion.name.as_str();
        let is_ours =
            name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with("_proxy");
        if !is_ours
            || expansion.guarded
            || set.contains(name)
            || preset.param(name).is_some()
            || !told.insert(name)
        {
            continue;
        }
        let hint = if parts.iter().any(|other| set_names(other).contains(name)) {
            ": variables don't outlive a step's part; set it here, too".to_owned()
        } else {
            match closest(name, &preset.params) {
                Some(param) => format!("; did you mean ${param}?"),
                None => String::new(),
            }
        };
        let message = format!("${name} is no param, and nothing here sets it{hint}");
        findings.error(part.at(expansion.at), "undefined-variable", message);
    }
}

/// Whatever may be the name of a variable that the part sets: assigned, or an argument of `read`, `mapfile`, `printf -v`
/// and the like, or counted with.
fn set_names<'p>(part: &'p Part<'_>) -> BTreeSet<&'p str> {
    let mut names: BTreeSet<&str> = part.script.bare_names.iter().map(String::as_str).collect();
    for command in &part.script.commands {
        names.extend(command.assigns.iter().map(String::as_str));
        names.extend(command.literals().filter(|word| is_name(word)));
    }
    names
}

/// A param that differs by a letter or two.
fn closest<'p>(name: &str, params: &'p [Param]) -> Option<&'p str> {
    let near = params
        .iter()
        .map(|param| (distance(name, &param.name), param.name.as_str()));
    near.min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, name)| name)
}

/// How many letters to add, take away or change.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

/// Without quotes, a value with a blank or a `*` becomes several words.
pub(super) fn unquoted(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    for expansion in part
        .script
        .expansions
        .iter()
        .filter(|expansion| expansion.splits)
    {
        let Some(param) = preset.param(&expansion.name) else {
            continue;
        };
        if can_split(param) {
            let name = &param.name;
            let message = format!(
                "${name} is not in quotes: a blank or a * in it makes other words of it; write \"${name}\""
            );
            findings.warning(part.at(expansion.at), "unquoted-param", message);
        }
    }
}

fn can_split(param: &Param) -> bool {
    let splits = |text: &str| text.contains([' ', '\t', '\n', '*', '?', '[']) || text.is_empty();
    match &param.kind {
        ParamKind::String { .. } | ParamKind::Secret => true,
        ParamKind::Enum { values } => values.iter().any(|value| splits(value)),
        ParamKind::Int { .. } | ParamKind::Bool | ParamKind::Port => false,
    }
}
