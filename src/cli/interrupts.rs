//! Signals by which a person, or CI, ends a command that follows a job.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// Receives Ctrl-C, and also SIGTERM if that cancels the job. Once created, these signals no longer
/// kill the program.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Option<Signal>,
}

impl Interrupts {
    pub(super) fn new(cancel: bool) -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|e| CliError::failed(format!("signals: {e}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: cancel
                .then(|| listen(SignalKind::terminate()))
                .transpose()?,
        })
    }

    pub(super) async fn next(&mut self) {
        let terminate = async {
            match &mut self.terminate {
                Some(terminate) => {
                    terminate.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            () = terminate => {}
        }
    }

    /// Whether the first signal cancels the job.
    pub(super) fn cancels(&self) -> bool {
        self.terminate.is_some()
    }
}
