//! Claim: QUEUED → RUNNING for exactly one caller, by a poll or together with the end of the
//! agent's last job. A claim whose answer got lost is delivered again to the same agent instance.

use hyprbox_protocol::{ClaimedJob, FailureReason, Refusal, SignKeyChange, to_hex};
use hyprbox_signing::SignedKeyChange;

use crate::auth::NodeIdentity;
use crate::clock::{self, Timestamp};
use crate::jobs::life::finish::fail_claimed;
use crate::jobs::{JobError, Jobs};
use crate::nodes::{Presence, Standing};
use crate::presets::script_sha256;
use crate::store::claim::{self, ClaimRecord, Claimant, OwnJob, OwnWork};
use crate::store::id::{JobId, NodeId, TokenId};
use crate::store::job;
use crate::store::{Change, Tx, standing_envelope};

/// The most jobs of one poll that are read because they are not known to run.
const STRAYS_MAX: usize = 16;
/// An agent's question for work and cancels, as the database is queried for it.
#[derive(Debug, Clone)]
pub(super) struct WorkQuery {
    pub(super) node_id: String,
    /// The token that authenticated the poll. It must still be valid when a job is claimed.
    pub(super) token_id: String,
    pub(super) instance: Option<String>,
    pub(super) process: Option<String>,
    pub(super) wants_job: bool,
    pub(super) running: Vec<String>,
}

impl Jobs {
    /// Checks the script against its digest and decrypts the job's secrets. A job that fails either
    /// check is failed, and the poller queries again.
    pub(in crate::jobs) async fn open(
        &self,
        delivery: Delivery,
        node_id: &str,
    ) -> Result<Option<ClaimedJob>, JobError> {
        let Delivery { job, is_repeated } = delivery;
        if !is_repeated {
            self.milestones.started(&job, node_id);
        }
        // An agent from before jobs were signed would run a row that somebody wrote.
        if job.envelope.is_none() || job.signature.is_none() {
            let reason = FailureReason::UNSIGNED.to_owned();
            return self
                .refuse_claimed(job.id, reason, Some(Refusal::Unsigned))
                .await;
        }
        if script_sha256(&job.script) != job.script_sha256 {
            let reason = FailureReason::SCRIPT_CHANGED.to_owned();
            return self
                .refuse_claimed(job.id, reason, Some(Refusal::Script))
                .await;
        }
        let unsealed = job
            .sealed
            .map(|sealed| self.0.key.unseal(&job.id, &sealed))
            .transpose();
        let (secrets, nonce) = match unsealed {
            Ok(unsealed) => unsealed.unwrap_or_default(),
            Err(reason) => {
                return self.refuse_claimed(job.id, reason.to_string(), None).await;
            }
        };
        let standing = match job.standing_id {
            Some(id) => {
                let find = move |tx: &mut dyn Tx| standing_envelope::find(tx, &id);
                self.store.read(find).await?
            }
            None => None,
        };
        let (standing_envelope, standing_signature) = standing
            .map(|standing| (standing.envelope, standing.signature))
            .unzip();
        let signer = self.nodes.signer.current().await?;
        Ok(Some(ClaimedJob {
            id: job.id,
            preset: job.preset,
            script: job.script,
            script_sha256: job.script_sha256,
            timeout_seconds: job.timeout_seconds,
            created_at: job.created_at.to_string(),
            secrets,
            secrets_nonce: nonce.map(to_hex),
            envelope: job.envelope,
            signature: job.signature,
            person_signature: job.person_signature,
            standing_envelope,
            standing_signature,
            sign_key_changes: signer.changes().iter().map(sent).collect(),
            // Without an archive the server keeps the end of each stream.
            keep_output: false,
        }))
    }

    /// Reads the poller's cancels and confirmations and records its strays, without claiming a job.
    pub(super) async fn read_requests(&self, query: WorkQuery) -> Result<Work, JobError> {
        let node_id = query.node_id.clone();
        let presence = std::sync::Arc::clone(&self.nodes.presence);
        let (work, strays) = self
            .store
            .read(move |tx| {
                let own = own(tx, &query)?.jobs;
                let strays = strays(tx, &query, &own)?;
                Ok::<_, JobError>((Work::without_job(&query, &own, &presence), strays))
            })
            .await?;
        if !strays.is_empty() {
            self.store
                .write(move |tx| record_strays(tx, &node_id, &strays))
                .await?;
        }
        Ok(work)
    }

    /// Fails a claimed job that must not be delivered to its agent.
    async fn refuse_claimed(
        &self,
        id: String,
        reason: String,
        refusal: Option<Refusal>,
    ) -> Result<Option<ClaimedJob>, JobError> {
        tracing::error!(job = %id, "{reason}");
        let runs = self.run_advance();
        self.store
            .write(move |tx| fail_claimed(tx, &runs, &id, &reason, refusal))
            .await?;
        Ok(None)
    }
}

fn sent(change: &SignedKeyChange) -> SignKeyChange {
    SignKeyChange {
        statement: change.statement.clone(),
        signature: change.signature.clone(),
    }
}

/// A claimed job on its way to the poller.
pub(in crate::jobs) struct Delivery {
    job: ClaimRecord,
    /// The same agent instance claimed the job before, and the answer got lost.
    is_repeated: bool,
}

/// A claim that replaces the poll that an agent would make after the end of its only job.
pub(in crate::jobs) struct FollowUpClaim(WorkQuery);

impl FollowUpClaim {
    /// `None` without an instance: if the answer got lost, the server could not detect that the job
    /// never arrived.
    pub(in crate::jobs) fn of(
        node: &NodeIdentity,
        instance: Option<&str>,
        process: Option<&str>,
    ) -> Option<Self> {
        let instance = instance?;
        Some(Self(WorkQuery {
            node_id: node.node_id.clone(),
            token_id: node.token_id.clone(),
            instance: Some(instance.to_owned()),
            process: process.map(str::to_owned),
            wants_job: true,
            running: Vec::new(),
        }))
    }

    /// Claims a job, in the transaction that has ended the agent's last job.
    pub(in crate::jobs) fn find_work(
        &self,
        tx: &mut dyn Tx,
        presence: &Presence,
    ) -> Result<Option<Delivery>, JobError> {
        match find_work(tx, &self.0, presence) {
            Ok(work) => Ok(work.delivery),
            // The end of the last job is still committed.
            Err(JobError::TokenGone) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads cancels, records strays and claims a job.
pub(super) fn find_work(
    tx: &mut dyn Tx,
    poll: &WorkQuery,
    presence: &Presence,
) -> Result<Work, JobError> {
    let OwnWork {
        jobs: own,
        is_paused,
    } = own(tx, poll)?;
    let strays = strays(tx, poll, &own)?;
    record_strays(tx, &poll.node_id, &strays)?;
    let mut work = Work::without_job(poll, &own, presence);
    for lost in own.iter().filter(|job| is_undelivered(job, poll)) {
        if !may_deliver_again(lost, poll, presence) {
            work.is_held = true;
            continue;
        }
        let job = claim::find(tx, &lost.id)?.ok_or(JobError::NotFound)?;
        work.delivery = Some(Delivery {
            job,
            is_repeated: true,
        });
        return Ok(work);
    }
    // Exact on SQLite, which has a single writer. On PostgreSQL the claim checks again, and this
    // saves it from a search through all jobs that wait for a paused node.
    if is_paused {
        return Ok(work);
    }
    let claimant = Claimant {
        node_id: &poll.node_id,
        instance: poll.instance.as_deref(),
        process: poll.process.as_deref(),
    };
    let Some(job) = claim::claim_next(tx, claimant, clock::now())? else {
        return Ok(work);
    };
    tx.publish(Change::Job {
        id: job.id.clone(),
        node_id: poll.node_id.clone(),
    });
    work.delivery = Some(Delivery {
        job,
        is_repeated: false,
    });
    Ok(work)
}

/// The result of a poll's query.
pub(super) struct Work {
    pub(super) delivery: Option<Delivery>,
    /// Jobs that the agent must cancel.
    pub(super) cancel: Vec<String>,
    /// Waiting jobs that somebody has confirmed.
    pub(super) confirm: Vec<String>,
    /// A claim is held back because another process may have received it, or the poller's process
    /// lists a job that another one claimed, which may still be alive.
    pub(super) is_held: bool,
}

impl Work {
    fn without_job(poll: &WorkQuery, own: &[OwnJob], presence: &Presence) -> Self {
        let is_listed = |job: &&OwnJob| poll.running.contains(&job.id);
        Self {
            delivery: None,
            cancel: requested(own, |job| job.cancel_requested_at),
            confirm: requested(own, |job| job.confirm_requested_at),
            is_held: own
                .iter()
                .filter(is_listed)
                .any(|job| !may_report(job, poll, presence)),
        }
    }
}

/// Jobs that have ended on the server, and whether their script still runs.
type Strays = Vec<(String, bool)>;

/// The jobs whose stray state differs from the poller's list of running jobs.
fn strays(tx: &mut dyn Tx, poll: &WorkQuery, own: &[OwnJob]) -> Result<Strays, JobError> {
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
        if claim::is_stray(tx, JobId(id), NodeId(&poll.node_id), instance)? {
            strays.push((id.clone(), true));
        }
    }
    Ok(strays)
}

fn record_strays(tx: &mut dyn Tx, node_id: &str, strays: &Strays) -> Result<(), JobError> {
    for (id, still_running) in strays {
        job::set_still_running(tx, id, *still_running)?;
        tx.publish(Change::Job {
            id: id.clone(),
            node_id: node_id.to_owned(),
        });
    }
    Ok(())
}

/// The jobs that the poller runs, without those of other agents on the node. Called right before
/// the claim: if the token was revoked first, nothing is claimed.
fn own(tx: &mut dyn Tx, poll: &WorkQuery) -> Result<OwnWork, JobError> {
    let (token_id, node_id) = (TokenId(&*poll.token_id), NodeId(&*poll.node_id));
    let own = claim::list_own(tx, token_id, node_id, poll.instance.as_deref())?;
    own.ok_or(JobError::TokenGone)
}

/// Whether the answer to the job's claim got lost: the job is the poller's, but the poller does not
/// list it. Unknown without an instance.
fn is_undelivered(job: &OwnJob, poll: &WorkQuery) -> bool {
    poll.instance.is_some() && !job.still_running && !poll.running.contains(&job.id)
}

/// Whether the poller's process may report on the job.
fn may_report(job: &OwnJob, poll: &WorkQuery, presence: &Presence) -> bool {
    match (&poll.instance, &job.claimed_process, &poll.process) {
        (Some(instance), Some(claimer), Some(poller)) => {
            presence.standing_for(&poll.node_id, instance, poller, claimer) == Standing::Settled
        }
        _ => true,
    }
}

/// Whether no other live process of the poller's instance can have received the claim.
fn may_deliver_again(job: &OwnJob, poll: &WorkQuery, presence: &Presence) -> bool {
    match (&poll.instance, &job.claimed_process, &poll.process) {
        (Some(instance), Some(claimer), Some(poller)) => {
            presence.may_take_from(&poll.node_id, instance, claimer, poller)
        }
        // The agent sent no process now or at the claim.
        _ => true,
    }
}

/// The poller's jobs for which something was requested.
fn requested(own: &[OwnJob], at: fn(&OwnJob) -> Option<Timestamp>) -> Vec<String> {
    own.iter()
        .filter(|job| at(job).is_some())
        .map(|job| job.id.clone())
        .collect()
}
