//! `GET /api/jobs/:id/stream`: the state and the kept tail, then what is new as it comes, then
//! `done`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Caller, Viewer};
use crate::clock;
use crate::http::{ApiError, Meter, Path, Query};
use crate::jobs::Jobs;
use crate::jobs::live::exact::{self, Wanted};
use crate::jobs::live::follow::{Follower, Told};
use crate::jobs::live::frame::{Offsets, StatusEvent};
use crate::jobs::log::routes::wants_times;
use crate::jobs::routes::{Scope, find_for};
use crate::store::job::{Job, JobStatus};

/// How often a silent stream says that it lives, so that no proxy closes it.
pub(in crate::jobs) const KEEPALIVE: Duration = Duration::from_secs(15);
/// Events that wait for a slow client; then its own task waits, and nobody else.
pub(in crate::jobs) const CLIENT_QUEUE: usize = 2;

/// Where a viewer is: the state it was last told, and how far both streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) struct EventId {
    state: char,
    pub(in crate::jobs) offsets: Offsets,
}

impl EventId {
    pub(in crate::jobs) fn new(status: Option<&StatusEvent>, offsets: Offsets) -> Self {
        Self {
            state: status.map_or('-', state_letter),
            offsets,
        }
    }

    /// Whether the viewer was told nothing of the state yet.
    pub(in crate::jobs) fn is_opening(&self) -> bool {
        self.state == '-'
    }

    /// Whether the viewer was told of no status that comes as late as that one.
    pub(in crate::jobs) fn is_before(&self, status: &StatusEvent) -> bool {
        let order = |state| "-qrc".find(state).unwrap_or(usize::MAX);
        order(self.state) < order(state_letter(status))
    }

    /// Whether the viewer was told that status already.
    pub(in crate::jobs) fn knows(&self, status: &StatusEvent) -> bool {
        self.state == state_letter(status)
    }
}

fn state_letter(status: &StatusEvent) -> char {
    match (status.status, status.cancel_requested_at) {
        (JobStatus::Queued, _) => 'q',
        (JobStatus::Running, None) => 'r',
        (JobStatus::Running, Some(_)) => 'c',
        (JobStatus::Succeeded, _) => 's',
        (JobStatus::Failed, _) => 'f',
        (JobStatus::Cancelled, _) => 'x',
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}-{}",
            self.state, self.offsets.stdout, self.offsets.stderr
        )
    }
}

/// Text that is no event's id.
#[derive(Debug)]
pub(in crate::jobs) struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let state = text
            .chars()
            .next()
            .filter(|c| "-qrcsfx".contains(*c))
            .ok_or(NoEventId)?;
        let (stdout, stderr) = text[1..].split_once('-').ok_or(NoEventId)?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or(NoEventId)
        };
        Ok(Self {
            state,
            offsets: Offsets {
                stdout: number(stdout)?,
                stderr: number(stderr)?,
            },
        })
    }
}

/// An event as it goes over the wire.
pub(in crate::jobs) fn sse(event: &str, id: &str, data: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(data).expect("events are plain structs");
    let mut bytes = BytesMut::with_capacity(json.len() + event.len() + id.len() + 32);
    for part in [
        b"id: ",
        id.as_bytes(),
        b"\nevent: ",
        event.as_bytes(),
        b"\ndata: ",
        &json,
        b"\n\n",
    ] {
        bytes.extend_from_slice(part);
    }
    bytes.freeze()
}

/// What opens every stream: how soon a client that lost it comes back.
pub(in crate::jobs) const OPENING: Bytes = Bytes::from_static(b"retry: 1000\n\n");
/// What a silent stream sends.
pub(in crate::jobs) const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

/// A response whose body is what comes through `receiver`.
pub(in crate::jobs) fn event_stream(receiver: mpsc::Receiver<Bytes>) -> Response {
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), receiver))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    // nginx would hold events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Live tail of a job.
#[utoipa::path(get, path = "/api/jobs/{id}/stream", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also somebody else's job"),
        ("times" = Option<bool>, Query, description = "true: output events also have at, when it arrived, and line, how many lines of both streams had begun once its first byte was there (null for a job of before they were counted)"),
        ("output" = Option<String>, Query, pattern = "^(exact|none)$", description = "exact: output as chunks with `data`, or `dataBase64` where it is no UTF-8, in the order in which it was read; none: no output; events then have the counts of bytes, too"),
        ("Last-Event-ID" = Option<String>, Header, description = "Resume right after this event")),
    responses((status = 200, content_type = "text/event-stream", description = "Events status, output and done"),
        (status = 429, description = "64 event streams of this person, or 512 of this address, are open")),
    security(("bearer" = []), ("cookie" = [])))]
async fn stream(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    meter: Meter,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&jobs, &user, &query)?;
    let times = wants_times(&query)?;
    let wanted = query.get("output").map(|name| {
        Wanted::parse(name).ok_or_else(|| query.wrong("output", "exact, none or absent"))
    });
    let wanted = wanted.transpose()?;
    let viewing = jobs.viewers.open(&user, &meter)?;
    let job = find_for(&jobs, &user, scope, id, "job.look").await?;
    let (client, receiver) = mpsc::channel(CLIENT_QUEUE);
    let last_id = last_event_id(&parts.headers);
    let position = exact::resume_point(last_id, &job);
    let told = resume_point(last_id.and_then(|id| id.parse().ok()), &job);
    let counted = jobs.tails.viewing();
    tokio::spawn(async move {
        let _counted = (counted, viewing);
        let told_all = async {
            // An error says that the client has gone: then there is nobody to tell.
            if client.send(OPENING).await.is_err() {
                return;
            }
            match wanted {
                Some(wanted) => {
                    exact::follow(&jobs, &job, wanted, position, client.clone()).await;
                }
                None => {
                    let map = move |id: &EventId, told| as_sent(times, id, told);
                    let turn = Arc::new(Semaphore::new(1));
                    let viewer = (client.clone(), turn);
                    let follower = Follower::new(jobs.clone(), &job, told, viewer, map);
                    follower.run().await;
                }
            }
        };
        tokio::select! {
            () = told_all => {}
            () = keep_alive(&client) => {}
            () = no_longer_allowed(&jobs, parts) => {}
            () = jobs.stopped() => {}
        }
    });
    Ok(event_stream(receiver))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// The id after which a client that comes back wants to go on.
pub(in crate::jobs) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
}

/// Says now and then that the stream lives; ends when the client has gone.
pub(in crate::jobs) async fn keep_alive(client: &mpsc::Sender<Bytes>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(KEEPALIVE) => {}
            () = client.closed() => return,
        }
        // A full queue shows that the stream is anything but silent.
        if let Err(TrySendError::Closed(_)) = client.try_send(ALIVE) {
            return;
        }
    }
}

/// Ends when the credentials that opened the stream no longer would: a session that was revoked or
/// has expired, a role that was lowered.
pub(in crate::jobs) async fn no_longer_allowed(jobs: &Jobs, parts: Parts) {
    let mut credentials = jobs.hub.credentials();
    // The first check is for what changed between the request's own and the line above.
    while let Some(caller) = allowed(jobs, &parts).await {
        let expired = async {
            match caller.expires_at {
                Some(at) => clock::reached(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = credentials.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // Another use of a session may have prolonged it.
            () = expired => {}
        }
    }
}

/// Who opened the stream, if they still may.
async fn allowed(jobs: &Jobs, parts: &Parts) -> Option<Caller> {
    let query = Query::parse_pairs(parts.uri.query().unwrap_or_default().as_bytes());
    let mut parts = parts.clone();
    let Viewer(user) = Viewer::from_request_parts(&mut parts, &()).await.ok()?;
    Scope::of(jobs, &user, &query).ok()?;
    Caller::from_request_parts(&mut parts, &()).await.ok()
}

fn as_sent(times: bool, id: &EventId, told: Told) -> Bytes {
    match told {
        Told::Output(output) => output.bytes(times),
        Told::Status(status) => sse("status", &id.to_string(), &status),
        Told::Done(done) => sse("done", &id.to_string(), &done),
    }
}

/// Where a viewer that sends this id goes on; from the start where the id can't be this job's.
pub(in crate::jobs) fn resume_point(last_id: Option<EventId>, job: &Job) -> EventId {
    let start = EventId::new(None, Offsets::default());
    let fits = |id: &EventId| {
        id.offsets.stdout <= job.stdout.bytes && id.offsets.stderr <= job.stderr.bytes
    };
    last_id.filter(fits).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_went() {
        for text in ["-0-0", "r12-7", "s4194304-0"] {
            let id: EventId = text.parse().expect(text);
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "",
            "r",
            "r1",
            "r-1",
            "r1-",
            "z1-1",
            "r+1-1",
            "r1-99999999999999999999999",
            "\u{e9}1-1",
        ] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
