//! `hyprbox presets check`: the linter, without a server.

use std::path::PathBuf;

use super::error::{CliError, exit};
use super::screen::{Screen, print_note};
use crate::presets::check::{Tools, check_paths, human, json};

/// Exit code if problems were found.
const PROBLEMS_FOUND: u8 = 1;

pub(super) fn run(screen: Screen, paths: &[PathBuf]) -> Result<u8, CliError> {
    let tools = Tools::installed();
    let all = check_paths(paths, &tools);
    if screen.json {
        screen.value(&json(&all))?;
    } else {
        screen.data(&human(&all))?;
        if !tools.has_bash() {
            print_note("bash is not installed here: syntax errors are not found");
        } else if !tools.has_shellcheck() {
            print_note(
                "shellcheck is not installed here: with it, this command finds more problems",
            );
        }
    }
    if all.iter().any(|file| file.findings.is_err()) {
        return Ok(exit::FAILED);
    }
    let found = |findings: &Vec<_>| !findings.is_empty();
    let any = all
        .iter()
        .any(|file| file.findings.as_ref().is_ok_and(found));
    Ok(if any { PROBLEMS_FOUND } else { 0 })
}
