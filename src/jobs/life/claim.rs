//! Claim: QUEUED → RUNNING for exactly one caller; what was claimed and never arrived goes again to
//! the same agent instance. By a poll, or with the end of the last job, which takes no poll of its
//! own.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyprbox_protocol::{ClaimedJob, PendingAnswer};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::auth::{NodeIdentity, NodeStanding};
use crate::clock;
use crate::http::{ApiError, Wait, Waiting};
use crate::hub::NodeSignal;
use crate::jobs::life::finish::fail_claimed;
use crate::jobs::{JobError, Jobs};
use crate::nodes::{Presence, Standing};
use crate::presets::script_sha256;
use crate::store::claim::{self, Claimed, OwnJob};
use crate::store::job;
use crate::store::{Change, StoreError, Tx};

/// Pollers remembered per node.
const POLLERS_MAX: usize = 64;
/// Polls that look at the database at once. Far fewer than may wait there: after another program's
/// write all agents look again, and ten thousand of them are to wait for their turn, neither be
/// refused nor keep people's writes out.
const LOOKS_AT_ONCE: usize = 256;
/// How long a poll stays open that only time can bring something.
const HELD_WAIT: Duration = Duration::from_secs(1);
/// Jobs of one poll that are looked up because they are not known to run.
const STRAYS_MAX: usize = 16;
/// Why a job is not handed out whose script was changed after it was queued.
const SCRIPT_CHANGED: &str =
    "the script was changed after the job was queued: it no longer matches scriptSha256";
/// How long a poll waits for its turn to look.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// What an agent asks for, as its request has it.
#[derive(Debug)]
pub(in crate::jobs) struct Asked<'q> {
    /// Its node.
    pub node_id: &'q str,
    /// Its instance; the founding document's agent has none.
    pub instance: Option<&'q str>,
    /// The process that polls; older agents send none.
    pub process: Option<&'q str>,
    /// Whether it would take a job.
    pub wants_job: bool,
    /// Jobs that it has started and whose completion was not acknowledged.
    pub running: Vec<&'q str>,
    /// How long the call may stay open.
    pub wait: Duration,
}

/// What a look at the database needs of it.
#[derive(Debug, Clone)]
struct Poll {
    node_id: String,
    /// The node token that it came with, which must still be good when a job is handed out.
    token_id: String,
    instance: Option<String>,
    process: Option<String>,
    wants_job: bool,
    running: Vec<String>,
}

/// For each poller, the state of the world in which it last found nothing: until that changes, no
/// database is asked.
#[derive(Debug)]
pub(in crate::jobs) struct Polls {
    found_nothing: Mutex<HashMap<String, HashMap<u64, u64>>>,
    turns: Semaphore,
}

impl Default for Polls {
    fn default() -> Self {
        Self {
            found_nothing: Mutex::default(),
            turns: Semaphore::new(LOOKS_AT_ONCE),
        }
    }
}

impl Polls {
    fn nodes(&self) -> MutexGuard<'_, HashMap<String, HashMap<u64, u64>>> {
        self.found_nothing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among those that look.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        turn.map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Stopping)
    }

    fn found_nothing(&self, node_id: &str, poller: u64, generation: u64) {
        let mut nodes = self.nodes();
        if !nodes.contains_key(node_id) {
            nodes.insert(node_id.to_owned(), HashMap::new());
        }
        if let Some(pollers) = nodes.get_mut(node_id) {
            if pollers.len() >= POLLERS_MAX {
                pollers.clear();
            }
            pollers.insert(poller, generation);
        }
    }

    fn may_find(&self, node_id: &str, poller: u64, generation: u64) -> bool {
        let nodes = self.nodes();
        nodes.get(node_id).and_then(|pollers| pollers.get(&poller)) != Some(&generation)
    }

    /// A node that is gone.
    pub(in crate::jobs) fn forget(&self, node_id: &str) {
        self.nodes().remove(node_id);
    }
}

impl Asked<'_> {
    /// Two polls of a node that ask the same question have the same number.
    fn poller(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.instance, &self.process, self.wants_job, &self.running).hash(&mut hasher);
        hasher.finish()
    }

    fn by(&self, token_id: String) -> Poll {
        Poll {
            node_id: self.node_id.to_owned(),
            token_id,
            instance: self.instance.map(str::to_owned),
            process: self.process.map(str::to_owned),
            wants_job: self.wants_job,
            running: self.running.iter().copied().map(str::to_owned).collect(),
        }
    }
}

/// What can be said of a poll without a look at the database.
pub(in crate::jobs) enum AtOnce {
    /// There is nothing, and it does not wait.
    Nothing(PendingAnswer),
    /// There is nothing yet.
    Wait(Wait),
    /// Something may be there since the generation that is told.
    Look(u64),
}

impl Jobs {
    /// Claims a job, or hears of cancels; waits for one of the two as long as the poll says. After
    /// each wait `caller`'s token is looked at anew: one that was revoked meanwhile must not bring
    /// its holder a job.
    pub(in crate::jobs) async fn poll(
        &self,
        asked: &Asked<'_>,
        token_id: String,
        caller: &NodeStanding,
        waiting: &Waiting,
    ) -> Result<PendingAnswer, ApiError> {
        let signal = self.hub.node(asked.node_id);
        let deadline = waiting.deadline_from_before();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + asked.wait);
        let (poller, poll) = (asked.poller(), asked.by(token_id));
        loop {
            let standing = self.nodes.presence.standing(
                &poll.node_id,
                poll.instance.as_deref(),
                poll.process.as_deref(),
            );
            let mut poll = poll.clone();
            match standing {
                Standing::Settled => {}
                // Its next poll is the sign of life that decides.
                Standing::Challenged => return Ok(self.nothing()),
                Standing::Unproven => poll.wants_job = false,
                Standing::Second => {
                    return Ok(PendingAnswer {
                        new_instance: true,
                        ..self.nothing()
                    });
                }
            }
            match self.at_once(&signal, &poll.node_id, poller, deadline) {
                AtOnce::Nothing(nothing) => return Ok(nothing),
                AtOnce::Wait(wait) => {
                    waiting.over(wait).await;
                    caller.holds().await?;
                }
                AtOnce::Look(generation) => {
                    // Apart from what waits, which is to be small.
                    let (answer, is_held) = Box::pin(self.look(&poll)).await?;
                    if answer.job.is_some() || !answer.cancel.is_empty() {
                        return Ok(answer);
                    }
                    if is_held || standing == Standing::Unproven {
                        // Time alone changes this, of which no generation tells: the next poll
                        // reads again.
                        let until = deadline.min(Instant::now() + HELD_WAIT);
                        tokio::time::sleep_until(until).await;
                        return Ok(answer);
                    }
                    self.polls.found_nothing(&poll.node_id, poller, generation);
                    // What changed since is the next poll's.
                    if Instant::now() >= deadline {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// What can be said of a poll at once; it is the same call until `deadline`.
    pub(in crate::jobs) fn poll_at_once(
        &self,
        asked: &Asked<'_>,
        deadline: Option<Instant>,
    ) -> AtOnce {
        let signal = self.hub.node(asked.node_id);
        let deadline = deadline.unwrap_or_else(|| Instant::now() + asked.wait);
        self.at_once(&signal, asked.node_id, asked.poller(), deadline)
    }

    fn at_once(
        &self,
        signal: &Arc<NodeSignal>,
        node_id: &str,
        poller: u64,
        deadline: Instant,
    ) -> AtOnce {
        // Before the look that it may lead to: a change that comes in between is then seen next
        // time.
        let generation = signal.generation();
        if self.polls.may_find(node_id, poller, generation) {
            return AtOnce::Look(generation);
        }
        if *self.stopping.borrow() || Instant::now() >= deadline {
            return AtOnce::Nothing(self.nothing());
        }
        let (signal, jobs) = (Arc::clone(signal), self.clone());
        let wake = Box::pin(async move {
            tokio::select! {
                () = signal.changed_since(generation) => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = jobs.stopped() => {}
            }
        });
        AtOnce::Wait(Wait { deadline, wake })
    }

    fn nothing(&self) -> PendingAnswer {
        PendingAnswer {
            job: None,
            cancel: Vec::new(),
            lease_seconds: self.limits.lease_seconds,
            new_instance: false,
        }
    }

    /// Also whether a claim is held back that may still be another process's.
    async fn look(&self, poll: &Poll) -> Result<(PendingAnswer, bool), JobError> {
        let mut answer = self.nothing();
        let asked = poll.clone();
        let turn = self.polls.turn().await.map_err(JobError::from)?;
        let presence = Arc::clone(&self.nodes.presence);
        if !poll.wants_job {
            let (cancel, strays) = self
                .store
                .read(move |tx| {
                    let own = own(tx, &asked)?;
                    Ok::<_, JobError>((cancels(&own), strays(tx, &asked, &own)?))
                })
                .await?;
            answer.cancel = cancel;
            if !strays.is_empty() {
                let node_id = poll.node_id.clone();
                self.store
                    .write(move |tx| record(tx, &node_id, &strays))
                    .await?;
            }
            return Ok((answer, false));
        }
        let work = self
            .store
            .write(move |tx| find_work(tx, &asked, &presence))
            .await?;
        drop(turn);
        answer.cancel = work.cancel;
        if let Some(found) = work.found {
            answer.job = self.open(found).await?;
        }
        Ok((answer, work.is_held))
    }

    /// Checks the script against its digest and unseals the job's secrets. A job that fails either
    /// check ends here, and the poller reads again.
    pub(in crate::jobs) async fn open(&self, found: Found) -> Result<Option<ClaimedJob>, JobError> {
        let Found { job, again } = found;
        if !again {
            self.metrics.claimed(job.created_at, job.started_at);
        }
        if script_sha256(&job.script) != job.script_sha256 {
            tracing::error!(job = %job.id, "{SCRIPT_CHANGED}");
            return self.refuse_claimed(job.id, SCRIPT_CHANGED.to_owned()).await;
        }
        let secrets = match job
            .sealed
            .map(|sealed| self.0.key.unseal(&job.id, &sealed))
            .transpose()
        {
            Ok(secrets) => secrets.unwrap_or_default(),
            Err(reason) => return self.refuse_claimed(job.id, reason.to_string()).await,
        };
        Ok(Some(ClaimedJob {
            id: job.id,
            preset: job.preset,
            script: job.script,
            script_sha256: job.script_sha256,
            timeout_seconds: job.timeout_seconds,
            created_at: job.created_at.to_string(),
            secrets,
        }))
    }

    /// Ends a claimed job that must not be handed out.
    async fn refuse_claimed(
        &self,
        id: String,
        reason: String,
    ) -> Result<Option<ClaimedJob>, JobError> {
        let failed = self
            .store
            .write(move |tx| fail_claimed(tx, &id, &reason))
            .await?;
        self.metrics.finished(&failed);
        Ok(None)
    }
}

/// A job for the poller.
pub(in crate::jobs) struct Found {
    job: Claimed,
    /// It was claimed before, by the same agent instance.
    again: bool,
}

/// What an agent would have asked for by a poll, right after the end of the only job that it had.
pub(in crate::jobs) struct NextPoll(Poll);

impl NextPoll {
    /// None without an instance: should the answer get lost, nobody could tell that the job never
    /// arrived.
    pub(in crate::jobs) fn of(
        node: &NodeIdentity,
        instance: Option<&str>,
        process: Option<&str>,
    ) -> Option<Self> {
        let instance = instance?;
        Some(Self(Poll {
            node_id: node.node_id.clone(),
            token_id: node.token_id.clone(),
            instance: Some(instance.to_owned()),
            process: process.map(str::to_owned),
            wants_job: true,
            running: Vec::new(),
        }))
    }

    /// In the transaction that ended that job, and after its end.
    pub(in crate::jobs) fn find_work(
        &self,
        tx: &mut dyn Tx,
        presence: &Presence,
    ) -> Result<Option<Found>, JobError> {
        match find_work(tx, &self.0, presence) {
            Ok(work) => Ok(work.found),
            // The end is told all the same.
            Err(JobError::TokenGone) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn find_work(tx: &mut dyn Tx, poll: &Poll, presence: &Presence) -> Result<Work, JobError> {
    let own = own(tx, poll)?;
    let cancel = cancels(&own);
    let strays = strays(tx, poll, &own)?;
    record(tx, &poll.node_id, &strays)?;
    let mut work = Work {
        found: None,
        cancel,
        is_held: false,
    };
    for lost in own.iter().filter(|job| is_undelivered(job, poll)) {
        if !may_deliver_again(lost, poll, presence) {
            work.is_held = true;
            continue;
        }
        let job = claim::again(tx, &lost.id)?.ok_or(JobError::NotFound)?;
        work.found = Some(Found { job, again: true });
        return Ok(work);
    }
    let claimer = (poll.instance.as_deref(), poll.process.as_deref());
    let Some(job) = claim::next(tx, &poll.node_id, claimer, clock::now())? else {
        return Ok(work);
    };
    tx.note(Change::Job {
        id: job.id.clone(),
        node_id: poll.node_id.clone(),
    });
    work.found = Some(Found { job, again: false });
    Ok(work)
}

/// What there is for a poller.
struct Work {
    found: Option<Found>,
    cancel: Vec<String>,
    /// A claim is held back that may still be another process's.
    is_held: bool,
}

/// Jobs whose script runs on, or no longer does, although they have ended here.
type Strays = Vec<(String, bool)>;

/// What the poller's list of running jobs says that is not recorded yet.
fn strays(tx: &mut dyn Tx, poll: &Poll, own: &[OwnJob]) -> Result<Strays, JobError> {
    let Some(instance) = poll.instance.as_deref() else {
        return Ok(Vec::new());
    };
    let mut strays: Strays = own
        .iter()
        .filter(|job| job.still_running && !poll.running.contains(&job.id))
        .map(|job| (job.id.clone(), false))
        .collect();
    let unknown = poll
        .running
        .iter()
        .filter(|id| !own.iter().any(|job| job.id == **id));
    for id in unknown.take(STRAYS_MAX) {
        if claim::is_stray(tx, id, (&poll.node_id, instance))? {
            strays.push((id.clone(), true));
        }
    }
    Ok(strays)
}

fn record(tx: &mut dyn Tx, node_id: &str, strays: &Strays) -> Result<(), JobError> {
    for (id, still_running) in strays {
        job::set_still_running(tx, id, *still_running)?;
        tx.note(Change::Job {
            id: id.clone(),
            node_id: node_id.to_owned(),
        });
    }
    Ok(())
}

/// What the poller runs: its own alone, as what others run on the node is no concern of it, and may
/// be much. Right before the claim: a revocation that came first leaves nothing to hand out,
/// however close it was.
fn own(tx: &mut dyn Tx, poll: &Poll) -> Result<Vec<OwnJob>, JobError> {
    let own = claim::own(tx, &poll.token_id, &poll.node_id, poll.instance.as_deref())?;
    own.ok_or(JobError::TokenGone)
}

/// A claim whose answer got lost: of the poller's own jobs, one that it does not know. Without an
/// instance nobody can tell.
fn is_undelivered(job: &OwnJob, poll: &Poll) -> bool {
    poll.instance.is_some() && !job.still_running && !poll.running.contains(&job.id)
}

/// Whether no other live process of the poller's instance can have got that claim.
fn may_deliver_again(job: &OwnJob, poll: &Poll, presence: &Presence) -> bool {
    match (&poll.instance, &job.claimed_process, &poll.process) {
        (Some(instance), Some(claimer), Some(poller)) => {
            presence.may_take_from(&poll.node_id, instance, claimer, poller)
        }
        // An agent that sends none, now or at the claim.
        _ => true,
    }
}

/// The poller's own jobs whose cancel was asked for.
fn cancels(own: &[OwnJob]) -> Vec<String> {
    own.iter()
        .filter(|job| job.cancel_requested_at.is_some())
        .map(|job| job.id.clone())
        .collect()
}
