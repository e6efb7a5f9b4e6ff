//! Scheduled backups of `hyprbox serve`: at an interval, keeping the newest few, with retries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::backup;
use crate::clock::{self, Timestamp};
use crate::config::BackupPlan;
use crate::jobs::Jobs;
use crate::outbox::{EventKind, Message, Subject};
use crate::store::{StoreError, Tx};
use crate::tasks::TASKS;

/// Pause before the first retry of a failed backup, and the longest pause after repeated failures.
const RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// Takes backups until the server stops.
pub(crate) async fn follow(
    plan: BackupPlan,
    database: PathBuf,
    jobs: Jobs,
    stopping: watch::Receiver<bool>,
) {
    let mut failures = 0_u32;
    let metrics = &jobs.metrics;
    metrics.expect_backups();
    if let Some(at) = newest(&plan.dir) {
        metrics.set_last_backup(at);
    }
    loop {
        let wait = match failures {
            0 => until_next(newest(&plan.dir), clock::now(), plan.every),
            _ => plan.every.min(retry_after(failures)),
        };
        tokio::time::sleep(wait).await;
        let (now, stop) = (clock::now(), stopping.clone());
        let (task_plan, task_database) = (plan.clone(), database.clone());
        let taken = tokio::task::spawn_blocking(move || {
            take_backup(&task_plan, &task_database, now, &|| !*stop.borrow())
        });
        match taken.await {
            Ok(Ok(bytes)) => {
                failures = 0;
                metrics.backup_succeeded(now, bytes);
            }
            _ if *stopping.borrow() => return,
            Ok(Err(error)) => {
                failures = failures.saturating_add(1);
                metrics.backup_failed();
                if failures == 1 {
                    report_failure(&jobs, error.clone()).await;
                }
                let again = plan.every.min(retry_after(failures)).as_secs();
                tracing::error!(%error, again_in_seconds = again, "the backup failed");
            }
            Err(error) => {
                TASKS.died("backups", &error.to_string());
                failures = failures.saturating_add(1);
                metrics.backup_failed();
            }
        }
    }
}

/// Reports the first of several failures to the channels that want it.
async fn report_failure(jobs: &Jobs, reason: String) {
    let outbox = jobs.outbox.clone();
    let work = move |tx: &mut dyn Tx| {
        let event = EventKind::BackupFailed;
        outbox.report(tx, event, &Subject::SERVER, |_| {
            Ok::<_, StoreError>(Message {
                event: Some(event),
                object: None,
                reason,
                stderr_tail: None,
                path: "/".to_owned(),
            })
        })
    };
    if let Err(error) = jobs.store.write(work).await {
        tracing::warn!(%error, "can't report that the backup failed");
    }
}

fn retry_after(failures: u32) -> Duration {
    let doubled = RETRY
        .0
        .saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY.1)
}

/// The time until the next backup. The time of the last one is in its name, so that a restart
/// neither adds nor delays a backup.
fn until_next(newest: Option<Timestamp>, now: Timestamp, every: Duration) -> Duration {
    let Some(newest) = newest else {
        return Duration::ZERO;
    };
    // A backup from the future (the clock was set back) delays the next one by at most one
    // interval.
    let age = u64::try_from(now.millis_since(newest)).unwrap_or(0);
    every.saturating_sub(Duration::from_millis(age))
}

fn take_backup(
    plan: &BackupPlan,
    database: &Path,
    now: Timestamp,
    should_continue: &dyn Fn() -> bool,
) -> Result<u64, String> {
    backup::remove_leftovers(&plan.dir);
    let path = plan.dir.join(file_name(now));
    let taken = backup::create(database, &path, should_continue)?;
    tracing::info!(file = %path.display(), bytes = taken.bytes, "backup taken");
    let mut all = backups_in(&plan.dir);
    all.sort_unstable();
    let surplus = all.len().saturating_sub(plan.keep);
    for name in &all[..surplus] {
        if let Err(error) = std::fs::remove_file(plan.dir.join(name)) {
            tracing::warn!(%error, file = name, "can't remove an old backup");
        }
    }
    Ok(taken.bytes)
}

/// A backup's file name, `hyprbox-20261124T093000.120Z.db`; names sort by time.
fn file_name(at: Timestamp) -> String {
    format!("hyprbox-{}.db", at.to_string().replace([':', '-'], ""))
}

/// When the backup of that name was taken; `None` if the file is not a scheduled backup.
fn time_of(name: &str) -> Option<Timestamp> {
    let at = name.strip_prefix("hyprbox-")?.strip_suffix(".db")?;
    let at: Timestamp = at.parse().ok()?;
    (file_name(at) == name).then_some(at)
}

fn backups_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| time_of(name).is_some())
        .collect()
}

/// When the newest backup in a folder was taken.
pub(super) fn newest(dir: &Path) -> Option<Timestamp> {
    backups_in(dir)
        .iter()
        .filter_map(|name| time_of(name))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_has_the_time_and_other_files_are_ignored() {
        let at = Timestamp::from_millis(1_795_512_600_120);
        assert_eq!(file_name(at), "hyprbox-20261124T093000.120Z.db");
        assert_eq!(time_of(&file_name(at)), Some(at));
        for other in [
            "hyprbox.db",
            "hyprbox-.db",
            "hyprbox-before-the-move.db",
            "hyprbox-20261124T093000.120Z.db.gz",
            "hyprbox-20261124T093000Z.db",
        ] {
            assert_eq!(time_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_next_backup_is_due_an_interval_after_the_last() {
        let every = Duration::from_secs(3_600);
        let now = Timestamp::from_millis(1_795_512_600_000);
        assert_eq!(until_next(None, now, every), Duration::ZERO);
        let half = now.plus_millis(-1_800_000);
        assert_eq!(until_next(Some(half), now, every), every / 2);
        let old = now.plus_millis(-9_000_000);
        assert_eq!(until_next(Some(old), now, every), Duration::ZERO);
        assert_eq!(until_next(Some(now.plus_millis(9_000)), now, every), every);
    }

    #[test]
    fn retries_back_off() {
        assert_eq!(retry_after(1), RETRY.0);
        assert_eq!(retry_after(2), RETRY.0 * 2);
        assert_eq!(retry_after(u32::MAX), RETRY.1);
    }
}
