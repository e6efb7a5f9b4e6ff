//! Presets in the API. A field without a value is `null`, never absent.

use serde::Serialize;
use utoipa::ToSchema;

use super::catalog::{CatalogEntry, Origin, Snapshot};
use super::folder::FileError;
use super::schema::{MAX_TEXT_CHARS, Param, ParamKind, ParamValue, Risk};
use crate::clock::Timestamp;

/// All presets.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PresetList {
    /// By name.
    pub presets: Vec<PresetView>,
    /// Errors in the presets folder.
    pub errors: Vec<FileError>,
}

impl From<&Snapshot> for PresetList {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            presets: snapshot
                .entries()
                .map(|entry| PresetView::from(entry.as_ref()))
                .collect(),
            errors: snapshot.errors().to_vec(),
        }
    }
}

/// One preset.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresetView {
    /// The name that a job is queued by.
    pub name: String,
    /// One line.
    pub title: String,
    /// Any text, maybe empty.
    pub description: String,
    /// IDs of /etc/os-release, or only `any`.
    pub targets: Vec<String>,
    /// Whether distributions with a target in `ID_LIKE` are accepted.
    pub derivatives: bool,
    /// How much can go wrong.
    pub risk: Risk,
    /// Timeout of its jobs unless the request has another one.
    pub timeout_seconds: u32,
    /// Whether processes that a step leaves running stay alive when the job ends.
    pub keep_processes: bool,
    /// How long its jobs wait for a confirmation after the last step, in seconds; without one in
    /// time, the steps are undone. Null: its jobs don't wait.
    #[schema(required = true)]
    pub confirm_seconds: Option<u32>,
    /// In the order of the form.
    pub params: Vec<ParamView>,
    /// The YAML text.
    pub source: String,
    pub origin: Origin,
    /// The version of a preset that was saved in the app.
    #[schema(required = true)]
    pub version: Option<u64>,
    /// Email of the user who saved this version.
    #[schema(required = true)]
    pub saved_by: Option<String>,
    /// When this version was saved.
    #[schema(required = true)]
    pub saved_at: Option<Timestamp>,
    /// The commit of a presets folder that is a git checkout: 40 hex digits, with `-dirty` if the
    /// file differs from the commit.
    #[schema(required = true)]
    pub commit: Option<String>,
    /// Origins of presets of the same name that this one hides. A file of the presets folder hides
    /// a preset saved in the app, and both hide a built-in preset.
    pub hides: Vec<Origin>,
}

impl From<&CatalogEntry> for PresetView {
    fn from(entry: &CatalogEntry) -> Self {
        let preset = &entry.preset;
        Self {
            name: preset.name.clone(),
            title: preset.title.clone(),
            description: preset.description.clone(),
            targets: preset.targets.clone(),
            derivatives: preset.derivatives,
            risk: preset.risk,
            timeout_seconds: preset.timeout_seconds,
            keep_processes: preset.keep_processes,
            confirm_seconds: preset.confirm_seconds,
            params: preset.params.iter().map(ParamView::from).collect(),
            source: entry.source.clone(),
            origin: entry.origin,
            version: entry.saved.as_ref().map(|saved| saved.version),
            saved_by: entry.saved.as_ref().map(|saved| saved.by_email.clone()),
            saved_at: entry.saved.as_ref().map(|saved| saved.at),
            commit: entry.commit.clone(),
            hides: entry.hides.clone(),
        }
    }
}

/// One parameter. Limits that its type doesn't have are `null`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamView {
    /// `[a-z][a-z0-9_]{0,62}`
    pub name: String,
    /// `string`, `int`, `bool`, `enum`, `port` or `secret`.
    #[schema(example = "port")]
    pub r#type: &'static str,
    /// Whether a request must include it.
    pub required: bool,
    /// Used if a request doesn't include it; of the param's type.
    #[schema(value_type = Option<serde_json::Value>)]
    #[schema(required = true)]
    pub default: Option<ParamValue>,
    /// Any text, maybe empty.
    pub description: String,
    /// Smallest value of an `int` or a `port`.
    #[schema(required = true)]
    pub min: Option<i64>,
    /// Largest value of an `int` or a `port`.
    #[schema(required = true)]
    pub max: Option<i64>,
    /// The whole value of a `string` must match it.
    #[schema(required = true)]
    pub pattern: Option<String>,
    /// Longest value of a `string` or a `secret`, in characters.
    #[schema(required = true)]
    pub max_length: Option<usize>,
    /// Allowed values of an `enum`.
    #[schema(required = true)]
    pub values: Option<Vec<String>>,
}

impl From<&Param> for ParamView {
    fn from(param: &Param) -> Self {
        let mut view = Self {
            name: param.name.clone(),
            r#type: param.kind.type_name(),
            required: param.required,
            default: param.default.clone(),
            description: param.description.clone(),
            min: None,
            max: None,
            pattern: None,
            max_length: None,
            values: None,
        };
        match &param.kind {
            ParamKind::Bool => {}
            ParamKind::Int { min, max } => (view.min, view.max) = (*min, *max),
            ParamKind::Port => (view.min, view.max) = (Some(1), Some(65_535)),
            ParamKind::Enum { values } => view.values = Some(values.clone()),
            ParamKind::Secret => view.max_length = Some(MAX_TEXT_CHARS),
            ParamKind::String {
                pattern,
                max_length,
            } => {
                view.pattern = pattern.as_ref().map(|p| p.as_str().to_owned());
                view.max_length = *max_length;
            }
        }
        view
    }
}
