//! What one dashboard is told: how things stand when it comes, or what changed since it left; then
//! what changes, and the output of the jobs that it names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::Instant;

use crate::auth::User;
use crate::clock::{self, Timestamp};
use crate::hub::ChangedIds;
use crate::jobs::live::follow::{Follower, Told};
use crate::jobs::live::resume_point::{OVERLAP_MS, Place};
use crate::jobs::live::stream::{CLIENT_QUEUE, EventId, OPENING, resume_point, sse};
use crate::jobs::live::tail::Framed;
use crate::jobs::routes::Scope;
use crate::jobs::{JobError, JobView, Jobs};
use crate::nodes::NodeView;
use crate::store::Change;
use crate::store::job::{self, Job};

/// Changes that come within this time are read together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Each change that was told lets the next ones gather for this much longer, so that a burst costs
/// few reads.
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
pub(in crate::jobs) struct Gone;

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

/// Something that is told of by how it stands now.
enum News {
    Node(Box<NodeView>),
    Job(Box<Job>),
    /// A node that was deleted.
    NodeGone(NodeGone),
}

#[derive(Serialize)]
struct NodeGone {
    id: String,
}

impl News {
    fn node(node: NodeView) -> Self {
        Self::Node(Box::new(node))
    }

    fn job(job: Job) -> Self {
        Self::Job(Box::new(job))
    }
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
pub(in crate::jobs) struct Board {
    jobs: Jobs,
    user: User,
    scope: Scope,
    /// Output is told with its times.
    times: bool,
    place: Place,
    changes: broadcast::Receiver<Change>,
    /// Named jobs: their states are told by their followers, in order with their output.
    followed: BTreeSet<String>,
    /// Jobs that the client knows, or will hear of, as not ended.
    unfinished: BTreeSet<String>,
    found: mpsc::Receiver<Found>,
    client: mpsc::Sender<Bytes>,
}

impl Board {
    pub(in crate::jobs) fn new(
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
        let turn = Arc::new(Semaphore::new(1));
        let mut place = Place {
            at: resumed
                .as_ref()
                .filter(|place| place.is_recent())
                .map_or(Timestamp::from_millis(0), |place| place.at),
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
            let viewer = (finder.clone(), Arc::clone(&turn));
            tokio::spawn(Follower::new(jobs.clone(), job, told, viewer, map).run());
        }
        Self {
            jobs,
            user,
            scope,
            times,
            place,
            changes,
            followed: named.into_iter().map(|job| job.id).collect(),
            unfinished: BTreeSet::new(),
            found,
            client,
        }
    }

    /// Tells until the client has gone.
    pub(in crate::jobs) async fn run(mut self) -> Result<(), Gone> {
        self.send(OPENING).await?;
        let now = clock::now();
        match self.jobs.hub.changed_since(self.place.at, OVERLAP_MS) {
            Some(changed) => self.resume(changed, now).await?,
            None => self.open(now).await?,
        }
        let mut changed = Changed::default();
        loop {
            tokio::select! {
                change = self.changes.recv() => self.note(&mut changed, change).await?,
                Some(found) = self.found.recv() => self.take_found(found).await?,
                () = tokio::time::sleep_until(changed.due), if changed.has_any() => {
                    let now = clock::now();
                    // All that came until now is told now: the ids say so.
                    while let Some(change) = self.next_change() {
                        self.note(&mut changed, change).await?;
                    }
                    let ids = changed.take();
                    self.tell_changed(ids, now).await?;
                }
            }
        }
    }

    fn next_change(&mut self) -> Option<Result<Change, RecvError>> {
        match self.changes.try_recv() {
            Ok(change) => Some(Ok(change)),
            Err(TryRecvError::Lagged(count)) => Some(Err(RecvError::Lagged(count))),
            Err(TryRecvError::Closed) => Some(Err(RecvError::Closed)),
            Err(TryRecvError::Empty) => None,
        }
    }

    async fn note(
        &mut self,
        changed: &mut Changed,
        change: Result<Change, RecvError>,
    ) -> Result<(), Gone> {
        match change {
            // After what nobody can name, or more than could be remembered.
            Ok(Change::Foreign) | Err(RecvError::Lagged(_)) => self.open(clock::now()).await,
            Ok(change) => {
                changed.note(change);
                Ok(())
            }
            Err(RecvError::Closed) => Err(Gone),
        }
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.client.send(bytes).await.map_err(|_| Gone)
    }

    async fn tell(&mut self, event: &str, data: &(impl Serialize + Sync)) -> Result<(), Gone> {
        let bytes = sse(event, &self.place.to_string(), data);
        self.send(bytes).await
    }

    /// What changed while the client was away. What has not ended it knows, and hears of when a
    /// hand ends it.
    async fn resume(&mut self, changed: ChangedIds, now: Timestamp) -> Result<(), Gone> {
        let read = |tx: &mut dyn crate::store::Tx| Ok::<_, JobError>(job::unfinished(tx)?);
        let unfinished = self.jobs.store.read(read).await.map_err(gone)?;
        let seen = unfinished
            .into_iter()
            .filter(|job| self.scope.sees(&self.user, job));
        self.unfinished = seen.map(|job| job.id).collect();
        self.tell_changed(changed, now).await
    }

    /// Each node, each job that has not ended, and those that ended meanwhile: after a resume by
    /// when they did, and by what was told before, as an operator who ends a job by hand may write
    /// no time, or one in another form.
    async fn open(&mut self, now: Timestamp) -> Result<(), Gone> {
        let nodes = self.jobs.all_nodes().await.map_err(gone)?;
        let since = (self.place.at.as_millis() > 0).then(|| self.place.at.plus_millis(-OVERLAP_MS));
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
        let nodes = nodes.into_iter().map(News::node);
        let news = nodes.chain(found.into_iter().map(News::job));
        self.tell_all(news.collect(), now).await
    }

    /// Tells of all these. Only the last one's id says that everything until `now` was told: a
    /// client that is cut off in between hears of them again.
    async fn tell_all(&mut self, mut news: Vec<News>, now: Timestamp) -> Result<(), Gone> {
        news.retain(|one| match one {
            News::Node(_) | News::NodeGone(_) => true,
            News::Job(job) => !self.followed.contains(&job.id) && self.scope.sees(&self.user, job),
        });
        let last = news.len().saturating_sub(1);
        for (index, one) in news.into_iter().enumerate() {
            if index == last {
                self.place.at = now;
            }
            match one {
                News::Node(node) => self.tell("node", &node).await?,
                News::Job(job) => self.tell_job(*job).await?,
                News::NodeGone(node) => self.tell("node-gone", &node).await?,
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

    async fn tell_changed(&mut self, changed: ChangedIds, now: Timestamp) -> Result<(), Gone> {
        let ids = changed.jobs;
        let read = move |tx: &mut dyn crate::store::Tx| {
            ids.iter()
                .map(|id| job::find(tx, id))
                .collect::<Result<Vec<_>, _>>()
                .map_err(JobError::from)
        };
        let found = self.jobs.store.read(read).await.map_err(gone)?;
        let mut deleted = changed.nodes.clone();
        let nodes = changed.nodes.into_iter().collect();
        let nodes = self.jobs.nodes_of(nodes).await.map_err(gone)?;
        for node in &nodes {
            deleted.remove(&node.id);
        }
        let deleted = deleted
            .into_iter()
            .map(|id| News::NodeGone(NodeGone { id }));
        let jobs = found.into_iter().flatten().map(News::job);
        let news = jobs.chain(nodes.into_iter().map(News::node)).chain(deleted);
        self.tell_all(news.collect(), now).await
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
