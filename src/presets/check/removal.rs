//! Finds `rm -rf "/srv/$name"` with a `name` that may be empty: the command would remove `/srv/`.

use crate::presets::schema::Preset;

use super::{Findings, Part, may_be_empty};

pub(super) fn check(preset: &Preset, part: &Part<'_>, findings: &mut Findings) {
    for command in part
        .script
        .commands
        .iter()
        .filter(|command| command.program() == Some("rm"))
    {
        let is_recursive = |word: &str| {
            word == "--recursive"
                || word.starts_with('-') && !word.starts_with("--") && word.contains(['r', 'R'])
        };
        if !command.literals().any(is_recursive) {
            continue;
        }
        for word in command.arguments().1 {
            for expansion in part.expansions(word) {
                let Some(param) = preset.param(&expansion.name) else {
                    continue;
                };
                let name = param.name.as_str();
                if expansion.guarded || !may_be_empty(param) || is_tested(part.text, name) {
                    continue;
                }
                // The path that remains if the value is empty.
                let bare = word
                    .raw
                    .replace(&format!("${{{name}}}"), "")
                    .replace(&format!("${name}"), "");
                let bare = bare.replace(['"', '\''], "");
                if bare.starts_with('/') && bare.trim_end_matches('*').ends_with('/') {
                    let message = format!(
                        "${name} may be empty, and then this removes {bare}: write \"${{{name}:?}}\""
                    );
                    findings.error(part.at(word.at), "rm-of-empty", message);
                }
            }
        }
    }
}

/// Whether the part tests if the value is empty.
fn is_tested(text: &str, name: &str) -> bool {
    ["-n", "-z"].iter().any(|test| {
        [
            format!("{test} ${name}"),
            format!("{test} \"${name}\""),
            format!("{test} \"${{{name}}}\""),
        ]
        .iter()
        .any(|form| text.contains(form.as_str()))
    })
}
