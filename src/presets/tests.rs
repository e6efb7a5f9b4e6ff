//! Tests that cross the files of this folder.
//!
//! - `scripts`: steps of rendered scripts, run by a real bash as the agent runs it
//! - `inputs`: what reaches a script from outside: distribution, params, secrets
//! - `params`: what a request may give, and what the API shows of it
//! - `hostile`: property tests: no value gets out of its quotes, no step out of its function
//! - `shipped`: the built-in presets: snapshots of their scripts, shellcheck
//! - `check`: the linter, on a folder of broken presets and on what looks broken and is not
//! - `faults`: each kind of wrong preset file, with its line
//! - `reload`, `watched`: the folder, file by file; what of it is logged

mod bash;
mod check;
mod faults;
mod hostile;
mod inputs;
mod params;
mod reload;
mod scripts;
mod shipped;
mod watched;
