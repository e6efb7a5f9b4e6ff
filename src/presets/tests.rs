//! Tests that cross the files of this folder.
//!
//! - `scripts`: rendered scripts, run by a real bash as the agent runs it
//! - `params`: what a request may give, and what the API shows of it
//! - `hostile`: property tests: no value gets out of its quotes, no step out of its function
//! - `shipped`: the built-in presets: snapshots of their scripts, shellcheck
//! - `faults`: each kind of wrong preset file, with its line
//! - `reload`: the folder, file by file

mod bash;
mod faults;
mod hostile;
mod params;
mod reload;
mod scripts;
mod shipped;
