//! The shapes in which the API shows presets. A field without a value is `null`, never absent.

use serde::Serialize;
use utoipa::ToSchema;

use super::catalog::{CatalogEntry, FileError, Origin, Snapshot};
use super::schema::{MAX_TEXT_CHARS, Param, ParamKind, ParamValue, Risk};

/// Answer of the list of presets.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PresetList {
    /// By name.
    pub presets: Vec<PresetView>,
    /// What is wrong in the presets folder; empty when nothing is.
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
    /// IDs of /etc/os-release, or `any` alone.
    pub targets: Vec<String>,
    /// Whether it is also for distributions that name one of the targets in `ID_LIKE`.
    pub derivatives: bool,
    /// How much can go wrong.
    pub risk: Risk,
    /// How long a job of it may run unless the request says otherwise.
    pub timeout_seconds: u32,
    /// In the order of a form.
    pub params: Vec<ParamView>,
    /// The YAML text.
    pub source: String,
    /// Where it comes from.
    pub origin: Origin,
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
            params: preset.params.iter().map(ParamView::from).collect(),
            source: entry.source.clone(),
            origin: entry.origin,
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
    /// Whether a request must give it.
    pub required: bool,
    /// Used where a request doesn't give it; of the param's own type.
    #[schema(value_type = Option<serde_json::Value>)]
    #[schema(required = true)]
    pub default: Option<ParamValue>,
    /// Any text, maybe empty.
    pub description: String,
    /// The least of an `int` or a `port`.
    #[schema(required = true)]
    pub min: Option<i64>,
    /// The most of an `int` or a `port`.
    #[schema(required = true)]
    pub max: Option<i64>,
    /// What all of a `string` must match.
    #[schema(required = true)]
    pub pattern: Option<String>,
    /// The most characters of a `string` or a `secret`.
    #[schema(required = true)]
    pub max_length: Option<usize>,
    /// The choices of an `enum`.
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
