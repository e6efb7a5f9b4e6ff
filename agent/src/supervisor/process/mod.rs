//! The process that outlives the agent: the same binary as `supervise <folder>`. It has one job at
//! a time, and mostly takes the agent's next one after that; an agent that is gone leaves it the
//! job that it has, and no further one.
//!
//! It owns bash, its pipes, its timeout and its end, and writes everything into the job's folder
//! (see `state/job_dir.rs`). It knows nothing of the server, has no runtime and no thread but its
//! own, and never sees the node's token.

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
use crate::state::job_dir::{EndedBy, Exit, JobDir, STARTED, Spec, Started};
use crate::state::start_log::StartLog;
use run::Run;

pub(crate) use run::{ENDED, FULL};
pub(crate) use tree::{end_marked, zombie_children};

/// What a supervisor that is started ahead of its job has in place of the job's folder. No job's id
/// has a dot.
pub(crate) const NEXT: &str = ".next";

/// What the agent writes to a supervisor that waits for a job: a line of JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) dir: PathBuf,
    pub(crate) secrets: Secrets,
    /// The job's start is in the journal of starts. Once it is on the disk for good, or can't be,
    /// the agent says so by a [`word`].
    pub(crate) noted: bool,
}

/// What the agent writes after an [`Order`] whose start it has noted: a line.
pub(crate) fn word(synced: bool) -> &'static [u8] {
    if synced { b"synced\n" } else { b"not synced\n" }
}

/// How long the end of a job waits for the server's word before it goes to the disk for good.
const ACKNOWLEDGED_SOON: Duration = Duration::from_millis(50);

/// Why a supervisor gave up before the job's end. The agent sees the lock free without an exit
/// record.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("another supervisor has this job, or the agent took it back")]
    Locked,
    #[error("the job has started before")]
    StartedBefore,
    #[error("job.json is missing or not whole")]
    NoSpec,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the job in `dir` to its end, or, where that is [`NEXT`], the jobs that standard input
/// names, one after the other. Returns the process's exit code; the job's own end is in the folder.
pub fn main(dir: &Path) -> i32 {
    match supervise(dir) {
        Ok(()) => 0,
        Err(e) => {
            // Mostly nobody reads this: the agent starts supervisors without a standard error.
            let _ = writeln!(io::stderr(), "hyprbox-agent supervise: {e}");
            1
        }
    }
}

fn supervise(dir: &Path) -> Result<(), SuperviseError> {
    // A session of its own, so that no signal meant for the agent's terminal comes here. Fails for
    // a group's leader, as when started by hand, which does no harm.
    let _ = setsid();
    // Started as /proc/self/exe, it would be `exe` in `ps`, `top` and the kernel's log.
    let _ = prctl::set_name(c"hyprbox-agent");
    private::hide_memory();
    prctl::set_child_subreaper(true).map_err(io::Error::from)?;
    if dir.file_name() != Some(NEXT.as_ref()) {
        let mut text = Zeroizing::new(Vec::new());
        io::stdin().lock().read_to_end(&mut text)?;
        let done = run_job(&JobDir::at(dir), &secrets_of(&text)?, false)?;
        done.outlive();
        return Ok(());
    }
    while let Some(order) = next_order()? {
        let done = run_job(&JobDir::at(&order.dir), &order.secrets, order.noted)?;
        if !takes_another(!order.secrets.is_empty(), &done.exit) {
            // Before it outlives its job.
            drop(order);
            done.outlive();
            break;
        }
        // A run blocks those that it listens to; while nothing runs, SIGTERM is to end this.
        SigSet::all().thread_unblock().map_err(io::Error::from)?;
    }
    Ok(())
}

/// Whether the supervisor of a job that ended so waits for another one afterwards. It and the agent
/// decide alike. What had secrets in its memory, left something alive, or was asked to end, ends.
pub(crate) fn takes_another(had_secrets: bool, exit: &Exit) -> bool {
    !had_secrets && exit.error_msg.is_none() && !exit.at_shutdown && !exit.left_running
}

fn run_job(job: &JobDir, secrets: &Secrets, is_noted: bool) -> Result<Done, SuperviseError> {
    let _lock = lock(job)?;
    if job.has(STARTED) {
        return Err(SuperviseError::StartedBefore);
    }
    let spec: Spec = job.read("job.json").ok_or(SuperviseError::NoSpec)?;
    let mut run = Run::prepare(job, secrets)?;
    let mut record = job.reserve_exit()?;
    let start = Start::write(job, &spec, is_noted)?;
    let exit = run.until_the_end(&spec, start);
    job.write_exit(&exit, &mut record)?;
    // A living agent tells the server at once, and a job that the server has taken needs no disk:
    // only without that is the end put there for good. A power loss in between is a restart of the
    // node while the job ran.
    run.poke(ENDED);
    if !run.is_acknowledged_within(ACKNOWLEDGED_SOON) {
        run.sync();
        let synced = record
            .sync_all()
            .and_then(|()| File::open(job.path())?.sync_all());
        // Where the folder has gone meanwhile, the server knows, and nothing is left to be kept.
        if job.has("exit") {
            synced?;
        }
    }
    Ok(Done {
        exit,
        pipes: run.into_pipes(),
    })
}

/// A job that has ended, and whose folder this process has let go of.
struct Done {
    exit: Exit,
    /// What the job's processes that still run may write into.
    pipes: [Option<File>; 2],
}

impl Done {
    /// Reads and drops what processes write that outlive their job, for as long as they have its
    /// pipes: otherwise they would die of the first line that they print. Afterwards they are
    /// init's.
    fn outlive(self) {
        if !self.exit.left_running {
            return;
        }
        // Nobody waits for them any more, so the kernel clears away those that end; and SIGTERM
        // ends this process again. SAFETY: to ignore a signal sets no handler.
        #[expect(unsafe_code, reason = "nix can't know that no handler is set")]
        let ignored = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
        if ignored.is_err() || SigSet::all().thread_unblock().is_err() {
            return;
        }
        let mut pipes: Vec<File> = self.pipes.into_iter().flatten().collect();
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

/// The secrets of a job whose folder is known come as JSON on standard input, which is memory and
/// never a file on disk; empty without any.
fn secrets_of(text: &[u8]) -> io::Result<Secrets> {
    if text.is_empty() {
        return Ok(Secrets::default());
    }
    serde_json::from_slice(text).map_err(io::Error::other)
}

/// The next job, from standard input; none where the agent has ended.
fn next_order() -> io::Result<Option<Order>> {
    let line = Zeroizing::new(next_line()?);
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(io::Error::other)
}

/// The agent's next line; empty where it has ended.
fn next_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Takes the job's lock, and makes sure that it is still the folder's.
fn lock(job: &JobDir) -> Result<Flock<File>, SuperviseError> {
    let lock = job.try_lock().ok_or(SuperviseError::Locked)?;
    let held = lock.metadata()?;
    match std::fs::metadata(job.file("lock")) {
        Ok(named) if named.ino() == held.ino() => Ok(lock),
        Ok(_) | Err(_) => Err(SuperviseError::Locked),
    }
}

/// A job's start, written down and not yet on the disk for good.
enum Start {
    /// In the journal of starts, by the agent, which has it synced.
    ByAgent,
    /// In the journal of starts: only its bytes have changed.
    InJournal(File),
    /// In the job's folder alone, in a file of its own.
    InFolder(File),
}

impl Start {
    /// From here on the job never starts again, whoever is killed.
    fn write(job: &JobDir, spec: &Spec, is_noted: bool) -> io::Result<Self> {
        let started = Started {
            boot_id: spec.boot_id.clone(),
        };
        let text = serde_json::to_vec(&started).map_err(io::Error::other)?;
        let start = if is_noted {
            Self::ByAgent
        } else if let Some(journal) = note(job, spec) {
            Self::InJournal(journal)
        } else {
            let mut file = File::create_new(job.file(STARTED))?;
            file.write_all(&text)?;
            return Ok(Self::InFolder(file));
        };
        job.write_started(&text)?;
        Ok(start)
    }

    /// From here on it never starts again, even where the power goes. Only then may bash have its
    /// first instruction.
    fn sync(self, job: &JobDir, spec: &Spec) -> io::Result<()> {
        match self {
            Self::ByAgent if next_line()? == word(true) => Ok(()),
            // The agent has died meanwhile, or its sync has failed.
            Self::ByAgent => match note(job, spec) {
                Some(journal) => journal.sync_data(),
                None => File::open(job.file(STARTED))?.sync_all(),
            },
            Self::InJournal(journal) => journal.sync_data(),
            // On ext4, XFS and btrfs the sync of a new file takes the names that lead to it along,
            // and each further sync would delay the job by as much again.
            Self::InFolder(file) => file.sync_all(),
        }
    }
}

/// Notes the start in the journal of starts, where that can be.
fn note(job: &JobDir, spec: &Spec) -> Option<File> {
    StartLog::for_job(job)?.record(job.id(), &spec.boot_id).ok()
}

/// The record of a script that never ran.
fn never_ran(ended_by: EndedBy, error_msg: Option<String>) -> Exit {
    Exit {
        exit_code: None,
        signal: None,
        ended_by,
        error_msg,
        stdout_bytes: 0,
        stderr_bytes: 0,
        at_shutdown: false,
        left_running: false,
    }
}
