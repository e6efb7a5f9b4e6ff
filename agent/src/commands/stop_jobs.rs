//! `hyprbox-agent stop-jobs`: ends this node's jobs, as before the package is removed. Stopping the
//! agent alone leaves them running.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::state::StateError;
use crate::state::job_dir::{self, EndedBy};

/// The supervisor's grace before SIGKILL, its own time for the kill, and some to spare.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ids of the jobs that were running.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Those that have ended.
    pub ended: Vec<String>,
    /// Those that nothing could end.
    pub left: Vec<String>,
}

/// Asks each running job's supervisor to end it, and waits until they have. A running agent reports
/// their end to the server; without one the next agent does.
pub fn stop_jobs(state_dir: &Path) -> Result<Stopped, StateError> {
    let jobs = state_dir.join("jobs");
    let mut stopped = Stopped::default();
    if !jobs.exists() {
        return Ok(stopped);
    }
    let mut left = job_dir::alive(&jobs)?;
    for dir in &left {
        dir.request_end(EndedBy::Stop)
            .map_err(StateError::io(dir.path()))?;
    }
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(LOOK_EVERY);
        left.retain(|dir| {
            // The agent may have reported the end and removed the folder already.
            let runs = dir.has("lock") && dir.try_lock().is_none();
            if !runs {
                stopped.ended.push(dir.id().to_owned());
            }
            runs
        });
    }
    stopped.left = left.iter().map(|dir| dir.id().to_owned()).collect();
    Ok(stopped)
}
