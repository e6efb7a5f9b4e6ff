//! The endpoint that makes a preset from a shell script.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::PresetError;
use crate::auth::Operator;
use crate::http::{ApiError, JsonBody};
use crate::jobs::Jobs;
use crate::presets::check::{self, Finding, ImportError, Imported};

pub(super) const PATH: &str = "/api/presets/import";
/// The name of an imported preset, unless the request has another one.
const NAME: &str = "imported";

/// The body of an import.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct ImportRequest {
    /// A shell script.
    script: String,
    /// The preset's name; `imported` if absent.
    #[serde(default)]
    name: Option<String>,
}

/// A preset made from a script. It is not saved.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ImportedPreset {
    /// YAML.
    source: String,
    /// What to look at, by line and column of the script.
    findings: Vec<Finding>,
}

impl Jobs {
    /// Makes a preset from a shell script.
    pub async fn import_script(
        &self,
        name: Option<String>,
        script: String,
    ) -> Result<Imported, PresetError> {
        let name = name.unwrap_or_else(|| NAME.to_owned());
        let imported = self
            .with_linter(move |tools| check::import(&name, &script, tools))
            .await?;
        imported.map_err(|error| PresetError::Unusable {
            field: match error {
                ImportError::Name => "name",
                ImportError::Empty | ImportError::Nul | ImportError::TooLong => "script",
            },
            rule: error.to_string(),
        })
    }
}

/// Makes a preset from a shell script.
///
/// The preset has one step with the script, and params for what the script expects from outside.
/// The findings name the lines of the script that would do something else as a step of a preset.
#[utoipa::path(post, path = "/api/presets/import", tag = "presets", operation_id = "import_script",
    request_body = ImportRequest,
    responses((status = 200, body = ImportedPreset)),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn import(
    State(jobs): State<Jobs>,
    Operator(_): Operator,
    JsonBody(request): JsonBody<ImportRequest>,
) -> Result<axum::Json<ImportedPreset>, ApiError> {
    let Imported { source, findings } = jobs.import_script(request.name, request.script).await?;
    Ok(axum::Json(ImportedPreset { source, findings }))
}
