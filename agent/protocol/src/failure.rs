//! The reasons for a failed job that programs react to.

/// Why a job failed, as far as its `errorMsg` has one of the known texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The script exceeded the job's timeout.
    TimedOut,
    /// A signal ended the script.
    Killed,
    /// The node restarted while the script ran.
    NodeRestarted,
    /// The agent gave no sign of life for a whole lease.
    AgentDisappeared,
    /// The server's key no longer opens the job's secrets.
    SecretsSealed,
    /// The job's signature, or what it signs, does not hold.
    Refused,
    /// Nobody confirmed the job in time, and its steps were undone.
    NotConfirmed,
    /// The undo of a step failed.
    UndoFailed,
}

impl FailureReason {
    /// `errorMsg` of [`Self::NodeRestarted`].
    pub const NODE_RESTARTED: &str = "node restarted while the job was running";
    /// `errorMsg` of [`Self::NotConfirmed`].
    pub const NOT_CONFIRMED: &str = "not confirmed: undone";
    /// `errorMsg` of [`Self::SecretsSealed`].
    pub const SECRETS_SEALED: &str = "secret can't be unsealed";
    /// `errorMsg` of [`Self::Refused`] if the server itself finds the changed script.
    pub const SCRIPT_CHANGED: &str = "refused: the script was changed after the job was queued";
    /// `errorMsg` of [`Self::Refused`] if the job has no envelope.
    pub const UNSIGNED: &str = "refused: the job has no envelope or signature";
    /// With this every `errorMsg` of [`Self::Refused`] begins.
    pub const REFUSED: &str = "refused: ";

    /// `errorMsg` of [`Self::TimedOut`].
    pub fn timed_out_after(seconds: u64) -> String {
        format!("timed out after {seconds} s")
    }

    /// `errorMsg` of [`Self::Killed`].
    pub fn killed_by(signal: &str) -> String {
        format!("killed by {signal}")
    }

    /// `errorMsg` of [`Self::UndoFailed`], with the name of the first step whose undo failed.
    pub fn undo_failed(step: &str) -> String {
        format!("undo failed: {step}")
    }

    /// The reason that a job's `errorMsg` begins with.
    pub fn parse(error_msg: &str) -> Option<Self> {
        [
            ("timed out", Self::TimedOut),
            ("killed by ", Self::Killed),
            ("node restarted", Self::NodeRestarted),
            ("agent disappeared", Self::AgentDisappeared),
            (Self::SECRETS_SEALED, Self::SecretsSealed),
            (Self::REFUSED, Self::Refused),
            ("not confirmed", Self::NotConfirmed),
            ("undo failed: ", Self::UndoFailed),
        ]
        .into_iter()
        .find(|(start, _)| error_msg.starts_with(start))
        .map(|(_, reason)| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::FailureReason as Reason;

    #[test]
    fn each_message_parses_as_its_reason() {
        for (message, reason) in [
            (&*Reason::timed_out_after(600), Some(Reason::TimedOut)),
            (&*Reason::killed_by("SIGKILL"), Some(Reason::Killed)),
            (Reason::NODE_RESTARTED, Some(Reason::NodeRestarted)),
            ("agent disappeared", Some(Reason::AgentDisappeared)),
            (Reason::SECRETS_SEALED, Some(Reason::SecretsSealed)),
            (Reason::SCRIPT_CHANGED, Some(Reason::Refused)),
            (Reason::UNSIGNED, Some(Reason::Refused)),
            (Reason::NOT_CONFIRMED, Some(Reason::NotConfirmed)),
            (&*Reason::undo_failed("Set x"), Some(Reason::UndoFailed)),
            ("bash failed to start", None),
            ("", None),
        ] {
            assert_eq!(Reason::parse(message), reason, "{message}");
        }
    }
}
