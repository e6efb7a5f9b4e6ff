//! `GET /api/jobs/:id/export`.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::html::HtmlWriter;
use super::json::JsonWriter;
use super::output::ExportBody;
use super::{Export, Writer, signatures};
use crate::clock;
use crate::http::{ApiError, Meter, Path, Query};
use crate::jobs::Jobs;
use crate::jobs::access::{ScopedViewer, read_visible};
use crate::jobs::log::window::WindowReader;
use crate::store::job::{self, Job};

/// Memory of a response while it is sent: a window as it was read, and as text.
const RESPONSE_BYTES: usize = 1 << 20;

/// Everything about a job in one file.
#[utoipa::path(get, path = "/api/jobs/{id}/export", tag = "jobs", operation_id = "export_job",
    params(("id" = String, Path),
        ("format" = Option<String>, Query, pattern = "^(html|json)$", description = "html (the default), which needs no other file and has no script, or json"),
        ("scope" = Option<String>, Query)),
    responses((status = 200, content((String = "text/html"), (String = "application/json")),
            description = "Params, script, steps, up to 10 MiB of output, hashes, and signatures with the commands that verify them")),
    security(("bearer" = []), ("cookie" = [])))]
async fn export(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
    meter: Meter,
    query: Query,
) -> Result<Response, ApiError> {
    let is_json = match query.get("format") {
        None | Some("html") => false,
        Some("json") => true,
        Some(_) => return Err(query.wrong("format", "html or json")),
    };
    meter.hold_answer(RESPONSE_BYTES)?;
    let read = |tx: &mut dyn crate::store::Tx, job: &Job| {
        let script = job::script(tx, &job.id)?;
        let signed = signatures::read(tx, &job.id)?;
        Ok((script, signed, WindowReader::new(job, None)))
    };
    let read = read_visible(&jobs, &user, scope, id, "job.export", read).await?;
    let (job, (script, signed, reader)) = read;
    let steps = jobs.steps(job.id.clone()).await?;
    let export = Export {
        reported: job.proof.reported.clone(),
        job: job.into(),
        script,
        steps,
        signed,
        exported_at: clock::now(),
        exported_by: user.email,
    };
    let (kind, ending) = match is_json {
        true => ("application/json", "json"),
        false => ("text/html; charset=utf-8", "html"),
    };
    let name = format!("attachment; filename=\"job-{}.{ending}\"", export.job.id);
    let writer: Box<dyn Writer> = match is_json {
        true => Box::new(JsonWriter::default()),
        false => Box::new(HtmlWriter::default()),
    };
    let mut response = ExportBody::new(jobs, reader, export, writer)
        .into_body()
        .into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(export))
}
