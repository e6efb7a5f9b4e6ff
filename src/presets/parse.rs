//! YAML text → [`Preset`]. First serde reads the structure (`shape`), strictly, and stops at the
//! first fault. Then the checks of meaning run over all of it and collect every fault, each with a
//! path that `locate` turns into a line.

use std::collections::BTreeSet;

use hyprbox_protocol::TimeRange;

use super::locate::{Aim, Index, Segment};
use super::params::{check_value, json_from_yaml};
use super::schema::{
    CONFIRM_RANGE, DEFAULT_TIMEOUT_SECONDS, Fault, MAX_MAX_LENGTH, Param, ParamKind, Pattern,
    Preset, Risk, Step, TIMEOUT_RANGE,
};
use super::shape::{RawParam, RawPreset, RawStep, RawType, read};
use super::words::{has_command, has_word, is_line, is_os_id, is_param_name, is_preset_name};

/// Reported faults of one file; the rest are only counted.
const MAX_FAULTS: usize = 20;

impl Preset {
    /// Reads a preset from the text of a file. `stem` is the file's name without extension.
    ///
    /// # Errors
    /// Every fault of the file, in the file's order. A fault of the YAML itself or of its structure
    /// (an unknown key, a list instead of text) hides the faults after it.
    pub fn parse(stem: &str, text: &str) -> Result<Self, Vec<Fault>> {
        parse(stem, text)
    }
}

fn parse(stem: &str, text: &str) -> Result<Preset, Vec<Fault>> {
    // Some editors begin a file with a byte order mark, which YAML would read as part of a key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let index = Index::read(text).map_err(|fault| vec![fault])?;
    let raw = read(text, &index).map_err(|fault| vec![fault])?;
    let mut checks = Checks {
        index,
        faults: Vec::new(),
    };
    let preset = checks.preset(stem, raw);
    if checks.faults.is_empty() {
        return Ok(preset);
    }
    let mut faults = checks.faults;
    faults.sort_by_key(|fault| (fault.line, fault.column));
    if faults.len() > MAX_FAULTS {
        let more = faults.len() - MAX_FAULTS;
        faults.truncate(MAX_FAULTS);
        faults.push(Fault {
            line: None,
            column: None,
            message: format!("and {} more", thousands(more)),
        });
    }
    Err(faults)
}

/// 4980 → `4,980`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The checks of meaning. They build the preset as they go, with a placeholder for anything wrong,
/// so that one run finds all faults. The preset is used only without faults.
struct Checks {
    index: Index,
    faults: Vec<Fault>,
}

impl Checks {
    fn fault(&mut self, path: &[Segment<'_>], aim: Aim, message: impl Into<String>) {
        let at = self.index.place(path, aim);
        self.faults.push(Fault {
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            message: message.into(),
        });
    }

    fn value(&mut self, path: &[Segment<'_>], message: impl Into<String>) {
        self.fault(path, Aim::Value, message);
    }

    fn preset(&mut self, stem: &str, raw: RawPreset) -> Preset {
        let key = Segment::Key;
        if !is_preset_name(&raw.name) {
            self.value(
                &[key("name")],
                "name must have 1 to 100 characters of a-z, 0-9 and - ([a-z0-9-]+)",
            );
        } else if raw.name != stem {
            let message = format!(
                "name must match the file name: {stem} (or rename the file to {}.yaml)",
                raw.name
            );
            self.value(&[key("name")], message);
        }
        if raw.title.as_deref().is_some_and(|title| !is_line(title)) {
            self.value(
                &[key("title")],
                "title must be one line of 1 to 200 characters",
            );
        }
        self.targets(&raw.targets);
        if raw.derivatives.is_some() && raw.targets.iter().any(|target| target == "any") {
            self.fault(
                &[key("derivatives")],
                Aim::Key,
                "target any already includes derivatives: leave out derivatives",
            );
        }
        let timeout = self.time("timeout", &TIMEOUT_RANGE, raw.timeout.as_deref());
        let confirm = self.time("confirm", &CONFIRM_RANGE, raw.confirm.as_deref());
        let params = raw.params.map_or_else(Vec::new, |params| params.0);
        let params: Vec<Param> = params
            .into_iter()
            .map(|(name, raw)| self.param(name, raw))
            .collect();
        if raw.steps.is_empty() {
            self.value(&[key("steps")], "steps must have at least one step");
        }
        for (index, step) in raw.steps.iter().enumerate() {
            self.step(index, step);
            self.undo(index, step, raw.confirm.is_some(), &params);
        }
        Preset {
            title: raw.title.unwrap_or_else(|| raw.name.clone()),
            name: raw.name,
            description: raw.description.unwrap_or_default().trim().to_owned(),
            derivatives: raw.derivatives.unwrap_or(false),
            keep_processes: raw.keep_processes.unwrap_or(false),
            confirm_seconds: confirm,
            targets: raw.targets,
            risk: raw.risk.unwrap_or(Risk::Medium),
            timeout_seconds: timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
            params,
            steps: raw.steps.into_iter().map(Step::from).collect(),
        }
    }

    /// Reads the time span of a field, in whole seconds.
    fn time(&mut self, field: &str, range: &TimeRange, text: Option<&str>) -> Option<u32> {
        let text = text?;
        let time = range.parse(text);
        if time.is_none() {
            self.value(&[Segment::Key(field)], format!("{text:?} must be {range}"));
        }
        u32::try_from(time?.as_secs()).ok()
    }

    fn undo(&mut self, index: usize, step: &RawStep, has_confirm: bool, params: &[Param]) {
        let Some(undo) = step.undo.as_deref() else {
            return;
        };
        let path = [
            Segment::Key("steps"),
            Segment::Index(index),
            Segment::Key("undo"),
        ];
        if !has_confirm {
            let message = "undo needs confirm at the preset, such as confirm: 5m; without it nothing is undone";
            self.fault(&path, Aim::Key, message);
        }
        let mut secrets = params.iter().filter(|it| it.kind == ParamKind::Secret);
        if let Some(secret) = secrets.find(|secret| has_word(undo, &secret.name)) {
            let message = format!(
                "undo can't use the secret {}, which is gone after a reboot: let run keep what undo needs in $HYPRBOX_UNDO_DIR",
                secret.name
            );
            self.value(&path, message);
        }
    }

    fn targets(&mut self, targets: &[String]) {
        let path = [Segment::Key("targets")];
        if targets.is_empty() {
            self.value(
                &path,
                "targets must list at least one distribution (an ID of /etc/os-release), or be [any]",
            );
        }
        let mut seen = BTreeSet::new();
        for (index, target) in targets.iter().enumerate() {
            let path = [Segment::Key("targets"), Segment::Index(index)];
            if !is_os_id(target) {
                self.value(
                    &path,
                    "a target must be an ID of /etc/os-release (a-z, 0-9, ., _ and -), such as debian",
                );
            } else if !seen.insert(target) {
                self.value(&path, format!("target {target} is listed twice"));
            } else if target == "any" && targets.len() > 1 {
                self.value(&path, "any means every Linux: remove the other targets");
            }
        }
    }

    fn step(&mut self, index: usize, step: &RawStep) {
        let at = |field| {
            [
                Segment::Key("steps"),
                Segment::Index(index),
                Segment::Key(field),
            ]
        };
        if !is_line(&step.name) {
            self.value(
                &at("name"),
                "a step's name must be one line of 1 to 200 characters",
            );
        }
        let texts = [
            ("unless", step.unless.as_deref()),
            ("run", Some(step.run.as_str())),
            ("verify", step.verify.as_deref()),
            ("undo", step.undo.as_deref()),
        ];
        for (field, text) in texts {
            let Some(text) = text else { continue };
            if text.contains('\0') {
                self.value(
                    &at(field),
                    format!("{field} must not contain a NUL character"),
                );
            } else if !has_command(text) {
                self.value(&at(field), format!("{field} has no command"));
            }
        }
    }

    fn param(&mut self, name: String, raw: RawParam) -> Param {
        let faults_before = self.faults.len();
        let here = [Segment::Key("params"), Segment::Key(&name)];
        let at = |field| [here[0], here[1], Segment::Key(field)];
        if !is_param_name(&name) {
            self.fault(
                &here,
                Aim::Key,
                format!("param name {name:?} must match [a-z][a-z0-9_]{{0,62}}"),
            );
        }
        for (field, owner) in raw.foreign_fields() {
            let message = format!(
                "{field} does not apply to a param of type {}; it is for type {owner}",
                raw.r#type.name()
            );
            self.fault(&at(field), Aim::Key, message);
        }
        let kind = self.kind(&name, &raw);
        let secret = kind == ParamKind::Secret;
        if secret && raw.required == Some(false) {
            self.value(&at("required"), "a secret is always required");
        }
        if secret && raw.default.is_some() {
            self.fault(
                &at("default"),
                Aim::Key,
                "a secret can't have a default: this file would contain it",
            );
        } else if raw.required == Some(true) && raw.default.is_some() {
            self.fault(
                &at("default"),
                Aim::Key,
                "a required param never uses its default: remove one of the two",
            );
        }
        // The default is checked against the param's limits only if those are valid.
        let checks_default = self.faults.len() == faults_before;
        let default = raw.default.filter(|_| checks_default).and_then(|yaml| {
            let checked = json_from_yaml(&yaml).and_then(|json| check_value(&kind, &json));
            let wants_text = matches!(kind, ParamKind::String { .. } | ParamKind::Enum { .. });
            let is_bare = yaml.is_number() || yaml.is_bool();
            checked
                .map_err(|message| {
                    let hint = if wants_text && is_bare {
                        ": put it in quotes"
                    } else {
                        ""
                    };
                    self.value(&at("default"), format!("default {message}{hint}"));
                })
                .ok()
        });
        Param {
            description: raw.description.unwrap_or_default().trim().to_owned(),
            required: secret || raw.required.unwrap_or(false),
            default,
            kind,
            name,
        }
    }

    fn kind(&mut self, name: &str, raw: &RawParam) -> ParamKind {
        let at = |field| {
            [
                Segment::Key("params"),
                Segment::Key(name),
                Segment::Key(field),
            ]
        };
        match raw.r#type {
            RawType::Bool => ParamKind::Bool,
            RawType::Port => ParamKind::Port,
            RawType::Secret => ParamKind::Secret,
            RawType::Int => {
                if matches!((raw.min, raw.max), (Some(min), Some(max)) if min > max) {
                    self.value(&at("max"), "max must not be less than min");
                }
                ParamKind::Int {
                    min: raw.min,
                    max: raw.max,
                }
            }
            RawType::String => {
                let max_length = raw.max_length.map(usize::try_from);
                let max_length = match max_length {
                    None => None,
                    Some(Ok(max)) if (1..=MAX_MAX_LENGTH).contains(&max) => Some(max),
                    Some(_) => {
                        let message = format!("maxLength must be 1 to {MAX_MAX_LENGTH} characters");
                        self.value(&at("maxLength"), message);
                        None
                    }
                };
                let pattern = raw.pattern.as_deref().map(Pattern::new);
                if let Some(Err(message)) = &pattern {
                    self.value(&at("pattern"), format!("pattern: {message}"));
                }
                ParamKind::String {
                    pattern: pattern.and_then(Result::ok),
                    max_length,
                }
            }
            RawType::Enum => ParamKind::Enum {
                values: self.values(name, raw.values.as_deref()),
            },
        }
    }

    fn values(&mut self, name: &str, raw: Option<&[serde_yaml::Value]>) -> Vec<String> {
        let here = [Segment::Key("params"), Segment::Key(name)];
        let raw = raw.unwrap_or_default();
        if raw.is_empty() {
            self.fault(&here, Aim::Key, "an enum needs values: a list of strings");
        }
        let mut values = Vec::with_capacity(raw.len());
        let mut seen = BTreeSet::new();
        for (index, value) in raw.iter().enumerate() {
            let path = [
                here[0],
                here[1],
                Segment::Key("values"),
                Segment::Index(index),
            ];
            match value.as_str() {
                None => self.value(
                    &path,
                    "an enum value must be a string: put numbers, true, false and null in quotes",
                ),
                Some(value) if value.contains('\0') => {
                    self.value(&path, "a value must not contain a NUL character");
                }
                Some(value) if !seen.insert(value) => {
                    self.value(&path, format!("value {value:?} is listed twice"));
                }
                Some(value) => values.push(value.to_owned()),
            }
        }
        values
    }
}
