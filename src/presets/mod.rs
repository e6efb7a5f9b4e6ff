//! Presets. A preset is a YAML file that describes one bash procedure: its parameters, its steps
//! and its target distributions.
//!
//! The files, in the order in which data passes through them:
//!
//! | file | owns |
//! | --- | --- |
//! | [`schema`] | [`Preset`] and its parts: the invariants of every accepted preset |
//! | `parse` | YAML text → [`Preset`], or every [`Fault`] with its line |
//! | `shape`, `words` | the YAML structure for serde; names, lines and durations |
//! | `locate` | a path such as `params.ssh_port.default` → line and column of the YAML text |
//! | [`catalog`] | built-in presets, those saved in the app, and those of a folder |
//! | `folder` | that folder, file by file: changes, and the last good version |
//! | `git` | the commit of a folder that is a git checkout |
//! | [`params`] | a request's JSON params against the preset → [`Values`], or every error at once |
//! | [`mod@render`] | preset + values → the job's script; pure |
//! | `render_check` | preset + values → the script that only asks what is done |
//! | `render_confirm` | what the script of a preset with `confirm` has in addition |
//! | `announce` | the lines with which a script announces its steps |
//! | [`mod@check`] | the linter for people who write presets |
//! | [`view`] | presets in the API |
//!
//! This folder does not depend on HTTP, the database or jobs.

mod announce;
pub mod catalog;
pub mod check;
mod folder;
mod git;
mod locate;
pub mod params;
mod parse;
pub mod render;
mod render_check;
mod render_confirm;
pub mod schema;
mod shape;
pub mod view;
mod words;

#[cfg(test)]
mod tests;

pub use announce::{script_steps, undo_steps};
pub use catalog::{Catalog, CatalogEntry, Origin, SavedInfo, SavedText, Snapshot};
pub use folder::FileError;
pub use params::{MASK, ParamErrors, Values, check_secret};
pub use render::{Script, render, script_sha256};
pub use render_check::render_check;
pub use schema::{
    DEFAULT_TIMEOUT_SECONDS, Fault, MAX_FILE_BYTES, Param, ParamKind, ParamValue, Preset, Risk,
    Step, TIMEOUT_RANGE,
};
pub use view::{ParamView, PresetList, PresetView};
pub use words::{ONE_OFF, has_command, is_preset_name, name_in};
