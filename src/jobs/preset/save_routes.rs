//! The endpoints that save and delete presets, and list their versions.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::save::etag;
use super::{Condition, SavedPreset};
use crate::auth::{Admin, Operator, Viewer};
use crate::clock::Timestamp;
use crate::http::{ApiError, JsonBody, Path, Query};
use crate::jobs::Jobs;
use crate::presets::check::Finding;
use crate::presets::{CatalogEntry, Origin, Preset, PresetView};
use crate::store::preset::PresetVersion;

/// The body that saves or checks a preset.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct SourceRequest {
    /// YAML, at most 262,144 bytes.
    source: String,
}

/// A preset that was saved.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SavedPresetView {
    #[serde(flatten)]
    preset: PresetView,
    /// Warnings and notes of the linter, by line.
    findings: Vec<Finding>,
    /// The origin of a preset of the same name that hides this one: a file of the presets folder.
    #[schema(required = true)]
    hidden_by: Option<Origin>,
}

impl From<SavedPreset> for SavedPresetView {
    fn from(saved: SavedPreset) -> Self {
        let version = saved.version;
        let preset = Preset::parse(&saved.name, &version.source);
        let preset = preset.expect("the linter has parsed it");
        let entry = CatalogEntry::saved(
            preset,
            version.source,
            crate::presets::SavedInfo {
                version: version.version,
                by_email: version.created_by_email,
                at: version.created_at,
            },
        );
        Self {
            preset: PresetView::from(&entry),
            findings: saved.findings,
            hidden_by: saved.hidden_by,
        }
    }
}

/// The findings of the linter.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct CheckedPreset {
    /// By line and column. A preset with errors can't be saved.
    findings: Vec<Finding>,
}

/// A version of a preset.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresetVersionView {
    /// From 1; continues after a deletion.
    pub version: u64,
    /// Of the source, hex.
    pub sha256: String,
    /// YAML.
    pub source: String,
    /// The id of the user who saved it.
    pub created_by: String,
    /// The user's email.
    pub created_by_email: String,
    /// When it was saved.
    pub created_at: Timestamp,
}

impl From<PresetVersion> for PresetVersionView {
    fn from(version: PresetVersion) -> Self {
        Self {
            version: version.version,
            sha256: version.sha256,
            source: version.source,
            created_by: version.created_by,
            created_by_email: version.created_by_email,
            created_at: version.created_at,
        }
    }
}

/// A page of versions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct PresetVersionPage {
    /// Newest first.
    versions: Vec<PresetVersionView>,
    /// For the next page; `null` on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Creates or changes a preset in the app.
///
/// `If-None-Match: *` creates it, also if a built-in preset or a file has this name. `If-Match`
/// with the ETag of `GET` changes it.
#[utoipa::path(put, path = "/api/presets/{name}", tag = "presets", operation_id = "save_preset",
    params(("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the preset that is changed"),
        ("If-None-Match" = Option<String>, Header, description = "*: the preset must not be in the app yet")),
    request_body = SourceRequest,
    responses((status = 200, body = SavedPresetView, description = "A new version was saved"),
        (status = 201, body = SavedPresetView, description = "The preset was created"),
        (status = 400, description = "fields.source names the lines of the linter's errors"),
        (status = 403, description = "The role is too low, or the server takes presets only from files"),
        (status = 412, description = "The preset is not, or no longer, as the condition says"),
        (status = 428, description = "The request has no condition")),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn save(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SourceRequest>,
) -> Result<Response, ApiError> {
    let condition = Condition::of(&headers)?;
    let saved = jobs
        .save_preset(&user, name, request.source, condition)
        .await?;
    let status = if saved.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let headers = [
        (
            header::ETAG,
            etag(saved.version.version, &saved.version.sha256),
        ),
        (header::LOCATION, format!("/api/presets/{}", saved.name)),
    ];
    Ok((status, headers, axum::Json(SavedPresetView::from(saved))).into_response())
}

/// Deletes a preset from the app.
///
/// Its versions stay. A built-in preset that it hid is in use again.
#[utoipa::path(delete, path = "/api/presets/{name}", tag = "presets", operation_id = "delete_preset",
    params(("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the preset that is deleted")),
    responses((status = 204, description = "Deleted"),
        (status = 403, description = "The role is too low, or the server takes presets only from files"),
        (status = 412, description = "The preset was changed meanwhile"),
        (status = 428, description = "The request has no If-Match")),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn delete(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let condition = Condition::of(&headers)?;
    jobs.delete_preset(&user, name, condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks the text of a preset, without saving it.
#[utoipa::path(post, path = "/api/presets/{name}/check", tag = "presets", operation_id = "check_preset",
    params(("name" = String, Path)), request_body = SourceRequest,
    responses((status = 200, body = CheckedPreset)),
    security(("bearer" = []), ("cookie" = [])))]
async fn check(
    State(jobs): State<Jobs>,
    Operator(_): Operator,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<SourceRequest>,
) -> Result<axum::Json<CheckedPreset>, ApiError> {
    let findings = jobs.check_preset(name, request.source).await?;
    Ok(axum::Json(CheckedPreset { findings }))
}

/// Lists the versions of a preset that was saved in the app, also of a deleted one.
#[utoipa::path(get, path = "/api/presets/{name}/versions", tag = "presets", operation_id = "list_preset_versions",
    params(("name" = String, Path),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 50, description = "1 to 50, default 20"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = PresetVersionPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn versions(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    Path(name): Path<String>,
    query: Query,
) -> Result<axum::Json<PresetVersionPage>, ApiError> {
    let limit = query.parse("limit", 1..=50, "1 to 50")?.unwrap_or(20);
    let before = query.parse("cursor", 1..=u64::MAX, "nextCursor of the page before")?;
    let mut versions = jobs.preset_versions(name, before, limit + 1).await?;
    let has_more = versions.len() as u64 > limit;
    versions.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let last = versions.last().filter(|_| has_more);
    Ok(axum::Json(PresetVersionPage {
        next_cursor: last.map(|last| last.version.to_string()),
        versions: versions.into_iter().map(PresetVersionView::from).collect(),
    }))
}

/// Shows a version of a preset.
#[utoipa::path(get, path = "/api/presets/{name}/versions/{version}", tag = "presets", operation_id = "show_preset_version",
    params(("name" = String, Path), ("version" = u64, Path)),
    responses((status = 200, body = PresetVersionView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn version(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    Path((name, version)): Path<(String, String)>,
) -> Result<axum::Json<PresetVersionView>, ApiError> {
    let number = version.parse().unwrap_or(0);
    let found = jobs.preset_version(name, number).await?;
    Ok(axum::Json(found.into()))
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(check))
        .routes(routes!(versions))
        .routes(routes!(version))
}
