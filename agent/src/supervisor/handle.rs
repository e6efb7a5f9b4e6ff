//! A job's supervisor, as the agent sees it: started ahead of the job and told of it over a pipe,
//! or started for it.

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
use crate::supervisor::process::{NEXT, Order, word};

/// A job's supervisor.
pub(crate) struct Supervisor {
    child: Child,
    has_secrets: bool,
    /// What it was told over a pipe: it may have died before it read that, and then the job is
    /// another one's.
    told: Option<Told>,
}

/// What a supervisor that waited was told of a job.
struct Told {
    secrets: Secrets,
    /// A child of this process has ended. Until the supervisor has opened the job's own pipe,
    /// nothing else tells of its end.
    child_ended: Option<Signal>,
}

/// A job's start that is on its way to the disk. Who takes the job is to be told once it is there.
pub(crate) struct Noted(oneshot::Sender<OwnedFd>);

impl Noted {
    /// Syncs a start that was written into `journal`, beside all else that is to be done before the
    /// job can start.
    pub(crate) fn sync(journal: File) -> Self {
        let (told, who) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let synced = journal.sync_data().is_ok();
            if let Ok(pipe) = who.blocking_recv() {
                // One that has died needs no word.
                let _ = File::from(pipe).write_all(word(synced));
            }
        });
        Self(told)
    }
}

impl Supervisor {
    /// Sees that an accepted job has a supervisor: the one that was started `ahead`, or a new one,
    /// which notes the start by itself.
    pub(crate) fn start(
        dir: &JobDir,
        secrets: &Secrets,
        ahead: Option<Child>,
        noted: Option<Noted>,
    ) -> io::Result<Self> {
        let has_secrets = !secrets.is_empty();
        if let Some(mut child) = ahead {
            // Listened to before the supervisor is told, so that its end is heard of whenever it
            // comes after that. Where it can't be, the look from time to time finds it.
            let child_ended = signal(SignalKind::child()).ok();
            if hand_over(&mut child, dir, secrets, noted).is_ok() {
                return Ok(Self {
                    child,
                    has_secrets,
                    told: Some(Told {
                        secrets: secrets.clone(),
                        child_ended,
                    }),
                });
            }
            // It has died, or can't be told so much at once; either way it has no job and gets
            // none.
            let _ = child.kill();
            let _ = child.wait();
        }
        let child = start_new(dir, secrets)?;
        Ok(Self {
            child,
            has_secrets,
            told: None,
        })
    }

    pub(crate) fn has_secrets(&self) -> bool {
        self.has_secrets
    }

    /// Its job has started: the secrets are nobody's business any more.
    pub(crate) fn has_started(&mut self) {
        self.told = None;
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end of a child, while this one may not have heard of the job yet, and
    /// otherwise for ever. Dropping the future loses nothing.
    pub(crate) async fn child_ended(&mut self) {
        let told = self.told.as_mut();
        let heard = match told.and_then(|told| told.child_ended.as_mut()) {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending().await
        }
    }

    /// Starts another one in the place of this one, which is dead, where it may never have read
    /// what it was told; false where it has.
    pub(crate) fn start_again(&mut self, dir: &JobDir) -> io::Result<bool> {
        let Some(told) = self.told.take() else {
            return Ok(false);
        };
        self.child = start_new(dir, &told.secrets)?;
        Ok(true)
    }

    /// The process, and whether it could be told of another job.
    pub(crate) fn into_child(self) -> (Child, bool) {
        let may_wait = self.child.stdin.is_some();
        (self.child, may_wait)
    }
}

fn start_new(dir: &JobDir, secrets: &Secrets) -> io::Result<Child> {
    let stdin = if secrets.is_empty() {
        Stdio::null()
    } else {
        // In memory, so that no secret is ever on the disk; and whole, so that nobody waits for a
        // reader.
        let mut memory = File::from(memfd_create(c"secrets", MFdFlags::MFD_CLOEXEC)?);
        let text = Zeroizing::new(serde_json::to_vec(secrets).map_err(io::Error::other)?);
        memory.write_all(&text)?;
        memory.rewind()?;
        memory.into()
    };
    spawn(dir.path(), stdin)
}

/// Starts a supervisor ahead of its job, as its start is a good part of a short job's time. It
/// waits for the job on a pipe, whose other end closes with this process, and then ends.
pub(crate) fn start_ahead(jobs: &Path) -> io::Result<Child> {
    spawn(&jobs.join(NEXT), Stdio::piped())
}

/// Tells a supervisor that waits which job is its own: in one write that the pipe takes whole, or
/// not at all.
fn hand_over(
    child: &mut Child,
    dir: &JobDir,
    secrets: &Secrets,
    noted: Option<Noted>,
) -> io::Result<()> {
    let order = Order {
        dir: dir.path().to_owned(),
        secrets: secrets.clone(),
        noted: noted.is_some(),
    };
    // With room for any line that the pipe takes: a vector that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(libc::PIPE_BUF));
    serde_json::to_writer(&mut *line, &order).map_err(io::Error::other)?;
    line.push(b'\n');
    let pipe = child
        .stdin
        .as_mut()
        .filter(|_| line.len() <= libc::PIPE_BUF)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let for_the_word = pipe.as_fd().try_clone_to_owned()?;
    pipe.write_all(&line)?;
    if let Some(Noted(told)) = noted {
        // Only a runtime that is ending lets nobody hear of this, and with it the pipe closes.
        let _ = told.send(for_the_word);
    }
    Ok(())
}

/// This same program, even where its file was replaced meanwhile.
fn spawn(dir: &Path, stdin: Stdio) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("hyprbox-agent")
        .arg("supervise")
        .arg(dir)
        // The node's token is in our environment, and goes no further.
        .env_clear()
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    orphans::spawn_own(|| command.spawn())
}
