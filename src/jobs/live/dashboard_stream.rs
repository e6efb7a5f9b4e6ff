//! `GET /api/events`: one stream for a whole dashboard, with the changes of nodes and jobs and the
//! output of the jobs that it names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::User;
use crate::http::{ApiError, Meter, Query};
use crate::jobs::access::{Scope, ScopedViewer, audit_view, read_unaudited};
use crate::jobs::live::board::{Board, BoardRequest};
use crate::jobs::live::resume_point::ResumePoint;
use crate::jobs::live::sse::{CLIENT_QUEUE, event_stream, keep_alive, last_event_id};
use crate::jobs::live::viewers::until_access_ends;
use crate::jobs::log::routes::wants_times;
use crate::jobs::run::access::{find_visible_run, record_run};
use crate::jobs::{JobError, Jobs};
use crate::store::Tx;
use crate::store::job::Job;

/// Jobs that one stream may name.
const NAMED_MAX: usize = 64;
/// A browser reconnects whenever one of its tabs opens or closes. Within this time, that counts as
/// one view of another user's job.
const SAME_VIEW: Duration = Duration::from_secs(10 * 60);

/// Recent views of other users' jobs and runs that are in the audit log, by user and id.
#[derive(Debug, Default)]
pub(in crate::jobs) struct AuditedViews(Mutex<HashMap<(String, String), Instant>>);

impl AuditedViews {
    /// Records a view. Returns whether it belongs in the audit log.
    fn record(&self, user: &User, id: &str) -> bool {
        let mut views = crate::sync::lock(&self.0);
        views.retain(|_, at| at.elapsed() < SAME_VIEW);
        let key = (user.id.clone(), id.to_owned());
        views.insert(key, Instant::now()).is_none()
    }
}

/// Live events of a dashboard.
#[utoipa::path(get, path = "/api/events", tag = "jobs",
    params(("job" = Option<Vec<String>>, Query, max_items = 64, description = "Jobs whose output is wanted; may repeat, at most 64 times"),
        ("run" = Option<String>, Query, description = "A run whose events are wanted"),
        ("scope" = Option<String>, Query, description = "all: everybody's jobs"),
        ("times" = Option<bool>, Query, description = "true: output events also have at and line, like those of a job's own stream"),
        ("Last-Event-ID" = Option<String>, Header, description = "Resume right after this event")),
    responses((status = 200, content_type = "text/event-stream", description = "Events job, node and output, and run if a run is named; node-gone, with only the id, when a node was deleted"),
        (status = 404, description = "fields names each missing job as job.<id>, at most 20; or the run does not exist"),
        (status = 429, description = "This user has 64 event streams open, or this address 512")),
    security(("bearer" = []), ("cookie" = [])))]
async fn events(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    meter: Meter,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    let times = wants_times(&query)?;
    let ids: BTreeSet<&str> = query.all("job").collect();
    if ids.len() > NAMED_MAX {
        return Err(query.wrong("job", "given at most 64 times"));
    }
    let open_stream = jobs.viewers.open(&user, &meter)?;
    let named = find_named(&jobs, &user, scope, ids).await?;
    let run = match query.get("run") {
        Some(id) => Some(find_run(&jobs, &user, scope, id.to_owned()).await?),
        None => None,
    };
    let request = BoardRequest {
        user,
        scope,
        times,
        named,
        run,
        resumed: last_event_id(&parts.headers).and_then(ResumePoint::parse),
    };
    let (client, receiver) = mpsc::channel(CLIENT_QUEUE);
    let counted = jobs.tails.viewing();
    tokio::spawn(async move {
        let _until_the_end = (counted, open_stream);
        let board = Board::new(jobs.clone(), request, client.clone());
        tokio::select! {
            _closed = board.run() => {}
            () = keep_alive(&client) => {}
            () = until_access_ends(&jobs, parts) => {}
            () = jobs.stopped() => {}
        }
    });
    Ok(event_stream(receiver))
}

/// The jobs with these ids. The 404 names every job that is missing, so that a client can retry
/// without them.
async fn find_named(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    ids: BTreeSet<&str>,
) -> Result<Vec<Job>, ApiError> {
    let mut named = Vec::with_capacity(ids.len());
    let mut missing = ApiError::from(JobError::NotFound);
    for id in ids {
        match read_unaudited(jobs, user, scope, id.to_owned(), |_, _| Ok(())).await {
            Ok((job, ())) => named.push(job),
            Err(error @ JobError::NotFound) => {
                missing = missing.with_field(format!("job.{id}"), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !missing.fields.is_empty() {
        return Err(missing);
    }
    for job in &named {
        if scope == Scope::All && jobs.audited_views.record(user, &job.id) {
            audit_view(jobs, user, job, "job.look").await?;
        }
    }
    Ok(named)
}

/// The id of the run, if the user may see it.
async fn find_run(jobs: &Jobs, user: &User, scope: Scope, id: String) -> Result<String, ApiError> {
    let viewer = user.clone();
    let find = move |tx: &mut dyn Tx| find_visible_run(tx, &viewer, scope, &id);
    let Some(run) = jobs.store.read(find).await? else {
        return Err(ApiError::not_found("run_not_found", "Run not found"));
    };
    if scope == Scope::All && jobs.audited_views.record(user, &run.id) {
        let (actor, id) = (user.email.clone(), run.id.clone());
        let record = move |tx: &mut dyn Tx| record_run(tx, &actor, "run.look", &id, "scope=all");
        jobs.store.write(record).await?;
    }
    Ok(run.id)
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(events))
}
