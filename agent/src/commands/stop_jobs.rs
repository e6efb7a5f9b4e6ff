//! `hyprbox-agent stop-jobs`: ends this node's jobs, for example before the package is removed.
//! Stopping only the agent leaves them running.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::state::StateError;
use crate::state::job_dir::{self, EndedBy};

/// Covers the 10 s between SIGTERM and SIGKILL, and the time that the supervisor needs to kill.
const PATIENCE: Duration = Duration::from_secs(20);
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Ids of the jobs that were running when `stop-jobs` began.
#[derive(Debug, Default)]
pub struct StopReport {
    /// Jobs that have ended.
    pub ended: Vec<String>,
    /// Jobs that could not be ended.
    pub still_running: Vec<String>,
}

/// Makes each running job's supervisor end its job, and waits for the ends. The running agent
/// reports them to the server or, if none is running, the next one does.
pub fn stop_jobs(state_dir: &Path) -> Result<StopReport, StateError> {
    let jobs = state_dir.join("jobs");
    let mut report = StopReport::default();
    if !jobs.exists() {
        return Ok(report);
    }
    let mut running = job_dir::alive(&jobs)?;
    for dir in &running {
        dir.request_end(EndedBy::Stop)
            .map_err(StateError::io(dir.path()))?;
    }
    let deadline = Instant::now() + PATIENCE;
    while !running.is_empty() && Instant::now() < deadline {
        std::thread::sleep(CHECK_EVERY);
        running.retain(|dir| {
            // The agent may have reported the end and removed the folder already.
            let is_running = dir.has("lock") && dir.try_lock().is_none();
            if !is_running {
                report.ended.push(dir.id().to_owned());
            }
            is_running
        });
    }
    report.still_running = running.iter().map(|dir| dir.id().to_owned()).collect();
    Ok(report)
}
