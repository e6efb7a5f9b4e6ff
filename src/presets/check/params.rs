//! Unused params, undefined variables, and params without quotes.

use std::collections::BTreeSet;

use crate::presets::locate::{Aim, Segment};
use crate::presets::schema::{Param, ParamKind, Preset};

use super::lex::{Command, Expansion, is_name};
use super::place::Source;
use super::{Findings, Part};

/// Finds params that no step uses.
pub(super) fn unused(
    file: &Source<'_>,
    preset: &Preset,
    parts: &[Part<'_>],
    findings: &mut Findings,
) {
    // Computed names may be any variable, and text from elsewhere may use any.
    let is_open = |part: &Part<'_>| {
        part.text.contains("${!") || part.has(|it| runs_text(it) == Some(Text::Any))
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
        // `export port` hands the param to other programs.
        let hands_over = |command: &&Command| {
            let program = command.program();
            matches!(
                program,
                Some("export" | "declare" | "typeset" | "test" | "[")
            )
        };
        let commands = part.script.commands.iter().filter(hands_over);
        used.extend(commands.flat_map(Command::literals));
    }
    for param in &preset.params {
        if !used.contains(param.name.as_str()) {
            let path = [Segment::Key("params"), Segment::Key(&param.name)];
            let place = file.index.place(&path, Aim::Key).unwrap_or((1, 1));
            let message = format!("no step uses ${}: use it, or remove the param", param.name);
            findings.warning(place, "unused-param", message);
        }
    }
}

/// Variables of a job's environment and of bash itself. tests/it/agent.rs compares the first half
/// with what the agent sets.
const GIVEN: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TERM",
    "HYPRBOX_FORCE",
    "HYPRBOX_JOB_ID",
    "HYPRBOX_UNDO_DIR",
    "HYPRBOX_NODE_ID",
    // Set by bash.
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "COLUMNS",
    "COPROC",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "LINENO",
    "LINES",
    "MACHTYPE",
    "MAPFILE",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PIPESTATUS",
    "PPID",
    "PWD",
    "RANDOM",
    "REPLY",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TZ",
    "UID",
];

/// Whether the variable may be set without the part's doing. The agent passes proxy settings on if
/// `HYPRBOX_JOB_ENV` names them.
pub(super) fn may_be_given(name: &str) -> bool {
    GIVEN.contains(&name)
        || name.starts_with("BASH_")
        || name.starts_with('_')
        || name.to_ascii_lowercase().ends_with("_proxy")
}

/// Finds variables that are neither params nor in the environment nor set in the same part: with
/// `set -u` they end the step.
pub(super) fn undefined(
    preset: &Preset,
    parts: &[Part<'_>],
    part: &Part<'_>,
    findings: &mut Findings,
) {
    for expansion in unset(part) {
        let name = expansion.name.as_str();
        if preset.param(name).is_some() {
            continue;
        }
        let hint = if parts.iter().any(|other| set_names(other).contains(name)) {
            ": a variable is lost at the end of unless, run or verify; set it here as well"
                .to_owned()
        } else {
            match closest(name, &preset.params) {
                Some(param) => format!("; did you mean ${param}?"),
                None => String::new(),
            }
        };
        let message = if name.starts_with(|c: char| c.is_ascii_uppercase()) {
            format!(
                "${name} is not in a job's environment, and nothing here sets it{hint}; write ${{{name}:-}} if it may be absent"
            )
        } else {
            format!("${name} is not a param, and nothing here sets it{hint}")
        };
        findings.error(part.at(expansion.at), "undefined-variable", message);
    }
}

/// The first use of each variable that neither the part nor a job's environment sets.
pub(super) fn unset<'p>(part: &'p Part<'_>) -> Vec<&'p Expansion> {
    // After this, an unset variable is empty.
    let allows_unset = part.has(|command| {
        command.program() == Some("set")
            && command
                .literals()
                .any(|word| word.starts_with('+') && word.contains('u') || word == "nounset")
    });
    if allows_unset {
        return Vec::new();
    }
    // Text from elsewhere sets variables for what follows it, and for functions, which run later.
    let texts: Vec<(usize, Text)> = part
        .script
        .commands
        .iter()
        .filter_map(|command| Some((command.at, runs_text(command)?)))
        .collect();
    let may_be_set = |expansion: &Expansion| {
        let in_capitals = !expansion.name.contains(|c: char| c.is_ascii_lowercase());
        texts.iter().any(|(at, text)| {
            (*at < expansion.at || part.script.is_in_function(expansion.at))
                && (*text == Text::Any || in_capitals)
        })
    };
    let set = set_names(part);
    let mut reported = BTreeSet::new();
    let mut unset = Vec::new();
    for expansion in &part.script.expansions {
        let name = expansion.name.as_str();
        if expansion.guarded {
            // A guard shows that the author knows that the variable may be absent.
            reported.insert(name);
        } else if !may_be_given(name)
            && !set.contains(name)
            && !may_be_set(expansion)
            && reported.insert(name)
        {
            unset.push(expansion);
        }
    }
    unset
}

/// What a command reads and runs in this shell.
#[derive(PartialEq, Eq)]
enum Text {
    /// A file of the system, which only sets variables in capitals.
    Release,
    Any,
}

fn runs_text(command: &Command) -> Option<Text> {
    if !matches!(command.program()?, "eval" | "source" | ".") {
        return None;
    }
    let is_release = command.program() != Some("eval")
        && command
            .literals()
            .next()
            .is_some_and(|file| file.ends_with("/os-release") || file.ends_with("/lsb-release"));
    Some(if is_release { Text::Release } else { Text::Any })
}

/// Every name that may be a variable set by the part: assigned, an argument of `read`, `mapfile`,
/// `printf -v` and the like, or used in arithmetic.
pub(super) fn set_names<'p>(part: &'p Part<'_>) -> BTreeSet<&'p str> {
    let mut names: BTreeSet<&str> = part.script.bare_names.iter().map(String::as_str).collect();
    for command in &part.script.commands {
        names.extend(command.assigns.iter().map(|it| it.name.as_str()));
        names.extend(command.literals().filter(|word| is_name(word)));
    }
    names
}

/// A param whose name differs by one or two letters.
fn closest<'p>(name: &str, params: &'p [Param]) -> Option<&'p str> {
    let near = params
        .iter()
        .map(|param| (distance(name, &param.name), param.name.as_str()));
    near.min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, name)| name)
}

/// Edit distance: the number of letters to add, remove or change.
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

/// Finds params without quotes: a value with a blank or a `*` becomes several words.
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
                "${name} is not quoted: a value with a blank or a * becomes several words; write \"${name}\""
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
