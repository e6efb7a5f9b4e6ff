//! One dashboard's event stream: the current state when the dashboard connects, or what changed
//! since it left; then every change, and the output of the jobs that it names.
//! One file, because all of it changes the state of one stream.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use crate::auth::User;
use crate::clock::{self, Timestamp};
use crate::hub::ChangedIds;
use crate::jobs::access::Scope;
use crate::jobs::live::event_id::EventId;
use crate::jobs::live::follow::{Follower, Recipient};
use crate::jobs::live::frame::Frame;
use crate::jobs::live::resume_point::{OVERLAP_MS, ResumePoint};
use crate::jobs::live::sse::{self, CLIENT_QUEUE, OPENING, StreamClosed};
use crate::jobs::run::step::RunStep;
use crate::jobs::run::view::RunView;
use crate::jobs::{JobError, JobView, Jobs};
use crate::nodes::NodeView;
use crate::store::job::{self, Job};
use crate::store::run;
use crate::store::{Change, StoreError, Tx};

/// Changes within this time are read together.
const GATHER: Duration = Duration::from_millis(20);
/// Each change that was sent extends the time for gathering the next ones, so that a burst costs
/// few reads.
const GATHER_PER_CHANGE: Duration = Duration::from_millis(1);
const GATHER_MAX: Duration = Duration::from_millis(250);

/// Output of a named job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedOutput<'e, O> {
    job_id: &'e str,
    #[serde(flatten)]
    output: O,
}

/// A job, and the last step that it has announced.
#[derive(Debug, Serialize)]
struct SteppedJob {
    #[serde(flatten)]
    job: JobView,
    step: Option<RunStep>,
}

/// A frame from the follower of a named job.
#[derive(Clone)]
struct NamedFrame {
    /// Index of the job in `ResumePoint::named`.
    job: usize,
    /// What the client has received of the job with this frame.
    at: EventId,
    frame: Frame,
}

/// An event with the current state of a row.
enum Update {
    Node(Box<NodeView>),
    Job(Box<Job>),
    NodeDeleted(DeletedNode),
}

#[derive(Serialize)]
struct DeletedNode {
    id: String,
}

impl Update {
    fn node(node: NodeView) -> Self {
        Self::Node(Box::new(node))
    }

    fn job(job: Job) -> Self {
        Self::Job(Box::new(job))
    }
}

/// Changes that were not sent yet: a burst is read once.
struct PendingChanges {
    ids: ChangedIds,
    /// The named run has changed.
    run: bool,
    due: Instant,
    gather: Duration,
}

impl Default for PendingChanges {
    fn default() -> Self {
        Self {
            ids: ChangedIds::default(),
            run: false,
            due: Instant::now(),
            gather: GATHER,
        }
    }
}

impl PendingChanges {
    fn has_any(&self) -> bool {
        self.run || self.ids != ChangedIds::default()
    }

    fn add(&mut self, change: Change) {
        if !self.has_any() {
            self.due = Instant::now() + self.gather;
        }
        match change {
            Change::Job { id, node_id } => {
                self.ids.jobs.insert(id);
                self.ids.nodes.insert(node_id);
            }
            Change::Node { id } => {
                self.ids.nodes.insert(id);
            }
            Change::Progress { job_id } => {
                self.ids.jobs.insert(job_id);
            }
            Change::Output { .. }
            | Change::Watched { .. }
            | Change::Due
            | Change::Credentials
            | Change::Foreign => {}
            // Only of the run that the client has named.
            Change::Run { .. } => self.run = true,
        }
    }

    fn drain(&mut self) -> ChangedIds {
        let ids = std::mem::take(&mut self.ids);
        let count = u32::try_from(ids.jobs.len() + ids.nodes.len()).unwrap_or(u32::MAX);
        self.gather = (GATHER + GATHER_PER_CHANGE.saturating_mul(count)).min(GATHER_MAX);
        ids
    }
}

/// What a dashboard asks for.
pub(in crate::jobs) struct BoardRequest {
    pub(in crate::jobs) user: User,
    pub(in crate::jobs) scope: Scope,
    /// Whether output events have times.
    pub(in crate::jobs) times: bool,
    /// Jobs whose output is wanted.
    pub(in crate::jobs) named: Vec<Job>,
    /// The run whose events are wanted.
    pub(in crate::jobs) run: Option<String>,
    pub(in crate::jobs) resumed: Option<ResumePoint>,
}

/// One dashboard's task.
pub(in crate::jobs) struct Board {
    jobs: Jobs,
    user: User,
    scope: Scope,
    /// Whether output events have times.
    times: bool,
    /// What the client has received.
    sent: ResumePoint,
    changes: broadcast::Receiver<Change>,
    /// Named jobs that have not ended: their followers send their states, in order with their
    /// output.
    followed: BTreeSet<String>,
    /// The id of the named run.
    run: Option<String>,
    /// Jobs that the client knows as unfinished, or will receive as such.
    unfinished: BTreeSet<String>,
    frames: mpsc::Receiver<NamedFrame>,
    client: mpsc::Sender<Bytes>,
}

impl Board {
    pub(in crate::jobs) fn new(
        jobs: Jobs,
        request: BoardRequest,
        client: mpsc::Sender<Bytes>,
    ) -> Self {
        let BoardRequest {
            user,
            scope,
            times,
            named,
            run,
            resumed,
        } = request;
        // Subscribed before anything is read, so that no change is missed in between.
        let changes = jobs.hub.changes();
        let (sender, frames) = mpsc::channel(CLIENT_QUEUE);
        let recipient = Recipient::new(sender);
        let mut sent = ResumePoint {
            at: resumed
                .as_ref()
                .filter(|point| point.is_recent())
                .map_or(Timestamp::from_millis(0), |point| point.at),
            named: Vec::new(),
        };
        for (index, job) in named.iter().enumerate() {
            let before = resumed.as_ref().and_then(|point| point.offsets_of(&job.id));
            let last_id = before.map(|offsets| EventId::new(None, offsets));
            let resume = EventId::resume(last_id, job);
            sent.named.push((job.id.clone(), resume.offsets));
            let map = move |at: &EventId, frame| NamedFrame {
                job: index,
                at: *at,
                frame,
            };
            let follower = Follower::new(jobs.clone(), job, resume, recipient.clone(), map);
            tokio::spawn(follower.run());
        }
        Self {
            jobs,
            user,
            scope,
            times,
            sent,
            changes,
            followed: named.into_iter().map(|job| job.id).collect(),
            run,
            unfinished: BTreeSet::new(),
            frames,
            client,
        }
    }

    /// Sends events until the client disconnects.
    pub(in crate::jobs) async fn run(mut self) -> Result<(), StreamClosed> {
        self.send_bytes(OPENING).await?;
        let now = clock::now();
        match self.jobs.hub.changed_since(self.sent.at, OVERLAP_MS) {
            Some(changed) => self.resume(changed, now).await?,
            None => self.send_everything(now).await?,
        }
        let mut pending = PendingChanges::default();
        loop {
            tokio::select! {
                change = self.changes.recv() => self.receive(&mut pending, change).await?,
                Some(frame) = self.frames.recv() => self.send_frame(frame).await?,
                () = tokio::time::sleep_until(pending.due), if pending.has_any() => {
                    let now = clock::now();
                    // The ids that follow cover every change until now, so none may stay queued.
                    while let Some(change) = self.next_change() {
                        self.receive(&mut pending, change).await?;
                    }
                    let run = std::mem::take(&mut pending.run);
                    let ids = pending.drain();
                    self.send_changed(ids, now, run).await?;
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

    async fn receive(
        &mut self,
        pending: &mut PendingChanges,
        change: Result<Change, RecvError>,
    ) -> Result<(), StreamClosed> {
        match change {
            // Anything may have changed.
            Ok(Change::Foreign) | Err(RecvError::Lagged(_)) => {
                self.send_everything(clock::now()).await
            }
            Ok(Change::Run { id }) if self.run.as_ref() != Some(&id) => Ok(()),
            Ok(change) => {
                pending.add(change);
                Ok(())
            }
            Err(RecvError::Closed) => Err(StreamClosed),
        }
    }

    async fn send_bytes(&self, bytes: Bytes) -> Result<(), StreamClosed> {
        self.client.send(bytes).await.map_err(|_| StreamClosed)
    }

    async fn send(&self, event: &str, data: &(impl Serialize + Sync)) -> Result<(), StreamClosed> {
        let bytes = sse::encode(event, &self.sent.to_string(), data);
        self.send_bytes(bytes).await
    }

    /// Reads from the store. If the read fails, the stream ends: the client reconnects and resumes.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StreamClosed> {
        self.jobs
            .store
            .read(read)
            .await
            .map_err(|error| close(&error.into()))
    }

    /// Sends what changed while the client was away. It already knows the jobs that have not
    /// ended, and receives their end even if an operator edits the database by hand.
    async fn resume(&mut self, changed: ChangedIds, now: Timestamp) -> Result<(), StreamClosed> {
        let unfinished = self.read(|tx| job::unfinished(tx)).await?;
        let visible = unfinished
            .into_iter()
            .filter(|job| self.scope.sees(&self.user, job));
        self.unfinished = visible.map(|job| job.id).collect();
        self.send_changed(changed, now, true).await
    }

    /// Sends each node, each unfinished job, and the jobs that ended while the client was away.
    ///
    /// The latter are found by their time and also by what the client knows as unfinished: an
    /// operator who ends a job by hand may write no time, or one in another form.
    async fn send_everything(&mut self, now: Timestamp) -> Result<(), StreamClosed> {
        self.send_run().await?;
        let nodes = self
            .jobs
            .all_nodes(None)
            .await
            .map_err(|error| close(&error))?;
        let run = self.run.clone();
        let since = (self.sent.at.as_millis() > 0).then(|| self.sent.at.plus_millis(-OVERLAP_MS));
        let known_unfinished = std::mem::take(&mut self.unfinished);
        let read = move |tx: &mut dyn Tx| {
            let mut found = since.map_or(Ok(Vec::new()), |since| job::finished_since(tx, since))?;
            found.extend(job::unfinished(tx)?);
            if let Some(run) = &run {
                // Also its jobs that have ended.
                let known: BTreeSet<String> = found.iter().map(|job| job.id.clone()).collect();
                let of_run = job::list_of_run(tx, run)?.into_iter();
                found.extend(of_run.filter(|job| !known.contains(&job.id)));
            }
            let read: BTreeSet<String> = found.iter().map(|job| job.id.clone()).collect();
            let mut ended = Vec::new();
            for id in known_unfinished.difference(&read) {
                ended.extend(job::find(tx, id)?);
            }
            ended.append(&mut found);
            Ok(ended)
        };
        let found = self.read(read).await?;
        let nodes = nodes.into_iter().map(Update::node);
        let updates = nodes.chain(found.into_iter().map(Update::job));
        self.send_updates(updates.collect(), now).await
    }

    /// Sends updates. Only the id of the last one covers everything until `now`: a client that is
    /// disconnected before receives them again.
    async fn send_updates(
        &mut self,
        mut updates: Vec<Update>,
        now: Timestamp,
    ) -> Result<(), StreamClosed> {
        updates.retain(|update| match update {
            Update::Node(_) | Update::NodeDeleted(_) => true,
            Update::Job(job) => {
                !self.followed.contains(&job.id) && self.scope.sees(&self.user, job)
            }
        });
        let last = updates.len().saturating_sub(1);
        for (index, update) in updates.into_iter().enumerate() {
            if index == last {
                self.sent.at = now;
            }
            match update {
                Update::Node(node) => self.send("node", &node).await?,
                Update::Job(job) => self.send_job(*job).await?,
                Update::NodeDeleted(node) => self.send("node-gone", &node).await?,
            }
        }
        Ok(())
    }

    async fn send_job(&mut self, job: Job) -> Result<(), StreamClosed> {
        if !self.scope.sees(&self.user, &job) {
            return Ok(());
        }
        if job.status.is_terminal() {
            self.unfinished.remove(&job.id);
        } else {
            self.unfinished.insert(job.id.clone());
        }
        let is_of_run = self.is_of_run(&job);
        let step = job.step.as_deref().and_then(RunStep::parse);
        let job = JobView::from(job);
        if is_of_run || step.is_some() {
            return self.send("job", &SteppedJob { job, step }).await;
        }
        self.send("job", &job).await
    }

    fn is_of_run(&self, job: &Job) -> bool {
        self.run.is_some() && job.run_id == self.run
    }

    /// Sends the named run with its counts.
    async fn send_run(&mut self) -> Result<(), StreamClosed> {
        let Some(id) = self.run.clone() else {
            return Ok(());
        };
        let read = move |tx: &mut dyn Tx| match run::find(tx, &id)? {
            Some(run) => RunView::read(tx, run).map(Some),
            None => Ok(None),
        };
        match self.read(read).await? {
            Some(run) => self.send("run", &run).await,
            None => Ok(()),
        }
    }

    async fn send_changed(
        &mut self,
        changed: ChangedIds,
        now: Timestamp,
        mut run: bool,
    ) -> Result<(), StreamClosed> {
        let ids = changed.jobs;
        let read = move |tx: &mut dyn Tx| {
            ids.iter()
                .map(|id| job::find(tx, id))
                .collect::<Result<Vec<_>, _>>()
        };
        let jobs = self.read(read).await?;
        let mut deleted = changed.nodes.clone();
        let ids = changed.nodes.into_iter().collect();
        let nodes = self.jobs.nodes_of(ids).await;
        let nodes = nodes.map_err(|error| close(&error))?;
        for node in &nodes {
            deleted.remove(&node.id);
        }
        let deleted = deleted
            .into_iter()
            .map(|id| Update::NodeDeleted(DeletedNode { id }));
        let jobs: Vec<Job> = jobs.into_iter().flatten().collect();
        run |= jobs.iter().any(|job| self.is_of_run(job));
        let jobs = jobs.into_iter().map(Update::job);
        let nodes = nodes.into_iter().map(Update::node);
        self.send_updates(jobs.chain(nodes).chain(deleted).collect(), now)
            .await?;
        match run {
            true => self.send_run().await,
            false => Ok(()),
        }
    }

    async fn send_frame(&mut self, frame: NamedFrame) -> Result<(), StreamClosed> {
        let NamedFrame { job, at, frame } = frame;
        let Some((job_id, offsets)) = self.sent.named.get_mut(job) else {
            return Ok(());
        };
        *offsets = at.offsets;
        let job_id = job_id.clone();
        let is_end = match frame {
            Frame::Output(output) => {
                let (job_id, event) = (job_id.as_str(), &output.event);
                return if self.times {
                    let output = event.timed();
                    self.send("output", &NamedOutput { job_id, output }).await
                } else {
                    let output = event;
                    self.send("output", &NamedOutput { job_id, output }).await
                };
            }
            Frame::Status(_) => false,
            Frame::Done(_) => true,
        };
        if is_end {
            // No follower sends what comes after the end, such as a late completion.
            self.followed.remove(&job_id);
        }
        match self.read(move |tx| job::find(tx, &job_id)).await? {
            // A job that has ended since is sent after the rest of its output.
            Some(job) if job.status.is_terminal() == is_end => self.send_job(job).await,
            Some(_) | None => Ok(()),
        }
    }
}

/// Ends the stream because of a failed read.
fn close(error: &JobError) -> StreamClosed {
    tracing::warn!(%error, "dashboard stream: cannot read from the store, closing the stream");
    StreamClosed
}
