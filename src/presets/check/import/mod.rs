//! A shell script → a preset with one step, and what would change.
//!
//! | file | owns |
//! | --- | --- |
//! | `inputs` | the script's arguments and variables from outside → params |
//! | `strict` | where `set -euo pipefail` would change what the script does |
//! | `stranger` | what a job does not have: a file of the script, another interpreter |
//! | `yaml` | any text as a YAML scalar, exactly |
//!
//! The step has the script unchanged. Lines before it set what the script expects from outside.

mod inputs;
mod stranger;
mod strict;
mod yaml;

use std::fmt::Write as _;

use super::lex;
use super::place::Scalar;
use super::{Finding, Findings, Part, Tools, check_parts};
use crate::presets::schema::{MAX_FILE_BYTES, Preset};
use crate::presets::words::{has_command, is_preset_name};

use inputs::Inputs;
pub use stranger::foreign_interpreter;

/// A preset made from a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// YAML.
    pub source: String,
    /// What to look at, by line and column of the script.
    pub findings: Vec<Finding>,
}

/// Why a script can't become a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("must have 1 to 100 characters of a-z, 0-9 and -, and not be a single -")]
    Name,
    #[error("has no command")]
    Empty,
    #[error("must not contain a NUL character")]
    Nul,
    #[error(
        "is too long: a preset has at most {MAX_FILE_BYTES} bytes; send a longer script to /api/exec, which runs it once"
    )]
    TooLong,
}

/// Makes a preset of this name from a script.
pub fn import(name: &str, script: &str, tools: &Tools) -> Result<Imported, ImportError> {
    if !is_preset_name(name) {
        return Err(ImportError::Name);
    }
    if script.len() as u64 > MAX_FILE_BYTES {
        return Err(ImportError::TooLong);
    }
    if script.contains('\0') {
        return Err(ImportError::Nul);
    }
    if !has_command(script) {
        return Err(ImportError::Empty);
    }
    let part = part_of(script);
    let inputs = Inputs::of(&part);
    let prelude = inputs.prelude();
    let source = source(name, script, &inputs, &prelude);
    if source.len() as u64 > MAX_FILE_BYTES {
        return Err(ImportError::TooLong);
    }
    let mut findings = Findings { list: Vec::new() };
    inputs.report(&part, &mut findings);
    stranger::check(&part, &mut findings);
    strict::check(&part, &mut findings);
    // What the linter finds in the step, at the lines of the script.
    if let Ok(preset) = Preset::parse(name, &source) {
        let run = format!("{prelude}{script}");
        let before = prelude.matches('\n').count();
        let of_step = check_parts(&preset, None, vec![part_of(&run)], tools);
        findings.list.extend(of_step.into_iter().filter_map(|it| {
            let line = it.line.checked_sub(before).filter(|line| *line > 0)?;
            Some(Finding { line, ..it })
        }));
    }
    Ok(Imported {
        source,
        findings: findings.into_sorted(),
    })
}

/// A script as the text of a step. Its places are those in the script.
fn part_of(text: &str) -> Part<'_> {
    Part {
        step: 0,
        field: "run",
        text,
        script: lex::read(text),
        scalar: Scalar::itself(text),
        is_bash: true,
    }
}

fn source(name: &str, script: &str, inputs: &Inputs, prelude: &str) -> String {
    let mut text = format!(
        "name: {}\ntitle: Run {name}\ntargets: [any]\nrisk: medium\ntimeout: 10m\n",
        yaml::word(name)
    );
    if !inputs.params.is_empty() {
        text.push_str("params:\n");
    }
    for param in &inputs.params {
        let required = if param.is_required {
            ", required: true"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {}: {{ type: string{required}, description: {} }}",
            param.name,
            yaml::quoted(&param.description)
        );
    }
    text.push_str("steps:\n  - name: Run the script\n    run: ");
    // The value belongs to a mapping that begins in column 4.
    text.push_str(&yaml::scalar(&format!("{prelude}{script}"), 6));
    text
}
