//! How a job ended, as the report to the server has it.

use hyprbox_protocol::{CompleteRequest, FailureReason, PerStream};

use crate::host;
use crate::spool::totals_on_disk;
use crate::state::job_dir::{EndedBy, Exit, JobDir, STARTED, StartMarker};
use crate::supervisor::process::end_processes_of;

/// How a job ended, as far as this node knows.
pub(super) enum JobEnd {
    /// As its supervisor recorded it.
    Recorded(Exit),
    /// The supervisor recorded nothing, for this reason.
    Lost(String),
}

impl JobEnd {
    /// Finds out why the exit record is missing, and ends the processes that the job left behind.
    pub(super) async fn lost(dir: &JobDir) -> Self {
        Self::Lost(why_lost(dir).await)
    }

    /// Whether the agent may take another job: not if the supervisor received SIGTERM, as at a
    /// shutdown of the machine.
    pub(super) fn allows_another_job(&self) -> bool {
        matches!(self, Self::Recorded(exit) if !exit.at_shutdown)
    }

    /// How many bytes the job wrote to each stream.
    pub(super) fn totals(&self, dir: &JobDir) -> PerStream<u64> {
        match self {
            JobEnd::Recorded(exit) => PerStream::new(exit.stdout_bytes, exit.stderr_bytes),
            JobEnd::Lost(_) => totals_on_disk(dir.path()).unwrap_or_default(),
        }
    }

    pub(super) fn report(&self, dir: &JobDir) -> CompleteRequest {
        let [stdout_bytes, stderr_bytes] = self.totals(dir).into_values();
        let totals = CompleteRequest {
            stdout_bytes: Some(stdout_bytes),
            stderr_bytes: Some(stderr_bytes),
            ..CompleteRequest::default()
        };
        match self {
            JobEnd::Lost(why) => CompleteRequest {
                error_msg: Some(why.clone()),
                ..totals
            },
            JobEnd::Recorded(exit) => {
                let rebooted = || {
                    let started: Option<StartMarker> = dir.read(STARTED);
                    started.is_some_and(|s| s.boot_id != host::boot_id())
                };
                let by_shutdown = exit.at_shutdown && exit.signal.is_some() && rebooted();
                CompleteRequest {
                    exit_code: exit.exit_code.map(i64::from),
                    signal: exit.signal.clone(),
                    error_msg: if by_shutdown && exit.ended_by == EndedBy::Itself {
                        Some(FailureReason::NODE_RESTARTED.to_owned())
                    } else {
                        exit.error_msg.clone()
                    },
                    cancelled: (exit.ended_by == EndedBy::Cancel).then_some(true),
                    timed_out: (exit.ended_by == EndedBy::Timeout).then_some(true),
                    ran_ms: exit.ran_ms,
                    stdout_sha256: exit.stdout_sha256.clone(),
                    stderr_sha256: exit.stderr_sha256.clone(),
                    ..totals
                }
            }
        }
    }
}

async fn why_lost(dir: &JobDir) -> String {
    let Some(started) = dir.read::<StartMarker>(STARTED) else {
        if dir.has(STARTED) {
            return "the job's start record can't be read; check the disk of the agent's state folder"
                .to_owned();
        }
        return "the job's supervisor could not start it; check the agent's state folder"
            .to_owned();
    };
    if started.boot_id != host::boot_id() {
        return FailureReason::NODE_RESTARTED.to_owned();
    }
    let id = dir.id().to_owned();
    let ended = tokio::task::spawn_blocking(move || end_processes_of(&id)).await;
    if let Err(e) = ended {
        tracing::error!("[jobrunner] a job's remaining processes can't be ended: {e}");
    }
    if dir.has("exit") {
        return "the job's exit record can't be read; check the disk of the agent's state folder"
            .to_owned();
    }
    "the job's supervisor was killed, or could not record how the script ended; the job's remaining processes were ended".to_owned()
}
