//! `GET /api/events`: one stream for a whole dashboard. What nodes and jobs become, and the output
//! of the jobs that are named.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{User, Viewer};
use crate::http::{ApiError, Meter, Query};
use crate::jobs::live::board::Board;
use crate::jobs::live::resume_point::Place;
use crate::jobs::live::stream::{
    CLIENT_QUEUE, event_stream, keep_alive, last_event_id, no_longer_allowed,
};
use crate::jobs::log::routes::wants_times;
use crate::jobs::routes::{Scope, find, note_look};
use crate::jobs::{JobError, Jobs};
use crate::store::job::Job;

/// Jobs that one stream may name.
const NAMED_MAX: usize = 64;
/// A browser asks anew whenever one of its tabs comes or goes: within this time that is one look at
/// somebody's job.
const SAME_LOOK: Duration = Duration::from_secs(10 * 60);

/// Who looked at whose job lately, over a stream that is opened again and again.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Looks(Mutex<HashMap<(String, String), Instant>>);

impl Looks {
    /// Whether this look is another one than the last.
    fn is_new(&self, user: &User, job: &Job) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, at| at.elapsed() < SAME_LOOK);
        let key = (user.id.clone(), job.id.clone());
        looks.insert(key, Instant::now()).is_none()
    }
}

/// Live events of a dashboard.
#[utoipa::path(get, path = "/api/events", tag = "jobs",
    params(("job" = Option<Vec<String>>, Query, max_items = 64, description = "Jobs whose output is wanted; may repeat, 64 at the most"),
        ("scope" = Option<String>, Query, description = "all: everybody's jobs"),
        ("times" = Option<bool>, Query, description = "true: output events also have at and line, as those of a job's own stream"),
        ("Last-Event-ID" = Option<String>, Header, description = "Resume right after this event")),
    responses((status = 200, content_type = "text/event-stream", description = "Events job, node and output; node-gone, with the id alone, of a node that was deleted"),
        (status = 404, description = "fields names each job that is not there, as job.<id>, up to 20"),
        (status = 429, description = "64 event streams of this person, or 512 of this address, are open")),
    security(("bearer" = []), ("cookie" = [])))]
async fn events(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    meter: Meter,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&jobs, &user, &query)?;
    let times = wants_times(&query)?;
    let ids: BTreeSet<&str> = query.all("job").collect();
    if ids.len() > NAMED_MAX {
        return Err(query.wrong("job", "given 64 times at the most"));
    }
    let viewing = jobs.viewers.open(&user, &meter)?;
    let named = find_named(&jobs, &user, scope, ids).await?;
    let resumed = last_event_id(&parts.headers).and_then(Place::parse);
    let (client, receiver) = mpsc::channel(CLIENT_QUEUE);
    let counted = jobs.tails.viewing();
    tokio::spawn(async move {
        let _counted = (counted, viewing);
        let board = Board::new(
            jobs.clone(),
            user,
            (scope, times),
            named,
            resumed,
            client.clone(),
        );
        tokio::select! {
            _gone = board.run() => {}
            () = keep_alive(&client) => {}
            () = no_longer_allowed(&jobs, parts) => {}
            () = jobs.stopped() => {}
        }
    });
    Ok(event_stream(receiver))
}

/// The jobs of these ids; a 404 names all that are not there, so that a client can go on without
/// them.
async fn find_named(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    ids: BTreeSet<&str>,
) -> Result<Vec<Job>, ApiError> {
    let mut named = Vec::with_capacity(ids.len());
    let mut missing = ApiError::from(JobError::NotFound);
    for id in ids {
        match find(jobs, user, scope, id.to_owned(), |_, _| Ok(())).await {
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
        if scope == Scope::All && jobs.looks.is_new(user, job) {
            note_look(jobs, user, job, "job.look").await?;
        }
    }
    Ok(named)
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_went() {
        for text in ["1795512600120", "1795512600120,a:12-0,b:0-7"] {
            assert_eq!(Place::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "x", "1,a", "1,a:1", "1,a:1-b"] {
            assert!(Place::parse(text).is_none(), "{text}");
        }
    }
}
