//! The endpoints for presets: listing, showing and rendering them.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{JobError, Jobs};
use crate::auth::Viewer;
use crate::http::{ApiError, FieldErrors, JsonBody, NamedValues, Path};
use crate::presets::{PresetList, PresetView, Snapshot};
use crate::store::StoreError;

/// The body of a render request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct RenderRequest {
    /// Params by name, each as JSON of its type.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    params: Option<NamedValues>,
}

/// The script that a job would freeze.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenderedScript {
    /// Bash, byte for byte.
    script: String,
    /// SHA-256 of the script, hex.
    script_sha256: String,
}

impl Jobs {
    /// The presets, reread from files that have changed.
    pub async fn presets(&self) -> Result<Arc<Snapshot>, JobError> {
        let catalog = Arc::clone(&self.catalog);
        let work = move || {
            catalog.refresh();
            catalog.current()
        };
        Ok(tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Stopping)?)
    }
}

/// Lists presets and faulty preset files.
#[utoipa::path(get, path = "/api/presets", tag = "presets", operation_id = "list_presets",
    responses((status = 200, body = PresetList)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
) -> Result<axum::Json<PresetList>, ApiError> {
    Ok(axum::Json(PresetList::from(jobs.presets().await?.as_ref())))
}

/// Shows a preset.
#[utoipa::path(get, path = "/api/presets/{name}", tag = "presets", operation_id = "show_preset", params(("name" = String, Path)),
    responses((status = 200, body = PresetView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn show(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    Path(name): Path<String>,
) -> Result<axum::Json<PresetView>, ApiError> {
    let presets = jobs.presets().await?;
    let entry = presets
        .get(&name)
        .ok_or_else(|| JobError::no_preset(&presets, &name))?;
    Ok(axum::Json(PresetView::from(entry.as_ref())))
}

/// Renders a preset, without queuing a job.
#[utoipa::path(post, path = "/api/presets/{name}/render", tag = "presets", params(("name" = String, Path)),
    request_body = RenderRequest,
    responses((status = 200, body = RenderedScript)),
    security(("bearer" = []), ("cookie" = [])))]
async fn render(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<RenderRequest>,
) -> Result<axum::Json<RenderedScript>, ApiError> {
    let (script, _, _) = jobs
        .render(
            name,
            request.params.unwrap_or_default(),
            FieldErrors::default(),
        )
        .await?;
    Ok(axum::Json(RenderedScript {
        script: script.text,
        script_sha256: script.sha256,
    }))
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(render))
}
