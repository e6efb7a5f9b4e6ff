//! `GET /api/jobs/:id/stream`: a job's state and kept output, then everything new, then `done`.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{ApiError, Meter, Path, Query};
use crate::jobs::Jobs;
use crate::jobs::access::{ScopedViewer, find_visible};
use crate::jobs::live::event_id::EventId;
use crate::jobs::live::exact::{self, OutputMode};
use crate::jobs::live::follow::{Follower, Recipient};
use crate::jobs::live::frame::Frame;
use crate::jobs::live::sse::{CLIENT_QUEUE, OPENING, event_stream, keep_alive, last_event_id};
use crate::jobs::live::viewers::until_access_ends;
use crate::jobs::log::routes::wants_times;

/// Live tail of a job.
#[utoipa::path(get, path = "/api/jobs/{id}/stream", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's jobs"),
        ("times" = Option<bool>, Query, description = "true: output events also have at, the time of arrival, and line, the number of lines of both streams that had begun with the first byte (null for jobs from before lines were counted)"),
        ("output" = Option<String>, Query, pattern = "^(exact|none)$", description = "exact: output as chunks with `data`, or `dataBase64` if it is not UTF-8, in the order in which the agent read it; none: no output. With either, status and done also have the byte counts"),
        ("Last-Event-ID" = Option<String>, Header, description = "Resume right after this event")),
    responses((status = 200, content_type = "text/event-stream", description = "Events status, output and done"),
        (status = 429, description = "This user has 64 event streams open, or this address 512")),
    security(("bearer" = []), ("cookie" = [])))]
async fn stream(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
    meter: Meter,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    let times = wants_times(&query)?;
    let mode = query.get("output").map(|name| {
        OutputMode::parse(name).ok_or_else(|| query.wrong("output", "exact, none or absent"))
    });
    let mode = mode.transpose()?;
    let open_stream = jobs.viewers.open(&user, &meter)?;
    let job = find_visible(&jobs, &user, scope, id, "job.look").await?;
    let (client, receiver) = mpsc::channel(CLIENT_QUEUE);
    let last_id = last_event_id(&parts.headers);
    let position = exact::resume_position(last_id, &job);
    let sent = EventId::resume(last_id.and_then(|id| id.parse().ok()), &job);
    let counted = jobs.tails.viewing();
    tokio::spawn(async move {
        let _until_the_end = (counted, open_stream);
        let send_all = async {
            if client.send(OPENING).await.is_err() {
                return;
            }
            match mode {
                Some(mode) => {
                    exact::follow(&jobs, &job, mode, position, client.clone()).await;
                }
                None => {
                    let encode = move |id: &EventId, frame: Frame| frame.encode(id, times);
                    let recipient = Recipient::new(client.clone());
                    let follower = Follower::new(jobs.clone(), &job, sent, recipient, encode);
                    follower.run().await;
                }
            }
        };
        tokio::select! {
            () = send_all => {}
            () = keep_alive(&client) => {}
            () = until_access_ends(&jobs, parts) => {}
            () = jobs.stopped() => {}
        }
    });
    Ok(event_stream(receiver))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(stream))
}
