//! What one dashboard is told: how things stand when it comes, or what changed since it left; then what changes, and the
//! output of the jobs that it names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::events::{OVERLAP_MS, Place};
use super::follow::{Follower, Told};
use super::routes::Scope;
use super::stream::{CLIENT_QUEUE, EventId, OPENING, resume_point, sse};
use super::tail::Framed;
use super::{JobError, JobView, Jobs};
use crate::auth::User;
use crate::clock::{self, Timestamp};
use crate::events::ChangedIds;
use crate::store::Change;
use crate::store::job::{self, Job};

/// Changes that come within this time are read together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Each change that was told lets the next ones gather for this much longer, so that a burst costs few reads.
const TOGETHER_EACH: Duration = Duration::from_millis(1);
const TOGETHER_MAX: Duration = Duration::from_millis(250);

/// Output of a named job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedOutput<'e, O> {
    job_id: &'e str,
    #[serde(flatten)]
    output: O,
}

/// The client has gone.
pub(super) struct Gone;

/// What a follower of a named job found: which job, and where it is now.
struct Found {
    job: usize,
    at: EventId,
    what: FoundWhat,
}

enum FoundWhat {
    Output(Arc<Framed>),
    /// Another state.
    State,
    /// The end, after the last of the output.
    End,
}

/// What changed and was not told yet: a burst is read once.
struct Changed {
    ids: ChangedIds,
    due: Instant,
    together: Duration,
}

impl Default for Changed {
    fn default() -> Self {
        Self {
            ids: ChangedIds::default(),
            due: Instant::now(),
            together: TOGETHER,
        }
    }
}

impl Changed {
    fn has_any(&self) -> bool {
        self.ids != ChangedIds::default()
    }

    fn note(&mut self, change: Change) {
        if !self.has_any() {
            self.due = Instant::now() + self.together;
        }
        match change {
            Change::Job { id, node_id } => {
                self.ids.jobs.insert(id);
                self.ids.nodes.insert(node_id);
            }
            Change::Node { id } => {
                self.ids.nodes.insert(id);
            }
            Change::Output { .. }
            | Change::Watched { .. }
            | Change::Credentials
            | Change::Foreign => {}
        }
    }

    fn take(&mut self) -> ChangedIds {
        let ids = std::mem::take(&mut self.ids);
        let count = u32::try_from(ids.jobs.len() + ids.nodes.len()).unwrap_or(u32::MAX);
        let more = TOGETHER_EACH.saturating_mul(count);
        self.together = (TOGETHER + more).min(TOGETHER_MAX);
        ids
    }
}

/// One dashboard's task.
pub(super) struct Board {
    jobs: Jobs,
    user: User,
    scope: Scope,
    /// Output is told with its times.
    times: bool,
    place: Place,
    since: Option<Timestamp>,
    changes: broadcast::Receiver<Change>,
    /// Named jobs: their states are told by their followers, in order with their output.
    followed: BTreeSet<String>,
    /// Jobs that the client knows, or will hear of, as not ended.
    unfinished: BTreeSet<String>,
    found: mpsc::Receiver<Found>,
    client: mpsc::Sender<Bytes>,
}

impl Board {
    pub(super) fn new(
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

    /// Tells until the client has gone.
    pub(super) async fn run(mut self) -> Result<(), Gone> {
        self.send(OPENING).await?;
        match self
            .since
            .and_then(|since| self.jobs.hub.changed_since(since))
        {
            Some(changed) => self.resume(changed).await?,
            None => self.open().await?,
        }
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
                    let ids = changed.take();
                    self.tell_changed(ids).await?;
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

    /// What changed while the client was away. What has not ended it knows, and hears of when a hand ends it.
    async fn resume(&mut self, changed: ChangedIds) -> Result<(), Gone> {
        let read = |tx: &mut dyn crate::store::Tx| Ok::<_, JobError>(job::unfinished(tx)?);
        let unfinished = self.jobs.store.read(read).await.map_err(gone)?;
        let seen = unfinished
            .into_iter()
            .filter(|job| self.scope.sees(&self.user, job));
        self.unfinished = seen.map(|job| job.id).collect();
        self.tell_changed(changed).await
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
        self.tell_jobs(found).await
    }

    /// After more changes than could be remembered.
    async fn open_again(&mut self) -> Result<(), Gone> {
        self.since = Some(self.place.at.plus_millis(-OVERLAP_MS));
        self.open().await
    }

    async fn tell_jobs(&mut self, found: Vec<Job>) -> Result<(), Gone> {
        for job in found {
            if !self.followed.contains(&job.id) {
                self.tell_job(job).await?;
            }
        }
        Ok(())
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

    async fn tell_changed(&mut self, changed: ChangedIds) -> Result<(), Gone> {
        let ids = changed.jobs;
        let read = move |tx: &mut dyn crate::store::Tx| {
            ids.iter()
                .map(|id| job::find(tx, id))
                .collect::<Result<Vec<_>, _>>()
                .map_err(JobError::from)
        };
        let found = self.jobs.store.read(read).await.map_err(gone)?;
        self.tell_jobs(found.into_iter().flatten().collect())
            .await?;
        for node in self.jobs.some_nodes(changed.nodes).await.map_err(gone)? {
            self.tell("node", &node).await?;
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
            FoundWhat::State | FoundWhat::End => {
                let is_end = matches!(found.what, FoundWhat::End);
                if is_end {
                    // What comes after it, a late completion, no follower tells.
                    self.followed.remove(&job_id);
                }
                let read =
                    move |tx: &mut dyn crate::store::Tx| Ok::<_, JobError>(job::find(tx, &job_id)?);
                match self.jobs.store.read(read).await.map_err(gone)? {
                    // It has ended since: that is told after the rest of its output.
                    Some(job) if job.status.is_terminal() != is_end => Ok(()),
                    Some(job) => self.tell_job(job).await,
                    None => Ok(()),
                }
            }
        }
    }
}

fn what_of(told: Told) -> FoundWhat {
    match told {
        Told::Output(output) => FoundWhat::Output(output),
        Told::Status(_) => FoundWhat::State,
        Told::Done(_) => FoundWhat::End,
    }
}

/// A read that failed ends the stream: the client comes back by itself, and resumes.
fn gone(error: JobError) -> Gone {
    tracing::warn!(%error, "a stream of events could not read");
    Gone
}
