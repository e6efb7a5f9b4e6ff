//! The task that acts on due times. Every server runs it, under conditions in the transaction, so
//! that replicas need no leader.

use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::{ScheduleError, Schedules};
use crate::clock::Timestamp;
use crate::jobs::Failures;
use crate::store::schedule::{self, Schedule};
use crate::store::{Tx, server_state};

/// How often the task reads due times. Each read also finds a clock that was changed, and what
/// other servers have written.
const TICK: Duration = Duration::from_secs(1);
/// Due schedules per round.
const ROUND: u64 = 200;
/// Schedules whose runs are prepared at the same time, so that one slow rendering delays no other.
const AT_ONCE: usize = 16;
/// A clock that is ahead by more than this since the last round was set forward, or the machine
/// slept: the due times in between count as missed.
const STEP_MS: i64 = 2_000;
/// How long a server that has just started leaves due times to the others of its database.
const OTHERS_FIRST_MS: i64 = 5_000;

/// Since when the server has been up, by the clock that counts for due times.
#[derive(Debug, Clone, Copy)]
struct Uptime {
    since: Timestamp,
    read_at: (Instant, Timestamp),
}

impl Uptime {
    fn begin(now: Timestamp) -> Self {
        Self {
            since: now,
            read_at: (Instant::now(), now),
        }
    }

    /// Reads the clock once more.
    fn read(&mut self, at: Instant, now: Timestamp) {
        let (last_at, last) = self.read_at;
        let passed = i64::try_from((at - last_at).as_millis()).unwrap_or(i64::MAX);
        if now.millis_since(last) > passed.saturating_add(STEP_MS) {
            self.since = now;
        }
        // A clock that was set back.
        self.since = self.since.min(now);
        self.read_at = (at, now);
    }
}

impl Schedules {
    /// Acts on due times until the server shuts down.
    pub async fn follow(self) {
        let mut uptime = None;
        let mut failures = Failures::of("run due schedules");
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let acted = tokio::select! {
                acted = async { tick.tick().await; self.act(&mut uptime).await } => acted,
                () = self.stopped() => return,
            };
            failures.log(acted);
        }
    }

    /// Acts on every due time up to now.
    async fn act(&self, uptime: &mut Option<Uptime>) -> Result<(), ScheduleError> {
        loop {
            let find = |tx: &mut dyn Tx| {
                let now = server_state::now(tx)?;
                Ok::<_, ScheduleError>((now, schedule::due(tx, now, ROUND)?))
            };
            let (now, mut due) = self.store.read(find).await?;
            let up = uptime.get_or_insert_with(|| Uptime::begin(now));
            up.read(Instant::now(), now);
            let since = up.since;
            let is_full = due.len() as u64 == ROUND;
            due.retain(|schedule| !self.is_for_others(schedule, now, since));
            if due.is_empty() {
                return Ok(());
            }
            let results: Vec<_> = futures_util::stream::iter(due)
                .map(|schedule| self.act_on_logged(schedule, now, since))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            // A schedule whose transaction failed must not keep this loop busy.
            results.into_iter().collect::<Result<(), _>>()?;
            if !is_full {
                return Ok(());
            }
        }
    }

    async fn act_on_logged(
        &self,
        schedule: Schedule,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<(), ScheduleError> {
        let id = schedule.id.clone();
        self.act_on(schedule, now, since)
            .await
            .inspect_err(|error| tracing::debug!(schedule = %id, %error, "can't act on due times"))
    }

    /// Whether a due time that came before this server started is another server's for now.
    fn is_for_others(&self, schedule: &Schedule, now: Timestamp, since: Timestamp) -> bool {
        let is_before_start =
            |due: Timestamp| due < since && now.millis_since(due) < OTHERS_FIRST_MS;
        self.store.is_shared() && schedule.next_due_at.is_some_and(is_before_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_forward_counts_as_an_outage_and_one_set_back_does_not() {
        let start = Timestamp::from_millis(1_000_000_000_000);
        let mut up = Uptime::begin(start);
        let began = up.read_at.0;
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        up.read(at(1), start.plus_millis(1_500));
        assert_eq!(up.since, start);
        // An hour forward.
        up.read(at(2), start.plus_millis(3_600_000));
        assert_eq!(up.since, start.plus_millis(3_600_000));
        // And back.
        up.read(at(3), start.plus_millis(3_000));
        assert_eq!(up.since, start.plus_millis(3_000));
        up.read(at(4), start.plus_millis(4_000));
        assert_eq!(up.since, start.plus_millis(3_000));
    }
}
