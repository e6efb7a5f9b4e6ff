//! How a run ends: its processes reaped, asked to go, killed; and what is told of it.

use std::time::Instant;

use hyprbox_protocol::Stream;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{GRACE, LAST_READS, LINGER, Run};
use crate::spool::slot;
use crate::state::job_dir::{EndedBy, Exit, Spec};
use crate::supervisor::process::tree;

impl Run {
    pub(super) fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                Ok(status) if status.pid() == Some(self.bash) => {
                    self.bash_end = Some(status);
                    // Those that were asked to end keep the time that they were given: the script's own bash mostly
                    // goes at once, while its step still cleans up.
                    self.kill_at.get_or_insert_with(|| Instant::now() + LINGER);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => {
                    self.childless = true;
                    return;
                }
            }
        }
    }

    /// Asks all of the job's processes to end.
    pub(super) fn terminate(&mut self, by: EndedBy) {
        self.reap();
        if self.bash_end.is_some() {
            return;
        }
        self.ended_by = by;
        self.kill_at = Some(Instant::now() + GRACE);
        // A stopped process hears SIGTERM only once it goes on.
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            let _ = killpg(self.bash, signal);
        }
        for process in tree::descendants() {
            if process.group != self.bash.as_raw() {
                for signal in [Signal::SIGTERM, Signal::SIGCONT] {
                    let _ = kill(Pid::from_raw(process.pid), signal);
                }
            }
        }
    }

    /// Kills all of the job's processes and reads their last words.
    pub(super) fn kill_all(&mut self) {
        let (killed, survivors) = tree::end_descendants(|| self.reap());
        self.reap();
        if self.ended_by == EndedBy::Itself {
            self.left_behind = killed;
        }
        self.survivors = survivors;
        for stream in Stream::ALL {
            for _ in 0..LAST_READS {
                if !self.read_once(stream) {
                    break;
                }
            }
        }
        self.over = true;
    }

    pub(super) fn exit(&mut self, spec: &Spec) -> Exit {
        for stream in Stream::ALL {
            if let Some(mask) = &mut self.masks[slot(stream)] {
                self.masked.clear();
                mask.finish(&mut self.masked);
                self.spool.append(stream, &self.masked);
                if let (Stream::Stderr, Some(last)) = (stream, self.masked.last()) {
                    self.last_stderr_byte = *last;
                }
            }
        }
        if self.left_behind > 0 {
            let open_line = if self.last_stderr_byte == b'\n' {
                ""
            } else {
                "\n"
            };
            let what = match self.left_behind {
                1 => "1 process".to_owned(),
                n => format!("{n} processes"),
            };
            let line = format!("{open_line}hyprbox: ended {what} that the script left behind\n");
            self.spool.append(Stream::Stderr, line.as_bytes());
        }
        let (exit_code, signal) = match self.bash_end {
            Some(WaitStatus::Exited(_, code)) => (Some(code), None),
            Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal.as_str().to_owned())),
            _ => (None, None),
        };
        let [stdout_bytes, stderr_bytes] = self.spool.totals();
        Exit {
            error_msg: error_msg(self.ended_by, signal.as_deref(), spec, &self.survivors),
            exit_code,
            signal,
            ended_by: self.ended_by,
            stdout_bytes,
            stderr_bytes,
            at_shutdown: self.at_shutdown,
        }
    }
}

/// Why the job failed, where its exit code doesn't say.
fn error_msg(
    ended_by: EndedBy,
    signal: Option<&str>,
    spec: &Spec,
    survivors: &[tree::Process],
) -> Option<String> {
    let mut text = match (ended_by, signal) {
        (EndedBy::Itself, Some(signal)) => Some(format!("killed by {signal}")),
        (EndedBy::Itself | EndedBy::Cancel, _) => None,
        (EndedBy::Timeout, _) => Some(format!("timed out after {} s", spec.timeout_seconds)),
        (EndedBy::Stop, _) => Some("ended by hyprbox-agent stop-jobs".to_owned()),
    };
    if !survivors.is_empty() {
        let names: Vec<String> = survivors
            .iter()
            .take(20)
            .map(|p| format!("{} (pid {})", p.name, p.pid))
            .collect();
        let alive = format!("still alive after SIGKILL: {}", names.join(", "));
        text = Some(text.map_or(alive.clone(), |t| format!("{t}; {alive}")));
    }
    text
}
