//! The linter for presets, `hyprbox presets check`. Works on files, without a server.
//!
//! | file | owns |
//! | --- | --- |
//! | `lex` | bash text → its commands, words and expansions |
//! | `place` | a position in a step's text → line and column of the YAML file |
//! | `params` | unused params, undefined variables, params without quotes |
//! | `changes` | an `unless` that changes the machine, changes without an `undo` |
//! | `removal`, `download`, `apt`, `secrets`, `habits` | dangerous commands |
//! | `readonly`, `pipes`, `input`, `leftovers` | commands that end a step, or end with the job |
//! | `import` | a shell script → a preset, and what would change |
//! | `tools` | `bash -n` and shellcheck, if they are installed |
//! | `files` | paths → files → findings |
//! | `report` | findings for people, and as JSON |
//!
//! If in doubt, a rule reports nothing: people who get used to false alarms stop reading.

mod apt;
mod changes;
mod download;
mod files;
mod habits;
mod import;
mod input;
mod leftovers;
mod lex;
mod params;
mod pipes;
mod place;
mod readonly;
mod removal;
mod report;
mod secrets;
mod tools;

use super::locate::Segment;
use super::schema::{Fault, Param, ParamKind, Preset, Step};
use lex::{Command, Expansion, Script, Word};
use place::{Place, Scalar, Source};

pub use files::{Checked, check_paths};
pub use import::{ImportError, Imported, foreign_interpreter, import};
pub use report::{human, json};
pub use tools::Tools;

/// Severity of a finding.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It fails or does harm.
    Error,
    /// It may fail or do harm in some cases.
    Warning,
    /// It could be written better.
    Note,
}

/// A problem in a preset file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// From 1; 1 if it concerns the whole file.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub severity: Severity,
    /// The rule's name, such as `unquoted-param`, or shellcheck's, such as `SC2086`.
    pub rule: String,
    /// The problem and how to fix it.
    pub message: String,
}

/// Checks the preset in `text`, the content of the file whose name without extension is `stem`.
/// Returns the findings by line and column. For an invalid preset these are only its faults.
pub fn check(stem: &str, text: &str, tools: &Tools) -> Vec<Finding> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let preset = match Preset::parse(stem, text) {
        Ok(preset) => preset,
        Err(faults) => return faults.into_iter().map(Finding::from).collect(),
    };
    let source = Source::new(text);
    let parts = parts(&source, &preset);
    check_parts(&preset, Some(&source), parts, tools)
}

/// Checks the texts of the steps; with `source`, also whether they use every param.
fn check_parts(
    preset: &Preset,
    source: Option<&Source<'_>>,
    mut parts: Vec<Part<'_>>,
    tools: &Tools,
) -> Vec<Finding> {
    let mut findings = Findings { list: Vec::new() };
    tools.syntax(&mut parts, &mut findings);
    for part in parts.iter().filter(|part| part.is_bash) {
        params::unquoted(preset, part, &mut findings);
        params::undefined(preset, &parts, part, &mut findings);
        removal::check(preset, part, &mut findings);
        download::check(part, &mut findings);
        apt::check(part, &mut findings);
        changes::check(preset, part, &mut findings);
        secrets::check(preset, part, &mut findings);
        habits::check(part, &preset.steps, &mut findings);
        readonly::check(preset, part, &mut findings);
        pipes::check(part, &mut findings);
        input::check(part, &mut findings);
        leftovers::check(preset, part, &mut findings);
    }
    if parts.iter().all(|part| part.is_bash) {
        if let Some(source) = source {
            params::unused(source, preset, &parts, &mut findings);
        }
        tools.shellcheck(preset, &parts, &mut findings);
    }
    findings.into_sorted()
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        Self {
            line: fault.line.unwrap_or(1),
            column: fault.column.unwrap_or(1),
            severity: Severity::Error,
            rule: "schema".to_owned(),
            message: fault.message,
        }
    }
}

/// A text of a step.
struct Part<'a> {
    /// Of the step, from 0.
    step: usize,
    /// `unless`, `run`, `verify` or `undo`.
    field: &'static str,
    text: &'a str,
    script: Script,
    scalar: Scalar,
    /// False once `bash -n` refused the text: then no other rule checks it.
    is_bash: bool,
}

fn parts<'a>(source: &Source<'_>, preset: &'a Preset) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for (step, it) in preset.steps.iter().enumerate() {
        let Step {
            unless,
            run,
            verify,
            undo,
            ..
        } = it;
        let texts = [
            ("unless", unless.as_deref()),
            ("run", Some(run.as_str())),
            ("verify", verify.as_deref()),
            ("undo", undo.as_deref()),
        ];
        for (field, text) in texts {
            let Some(text) = text else { continue };
            let path = [
                Segment::Key("steps"),
                Segment::Index(step),
                Segment::Key(field),
            ];
            parts.push(Part {
                step,
                field,
                text,
                script: lex::read(text),
                scalar: Scalar::find(source, &path, text),
                is_bash: true,
            });
        }
    }
    parts
}

impl Part<'_> {
    /// The position in the file of the text's `offset`th character.
    fn at(&self, offset: usize) -> Place {
        self.scalar.of_offset(offset)
    }

    fn expansions<'s>(&'s self, word: &'s Word) -> impl Iterator<Item = &'s Expansion> {
        word.expansions.iter().map(|n| &self.script.expansions[*n])
    }

    /// Whether the exit status of the command at that index is ignored, because the command is in
    /// an argument or in a condition.
    fn is_unseen(&self, index: usize) -> bool {
        self.script
            .unseen
            .iter()
            .any(|range| range.contains(&index))
            || self.script.commands.iter().any(|command| {
                let in_word = command
                    .words
                    .iter()
                    .any(|word| word.commands.contains(&index));
                let in_assign = command
                    .assigns
                    .iter()
                    .any(|it| it.commands.contains(&index));
                in_word || in_assign && !command.words.is_empty()
            })
    }

    /// The text after the `||` that follows the command or its `$(…)`.
    fn behind(&self, command: &Command) -> Option<String> {
        let rest: String = self.text.chars().skip(command.end).take(200).collect();
        let rest = rest.trim_start_matches([' ', '\t', ')', '"', '}']);
        rest.strip_prefix("||").map(ToOwned::to_owned)
    }

    /// Whether a command of the text satisfies a condition.
    fn has(&self, is: impl Fn(&Command) -> bool) -> bool {
        self.script.commands.iter().any(is)
    }
}

impl Command {
    /// The program's name without its folder, if the text contains it. Skips wrappers such as
    /// `sudo`, `env X=1`, `timeout 5` and `exec`.
    fn program(&self) -> Option<&str> {
        self.arguments().0
    }

    /// The program's name and its arguments.
    fn arguments(&self) -> (Option<&str>, &[Word]) {
        let mut words = &self.words[..];
        while let Some((first, rest)) = words.split_first() {
            let Some(name) = first.literal.as_deref() else {
                // `$SUDO bash`, `${sudo_cmd} bash`
                if first.raw.starts_with(['$', '"']) && first.raw.to_lowercase().contains("sudo") {
                    words = rest;
                    continue;
                }
                return (None, rest);
            };
            let name = name.rsplit('/').next().unwrap_or(name);
            // Options that take the next word as their value.
            let with_value: &[char] = match name {
                "sudo" | "doas" => &['u', 'g', 'h', 'p', 'C', 'T', 'U', 'r', 't', 'D', 'R'],
                "env" => &['u', 'C'],
                "nice" => &['n'],
                "ionice" => &['c', 'n', 'p'],
                "timeout" => &['s', 'k'],
                "stdbuf" => &['i', 'o', 'e'],
                "command" | "builtin" | "exec" | "nohup" | "eatmydata" | "setsid" | "busybox" => {
                    &[]
                }
                _ => return (Some(name), rest),
            };
            // `command -v x` runs nothing.
            if name == "command" && rest.first().is_some_and(|word| word.raw.starts_with("-v")) {
                return (Some(name), rest);
            }
            let mut skip = 0;
            while let Some(word) = rest.get(skip) {
                let is_option = word.raw.starts_with('-');
                let takes_next = is_option && word.raw.len() == 2 && word.raw.ends_with(with_value);
                let is_number = word.raw.starts_with(|c: char| c.is_ascii_digit());
                if !is_option && !word.raw.contains('=') && !is_number {
                    break;
                }
                skip += 1 + usize::from(takes_next);
            }
            words = rest.get(skip..).unwrap_or_default();
        }
        (None, words)
    }

    /// The arguments without expansions.
    fn literals(&self) -> impl Iterator<Item = &str> {
        self.arguments()
            .1
            .iter()
            .filter_map(|word| word.literal.as_deref())
    }
}

/// Collects findings.
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// By line and column.
    fn into_sorted(mut self) -> Vec<Finding> {
        self.list
            .sort_by(|a, b| (a.line, a.column, &a.rule).cmp(&(b.line, b.column, &b.rule)));
        self.list.dedup();
        self.list
    }

    fn add(
        &mut self,
        severity: Severity,
        (line, column): Place,
        rule: &str,
        message: impl Into<String>,
    ) {
        self.list.push(Finding {
            line,
            column,
            severity,
            rule: rule.to_owned(),
            message: message.into(),
        });
    }

    fn error(&mut self, place: Place, rule: &str, message: impl Into<String>) {
        self.add(Severity::Error, place, rule, message);
    }

    fn warning(&mut self, place: Place, rule: &str, message: impl Into<String>) {
        self.add(Severity::Warning, place, rule, message);
    }
}

/// Whether the param's value can be empty.
fn may_be_empty(param: &Param) -> bool {
    if !param.required && param.default.is_none() {
        return true;
    }
    match &param.kind {
        ParamKind::String { pattern, .. } => {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(""))
        }
        ParamKind::Enum { values } => values.iter().any(String::is_empty),
        ParamKind::Int { .. } | ParamKind::Bool | ParamKind::Port | ParamKind::Secret => false,
    }
}

/// Reads `text` as bash and drops the result: for tests with texts that `bash -n` refuses.
#[cfg(test)]
pub(super) fn read_anything(text: &str) {
    let _script = lex::read(text);
}
