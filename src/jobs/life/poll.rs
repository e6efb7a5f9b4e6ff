//! An agent's poll: answers from memory if nothing has changed since the poller last found nothing,
//! waits for a change, or queries the database for work and cancels.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyprbox_protocol::PendingAnswer;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::auth::NodeStanding;
use crate::http::{ApiError, Wait, Waiter};
use crate::hub::NodeSignal;
use crate::jobs::life::claim::{WorkQuery, find_work};
use crate::jobs::{JobError, Jobs};
use crate::nodes::Standing;
use crate::store::StoreError;

/// Pollers remembered per node.
const POLLERS_MAX: usize = 64;
/// Polls that query the database at the same time. After another program's write all agents query
/// again. Ten thousand of them must wait for their turn, without being refused and without keeping
/// people's writes out, so this is far less than the length of the database's queue.
const QUERIES_AT_ONCE: usize = 256;
/// How long a poll stays open if only the passing of time can change its result.
const HELD_WAIT: Duration = Duration::from_secs(1);
/// How long a poll waits for its turn to query.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// The query parameters of a poll.
#[derive(Debug)]
pub(in crate::jobs) struct PollRequest<'q> {
    /// The node's id.
    pub node_id: &'q str,
    /// The agent instance; the simplest agents send none.
    pub instance: Option<&'q str>,
    /// The process that polls; older agents send none.
    pub process: Option<&'q str>,
    /// Whether the agent has room for a job.
    pub wants_job: bool,
    /// Jobs that the agent has started and whose completion was not acknowledged.
    pub running: Vec<&'q str>,
    /// How long the call may stay open.
    pub wait: Duration,
}

/// For each node and poller, the node's generation at which it last found nothing. Until the
/// generation changes, the poller's polls need no query.
#[derive(Debug)]
pub(in crate::jobs) struct PollTracker {
    found_nothing: Mutex<HashMap<String, HashMap<u64, u64>>>,
    turns: Semaphore,
}

impl Default for PollTracker {
    fn default() -> Self {
        Self {
            found_nothing: Mutex::default(),
            turns: Semaphore::new(QUERIES_AT_ONCE),
        }
    }
}

impl PollTracker {
    fn nodes(&self) -> MutexGuard<'_, HashMap<String, HashMap<u64, u64>>> {
        crate::sync::lock(&self.found_nothing)
    }

    /// Waits for a turn to query the database.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        turn.map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Stopping)
    }

    fn record_nothing(&self, node_id: &str, poller: u64, generation: u64) {
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

    /// Forgets a deleted node.
    pub(in crate::jobs) fn forget(&self, node_id: &str) {
        self.nodes().remove(node_id);
    }
}

impl PollRequest<'_> {
    /// A number that polls of a node with equal parameters share.
    fn poller(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.instance, &self.process, self.wants_job, &self.running).hash(&mut hasher);
        hasher.finish()
    }

    fn query(&self, token_id: String) -> WorkQuery {
        WorkQuery {
            node_id: self.node_id.to_owned(),
            token_id,
            instance: self.instance.map(str::to_owned),
            process: self.process.map(str::to_owned),
            wants_job: self.wants_job,
            running: self.running.iter().copied().map(str::to_owned).collect(),
        }
    }
}

/// How to proceed with a poll, decided without the database.
pub(in crate::jobs) enum PollDecision {
    /// Answer that there is nothing: the poll's time is over.
    AnswerEmpty(Box<PendingAnswer>),
    /// Wait for a change.
    Wait(Wait),
    /// Query the database: something may have changed up to this generation.
    Query(u64),
}

impl Jobs {
    /// Claims a job or reads cancels, and waits for either as long as the request allows. After
    /// each wait `caller`'s token is checked again, so that a token that was revoked meanwhile
    /// brings its holder no job.
    pub(in crate::jobs) async fn poll(
        &self,
        request: &PollRequest<'_>,
        token_id: String,
        caller: &NodeStanding,
        waiter: &Waiter,
    ) -> Result<PendingAnswer, ApiError> {
        let signal = self.hub.node(request.node_id);
        let deadline = waiter.resumed_deadline();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + request.wait);
        let (poller, query) = (request.poller(), request.query(token_id));
        loop {
            let standing = self.nodes.presence.standing(
                &query.node_id,
                query.instance.as_deref(),
                query.process.as_deref(),
            );
            let mut query = query.clone();
            match standing {
                Standing::Settled => {}
                // The process's next poll is the sign of life that decides.
                Standing::Challenged => return Ok(self.empty_answer()),
                Standing::Unproven => query.wants_job = false,
                Standing::Second => {
                    let mut answer = self.empty_answer();
                    answer.new_instance = true;
                    if !query.running.is_empty() {
                        // It may still run a job that it claimed as the only process.
                        let work = self.read_requests(query).await?;
                        (answer.cancel, answer.confirm) = (work.cancel, work.confirm);
                    }
                    return Ok(answer);
                }
            }
            match self.decide(&signal, &query.node_id, poller, deadline) {
                PollDecision::AnswerEmpty(answer) => return Ok(*answer),
                PollDecision::Wait(wait) => {
                    waiter.wait(wait).await;
                    caller.holds().await?;
                }
                PollDecision::Query(generation) => {
                    // Boxed, to keep the future of a waiting poll small.
                    let (mut answer, is_held) = Box::pin(self.query_work(&query)).await?;
                    answer.unproven = is_held || standing == Standing::Unproven;
                    let has_request = !answer.cancel.is_empty() || !answer.confirm.is_empty();
                    if answer.job.is_some() || has_request {
                        return Ok(answer);
                    }
                    if answer.unproven {
                        // Only time changes this, which moves no generation, so the next poll
                        // queries again.
                        let until = deadline.min(Instant::now() + HELD_WAIT);
                        tokio::time::sleep_until(until).await;
                        return Ok(answer);
                    }
                    self.polls
                        .record_nothing(&query.node_id, poller, generation);
                    // Changes after this point are left to the next poll.
                    if Instant::now() >= deadline {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Decides how to proceed with a poll, without the database. A resumed poll passes its
    /// `deadline`.
    pub(in crate::jobs) fn decide_poll(
        &self,
        request: &PollRequest<'_>,
        deadline: Option<Instant>,
    ) -> PollDecision {
        let signal = self.hub.node(request.node_id);
        let deadline = deadline.unwrap_or_else(|| Instant::now() + request.wait);
        self.decide(&signal, request.node_id, request.poller(), deadline)
    }

    fn decide(
        &self,
        signal: &Arc<NodeSignal>,
        node_id: &str,
        poller: u64,
        deadline: Instant,
    ) -> PollDecision {
        // Read before a query that may follow, so that a change in between is found next time.
        let generation = signal.generation();
        if self.polls.may_find(node_id, poller, generation) {
            return PollDecision::Query(generation);
        }
        if *self.stopping.borrow() || Instant::now() >= deadline {
            return PollDecision::AnswerEmpty(Box::new(self.empty_answer()));
        }
        let (signal, jobs) = (Arc::clone(signal), self.clone());
        let wake = Box::pin(async move {
            tokio::select! {
                () = signal.changed_since(generation) => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = jobs.stopped() => {}
            }
        });
        PollDecision::Wait(Wait { deadline, wake })
    }

    fn empty_answer(&self) -> PendingAnswer {
        PendingAnswer {
            job: None,
            cancel: Vec::new(),
            confirm: Vec::new(),
            lease_seconds: self.limits.lease_seconds,
            new_instance: false,
            unproven: false,
        }
    }

    /// Queries the database for cancels and, if the agent has room, a job. The flag is
    /// [`Work::is_held`](super::claim::Work::is_held).
    async fn query_work(&self, query: &WorkQuery) -> Result<(PendingAnswer, bool), JobError> {
        let mut answer = self.empty_answer();
        let owned = query.clone();
        let turn = self.polls.turn().await.map_err(JobError::from)?;
        let presence = Arc::clone(&self.nodes.presence);
        if !query.wants_job {
            let work = self.read_requests(owned).await?;
            (answer.cancel, answer.confirm) = (work.cancel, work.confirm);
            return Ok((answer, work.is_held));
        }
        let work = self
            .store
            .write(move |tx| find_work(tx, &owned, &presence))
            .await?;
        drop(turn);
        (answer.cancel, answer.confirm) = (work.cancel, work.confirm);
        if let Some(delivery) = work.delivery {
            answer.job = self.open(delivery, &query.node_id).await?;
        }
        Ok((answer, work.is_held))
    }
}
