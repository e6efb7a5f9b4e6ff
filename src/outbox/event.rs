//! The kinds of events.

use serde::{Deserialize, Serialize};

/// An event that a rule may name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A job has failed or expired.
    JobFailed,
    /// The first success of a preset on a node after a failure.
    JobRecovered,
    /// A job's agent has disappeared.
    JobLost,
    /// A run has succeeded, or was cancelled.
    RunFinished,
    /// A run has failed.
    RunFailed,
    /// A due time of a schedule made no run.
    ScheduleMissed,
    /// A node has given no sign of life for a while.
    NodeOffline,
    /// A node is back after `node_offline`.
    NodeOnline,
    /// A check has found that steps of a preset are no longer done.
    DriftFound,
    /// A job or run waits for a person's signature.
    WaitsForSignature,
    /// A scheduled backup has failed.
    BackupFailed,
    /// The history has been changed by hand.
    HistoryAltered,
}

impl EventKind {
    /// The name in the API and in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobFailed => "job_failed",
            Self::JobRecovered => "job_recovered",
            Self::JobLost => "job_lost",
            Self::RunFinished => "run_finished",
            Self::RunFailed => "run_failed",
            Self::ScheduleMissed => "schedule_missed",
            Self::NodeOffline => "node_offline",
            Self::NodeOnline => "node_online",
            Self::DriftFound => "drift_found",
            Self::WaitsForSignature => "waits_for_signature",
            Self::BackupFailed => "backup_failed",
            Self::HistoryAltered => "history_altered",
        }
    }

    /// The name in a webhook's `type`: the first `_` is a dot.
    pub fn type_name(self) -> String {
        self.as_str().replacen('_', ".", 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_has_a_dot_in_place_of_the_first_underscore() {
        assert_eq!(EventKind::JobFailed.type_name(), "job.failed");
        assert_eq!(
            EventKind::WaitsForSignature.type_name(),
            "waits.for_signature"
        );
        let json = serde_json::to_value(EventKind::WaitsForSignature).expect("JSON");
        assert_eq!(json, EventKind::WaitsForSignature.as_str());
    }
}
