//! The agent's handle on a job's supervisor, which was either started ahead of its job and gets the
//! job over a pipe, or was started for this job.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hyprbox_protocol::Secrets;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::state::job_dir::JobDir;
use crate::supervisor::orphans;
use crate::supervisor::process::{JobOrder, NEXT, sync_message};

/// A job's supervisor.
pub(crate) struct Supervisor {
    child: Child,
    has_secrets: bool,
    /// Set while a job that was handed over a pipe has not started: the supervisor may die before
    /// it reads the job, which then goes to another supervisor.
    pending: Option<PendingStart>,
}

/// A job that was handed to a waiting supervisor and has not started yet.
struct PendingStart {
    secrets: Secrets,
    /// SIGCHLD. Until the supervisor has opened the job's own pipe, nothing else shows its end.
    child_ended: Option<Signal>,
}

/// The record of a job's start, which is being synced to the disk. The job's supervisor gets a
/// message when that has finished.
pub(crate) struct PendingSync(oneshot::Sender<OwnedFd>);

impl PendingSync {
    /// Syncs the start log in the background while the rest of the start is prepared.
    pub(crate) fn begin(start_log: File) -> Self {
        let (sender, receiver) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let synced = start_log.sync_data().is_ok();
            if let Ok(pipe) = receiver.blocking_recv() {
                // An error means that the supervisor has died.
                let _ = File::from(pipe).write_all(sync_message(synced));
            }
        });
        Self(sender)
    }
}

impl Supervisor {
    /// Gives an accepted job to the supervisor that was started `ahead`, or to a new one, which
    /// records the start itself.
    pub(crate) fn start(
        dir: &JobDir,
        secrets: &Secrets,
        ahead: Option<Child>,
        pending_sync: Option<PendingSync>,
    ) -> io::Result<Self> {
        let has_secrets = !secrets.is_empty();
        if let Some(mut child) = ahead {
            // Subscribed before the hand-over, so that no later end is missed. If that fails, the
            // periodic check finds the end.
            let child_ended = signal(SignalKind::child()).ok();
            if hand_over(&mut child, dir, secrets, pending_sync).is_ok() {
                return Ok(Self {
                    child,
                    has_secrets,
                    pending: Some(PendingStart {
                        secrets: secrets.clone(),
                        child_ended,
                    }),
                });
            }
            // The supervisor has died, or the job is too large for the pipe. Either way this
            // supervisor has no job and gets none.
            let _ = child.kill();
            let _ = child.wait();
        }
        let child = start_new(dir, secrets)?;
        Ok(Self {
            child,
            has_secrets,
            pending: None,
        })
    }

    /// Starts a supervisor that undoes a job whose supervisor has died.
    pub(crate) fn undo(dir: &JobDir) -> io::Result<Self> {
        Ok(Self {
            child: start_undo(dir)?,
            has_secrets: false,
            pending: None,
        })
    }

    pub(crate) fn has_secrets(&self) -> bool {
        self.has_secrets
    }

    /// Drops the copy of the secrets, because the job has started.
    pub(crate) fn mark_started(&mut self) {
        self.pending = None;
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until a child process ends, while this supervisor may not have read its job yet;
    /// otherwise waits forever. Cancel-safe.
    pub(crate) async fn child_ended(&mut self) {
        let pending = self.pending.as_mut();
        let received = match pending.and_then(|pending| pending.child_ended.as_mut()) {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if received.is_none() {
            std::future::pending().await
        }
    }

    /// Replaces this supervisor, which is dead, unless it has read its job. Returns whether a new
    /// one was started.
    pub(crate) fn restart(&mut self, dir: &JobDir) -> io::Result<bool> {
        let Some(pending) = self.pending.take() else {
            return Ok(false);
        };
        self.child = start_new(dir, &pending.secrets)?;
        Ok(true)
    }

    /// Returns the process, and whether it can take another job over its pipe.
    pub(crate) fn into_child(self) -> (Child, bool) {
        let can_take_another = self.child.stdin.is_some();
        (self.child, can_take_another)
    }
}

/// Starts a process that undoes a job whose supervisor has died.
pub(crate) fn start_undo(dir: &JobDir) -> io::Result<Child> {
    spawn(dir.path(), Stdio::null())
}

fn start_new(dir: &JobDir, secrets: &Secrets) -> io::Result<Child> {
    let stdin = if secrets.is_empty() {
        Stdio::null()
    } else {
        // In memory, so that no secret is ever on the disk; and complete, so that writing never
        // waits for a reader.
        let mut memory = File::from(memfd_create(c"secrets", MFdFlags::MFD_CLOEXEC)?);
        let text = Zeroizing::new(serde_json::to_vec(secrets).map_err(io::Error::other)?);
        memory.write_all(&text)?;
        memory.rewind()?;
        memory.into()
    };
    spawn(dir.path(), stdin)
}

/// Starts a supervisor ahead of its job, because its start takes a good part of a short job's time.
/// The supervisor waits for the job on a pipe, and exits when this process closes the other end.
pub(crate) fn start_ahead(jobs: &Path) -> io::Result<Child> {
    spawn(&jobs.join(NEXT), Stdio::piped())
}

/// Hands a job to a waiting supervisor, in one write that is small enough to be atomic.
fn hand_over(
    child: &mut Child,
    dir: &JobDir,
    secrets: &Secrets,
    pending_sync: Option<PendingSync>,
) -> io::Result<()> {
    let order = JobOrder {
        dir: dir.path().to_owned(),
        secrets: secrets.clone(),
        start_recorded: pending_sync.is_some(),
    };
    // Allocated at its largest size: a vector that grows leaves copies of secrets behind.
    let mut line = Zeroizing::new(Vec::with_capacity(libc::PIPE_BUF));
    serde_json::to_writer(&mut *line, &order).map_err(io::Error::other)?;
    line.push(b'\n');
    let pipe = child
        .stdin
        .as_mut()
        .filter(|_| line.len() <= libc::PIPE_BUF)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let sync_pipe = pipe.as_fd().try_clone_to_owned()?;
    pipe.write_all(&line)?;
    if let Some(PendingSync(sender)) = pending_sync {
        // This fails only while the runtime shuts down, and then the pipe closes as well.
        let _ = sender.send(sync_pipe);
    }
    Ok(())
}

/// Starts this same program, even if its file has been replaced.
fn spawn(dir: &Path, stdin: Stdio) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("hyprbox-agent")
        .arg("supervise")
        .arg(dir)
        // The node's token is in the agent's environment, and must go no further.
        .env_clear()
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    orphans::spawn_own(|| command.spawn())
}
