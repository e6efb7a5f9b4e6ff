//! The supervisor process, which outlives the agent: the same binary, run as `supervise <folder>`.
//! It runs one job at a time, and then usually waits for the agent's next job. If the agent has
//! gone, it finishes the job that it has and exits.
//!
//! The supervisor owns bash with its pipes, timeout and end, and writes everything into the job's
//! folder (see `state/job_dir.rs`). It does not know the server, has a single thread and no async
//! runtime, and never sees the node's token.

mod bash;
mod mask;
mod run;
mod spellings;
mod tree;

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyprbox_protocol::Secrets;
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::private;
use crate::state::job_dir::{
    EndedBy, Exit, JobDir, STARTED, Spec, StartMarker, UNDO_DIR, UNDO_STEPS,
};
use crate::state::start_log::{Start, StartLog};
use run::{Interrupted, Run};

pub(crate) use run::{ENDED, FULL};
pub(crate) use tree::{end_processes_of, zombie_children};

/// Takes the place of the job's folder in the arguments of a supervisor that is started ahead of
/// its job. No job id contains a dot.
pub(crate) const NEXT: &str = ".next";

/// Hands a job to a waiting supervisor: one line of JSON on its standard input.
#[derive(Serialize, Deserialize)]
pub(crate) struct JobOrder {
    pub(crate) dir: PathBuf,
    pub(crate) secrets: Secrets,
    /// The agent has written the job's start to the start log, and will send a [`sync_message`]
    /// once that is synced.
    pub(crate) start_recorded: bool,
}

/// The line that follows a [`JobOrder`] with `start_recorded`: whether the start is synced.
pub(crate) fn sync_message(synced: bool) -> &'static [u8] {
    if synced { b"synced\n" } else { b"not synced\n" }
}

/// How long a job's end may wait for the server's acknowledgement before it is synced to the disk.
const ACKNOWLEDGEMENT_LIMIT: Duration = Duration::from_millis(50);

/// Why a supervisor gave up before the job's end. The agent then finds the lock released and no
/// exit record.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("another supervisor has this job, or the agent took it back")]
    Locked,
    #[error("the job has started before")]
    StartedBefore,
    #[error("the machine shuts down; the next agent undoes the job")]
    Interrupted,
    #[error("job.json is missing or incomplete")]
    NoSpec,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the job in `dir` or, if `dir` is [`NEXT`], the jobs that arrive on standard input, one
/// after the other. Returns the process's exit code; the job's own end is in its folder.
pub fn main(dir: &Path) -> i32 {
    match supervise(dir) {
        Ok(()) => 0,
        Err(e) => {
            // The agent starts supervisors without a standard error, so only a manual start shows
            // this.
            let _ = writeln!(io::stderr(), "hyprbox-agent supervise: {e}");
            1
        }
    }
}

fn supervise(dir: &Path) -> Result<(), SuperviseError> {
    // A session of its own keeps signals from the agent's terminal away. This fails for the leader
    // of a process group, as after a manual start, which does no harm.
    let _ = setsid();
    // Started as /proc/self/exe, the process would otherwise be named `exe` in `ps` and `top`.
    let _ = prctl::set_name(c"hyprbox-agent");
    private::hide_memory();
    prctl::set_child_subreaper(true).map_err(io::Error::from)?;
    if dir.file_name() != Some(NEXT.as_ref()) {
        let mut text = Zeroizing::new(Vec::new());
        io::stdin().lock().read_to_end(&mut text)?;
        let finished = run_job(&JobDir::at(dir), &parse_secrets(&text)?, false)?;
        finished.drain_survivors();
        return Ok(());
    }
    while let Some(order) = read_order()? {
        let finished = run_job(
            &JobDir::at(&order.dir),
            &order.secrets,
            order.start_recorded,
        )?;
        if !takes_another(!order.secrets.is_empty(), &finished.exit) {
            // Wipes the secrets before a wait that may be long.
            drop(order);
            finished.drain_survivors();
            break;
        }
        // A run blocks the signals that it reads. Between runs, SIGTERM must end this process.
        SigSet::all().thread_unblock().map_err(io::Error::from)?;
    }
    Ok(())
}

/// Whether a supervisor waits for another job after this one. Agent and supervisor both decide by
/// this. A supervisor exits if it had secrets in its memory, left processes alive, or received
/// SIGTERM.
pub(crate) fn takes_another(had_secrets: bool, exit: &Exit) -> bool {
    !had_secrets && exit.error_msg.is_none() && !exit.at_shutdown && !exit.left_running
}

fn run_job(
    job: &JobDir,
    secrets: &Secrets,
    start_recorded: bool,
) -> Result<FinishedJob, SuperviseError> {
    let _lock = lock(job)?;
    let spec: Spec = job.read("job.json").ok_or(SuperviseError::NoSpec)?;
    let mut run;
    let mut record;
    let exit = if job.has(STARTED) {
        if !job.needs_undo() {
            return Err(SuperviseError::StartedBefore);
        }
        end_processes_of(job.id());
        run = Run::resume(job, &spec)?;
        record = job.reserve_exit()?;
        run.undo_after_interruption(&spec)
    } else {
        run = Run::prepare(job, &spec, secrets)?;
        record = job.reserve_exit()?;
        let start = StartRecord::write(job, &spec, start_recorded)?;
        run.run_to_end(&spec, start)
    };
    let exit = exit.map_err(|Interrupted| SuperviseError::Interrupted)?;
    job.write_exit(&exit, &mut record)?;
    // Synced before anything else: after a power loss, a confirmed job must not be undone.
    if job.has(UNDO_STEPS) {
        record.sync_all()?;
        File::open(job.path())?.sync_all()?;
        let _ = std::fs::remove_dir_all(job.file(UNDO_DIR));
    }
    // A running agent reports the end at once, and an end that the server has acknowledged needs no
    // sync. After a power loss in between, the node has restarted while the job ran.
    run.wake_agent(ENDED);
    if !run.wait_for_acknowledgement(ACKNOWLEDGEMENT_LIMIT) {
        run.sync();
        let synced = record
            .sync_all()
            .and_then(|()| File::open(job.path())?.sync_all());
        // If the folder has gone meanwhile, the server knows the end, and nothing needs to be kept.
        if job.has("exit") {
            synced?;
        }
    }
    Ok(FinishedJob {
        exit,
        pipes: run.into_pipes(),
    })
}

/// A job that has ended, and whose folder is unlocked.
struct FinishedJob {
    exit: Exit,
    /// Read ends of the pipes that the job's surviving processes may still have open.
    pipes: Vec<File>,
}

impl FinishedJob {
    /// Discards the output of processes that outlive the job, for as long as they have its pipes
    /// open. Otherwise SIGPIPE would kill them when they print. Afterwards init is their parent.
    fn drain_survivors(self) {
        if !self.exit.left_running {
            return;
        }
        // Nothing waits for these processes any more, so the kernel must reap them; and SIGTERM
        // must end this process again. SAFETY: ignoring a signal installs no handler.
        #[expect(unsafe_code, reason = "nix can't know that no handler is set")]
        let ignored = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
        if ignored.is_err() || SigSet::all().thread_unblock().is_err() {
            return;
        }
        let mut pipes = self.pipes;
        let mut buffer = [0; 4096];
        while !pipes.is_empty() {
            let mut fds: Vec<PollFd> = pipes
                .iter()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
                .collect();
            if poll(&mut fds, PollTimeout::NONE).is_err_and(|e| e != Errno::EINTR) {
                return;
            }
            pipes.retain_mut(|pipe| match pipe.read(&mut buffer) {
                Ok(read) => read > 0,
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            });
        }
    }
}

/// Parses the secrets of a job that was named on the command line. They are JSON on standard input,
/// which is memory and never a file on the disk. Without secrets it is empty.
fn parse_secrets(text: &[u8]) -> io::Result<Secrets> {
    if text.is_empty() {
        return Ok(Secrets::default());
    }
    serde_json::from_slice(text).map_err(io::Error::other)
}

/// Reads the next job from standard input. Returns `None` if the agent has exited.
fn read_order() -> io::Result<Option<JobOrder>> {
    let line = Zeroizing::new(read_line()?);
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(io::Error::other)
}

/// Reads the agent's next line. It is empty if the agent has exited.
fn read_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Locks the job, and makes sure that the lock file still belongs to its folder.
fn lock(job: &JobDir) -> Result<Flock<File>, SuperviseError> {
    let lock = job.try_lock().ok_or(SuperviseError::Locked)?;
    let held = lock.metadata()?;
    match std::fs::metadata(job.file("lock")) {
        Ok(current) if current.ino() == held.ino() => Ok(lock),
        Ok(_) | Err(_) => Err(SuperviseError::Locked),
    }
}

/// The record of a job's start, which is written and not yet synced.
enum StartRecord {
    /// The agent has written it to the start log, and is syncing it.
    ByAgent,
    /// This process has written it to the start log.
    InLog(File),
    /// It is only in the job's folder, in a new file.
    InFolder(File),
}

impl StartRecord {
    /// Records the start. From here on the job never starts again, even if agent and supervisor are
    /// killed.
    fn write(job: &JobDir, spec: &Spec, by_agent: bool) -> io::Result<Self> {
        let started = StartMarker {
            boot_id: spec.boot_id.clone(),
        };
        let text = serde_json::to_vec(&started).map_err(io::Error::other)?;
        let record = if by_agent {
            Self::ByAgent
        } else if let Some(log) = record_start(job, spec) {
            Self::InLog(log)
        } else {
            let mut file = File::create_new(job.file(STARTED))?;
            file.write_all(&text)?;
            return Ok(Self::InFolder(file));
        };
        job.write_started(&text)?;
        Ok(record)
    }

    /// Makes the record durable. From here on the job never starts again, even after a power loss.
    /// Bash must not start before.
    fn sync(self, job: &JobDir, spec: &Spec) -> io::Result<()> {
        match self {
            Self::ByAgent if read_line()? == sync_message(true) => Ok(()),
            // The agent has died, or its sync has failed.
            Self::ByAgent => match record_start(job, spec) {
                Some(log) => log.sync_data(),
                None => File::open(job.file(STARTED))?.sync_all(),
            },
            Self::InLog(log) => log.sync_data(),
            // On ext4, XFS and btrfs this also syncs the directories above a new file. Syncing each
            // of them as well would double the delay.
            Self::InFolder(file) => file.sync_all(),
        }
    }
}

/// Writes the start to the start log. Returns the file to sync, or `None` if that failed.
fn record_start(job: &JobDir, spec: &Spec) -> Option<File> {
    StartLog::for_job(job)?.record(&Start::of(spec)).ok()
}

/// The exit record of a script that was not started.
fn exit_without_start(ended_by: EndedBy, error_msg: Option<String>) -> Exit {
    Exit {
        exit_code: None,
        signal: None,
        ended_by,
        error_msg,
        stdout_bytes: 0,
        stderr_bytes: 0,
        stdout_sha256: None,
        stderr_sha256: None,
        at_shutdown: false,
        left_running: false,
        ran_ms: None,
    }
}
