//! The agent's end of the pipe through which a job's supervisor wakes it.

use std::io;
use std::time::Duration;

use tokio::net::unix::pipe::{OpenOptions, Receiver};

use crate::state::job_dir::JobDir;
use crate::supervisor::process::{ENDED, FULL};

/// The caller checks the supervisor after this time, even if the pipe is silent.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The pipe from one supervisor.
pub(crate) struct Wake {
    pipe: Receiver,
}

/// What the supervisor has signalled; each call of [`Wake::receive`] adds to it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Signals {
    /// There is enough new output for a full batch.
    pub(crate) full: bool,
    /// The job or its supervisor has ended, or it is time to check whether it has.
    pub(crate) check: bool,
}

impl Wake {
    pub(crate) fn open(dir: &JobDir) -> io::Result<Self> {
        let pipe = OpenOptions::new().open_receiver(dir.file("wake"))?;
        Ok(Self { pipe })
    }

    /// Waits for the supervisor's next signals. Dropping the future loses nothing.
    pub(crate) async fn receive(&self, signals: &mut Signals) {
        tokio::select! {
            ready = self.pipe.readable() => signals.check |= ready.is_err(),
            () = tokio::time::sleep(CHECK_EVERY) => signals.check = true,
        }
        let mut bytes = [0; 512];
        loop {
            match self.pipe.try_read(&mut bytes) {
                // The other end is closed: the supervisor has ended, or has not opened it yet.
                Ok(0) => signals.check = true,
                Ok(n) => {
                    signals.full |= bytes[..n].contains(&FULL);
                    signals.check |= bytes[..n].contains(&ENDED);
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => signals.check = true,
            }
            return;
        }
    }
}
