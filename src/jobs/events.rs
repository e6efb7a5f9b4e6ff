//! `GET /api/events`: one stream for a whole dashboard. What nodes and jobs become, and the output of the jobs that are named.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use hyprbox_protocol::ErrorBody;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::follow::{Follower, Told};
use super::frame::Offsets;
use super::log::wants_times;
use super::routes::{Scope, find_for};
use super::stream::{
    CLIENT_QUEUE, EventId, OPENING, event_stream, keep_alive, last_event_id, no_longer_allowed,
    resume_point, sse,
};
use super::tail::Framed;
use super::{JobError, JobView, Jobs};
use crate::auth::{User, Viewer};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, Query};
use crate::store::Change;
use crate::store::job::{self, Job};

/// Jobs that one stream may name.
const NAMED_MAX: usize = 64;
/// What is told again after a resume, in milliseconds: events that were under way when the id was made.
const OVERLAP_MS: i64 = 5_000;
/// The oldest place to resume from, in milliseconds; an older client starts over, as a page that is opened does.
const RESUME_MAX_MS: i64 = 15 * 60 * 1_000;
/// Changes that come within this time are read together.
const TOGETHER: Duration = Duration::from_millis(20);

/// Output of a named job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedOutput<'e, O> {
    job_id: &'e str,
    #[serde(flatten)]
    output: O,
}

/// When the stream was where, and how far each named job was told.
#[derive(Debug, Clone)]
struct Place {
    at: Timestamp,
    named: Vec<(String, Offsets)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.as_millis())?;
        for (id, offsets) in &self.named {
            write!(f, ",{id}:{}-{}", offsets.stdout, offsets.stderr)?;
        }
        Ok(())
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let named = parts.map(|part| {
            let (id, offsets) = part.split_once(':')?;
            let (stdout, stderr) = offsets.split_once('-')?;
            Some((
                id.to_owned(),
                Offsets {
                    stdout: stdout.parse().ok()?,
                    stderr: stderr.parse().ok()?,
                },
            ))
        });
        Some(Self {
            at,
            named: named.collect::<Option<_>>()?,
        })
    }

    fn of(&self, job_id: &str) -> Option<Offsets> {
        self.named
            .iter()
            .find(|(id, _)| id == job_id)
            .map(|(_, offsets)| *offsets)
    }
}

/// Live events of a dashboard.
#[utoipa::path(get, path = "/api/events", tag = "jobs",
    params(("job" = Option<Vec<String>>, Query, description = "Jobs whose output is wanted; may repeat, 64 at the most"),
        ("scope" = Option<String>, Query, description = "all: everybody's jobs, for VIEWER and ADMIN"),
        ("times" = Option<bool>, Query, description = "true: output events also have at and line, as those of a job's own stream"),
        ("Last-Event-ID" = Option<String>, Header, description = "Resume right after this event")),
    responses((status = 200, content_type = "text/event-stream", description = "Events job, node and output"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
    security(("bearer" = []), ("cookie" = [])))]
async fn events(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&user, &query)?;
    let times = wants_times(&query)?;
    let ids: BTreeSet<&str> = query.all("job").collect();
    if ids.len() > NAMED_MAX {
        return Err(query.wrong("job", "given 64 times at the most"));
    }
    let mut named = Vec::new();
    for id in ids {
        named.push(find_for(&jobs, &user, scope, id.to_owned(), "job.look").await?);
    }
    let resumed = last_event_id(&parts.headers).and_then(Place::parse);
    let resumed = resumed.filter(|place| clock::now().millis_since(place.at) < RESUME_MAX_MS);
    let (client, receiver) = mpsc::channel(CLIENT_QUEUE);
    let counted = jobs.tails.viewing();
    tokio::spawn(async move {
        let _counted = counted;
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

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(events))
}

/// The client has gone.
struct Gone;

/// What a follower of a named job found: which job, and where it is now.
struct Found {
    job: usize,
    at: EventId,
    what: FoundWhat,
}

enum FoundWhat {
    Output(Arc<Framed>),
    Done,
    Other,
}

/// What changed and was not told yet: a burst is read once.
struct Changed {
    job_ids: BTreeSet<String>,
    node_ids: BTreeSet<String>,
    due: Instant,
}

impl Default for Changed {
    fn default() -> Self {
        Self {
            job_ids: BTreeSet::new(),
            node_ids: BTreeSet::new(),
            due: Instant::now(),
        }
    }
}

impl Changed {
    fn has_any(&self) -> bool {
        !self.job_ids.is_empty() || !self.node_ids.is_empty()
    }

    fn note(&mut self, change: Change) {
        if !self.has_any() {
            self.due = Instant::now() + TOGETHER;
        }
        match change {
            Change::Job { id, node_id } => {
                self.job_ids.insert(id);
                self.node_ids.insert(node_id);
            }
            Change::Node { id } => {
                self.node_ids.insert(id);
            }
            Change::Output { .. }
            | Change::Watched { .. }
            | Change::Credentials
            | Change::Foreign => {}
        }
    }
}

/// One dashboard's task.
struct Board {
    jobs: Jobs,
    user: User,
    scope: Scope,
    /// Output is told with its times.
    times: bool,
    place: Place,
    since: Option<Timestamp>,
    changes: broadcast::Receiver<Change>,
    /// Named jobs whose end is told by their follower, after the last of their output.
    followed: BTreeSet<String>,
    /// Jobs that were told and had not ended.
    unfinished: BTreeSet<String>,
    found: mpsc::Receiver<Found>,
    client: mpsc::Sender<Bytes>,
}

impl Board {
    fn new(
        jobs: Jobs,
        user: User,
        (scope, times): (Scope, bool),
        named: Vec<Job>,
        resumed: Option<Place>,
        client: mpsc::Sender<Bytes>,
    ) -> Self {
        // Subscribed before anything is read, so that no change falls between.
        let changes = jobs.hub.changes();
        let (finder, found) = mpsc::channel(CLIENT_QUEUE);
        let mut place = Place {
            at: clock::now(),
            named: Vec::new(),
        };
        for (index, job) in named.iter().enumerate() {
            let before = resumed.as_ref().and_then(|place| place.of(&job.id));
            let told = resume_point(before.map(|offsets| EventId::new(None, offsets)), job);
            place.named.push((job.id.clone(), told.offsets));
            let map = move |at: &EventId, told| Found {
                job: index,
                at: *at,
                what: what_of(told),
            };
            tokio::spawn(Follower::new(jobs.clone(), job, told, finder.clone(), map).run());
        }
        let since = resumed.map(|place| place.at.plus_millis(-OVERLAP_MS));
        Self {
            jobs,
            user,
            scope,
            times,
            place,
            since,
            changes,
            followed: named.into_iter().map(|job| job.id).collect(),
            unfinished: BTreeSet::new(),
            found,
            client,
        }
    }

    async fn run(mut self) -> Result<(), Gone> {
        self.send(OPENING).await?;
        self.open().await?;
        let mut changed = Changed::default();
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(Change::Foreign) | Err(RecvError::Lagged(_)) => self.open_again().await?,
                    Ok(change) => changed.note(change),
                    Err(RecvError::Closed) => return Err(Gone),
                },
                Some(found) = self.found.recv() => self.take_found(found).await?,
                () = tokio::time::sleep_until(changed.due), if changed.has_any() => {
                    self.tell_changed(std::mem::take(&mut changed)).await?;
                }
            }
        }
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.client.send(bytes).await.map_err(|_| Gone)
    }

    async fn tell(&mut self, event: &str, data: &(impl Serialize + Sync)) -> Result<(), Gone> {
        self.place.at = clock::now();
        let bytes = sse(event, &self.place.to_string(), data);
        self.send(bytes).await
    }

    /// Each node, each job that has not ended, and those that ended meanwhile: after a resume by when they did, and by
    /// what was told before, as an operator who ends a job by hand may write no time, or one in another form.
    async fn open(&mut self) -> Result<(), Gone> {
        let nodes = self.jobs.all_nodes().await.map_err(gone)?;
        for node in nodes {
            self.tell("node", &node).await?;
        }
        let since = self.since;
        let told = std::mem::take(&mut self.unfinished);
        let read = move |tx: &mut dyn crate::store::Tx| {
            let mut found = since.map_or(Ok(Vec::new()), |since| job::finished_since(tx, since))?;
            let unfinished = job::unfinished(tx)?;
            let known: BTreeSet<&String> =
                found.iter().chain(&unfinished).map(|job| &job.id).collect();
            let ended: Vec<&String> = told.iter().filter(|id| !known.contains(id)).collect();
            let ended = ended
                .into_iter()
                .map(|id| job::find(tx, id))
                .collect::<Result<Vec<_>, _>>()?;
            found.extend(ended.into_iter().flatten());
            found.extend(unfinished);
            Ok::<_, JobError>(found)
        };
        let found = self.jobs.store.read(read).await.map_err(gone)?;
        for job in found {
            self.tell_job(job).await?;
        }
        Ok(())
    }

    /// After more changes than could be remembered.
    async fn open_again(&mut self) -> Result<(), Gone> {
        self.since = Some(self.place.at.plus_millis(-OVERLAP_MS));
        self.open().await
    }

    async fn tell_job(&mut self, job: Job) -> Result<(), Gone> {
        if !self.scope.sees(&self.user, &job) {
            return Ok(());
        }
        if job.status.is_terminal() {
            self.unfinished.remove(&job.id);
        } else {
            self.unfinished.insert(job.id.clone());
        }
        self.tell("job", &JobView::from(job)).await
    }

    async fn tell_changed(&mut self, changed: Changed) -> Result<(), Gone> {
        let Changed {
            job_ids, node_ids, ..
        } = changed;
        let read = move |tx: &mut dyn crate::store::Tx| {
            job_ids
                .iter()
                .map(|id| job::find(tx, id))
                .collect::<Result<Vec<_>, _>>()
                .map_err(JobError::from)
        };
        let found = self.jobs.store.read(read).await.map_err(gone)?;
        for job in found.into_iter().flatten() {
            if !(job.status.is_terminal() && self.followed.contains(&job.id)) {
                self.tell_job(job).await?;
            }
        }
        for id in node_ids {
            match self.jobs.one_node(id).await {
                Ok(node) => self.tell("node", &node).await?,
                // Deleted meanwhile.
                Err(JobError::NodeNotFound) => {}
                Err(error) => return Err(gone(error)),
            }
        }
        Ok(())
    }

    async fn take_found(&mut self, found: Found) -> Result<(), Gone> {
        let Some((job_id, offsets)) = self.place.named.get_mut(found.job) else {
            return Ok(());
        };
        *offsets = found.at.offsets;
        let job_id = job_id.clone();
        match found.what {
            FoundWhat::Output(output) => {
                let (job_id, event) = (job_id.as_str(), &output.event);
                if self.times {
                    let output = event.timed();
                    self.tell("output", &NamedOutput { job_id, output }).await
                } else {
                    let output = event;
                    self.tell("output", &NamedOutput { job_id, output }).await
                }
            }
            FoundWhat::Done => {
                // What comes after it, a late completion, nobody else tells.
                self.followed.remove(&job_id);
                let read =
                    move |tx: &mut dyn crate::store::Tx| Ok::<_, JobError>(job::find(tx, &job_id)?);
                match self.jobs.store.read(read).await.map_err(gone)? {
                    Some(job) => self.tell_job(job).await,
                    None => Ok(()),
                }
            }
            FoundWhat::Other => Ok(()),
        }
    }
}

fn what_of(told: Told) -> FoundWhat {
    match told {
        Told::Output(output) => FoundWhat::Output(output),
        Told::Done(_) => FoundWhat::Done,
        Told::Status(_) => FoundWhat::Other,
    }
}

/// A read that failed ends the stream: the client comes back by itself, and resumes.
fn gone(error: JobError) -> Gone {
    tracing::warn!(%error, "a stream of events could not read");
    Gone
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
