//! Presets: what a job can do. A preset is a YAML file that describes one bash procedure: its
//! parameters, its steps, the distributions it is for.
//!
//! One way through the folder, each file a stop on it:
//!
//! | file | owns |
//! | --- | --- |
//! | [`schema`] | [`Preset`] and its parts: what is true of every preset that was accepted |
//! | `parse` | YAML text → [`Preset`], or every [`Fault`] with its line |
//! | `shape`, `words` | the YAML as serde reads it; names, lines and durations in it |
//! | `locate` | where in the YAML text a path such as `params.ssh_port.default` is |
//! | [`catalog`] | built-in presets and those of a folder, reloaded when files change; keeps the last good version |
//! | `folder` | that folder, file by file: what changed, what was good last |
//! | [`params`] | a request's JSON params against the preset → [`Values`], or every error at once |
//! | [`mod@render`] | preset + values → the script that is frozen; pure |
//! | `announce` | the lines by which a script tells at which step it is |
//! | [`mod@check`] | the linter for people who write presets |
//! | [`view`] | the shapes that the API shows |
//!
//! Nothing here knows HTTP, the database or jobs; the routes beside it and the jobs above it call
//! in.

mod announce;
pub mod catalog;
pub mod check;
mod folder;
mod locate;
pub mod params;
mod parse;
pub mod render;
pub mod schema;
mod shape;
pub mod view;
mod words;

#[cfg(test)]
mod tests;

pub use announce::{Announced, announced, failed_verify};
pub use catalog::{Catalog, CatalogEntry, FileError, Origin, Snapshot};
pub use params::{ParamErrors, Values};
pub use render::{Script, render, script_sha256};
pub use schema::{Fault, Param, ParamKind, ParamValue, Preset, Risk, Step, TIMEOUT_RANGE};
pub use view::{ParamView, PresetList, PresetView};
