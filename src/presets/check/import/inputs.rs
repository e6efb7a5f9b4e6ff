//! What a script expects from outside: its arguments, and variables that it does not set. A job has
//! neither, so the preset has params for them and sets them before the script.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::lex::Special;
use super::super::params::{may_be_given, set_names, unset};
use super::super::{Findings, Part};
use crate::presets::words::is_param_name;

/// Most arguments that become params.
const ARGUMENTS_MAX: usize = 20;

/// A param of the preset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proposed {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) is_required: bool,
}

/// What the script expects from outside.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) params: Vec<Proposed>,
    /// How many of the params are arguments. These come first.
    arguments: usize,
    /// Variables and the params that they get their values from.
    variables: Vec<(String, String)>,
    /// Variables that nothing sets, and where they are used first.
    unset: Vec<(usize, String)>,
    /// Where the script uses its arguments as a list.
    list_at: Option<usize>,
}

impl Inputs {
    pub(super) fn of(part: &Part<'_>) -> Self {
        let mut inputs = Self::default();
        let mut taken: BTreeSet<String> = set_names(part).into_iter().map(str::to_owned).collect();
        let names = part.script.expansions.iter().map(|it| it.name.clone());
        taken.extend(names);
        inputs.read_arguments(part, &mut taken);
        inputs.read_variables(part, &mut taken);
        inputs
    }

    fn read_arguments(&mut self, part: &Part<'_>, taken: &mut BTreeSet<String>) {
        // After this the arguments are the script's own.
        let resets = part.script.commands.iter().find(|command| {
            command.program() == Some("set")
                && command.words.len() > 1
                && command.words.iter().any(|word| word.raw == "--")
                && !part.script.is_in_function(command.at)
        });
        let until = resets.map_or(usize::MAX, |command| command.at);
        let is_outer = |at: usize| at < until && !part.script.is_in_function(at);
        let specials: Vec<&Special> = part
            .script
            .specials
            .iter()
            .filter(|special| is_outer(special.at))
            .collect();
        let moves = part.script.commands.iter().find(|command| {
            matches!(command.program(), Some("shift" | "getopts")) && is_outer(command.at)
        });
        let as_list = specials
            .iter()
            .find(|special| matches!(special.name.as_str(), "@" | "*" | "#"));
        self.list_at = [moves.map(|it| it.at), as_list.map(|it| it.at)]
            .into_iter()
            .flatten()
            .min();
        let number = |special: &Special| special.name.parse::<usize>().ok();
        let highest = specials.iter().filter_map(|it| number(it)).max();
        for wanted in 1..=highest.unwrap_or(0).min(ARGUMENTS_MAX) {
            let uses = || specials.iter().filter(|it| number(it) == Some(wanted));
            // A guard shows that the argument may be absent. So does a list of any length.
            let is_required =
                uses().next().is_some() && !uses().any(|it| it.guarded) && self.list_at.is_none();
            let name = free(&format!("arg{wanted}"), taken);
            self.params.push(Proposed {
                description: format!("Argument ${wanted} of the script"),
                name,
                is_required,
            });
        }
        // An argument after which a required one follows can't be left out.
        let last = self.params.iter().rposition(|param| param.is_required);
        for param in self.params.iter_mut().take(last.unwrap_or(0)) {
            param.is_required = true;
        }
        self.arguments = self.params.len();
    }

    fn read_variables(&mut self, part: &Part<'_>, taken: &mut BTreeSet<String>) {
        let set = set_names(part);
        let mut known = BTreeSet::new();
        for expansion in part.script.expansions.iter().filter(|it| it.demands) {
            let name = expansion.name.as_str();
            if set.contains(name) || may_be_given(name) || !known.insert(name) {
                continue;
            }
            let own = name.to_ascii_lowercase();
            let own = own.trim_start_matches('_');
            let param = if is_param_name(own) && own == name {
                own.to_owned()
            } else if is_param_name(own) {
                free(own, taken)
            } else {
                free("value", taken)
            };
            self.params.push(Proposed {
                name: param.clone(),
                description: format!("Variable {name} of the script"),
                is_required: true,
            });
            self.variables.push((name.to_owned(), param));
        }
        self.unset = unset(part)
            .into_iter()
            .filter(|expansion| !known.contains(expansion.name.as_str()))
            .map(|expansion| (expansion.at, expansion.name.clone()))
            .collect();
    }

    /// The lines before the script; empty if it expects nothing.
    pub(super) fn prelude(&self) -> String {
        let mut text = String::new();
        if self.params.is_empty() && self.unset.is_empty() {
            return text;
        }
        text.push_str("# What the script expects from outside:\n");
        self.set_arguments(&mut text);
        for (variable, param) in &self.variables {
            let _ = if variable == param {
                writeln!(text, "export {variable}")
            } else {
                writeln!(text, "export {variable}=\"${param}\"")
            };
        }
        for (_, name) in &self.unset {
            let _ = writeln!(text, "{name}=${{{name}-}}");
        }
        text
    }

    /// Optional arguments at the end are left out if they are empty.
    fn set_arguments(&self, text: &mut String) {
        let arguments = &self.params[..self.arguments];
        let required = arguments.iter().take_while(|it| it.is_required).count();
        let list = |count: usize| {
            let words = arguments[..count]
                .iter()
                .map(|it| format!(" \"${}\"", it.name));
            format!("set --{}", words.collect::<String>())
        };
        let mut branch = "if";
        for count in (required + 1..=arguments.len()).rev() {
            let last = &arguments[count - 1].name;
            let _ = writeln!(text, "{branch} [[ -n ${last} ]]; then\n  {}", list(count));
            branch = "elif";
        }
        if branch == "elif" {
            if required > 0 {
                let _ = writeln!(text, "else\n  {}", list(required));
            }
            text.push_str("fi\n");
        } else if required > 0 {
            let _ = writeln!(text, "{}", list(required));
        }
    }

    pub(super) fn report(&self, part: &Part<'_>, findings: &mut Findings) {
        if let Some(at) = self.list_at {
            let message = match self.arguments {
                0 => "the script goes through its arguments, and a job has none: add params, and set the arguments in the first lines of the step, as in set -- \"$name\"".to_owned(),
                count => format!(
                    "the script goes through its arguments: it gets those of the first {count} params up to the last that is not empty, and set -u ends the step at a $1 that is not there. Check the params and the first lines of the step"
                ),
            };
            findings.warning(part.at(at), "arguments", message);
        }
        for (at, name) in &self.unset {
            let message = format!(
                "the script does not set ${name}, and a job's environment does not have it: it is empty, and the first lines of the step set it so that set -u does not end the script. Set it, or make it a param"
            );
            findings.warning(part.at(*at), "unset-variable", message);
        }
    }
}

/// A name for a param that the script does not use.
fn free(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    let mut number = 1;
    while !is_param_name(&name) || taken.contains(&name) {
        number += 1;
        let stem: String = wanted.chars().take(50).collect();
        name = format!("{stem}_{number}");
    }
    taken.insert(name.clone());
    name
}
