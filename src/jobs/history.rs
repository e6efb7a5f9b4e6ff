//! What earlier jobs did, for the pages: how they ended, how long they took, and what is usual.

use std::collections::{BTreeSet, HashMap};

use super::{JobError, JobView, Jobs};
use crate::clock::Timestamp;
use crate::store::job::{self, JobSearch, JobStatus, PastFilter, PastJob};
use crate::store::node_status;

/// Jobs in a history.
const HISTORY_MAX: u64 = 30;
/// Jobs of a node or a preset that are read to find those of a history.
const EXAMINED: u64 = 500;
/// The same for each of many histories.
const EXAMINED_OF_MANY: u64 = 100;

/// The last jobs of a preset or a node that have started.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Oldest first.
    pub jobs: Vec<PastJob>,
}

impl History {
    fn of(mut newest_first: Vec<PastJob>) -> Self {
        newest_first.reverse();
        Self { jobs: newest_first }
    }

    /// The number of jobs with this status.
    pub fn count(&self, status: JobStatus) -> usize {
        self.jobs.iter().filter(|job| job.status == status).count()
    }

    /// How long a job takes that succeeds, in milliseconds. A failure may end at any time.
    pub fn median_ms(&self) -> Option<i64> {
        let succeeded = self
            .jobs
            .iter()
            .filter(|job| job.status == JobStatus::Succeeded);
        let mut times: Vec<i64> = succeeded.filter_map(PastJob::took_ms).collect();
        times.sort_unstable();
        let middle = times.len() / 2;
        match times.len() % 2 {
            1 => times.get(middle).copied(),
            _ => Some((times.get(middle.checked_sub(1)?)? + times.get(middle)?) / 2),
        }
    }
}

/// What a row of a list shows of a job besides the job.
#[derive(Debug, Clone, Default)]
pub struct RowFacts {
    /// The number and name of each job's last step.
    steps: HashMap<String, (u64, String)>,
    /// By preset, in milliseconds.
    medians: HashMap<String, i64>,
}

impl RowFacts {
    /// The last step that the job has announced: its number, from 1, and its name.
    pub fn step(&self, job: &JobView) -> Option<(u64, &str)> {
        let (number, name) = self.steps.get(&job.id)?;
        Some((*number, name))
    }

    /// How long a job of this preset takes that succeeds, in milliseconds.
    pub fn median_ms(&self, job: &JobView) -> Option<i64> {
        self.medians.get(&job.preset).copied()
    }
}

/// The jobs that a search found.
#[derive(Debug, Clone)]
pub struct SearchPage {
    pub jobs: Vec<JobView>,
    pub next_cursor: Option<String>,
    /// The number of jobs that were read, if the search ended before it had found enough or read
    /// all.
    pub gave_up_after: Option<u64>,
}

/// How the jobs ended that ended within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedWithin {
    pub from: Timestamp,
    pub to: Timestamp,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// What happens now and what has happened lately.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    pub running: u64,
    pub waiting: u64,
    pub ended: Vec<EndedWithin>,
    /// The jobs that failed within these times, the latest first.
    pub failed: Vec<JobView>,
}

impl Jobs {
    /// The last jobs of a preset or a node. If that leaves out the job `around`, it is the last of
    /// them.
    pub async fn history(
        &self,
        filter: PastFilter,
        around: Option<String>,
    ) -> Result<History, JobError> {
        let found = self
            .store
            .read(move |tx| {
                let newest = job::past(tx, &filter, EXAMINED, HISTORY_MAX)?;
                let is_in = |id: &String| newest.iter().any(|job| job.id == *id);
                match around.filter(|id| !is_in(id)) {
                    Some(id) => {
                        let upto = PastFilter {
                            upto: Some(id),
                            ..filter
                        };
                        job::past(tx, &upto, EXAMINED, HISTORY_MAX)
                    }
                    None => Ok(newest),
                }
            })
            .await?;
        Ok(History::of(found))
    }

    /// The histories of many presets or nodes, in the same order.
    pub async fn histories(&self, filters: Vec<PastFilter>) -> Result<Vec<History>, JobError> {
        self.store
            .read(move |tx| {
                let one = |filter: PastFilter| {
                    let found = job::past(tx, &filter, EXAMINED_OF_MANY, HISTORY_MAX)?;
                    Ok::<_, JobError>(History::of(found))
                };
                filters.into_iter().map(one).collect::<Result<_, _>>()
            })
            .await
    }

    /// What rows of these jobs show. What is usual is taken from jobs of `created_by`, if that is a
    /// user, and otherwise from everybody's.
    pub async fn row_facts(
        &self,
        jobs: &[JobView],
        created_by: Option<String>,
    ) -> Result<RowFacts, JobError> {
        let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
        let presets: BTreeSet<String> = jobs.iter().map(|job| job.preset.clone()).collect();
        self.store
            .read(move |tx| {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let steps = job::last_steps(tx, &ids)?;
                let mut medians = HashMap::new();
                for preset in presets {
                    let filter = PastFilter {
                        preset: Some(preset.clone()),
                        created_by: created_by.clone(),
                        ..PastFilter::default()
                    };
                    let found = job::past(tx, &filter, EXAMINED_OF_MANY, HISTORY_MAX)?;
                    if let Some(median) = History::of(found).median_ms() {
                        medians.insert(preset, median);
                    }
                }
                Ok(RowFacts { steps, medians })
            })
            .await
    }

    /// The newest jobs that match a search.
    pub async fn search(&self, search: JobSearch, limit: u64) -> Result<SearchPage, JobError> {
        let found = self
            .store
            .read(move |tx| Ok::<_, JobError>(job::search(tx, &search, limit)?))
            .await?;
        Ok(SearchPage {
            jobs: found.jobs.into_iter().map(JobView::from).collect(),
            next_cursor: found.next,
            gave_up_after: found.gave_up_after,
        })
    }

    /// Everybody who has queued a job, by email.
    pub async fn job_owners(&self) -> Result<BTreeSet<String>, JobError> {
        let owners = self.store.read(|tx| job::owners(tx)).await?;
        Ok(owners.into_iter().map(|(_, email)| email).collect())
    }

    /// What happens now and what has happened within `times`, which follow one another; up to
    /// `failures` failed jobs. Only jobs of `created_by`, if that is a user.
    pub async fn activity(
        &self,
        times: Vec<(Timestamp, Timestamp)>,
        created_by: Option<String>,
        failures: u64,
    ) -> Result<Activity, JobError> {
        self.store
            .read(move |tx| {
                let owner = created_by.as_deref();
                let counts = match owner {
                    Some(user) => job::count_unfinished_of(tx, user)?,
                    None => job::count_unfinished(tx)?,
                };
                let count = |status| {
                    let found = counts.iter().find(|(of, _)| *of == status);
                    found.map_or(0, |(_, count)| *count)
                };
                let empty = |(from, to): &(Timestamp, Timestamp)| EndedWithin {
                    from: *from,
                    to: *to,
                    succeeded: 0,
                    failed: 0,
                    cancelled: 0,
                };
                let mut ended: Vec<_> = times.iter().map(empty).collect();
                for (index, status, count) in job::count_ended(tx, &times, owner)? {
                    let Some(within) = ended.get_mut(index) else {
                        continue;
                    };
                    match status {
                        JobStatus::Succeeded => within.succeeded = count,
                        JobStatus::Failed => within.failed = count,
                        JobStatus::Cancelled => within.cancelled = count,
                        JobStatus::Queued | JobStatus::Running => {}
                    }
                }
                let failed = match times.first() {
                    Some((since, _)) => job::failed_since(tx, *since, owner, failures)?,
                    None => Vec::new(),
                };
                Ok(Activity {
                    running: count(JobStatus::Running),
                    waiting: count(JobStatus::Queued),
                    ended,
                    failed: failed.into_iter().map(JobView::from).collect(),
                })
            })
            .await
    }

    /// When the node became ONLINE (`true`) or OFFLINE, oldest first.
    pub async fn node_status_changes(
        &self,
        node_id: String,
    ) -> Result<Vec<(Timestamp, bool)>, JobError> {
        Ok(self
            .store
            .read(move |tx| node_status::list(tx, &node_id))
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(status: JobStatus, took_ms: i64) -> PastJob {
        let started_at = Timestamp::from_millis(1_000);
        PastJob {
            id: String::new(),
            preset: "note".to_owned(),
            node_id: "n1".to_owned(),
            created_by: "u1".to_owned(),
            status,
            started_at: Some(started_at),
            finished_at: status
                .is_terminal()
                .then(|| started_at.plus_millis(took_ms)),
        }
    }

    fn median(jobs: Vec<PastJob>) -> Option<i64> {
        History::of(jobs).median_ms()
    }

    #[test]
    fn the_median_is_of_jobs_that_succeeded() {
        use JobStatus::{Failed, Running, Succeeded};
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(vec![past(Failed, 5), past(Running, 0)]), None);
        assert_eq!(median(vec![past(Succeeded, 7), past(Failed, 900)]), Some(7));
        let three = vec![past(Succeeded, 9), past(Succeeded, 1), past(Succeeded, 4)];
        assert_eq!(median(three.clone()), Some(4));
        let four = [three, vec![past(Succeeded, 8)]].concat();
        assert_eq!(median(four), Some(6));
    }
}
