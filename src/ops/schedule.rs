//! Backups that `serve` takes by itself: every so often, the newest few are kept, a failed one is
//! told of and tried again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::backup;
use crate::clock::{self, Timestamp};
use crate::config::BackupPlan;
use crate::metrics::Metrics;
use crate::tasks::TASKS;

/// How long until a failed backup is tried again, and at the most after it has failed again and
/// again.
const RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// Takes backups until the server goes down.
pub(crate) async fn follow(
    plan: BackupPlan,
    database: PathBuf,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
) {
    let mut failures = 0_u32;
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
        let (its_plan, its_database) = (plan.clone(), database.clone());
        let taken = tokio::task::spawn_blocking(move || {
            take(&its_plan, &its_database, now, &|| !*stop.borrow())
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

fn retry_after(failures: u32) -> Duration {
    let doubled = RETRY
        .0
        .saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY.1)
}

/// The time until the next backup. The last one's name says when it was, so that restarts neither
/// add nor put off any.
fn until_next(newest: Option<Timestamp>, now: Timestamp, every: Duration) -> Duration {
    let Some(newest) = newest else {
        return Duration::ZERO;
    };
    // One from the future, where the clock was set back, doesn't count for longer than its own
    // interval.
    let age = u64::try_from(now.millis_since(newest)).unwrap_or(0);
    every.saturating_sub(Duration::from_millis(age))
}

fn take(
    plan: &BackupPlan,
    database: &Path,
    now: Timestamp,
    go_on: &dyn Fn() -> bool,
) -> Result<u64, String> {
    backup::remove_leftovers(&plan.dir);
    let path = plan.dir.join(name_of(now));
    let made = backup::make(database, &path, go_on)?;
    tracing::info!(file = %path.display(), bytes = made.bytes, "backup taken");
    let mut all = all(&plan.dir);
    all.sort_unstable();
    let surplus = all.len().saturating_sub(plan.keep);
    for name in &all[..surplus] {
        if let Err(error) = std::fs::remove_file(plan.dir.join(name)) {
            tracing::warn!(%error, file = name, "an old backup could not be removed");
        }
    }
    Ok(made.bytes)
}

/// `hyprbox-20261124T093000.120Z.db`: names sort by time.
fn name_of(at: Timestamp) -> String {
    format!("hyprbox-{}.db", at.to_string().replace([':', '-'], ""))
}

/// When the backup of that name was taken; `None` for any other file, which is left alone.
fn time_of(name: &str) -> Option<Timestamp> {
    let at = name.strip_prefix("hyprbox-")?.strip_suffix(".db")?;
    let at: Timestamp = at.parse().ok()?;
    (name_of(at) == name).then_some(at)
}

fn all(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| time_of(name).is_some())
        .collect()
}

/// When the newest backup in a folder was taken.
pub(super) fn newest(dir: &Path) -> Option<Timestamp> {
    all(dir).iter().filter_map(|name| time_of(name)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_time_and_other_files_are_none() {
        let at = Timestamp::from_millis(1_795_512_600_120);
        assert_eq!(name_of(at), "hyprbox-20261124T093000.120Z.db");
        assert_eq!(time_of(&name_of(at)), Some(at));
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
    fn the_next_one_is_due_by_the_last_ones_time() {
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
    fn failures_are_tried_again_ever_more_rarely() {
        assert_eq!(retry_after(1), RETRY.0);
        assert_eq!(retry_after(2), RETRY.0 * 2);
        assert_eq!(retry_after(u32::MAX), RETRY.1);
    }
}
