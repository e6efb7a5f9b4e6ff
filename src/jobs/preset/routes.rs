//! The endpoints for presets: listing, showing and rendering them.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{etag_of, import_routes, save_routes};
use crate::auth::{Operator, Viewer};
use crate::http::{ApiError, FieldErrors, JsonBody, NamedValues, Path};
use crate::jobs::{JobError, Jobs};
use crate::presets::{PresetList, PresetView};

/// The body of a render request.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct RenderRequest {
    /// Params by name, each as JSON of its type.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    params: Option<NamedValues>,
    /// YAML that is rendered instead of the preset of this name. Needs the role OPERATOR.
    #[serde(default)]
    source: Option<String>,
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
///
/// The answer's ETag is what `PUT` and `DELETE` take in `If-Match`.
#[utoipa::path(get, path = "/api/presets/{name}", tag = "presets", operation_id = "show_preset", params(("name" = String, Path)),
    responses((status = 200, body = PresetView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn show(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let presets = jobs.presets().await?;
    let entry = presets
        .get(&name)
        .ok_or_else(|| JobError::no_preset(&presets, &name))?;
    let tag = etag_of(&presets, &name).map(|tag| [(header::ETAG, tag)]);
    Ok((tag, axum::Json(PresetView::from(entry.as_ref()))).into_response())
}

/// Renders a preset, without queuing a job.
#[utoipa::path(post, path = "/api/presets/{name}/render", tag = "presets", params(("name" = String, Path)),
    request_body = RenderRequest,
    responses((status = 200, body = RenderedScript)),
    security(("bearer" = []), ("cookie" = [])))]
async fn render(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<RenderRequest>,
) -> Result<axum::Json<RenderedScript>, ApiError> {
    let params = request.params.unwrap_or_default();
    let script = match request.source {
        None => {
            let rendered = jobs.render(name, params, FieldErrors::default()).await?;
            rendered.script
        }
        Some(source) => {
            Operator::of(user)?;
            jobs.render_source(name, source, params).await?
        }
    };
    Ok(axum::Json(RenderedScript {
        script: script.text,
        script_sha256: script.sha256,
    }))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(save_routes::save, save_routes::delete))
        .routes(routes!(render))
        .merge(save_routes::routes())
        .routes(routes!(import_routes::import))
        // A preset may also be called import.
        .route(
            import_routes::PATH,
            get(|jobs, user| show(jobs, user, import_name()))
                .put(|jobs, user, headers, body| {
                    save_routes::save(jobs, user, import_name(), headers, body)
                })
                .delete(|jobs, user, headers| {
                    save_routes::delete(jobs, user, import_name(), headers)
                }),
        )
}

fn import_name() -> Path<String> {
    Path("import".to_owned())
}
