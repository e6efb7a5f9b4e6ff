//! Starts a claimed job, or reports to the server why it doesn't start.
//!
//! If the disk is full or read-only, the agent can't write the job to it and hands the job back: it
//! acts as if the answer with the claim had been lost. As the agent does not list the job as
//! running, the server sends the job again at a later poll, once the agent has room for it. It
//! also hands a job back if it can't read the list of jobs that have run here.

use std::sync::Arc;
use std::time::Duration;

use hyprbox_protocol::{ClaimedJob, CompleteRequest, FailureReason, Refusal, to_hex};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::Poller;
use crate::StateError;
use crate::job::script_env::script_env;
use crate::job::{self, Handover};
use crate::job_trust::Denial;
use crate::state::dir_pool::Acceptance;
use crate::state::job_dir::{Spec, is_job_id};
use crate::state::start_log::Start;
use crate::supervisor::handle::{PendingSync, Supervisor};

/// `errorMsg` of a job that has run before and arrives again after the agent has forgotten its end.
const ALREADY_RUN: &str = "this node has already run this job";

impl Poller<'_> {
    /// Starts a job that arrived in the answer to a call, which began at `called_at` and could wait
    /// for `wait_seconds`.
    pub(super) fn take_job(&mut self, job: &ClaimedJob, called_at: Instant, wait_seconds: u64) {
        if self.running.contains_key(&job.id) {
            tracing::warn!(
                "[jobrunner] job {} already runs here; its claim is ignored",
                job.id
            );
        } else if called_at.elapsed() >= Duration::from_secs(wait_seconds) + self.ctx.lease() {
            tracing::warn!(
                "[jobrunner] job {} arrived after its lease had expired and is ignored",
                job.id
            );
        } else {
            self.start_job(job);
        }
    }

    fn start_job(&mut self, job: &ClaimedJob) {
        if !is_job_id(&job.id) {
            tracing::error!(
                "[jobrunner] job {:?} is ignored: its id is not valid",
                job.id
            );
            return;
        }
        if let Some(end) = self.ctx.completions.find(&job.id) {
            tracing::warn!(
                "[jobrunner] job {} has already ended here: its end is reported again, and its script does not start",
                job.id
            );
            return self.complete_job(job.id.clone(), end);
        }
        match self.has_run(&job.id) {
            Ok(false) => {}
            Ok(true) => {
                let error = ALREADY_RUN.to_owned();
                return self.refuse_job(job.id.clone(), error, Some(Refusal::Replayed));
            }
            Err(e) => return self.hand_back(job, e.to_string()),
        }
        match self.trust.check(job, self.ctx.run_memory.forgotten_ms()) {
            Ok(()) => {}
            Err(Denial::Refused(reason, because)) => {
                let error = format!("{}{because}", FailureReason::REFUSED);
                return self.refuse_job(job.id.clone(), error, Some(reason));
            }
            Err(Denial::Problem(problem)) => return self.hand_back(job, problem),
        }
        if !is_intact(job) {
            let error = "refused: the script was changed on its way to the node and was not started: its SHA-256 is not the job's scriptSha256";
            return self.refuse_job(job.id.clone(), error.to_owned(), Some(Refusal::Script));
        }
        let spec = Spec {
            id: job.id.clone(),
            preset: job.preset.clone(),
            timeout_seconds: job.timeout_seconds,
            env: script_env(self.config, &job.id),
            boot_id: self.boot_id.clone(),
            spool_max: job.keep_output.then_some(self.config.spool_max),
        };
        // First, so that the disk syncs while the next steps run.
        let pending_sync = self.record_start(&spec);
        let started = match self.ctx.dir_pool.accept(job, &spec) {
            Ok(Acceptance::New(dir)) => {
                Supervisor::start(&dir, &job.secrets, self.ahead.take(), pending_sync)
                    .map(|supervisor| (dir, supervisor))
                    .map_err(|e| format!("the job's supervisor can't be started: {e}"))
            }
            Ok(Acceptance::StartedBefore) => {
                tracing::warn!(
                    "[jobrunner] job {} has started before and never starts again",
                    job.id
                );
                return;
            }
            Err(e) => {
                self.state.start_log().forget(&job.id);
                return self.hand_back(job, e.to_string());
            }
        };
        match started {
            Ok((dir, supervisor)) => {
                tracing::info!("[jobrunner] job {}: {} started", job.id, job.preset);
                self.handed_back = None;
                self.follow(dir, Some(supervisor));
            }
            Err(error) => {
                self.state.start_log().forget(&job.id);
                self.refuse_job(job.id.clone(), error, None);
            }
        }
    }

    /// Whether the job has run here before.
    pub(super) fn has_run(&self, id: &str) -> Result<bool, StateError> {
        let ran = self.ctx.run_memory.contains(id);
        ran.map_err(StateError::io(&self.config.state_dir))
    }

    /// Records the job's start on behalf of the supervisor that was started in advance. If there is
    /// none, or this fails, the job's supervisor records the start.
    fn record_start(&self, spec: &Spec) -> Option<PendingSync> {
        self.ahead.as_ref()?;
        let log = self.state.start_log();
        let file = log.record(&Start::of(spec)).ok()?;
        Some(PendingSync::begin(file))
    }

    fn hand_back(&mut self, job: &ClaimedJob, problem: String) {
        tracing::warn!("[jobrunner] job {} waits: {problem}", job.id);
        self.room_bytes = job.script.len();
        self.handed_back = Some(job.id.clone());
        self.set_problem(Some(problem));
    }

    /// Reports the end of a job that has not started and whose cancel the server requested.
    pub(super) fn complete_cancelled(&mut self, id: String) {
        let cancelled = || CompleteRequest {
            cancelled: Some(true),
            stdout_bytes: Some(0),
            stderr_bytes: Some(0),
            ..CompleteRequest::default()
        };
        let end = self.ctx.completions.find(&id);
        self.complete_job(id, end.unwrap_or_else(cancelled));
    }

    /// Reports that a job's script did not start.
    fn refuse_job(&mut self, id: String, error: String, refused: Option<Refusal>) {
        tracing::error!("[jobrunner] job {id}: {error}");
        let end = CompleteRequest {
            error_msg: Some(error),
            refused: refused.map(|reason| reason.as_str().to_owned()),
            stdout_bytes: Some(0),
            stderr_bytes: Some(0),
            ..CompleteRequest::default()
        };
        self.complete_job(id, end);
    }

    /// Reports the end of a job that has no directory here.
    fn complete_job(&mut self, id: String, end: CompleteRequest) {
        self.running.insert(id.clone(), None);
        let ctx = Arc::clone(&self.ctx);
        self.jobs.spawn(async move {
            job::complete(&ctx, &id, &end).await;
            (id, Handover::default())
        });
    }
}

/// Whether the script matches the job's digest. A server that sends no digest is trusted.
fn is_intact(job: &ClaimedJob) -> bool {
    job.script_sha256.is_empty()
        || job.script_sha256 == to_hex(digest(&SHA256, job.script.as_bytes()))
}
