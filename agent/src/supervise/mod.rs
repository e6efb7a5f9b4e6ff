//! The process that outlives the agent: one for each job, the same binary as `supervise <folder>`.
//!
//! It owns bash, its pipes, its timeout and its end, and writes everything into the job's folder (see `journal.rs`). It
//! knows nothing of the server, has no runtime and no threads, and never sees the node's token.

mod mask;
mod run;
mod tree;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::Flock;
use nix::sys::prctl;
use nix::unistd::setsid;

use crate::journal::{EndedBy, Exit, JobDir, Spec, Started};
use run::Run;

pub(crate) use run::{ACKNOWLEDGED, ENDED, FULL};
pub(crate) use tree::end_marked;

/// How long the end of a job waits for the server's word before it goes to the disk for good.
const ACKNOWLEDGED_SOON: Duration = Duration::from_millis(50);

/// Room for the exit record: more than its longest message takes.
const RECORD_BYTES: usize = 4096;

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
            let _ = writeln!(io::stderr(), "hyprbox-agent supervise: {e}");
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
    let mut record = reserve_exit(&job)?;
    mark_started(&job, &spec)?;
    let exit = run.until_the_end(&spec);
    write_exit(&job, &exit, &mut record)?;
    // A living agent tells the server at once, and a job that the server has taken needs no disk: only without that
    // is the end put there for good. A power loss in between is a restart of the node while the job ran.
    run.poke(ENDED);
    if !run.is_acknowledged_within(ACKNOWLEDGED_SOON) {
        run.sync();
        record.sync_all()?;
        File::open(job.path())?.sync_all()?;
    }
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

/// From here on the job never starts again: on the disk for good, before bash has its first instruction. One sync, of
/// the new file alone: on ext4, XFS and btrfs it takes the names that lead to the file along, and each further one would
/// delay every job by as much again.
fn mark_started(job: &JobDir, spec: &Spec) -> io::Result<()> {
    let started = Started {
        boot_id: spec.boot_id.clone(),
    };
    let text = serde_json::to_vec(&started).map_err(io::Error::other)?;
    let mut file = File::create_new(job.file("started"))?;
    file.write_all(&text)?;
    file.sync_all()
}

/// Makes the file for the exit record, with its room on the disk, so that the end of a job can be told even when the
/// job has filled the disk up.
fn reserve_exit(job: &JobDir) -> io::Result<File> {
    let mut file = File::create(job.file("exit.tmp"))?;
    file.write_all(&[b' '; RECORD_BYTES])?;
    Ok(file)
}

/// Writes how the job ended into the room that was kept, and gives it its name.
fn write_exit(job: &JobDir, exit: &Exit, record: &mut File) -> io::Result<()> {
    let text = serde_json::to_vec(exit).map_err(io::Error::other)?;
    record.rewind()?;
    record.write_all(&text)?;
    record.set_len(text.len() as u64)?;
    std::fs::rename(job.file("exit.tmp"), job.file("exit"))
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
