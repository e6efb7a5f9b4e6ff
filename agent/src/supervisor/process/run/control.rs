//! Messages between the supervisor of a job and its agent, a byte each.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{ENDED, Phase, Run};
use crate::state::job_dir::{ACKNOWLEDGED, EndedBy};

impl Run {
    pub(super) fn handle_control(&mut self) {
        let mut messages = [0; 64];
        let count = self.control.read(&mut messages).unwrap_or(0);
        if self.phase != Phase::Steps {
            self.receive_request(&messages[..count]);
            return;
        }
        let Some(by) = messages[..count]
            .iter()
            .find_map(|message| EndedBy::from_request(*message))
        else {
            return;
        };
        if self.bash_end.is_some() {
            // Bash has already ended by itself. Its leftovers need no further waiting.
            self.kill_at = Some(Instant::now());
        } else if self.ended_by == EndedBy::Itself {
            self.terminate(by);
        }
    }

    /// Wakes the agent. Without an agent the pipe fills up, which does no harm.
    pub(in super::super) fn wake_agent(&mut self, message: u8) {
        if !self.pid_written && message != ENDED {
            self.pid_written = true;
            // The pid is only for display, so an error does not matter.
            let lock = self.job.open_lock();
            let _ = lock.and_then(|mut lock| lock.write_all(self.bash.to_string().as_bytes()));
        }
        let _ = self.wake.write(&[message]);
        self.last_wake = Some(Instant::now());
        self.wake_at = None;
    }

    /// Waits for the agent's message that the server has acknowledged the job's end.
    pub(in super::super) fn wait_for_acknowledgement(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, timeout);
            let mut messages = [0; 64];
            let count = self.control.read(&mut messages).unwrap_or(0);
            if messages[..count].contains(&ACKNOWLEDGED) {
                return true;
            }
            if left.is_zero() || ready.is_err() {
                return false;
            }
        }
    }
}
