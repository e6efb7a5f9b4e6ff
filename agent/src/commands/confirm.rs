//! `hyprbox-agent confirm`: keeps what a waiting job has changed. Needs neither agent nor server:
//! who can type it in a new SSH session on the node has proved that they can still sign in.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::state::StateError;
use crate::state::job_dir::{self, JobDir};

/// A supervisor takes a confirmation within milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Why no job was confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// No job of this node waits.
    #[error("no job on this node waits for a confirmation")]
    NoneWaits,
    /// The named job does not wait.
    #[error("job {0} does not wait for a confirmation on this node")]
    NotWaiting(String),
    /// Several jobs wait.
    #[error("several jobs wait: name one of them: hyprbox-agent confirm ID, with {}", .0.join(" or "))]
    Several(Vec<String>),
    /// It was too late: the job is being undone.
    #[error("job {0} was not confirmed: its time was over, and it is being undone")]
    TooLate(String),
    /// The job's supervisor does not react.
    #[error("the supervisor of job {0} does not answer; look at the job's page")]
    NoAnswer(String),
    /// The state folder can't be read or written.
    #[error("{0}")]
    State(#[from] StateError),
}

/// Confirms the job `id`, or the only one that waits. Returns its id.
pub fn confirm(state_dir: &Path, id: Option<&str>) -> Result<String, ConfirmError> {
    let jobs = state_dir.join("jobs");
    let mut waiting = match jobs.metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(StateError::io(&jobs)(e).into()),
        Ok(_) => job_dir::waiting(&jobs)?,
    };
    if let Some(id) = id {
        waiting.retain(|dir| dir.id() == id);
        let dir = waiting.pop();
        let dir = dir.ok_or_else(|| ConfirmError::NotWaiting(id.to_owned()))?;
        return confirm_job(&dir);
    }
    match &waiting[..] {
        [] => Err(ConfirmError::NoneWaits),
        [dir] => confirm_job(dir),
        several => Err(ConfirmError::Several(
            several.iter().map(|dir| dir.id().to_owned()).collect(),
        )),
    }
}

fn confirm_job(dir: &JobDir) -> Result<String, ConfirmError> {
    dir.request_confirm().map_err(StateError::io(dir.path()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if dir.is_being_undone() {
            return Err(ConfirmError::TooLate(dir.id().to_owned()));
        }
        // The agent may have reported the end and removed the folder already.
        let has_ended = !dir.path().exists() || dir.exit().is_some();
        if has_ended {
            return Ok(dir.id().to_owned());
        }
        if Instant::now() >= deadline {
            return Err(ConfirmError::NoAnswer(dir.id().to_owned()));
        }
        std::thread::sleep(CHECK_EVERY);
    }
}
