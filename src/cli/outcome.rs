//! The state of a job in words, and its end as an exit code.

use hyprbox_protocol::FailureReason;

use super::error::exit;
use super::paint::Paint;
use super::table::Cell;
use crate::jobs::{DoneEvent, JobView};
use crate::store::job::JobStatus;

impl DoneEvent {
    /// This program's exit code.
    pub(super) fn process_exit_code(&self) -> u8 {
        match self.status {
            JobStatus::Succeeded => 0,
            JobStatus::Cancelled => exit::CANCELLED,
            // The job has not ended.
            JobStatus::Queued | JobStatus::Running => exit::FAILED,
            JobStatus::Failed => self.exit_code_of_failure(),
        }
    }

    fn exit_code_of_failure(&self) -> u8 {
        use FailureReason::{
            AgentDisappeared, Killed, NodeRestarted, NotConfirmed, Refused, SecretsSealed,
            TimedOut, UndoFailed,
        };
        match self.error_msg.as_deref().and_then(FailureReason::parse) {
            Some(TimedOut) => return exit::TIMED_OUT,
            Some(AgentDisappeared | NodeRestarted | Killed) => return exit::KILLED,
            Some(SecretsSealed | Refused | NotConfirmed | UndoFailed) | None => {}
        }
        // An errorMsg makes a job FAILED, whatever its code.
        self.exit_code
            .and_then(|code| u8::try_from(code).ok())
            .filter(|code| *code != 0)
            .unwrap_or(1)
    }

    /// How a job of a list has ended.
    pub(super) fn of(job: &JobView) -> Self {
        Self {
            status: job.status,
            exit_code: job.exit_code,
            error_msg: job.error_msg.clone(),
            finished_at: job.finished_at,
        }
    }

    /// `FAILED (exit code 3)`
    pub(super) fn describe(&self) -> String {
        let why = self.reason();
        match why.is_empty() {
            true => self.status.to_string(),
            false => format!("{} ({why})", self.status),
        }
    }

    /// `exit code 3`
    pub(super) fn reason(&self) -> String {
        let mut why = Vec::new();
        if let Some(words) = &self.error_msg {
            why.push(words.clone());
        }
        if let Some(code) = self.exit_code.filter(|code| *code != 0) {
            why.push(format!("exit code {code}"));
        }
        why.join(", ")
    }
}

/// The job's state as a cell of a table.
pub(super) fn status(job: &JobView) -> Cell {
    Cell::painted(status_words(job), Paint::of_status(job.status))
}

/// `RUNNING, cancelling`
pub(super) fn status_words(job: &JobView) -> String {
    match (job.status, job.cancel_requested_at) {
        (JobStatus::Running, Some(_)) => "RUNNING, cancelling".to_owned(),
        (JobStatus::Running, None) if job.confirm_by.is_some() => "RUNNING, to confirm".to_owned(),
        (JobStatus::Queued, _) if !job.holds.is_empty() => "QUEUED, held".to_owned(),
        (status, _) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_code_and_words() {
        use JobStatus::{Cancelled, Failed, Succeeded};
        for (status, exit_code, error_msg, code, words) in [
            (Succeeded, Some(0), None, 0, "SUCCEEDED"),
            (Failed, Some(3), None, 3, "FAILED (exit code 3)"),
            (Failed, Some(255), None, 255, "FAILED (exit code 255)"),
            (
                Failed,
                None,
                Some("timed out after 600 s"),
                124,
                "FAILED (timed out after 600 s)",
            ),
            (
                Failed,
                None,
                Some("agent disappeared"),
                137,
                "FAILED (agent disappeared)",
            ),
            (
                Failed,
                None,
                Some("killed by SIGKILL"),
                137,
                "FAILED (killed by SIGKILL)",
            ),
            (
                Failed,
                None,
                Some("node restarted while the job was running"),
                137,
                "FAILED (node restarted while the job was running)",
            ),
            (
                Failed,
                Some(-1),
                Some("bash failed to start"),
                1,
                "FAILED (bash failed to start, exit code -1)",
            ),
            (Failed, Some(0), Some("odd"), 1, "FAILED (odd)"),
            (Failed, None, None, 1, "FAILED"),
            (Cancelled, None, None, 143, "CANCELLED"),
        ] {
            let done = DoneEvent {
                status,
                exit_code,
                error_msg: error_msg.map(str::to_owned),
                finished_at: None,
            };
            assert_eq!(
                (done.process_exit_code(), done.describe().as_str()),
                (code, words)
            );
        }
    }
}
