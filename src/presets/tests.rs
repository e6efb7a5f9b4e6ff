//! Tests across the files of this folder.
//!
//! - `scripts`: rendered scripts, run by a real bash as the agent does
//! - `check_scripts`: scripts of checks, run by a real bash
//! - `confirm_scripts`: scripts that can be undone, run by a real bash
//! - `inputs`: inputs of a script: distribution, params, secrets
//! - `params`: a request's params, and presets in the API
//! - `hostile`: property tests: no value breaks out of its quotes, no step out of its function
//! - `shipped`: the built-in presets: snapshots of their scripts, shellcheck
//! - `check`: the linter, on broken presets and on correct ones that look broken
//! - `faults`: each kind of invalid preset file, with its line
//! - `import`: shell scripts as presets: exact, with the same effect, and what would change
//! - `reload`, `watched`: the folder, file by file, and its log

mod bash;
mod check;
mod check_scripts;
mod confirm_scripts;
mod faults;
mod hostile;
mod import;
mod inputs;
mod params;
mod reload;
mod scripts;
mod shipped;
mod watched;
