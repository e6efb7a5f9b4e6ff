//! The process that outlives the agent: one for each job, the same binary as `supervise <folder>`.
//!
//! It owns bash, its pipes, its timeout and its end, and writes everything into the job's folder (see [`crate::journal`]). It
//! knows nothing of the server, has no runtime and no threads, and never sees the node's token.

mod mask;
mod run;
mod tree;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::Flock;
use nix::sys::prctl;
use nix::unistd::setsid;

use crate::journal::{EndedBy, Exit, JobDir, Spec, Started};
use crate::state::replace_file;
use run::Run;

pub(crate) use run::{ENDED, FULL};
pub(crate) use tree::end_marked;

/// Why a supervisor gave up before the job's end. The agent sees the lock free without an exit record.
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

/// Runs the job in `dir` to its end. Returns the process's exit code; the job's own end is in the folder.
pub fn main(dir: &Path) -> i32 {
    match supervise(dir) {
        Ok(()) => 0,
        Err(e) => {
            // Mostly nobody reads this: the agent starts supervisors without a standard error.
            let _ = io::Write::write_fmt(
                &mut io::stderr(),
                format_args!("hyprbox-agent supervise: {e}\n"),
            );
            1
        }
    }
}

fn supervise(dir: &Path) -> Result<(), SuperviseError> {
    // A session of its own, so that no signal meant for the agent's terminal comes here. Fails for a group's leader,
    // as when started by hand, which does no harm.
    let _ = setsid();
    let secrets = read_secrets()?;
    let job = JobDir::at(dir);
    let _lock = lock(&job)?;
    if job.has("started") {
        return Err(SuperviseError::StartedBefore);
    }
    let spec: Spec = job.read("job.json").ok_or(SuperviseError::NoSpec)?;
    prctl::set_child_subreaper(true).map_err(io::Error::from)?;
    let mut run = Run::prepare(&job, &secrets)?;
    mark_started(&job, &spec)?;
    let exit = run.until_the_end(&spec);
    write_exit(&job, &exit, &mut run)?;
    run.poke(ENDED);
    Ok(())
}

/// The secrets come as JSON on standard input, which is memory and never a file on disk; empty without any.
fn read_secrets() -> io::Result<Vec<(String, String)>> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice::<std::collections::BTreeMap<String, String>>(&text)
        .map(|map| map.into_iter().collect())
        .map_err(io::Error::other)
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

/// From here on the job never starts again: on the disk for good, with the names that lead to it.
fn mark_started(job: &JobDir, spec: &Spec) -> io::Result<()> {
    let started = Started {
        boot_id: spec.boot_id.clone(),
        cgroup: None,
    };
    let text = serde_json::to_vec(&started).map_err(io::Error::other)?;
    replace_file(&job.file("started"), &text)?;
    match job.path().parent() {
        Some(jobs) => File::open(jobs)?.sync_all(),
        None => Ok(()),
    }
}

fn write_exit(job: &JobDir, exit: &Exit, run: &mut Run) -> io::Result<()> {
    run.sync();
    let text = serde_json::to_vec(exit).map_err(io::Error::other)?;
    match replace_file(&job.file("exit"), &text) {
        Err(e) if e.kind() == io::ErrorKind::StorageFull => {
            run.make_room();
            replace_file(&job.file("exit"), &text)
        }
        done => done,
    }
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
    }
}
