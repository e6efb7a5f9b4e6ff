//! Ends a run: reaps, terminates and kills its processes, and builds the exit record.

use std::fmt::Write as _;
use std::time::Instant;

use hyprbox_protocol::{FailureReason, Stream};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{GRACE, LAST_READS, LINGER, Phase, Run};
use crate::proc_stat::Process;
use crate::state::job_dir::{EndedBy, Exit, Spec};
use crate::supervisor::process::tree::{self, Keep, Leftovers};

/// How many more times killed processes are reaped.
const LAST_REAPS: usize = 100;
/// How many processes a line on stderr names.
const MAX_NAMES: usize = 5;

impl Run {
    pub(super) fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                // Once bash is reaped, the kernel may reuse its pid for another child.
                Ok(status) if status.pid() == Some(self.bash) && self.bash_end.is_none() => {
                    self.bash_end = Some(status);
                    self.ran_ms = Some(self.stamps.elapsed());
                    // After a SIGTERM the remaining processes keep their full grace period: the
                    // script's own bash usually ends at once, while its step still cleans up.
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

    /// Sends SIGTERM to all of the job's processes.
    pub(super) fn terminate(&mut self, by: EndedBy) {
        self.reap();
        if self.bash_end.is_some() {
            return;
        }
        self.ended_by = by;
        self.kill_at = Some(Instant::now() + GRACE);
        // A stopped process handles SIGTERM only after it is continued.
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

    /// Kills all of the job's processes except those that may outlive it, and reads the last
    /// output.
    pub(super) fn kill_all(&mut self) {
        // A cancel or a timeout ends everything that the job started.
        let keep = match self.ended_by {
            EndedBy::Itself if self.marks.keep_processes => Keep::Everything,
            EndedBy::Itself => Keep::Marked,
            EndedBy::Cancel | EndedBy::Timeout | EndedBy::Stop => Keep::Nothing,
        };
        self.leftovers = tree::end_descendants(keep, || self.reap());
        self.reap();
        // A dead process may for a moment still be the child of another dead one.
        for _ in 0..LAST_REAPS {
            if self.childless
                || !self.leftovers.kept.is_empty()
                || !self.leftovers.survivors.is_empty()
            {
                break;
            }
            std::thread::sleep(tree::BETWEEN_PASSES);
            self.reap();
        }
        for stream in Stream::ALL {
            for _ in 0..LAST_READS {
                if !self.read_once(stream) {
                    break;
                }
            }
        }
        self.over = true;
    }

    pub(super) fn exit_record(&mut self, spec: &Spec) -> Exit {
        for stream in Stream::ALL {
            self.finish_mask(stream);
        }
        self.report_leftovers();
        let (exit_code, signal) = match self.bash_end {
            Some(WaitStatus::Exited(_, code)) => (Some(code), None),
            Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal.as_str().to_owned())),
            _ => (None, None),
        };
        let mut exit = Exit {
            error_msg: error_msg(self.ended_by, signal.as_deref(), spec),
            exit_code,
            signal,
            ended_by: self.ended_by,
            stdout_bytes: 0,
            stderr_bytes: 0,
            stdout_sha256: None,
            stderr_sha256: None,
            at_shutdown: self.at_shutdown,
            left_running: false,
            ran_ms: self.ran_ms,
        };
        self.add_totals(&mut exit);
        exit
    }

    /// Adds what only the end of all output shows.
    pub(super) fn add_totals(&self, exit: &mut Exit) {
        [exit.stdout_bytes, exit.stderr_bytes] = self.spool.totals().into_values();
        [exit.stdout_sha256, exit.stderr_sha256] = self.spool.sha256().into_values();
        exit.left_running = self.bash_end.is_some() && !self.childless;
    }

    /// Writes out what the mask has held back, because it can no longer become a secret.
    pub(super) fn finish_mask(&mut self, stream: Stream) {
        if let Some(mask) = &mut self.masks[stream] {
            self.masked.clear();
            mask.finish(&mut self.masked);
            if stream == Stream::Stdout && self.phase == Phase::Steps {
                self.stamps.read(self.spool.totals()[stream], &self.masked);
            }
            self.spool.append(stream, &self.masked);
            if let Some(last) = self.masked.last() {
                self.last_bytes[stream] = *last;
            }
        }
    }

    /// Reports the processes that outlived bash on stderr.
    pub(super) fn report_leftovers(&mut self) {
        let lines = self.leftover_lines();
        if !lines.is_empty() {
            self.print(Stream::Stderr, &lines);
        }
    }

    /// Writes lines of this process into a stream, after what the mask has held back.
    pub(super) fn print(&mut self, stream: Stream, lines: &str) {
        self.finish_mask(stream);
        let open_line = match self.last_bytes[stream] {
            b'\n' => "",
            _ => "\n",
        };
        let text = format!("{open_line}{lines}");
        // A process's name may be a secret.
        let bytes = match &mut self.masks[stream] {
            None => text.as_bytes(),
            Some(mask) => {
                self.masked.clear();
                mask.push(text.as_bytes(), &mut self.masked);
                mask.finish(&mut self.masked);
                &self.masked
            }
        };
        self.spool.append(stream, bytes);
        self.last_bytes[stream] = b'\n';
    }

    fn leftover_lines(&self) -> String {
        let Leftovers {
            ended,
            kept,
            survivors,
        } = &self.leftovers;
        let mut lines = String::new();
        if !kept.is_empty() {
            let _ = writeln!(
                lines,
                "hyprbox: left {} running: {}",
                count(kept),
                names(kept)
            );
        }
        if !survivors.is_empty() {
            let _ = writeln!(
                lines,
                "hyprbox: could not end {}: {}",
                count(survivors),
                names(survivors)
            );
        }
        if !self.childless && self.bash_end.is_some() && kept.is_empty() && survivors.is_empty() {
            lines.push_str("hyprbox: could not see all processes that are still running\n");
        }
        // After a cancel or a timeout, killed processes are expected.
        if !ended.is_empty() && self.ended_by == EndedBy::Itself {
            let _ = writeln!(
                lines,
                "hyprbox: ended {} that the script left behind: {}",
                count(ended),
                names(ended)
            );
        }
        lines
    }
}

fn count(processes: &[Process]) -> String {
    match processes.len() {
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    }
}

/// Names the first few processes, as in `nginx (4711), sleep (4712)`.
fn names(processes: &[Process]) -> String {
    let name = |process: &Process| {
        // A process chooses its own name, which may contain line breaks or escape sequences.
        let name = process.name.replace(char::is_control, "?");
        format!("{name} ({})", process.pid)
    };
    let named: Vec<String> = processes.iter().take(MAX_NAMES).map(name).collect();
    named.join(", ")
}

/// Why the job failed, if its exit code does not show it.
pub(super) fn error_msg(ended_by: EndedBy, signal: Option<&str>, spec: &Spec) -> Option<String> {
    match (ended_by, signal) {
        (EndedBy::Itself, Some(signal)) => Some(FailureReason::killed_by(signal)),
        (EndedBy::Itself | EndedBy::Cancel, _) => None,
        (EndedBy::Timeout, _) => Some(FailureReason::timed_out_after(spec.timeout_seconds)),
        (EndedBy::Stop, _) => Some("ended by hyprbox-agent stop-jobs".to_owned()),
    }
}
