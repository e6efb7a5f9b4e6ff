//! The agent's end of the pipe on which a job's supervisor says that something happened.

use std::io;
use std::time::Duration;

use tokio::net::unix::pipe::{OpenOptions, Receiver};

use crate::state::job_dir::JobDir;
use crate::supervisor::process::{ENDED, FULL};

/// However silent the pipe: after this time the caller looks for itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Listens to one supervisor.
pub(crate) struct Wake {
    pipe: Receiver,
}

/// What was heard since the last time. Each call adds to it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Heard {
    /// There is so much new output that there is no use in waiting for more.
    pub(crate) full: bool,
    /// The job has ended, or its supervisor is gone, or it's time to look whether it is.
    pub(crate) look: bool,
}

impl Wake {
    pub(crate) fn open(dir: &JobDir) -> io::Result<Self> {
        let pipe = OpenOptions::new().open_receiver(dir.file("wake"))?;
        Ok(Self { pipe })
    }

    /// Waits for the supervisor's next words. Dropping the future loses nothing.
    pub(crate) async fn listen(&self, heard: &mut Heard) {
        tokio::select! {
            ready = self.pipe.readable() => heard.look |= ready.is_err(),
            () = tokio::time::sleep(LOOK_EVERY) => heard.look = true,
        }
        let mut words = [0; 512];
        loop {
            match self.pipe.try_read(&mut words) {
                // Nobody holds the other end: the supervisor is gone, or not there yet.
                Ok(0) => heard.look = true,
                Ok(n) => {
                    heard.full |= words[..n].contains(&FULL);
                    heard.look |= words[..n].contains(&ENDED);
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => heard.look = true,
            }
            return;
        }
    }
}
