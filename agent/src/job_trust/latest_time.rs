//! The latest time that this node has ever seen, so that a clock that is set back revives no
//! expired job.

use std::path::{Path, PathBuf};

use crate::state::replace_file;
use crate::trusted_dir;

/// The file may be this much behind after a job, in milliseconds.
const AFTER_JOB_MS: i64 = 60_000;
/// The file may be this much behind while the agent is idle.
const IDLE_MS: i64 = 600_000;

pub(super) struct LatestTime {
    path: PathBuf,
    latest: i64,
    written: i64,
}

impl LatestTime {
    pub(super) fn open(state: &Path) -> Self {
        let path = state.join("latest-time");
        let text = trusted_dir::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let written = text.trim().parse().unwrap_or(0);
        Self {
            path,
            latest: written,
            written,
        }
    }

    /// The later of the clock's time and the latest time seen.
    pub(super) fn latest(&self, now: i64) -> i64 {
        self.latest.max(now)
    }

    /// Keeps a time that the clock has shown.
    pub(super) fn record(&mut self, now: i64) {
        self.keep(now, IDLE_MS);
    }

    /// Keeps the time of a job that runs.
    pub(super) fn record_job(&mut self, at: i64) {
        self.keep(at, AFTER_JOB_MS);
    }

    fn keep(&mut self, at: i64, behind_max: i64) {
        self.latest = self.latest.max(at);
        if self.latest - self.written < behind_max {
            return;
        }
        match replace_file(&self.path, self.latest.to_string().as_bytes()) {
            Ok(()) => self.written = self.latest,
            Err(error) => tracing::debug!("the latest time can't be written: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_never_goes_back_and_outlives_the_agent() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut latest = LatestTime::open(folder.path());
        assert_eq!(latest.latest(5), 5);
        latest.record_job(AFTER_JOB_MS);
        latest.record(IDLE_MS / 2);
        assert_eq!(latest.latest(7), IDLE_MS / 2);
        let again = LatestTime::open(folder.path());
        assert_eq!(again.latest(7), AFTER_JOB_MS);
        latest.record(IDLE_MS * 2);
        assert_eq!(LatestTime::open(folder.path()).latest(7), IDLE_MS * 2);
    }
}
