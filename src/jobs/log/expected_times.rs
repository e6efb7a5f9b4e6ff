//! How long a job usually takes, from the last runs of its preset that succeeded.

use crate::clock::Timestamp;
use crate::jobs::{JobError, JobView, Jobs, RunStep};
use crate::store::job::{self, Job, JobFilter, JobStatus};
use crate::store::{Tx, job_step};

/// The most runs that count.
const RUNS: u64 = 20;

/// Medians of earlier runs, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedTimes {
    /// How long the whole script takes.
    total: i64,
    /// When each step begins, since the script began; empty if that is not known.
    begins: Vec<i64>,
}

/// How far a running job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The time at which earlier runs were equally far, in milliseconds.
    pub position: i64,
    /// How long they took in all.
    pub total: i64,
}

impl ExpectedTimes {
    fn of_runs(runs: &[(i64, Vec<i64>)]) -> Option<Self> {
        let (_, newest) = runs.first()?;
        let begins = (0..newest.len()).map(|at| {
            let of_run = |run: &(i64, Vec<i64>)| {
                let has_same_steps = run.1.len() == newest.len();
                run.1.get(at).copied().filter(|_| has_same_steps)
            };
            median(runs.iter().filter_map(of_run).collect())
        });
        Some(Self {
            total: median(runs.iter().map(|run| run.0).collect())?,
            begins: begins.collect::<Option<_>>()?,
        })
    }

    /// How far a job is that has run for `elapsed`, and for `in_step` in this step. A step that
    /// takes longer than usual does not count as a later one.
    pub fn progress(&self, elapsed: i64, step: Option<(&RunStep, i64)>) -> Progress {
        let by_step = step.and_then(|(step, in_step)| {
            let number = usize::try_from(step.index).ok()?;
            let has_same_steps = usize::try_from(step.count) == Ok(self.begins.len());
            let begins = self
                .begins
                .get(number.checked_sub(1)?)
                .filter(|_| has_same_steps)?;
            let end = self.begins.get(number).copied().unwrap_or(self.total);
            Some((begins + in_step.max(0)).min(end))
        });
        Progress {
            position: by_step.unwrap_or(elapsed).clamp(0, self.total),
            total: self.total,
        }
    }
}

fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

impl Jobs {
    /// How long a job usually takes: on its node or, if its preset has never succeeded there,
    /// on any node. `None` without earlier runs.
    pub async fn expected_times(&self, job: &JobView) -> Result<Option<ExpectedTimes>, JobError> {
        let mut filter = JobFilter {
            node_id: Some(job.node_id.clone()),
            preset: Some(job.preset.clone()),
            statuses: vec![JobStatus::Succeeded],
            kind: Some(job.kind),
            before: Some(job.id.clone()),
            ..JobFilter::default()
        };
        self.store
            .read(move |tx| {
                let mut jobs = job::list(tx, &filter, RUNS)?;
                if jobs.is_empty() {
                    filter.node_id = None;
                    jobs = job::list(tx, &filter, RUNS)?;
                }
                let mut runs = Vec::with_capacity(jobs.len());
                for job in jobs {
                    if let Some(run) = read_run(tx, &job)? {
                        runs.push(run);
                    }
                }
                Ok(ExpectedTimes::of_runs(&runs))
            })
            .await
    }
}

/// How long a job ran, and when each of its steps began, if the node has measured that.
fn read_run(tx: &mut dyn Tx, job: &Job) -> Result<Option<(i64, Vec<i64>)>, JobError> {
    let by_clock = |(end, start): (Timestamp, Timestamp)| end.millis_since(start).max(0);
    let measured = job.ran_ms.and_then(|ms| i64::try_from(ms).ok());
    let ran = measured.or_else(|| job.finished_at.zip(job.started_at).map(by_clock));
    let Some(ran) = ran else {
        return Ok(None);
    };
    let begins = job_step::list(tx, &job.id)?
        .iter()
        .map(|step| step.began_ms.and_then(|ms| i64::try_from(ms).ok()))
        .collect::<Option<Vec<i64>>>();
    Ok(Some((ran, begins.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(index: u32) -> RunStep {
        RunStep {
            index,
            count: 3,
            name: "s".to_owned(),
        }
    }

    #[test]
    fn the_median_of_earlier_runs_counts_and_steps_that_take_longer_wait() {
        assert_eq!(ExpectedTimes::of_runs(&[]), None);
        let runs = [
            (9_000, vec![0, 2_000, 5_000]),
            (8_000, vec![0, 1_000, 4_000]),
            (90_000, vec![0, 3_000]),
            (10_000, vec![0, 3_000, 6_000]),
        ];
        let expected = ExpectedTimes::of_runs(&runs).expect("runs");
        assert_eq!(expected.total, 10_000);
        assert_eq!(expected.begins, [0, 2_000, 5_000]);
        let position =
            |elapsed, step: Option<(&RunStep, i64)>| expected.progress(elapsed, step).position;
        let in_step = |elapsed, index, in_step| position(elapsed, Some((&step(index), in_step)));
        assert_eq!(position(500, None), 500);
        assert_eq!(position(20_000, None), 10_000);
        // The second step has begun late, and takes longer than usual.
        assert_eq!(in_step(7_000, 2, 1_000), 3_000);
        assert_eq!(in_step(20_000, 2, 9_000), 5_000);
        assert_eq!(in_step(20_000, 3, 9_000), 10_000);
        let other = RunStep {
            count: 4,
            ..step(2)
        };
        assert_eq!(position(7_000, Some((&other, 1_000))), 7_000);
    }
}
