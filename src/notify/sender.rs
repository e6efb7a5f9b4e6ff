//! Sends what is in the outbox. Every server runs this task; a claim in the delivery's row lets one
//! of them make each attempt. Each channel has its own workers, so that a slow receiver delays no
//! other.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;

use super::receiver::{Outcome, attempt};
use super::retry::next_attempt;
use super::{AttemptView, Notifications, NotifyError};
use crate::clock::Timestamp;
use crate::jobs::Failures;
use crate::store::channel::{self, Channel};
use crate::store::delivery::{self, Delivery, DeliveryState};
use crate::store::{Tx, server_state};

/// Attempts that a server makes for one channel at the same time.
const WORKERS: usize = 4;
/// An attempt whose result is not recorded by then is made again. It takes 10 s at most.
const LOST_MS: i64 = 20_000;
/// The attempts that are kept of a delivery.
const ATTEMPTS_KEPT: usize = 50;
/// How long settled deliveries are kept, in milliseconds.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// How often old deliveries are deleted.
const TIDY: Duration = Duration::from_secs(3_600);
/// The longest sleep while deliveries are pending: the clock may be changed.
const RECHECK: Duration = Duration::from_secs(30);
/// How often a server reads what others may have left, if it shares the database.
const OTHERS: Duration = Duration::from_secs(10);
/// The pause after a failure of the database.
const RETRY: Duration = Duration::from_secs(1);
/// Why a channel is paused whose receiver is gone.
const GONE: &str = "the receiver answered 410: it wants no more messages";

impl Notifications {
    /// Sends deliveries until the server shuts down.
    pub async fn send_deliveries(self) {
        let mut failures = Failures::of("send notifications");
        let mut workers = JoinSet::new();
        let mut busy: HashMap<String, usize> = HashMap::new();
        let mut tidy = tokio::time::interval(TIDY);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        failures.log(self.release_claims().await);
        loop {
            let read = self.start_workers(&mut workers, &mut busy).await;
            let wait = match failures.log(read) {
                None => Some(RETRY),
                Some(wait) if self.store.is_shared() => Some(wait.unwrap_or(OTHERS).min(OTHERS)),
                Some(wait) => wait,
            };
            let slept = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = slept => {}
                () = self.outbox.sender_woken() => {}
                Some(ended) = workers.join_next() => {
                    match ended {
                        Ok(channel) => free(&mut busy, &channel),
                        // A panic, which is logged: every channel gets new workers.
                        Err(_) => busy.clear(),
                    }
                }
                _ = tidy.tick() => { failures.log(self.tidy_deliveries().await); }
                () = self.stopped() => return,
            }
        }
    }

    /// Starts workers for the channels with deliveries that are due. Returns how long nothing else
    /// is due; `None` if nothing is pending.
    async fn start_workers(
        &self,
        workers: &mut JoinSet<String>,
        busy: &mut HashMap<String, usize>,
    ) -> Result<Option<Duration>, NotifyError> {
        let read = |tx: &mut dyn Tx| {
            let next = delivery::next_attempts(tx)?;
            // Without pending deliveries the time does not matter.
            let now = match next.is_empty() {
                true => crate::clock::now(),
                false => server_state::now(tx)?,
            };
            Ok::<_, NotifyError>((now, next))
        };
        let (now, next) = self.store.read(read).await?;
        let mut wait: Option<Duration> = None;
        for (channel_id, at) in next {
            let left = u64::try_from(at.millis_since(now)).unwrap_or(0);
            if left > 0 {
                let left = Duration::from_millis(left).min(RECHECK);
                wait = Some(wait.map_or(left, |wait| wait.min(left)));
                continue;
            }
            let running = busy.entry(channel_id.clone()).or_default();
            if *running >= WORKERS {
                // The end of a worker wakes this task.
                continue;
            }
            *running += 1;
            let worker = self.clone();
            workers.spawn(async move {
                worker.work_on(&channel_id).await;
                channel_id
            });
            // The next round starts another worker if more is due then.
            wait = Some(Duration::from_millis(20));
        }
        Ok(wait)
    }

    /// Makes the attempts of a channel that are due, one after the other.
    async fn work_on(&self, channel_id: &str) {
        loop {
            match self.make_attempt(channel_id).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(channel = %channel_id, %error, "can't send a notification");
                    tokio::time::sleep(RETRY).await;
                    return;
                }
            }
        }
    }

    /// Makes one attempt; false if none is due.
    async fn make_attempt(&self, channel_id: &str) -> Result<bool, NotifyError> {
        let id = channel_id.to_owned();
        let claim = move |tx: &mut dyn Tx| {
            let now = server_state::now(tx)?;
            let lost_at = now.plus_millis(LOST_MS);
            let Some(due) = delivery::claim_next(tx, &id, now, lost_at)? else {
                return Ok(None);
            };
            let channel = channel::find(tx, &id)?.ok_or(NotifyError::ChannelNotFound)?;
            Ok::<_, NotifyError>(Some((channel, due, now)))
        };
        let claimed: Option<(Channel, Delivery, Timestamp)> = self.store.write(claim).await?;
        let Some((channel, due, now)) = claimed else {
            return Ok(false);
        };
        // The channel was paused for so long, or the server down, that the message is too old.
        let is_too_late = now > due.give_up_at.plus_millis(LOST_MS);
        let outcome = if is_too_late {
            Outcome::too_late()
        } else {
            let settings = self.open_settings(&channel);
            attempt(channel.kind, &settings, &due.id, &due.message, now).await
        };
        let name = channel.name;
        let write = move |tx: &mut dyn Tx| record(tx, &due, &outcome, now, &name);
        self.store.write(write).await?;
        Ok(true)
    }

    /// On a database of its own, a server that starts is the only one: attempts under way are lost.
    async fn release_claims(&self) -> Result<(), NotifyError> {
        if self.store.is_shared() {
            return Ok(());
        }
        let release = |tx: &mut dyn Tx| {
            let now = server_state::now(tx)?;
            Ok::<_, NotifyError>(delivery::release_claims(tx, now)?)
        };
        self.store.write(release).await.map(drop)
    }

    /// Gives up old messages of paused channels, and deletes old deliveries.
    async fn tidy_deliveries(&self) -> Result<(), NotifyError> {
        let give_up = |tx: &mut dyn Tx| {
            let now = server_state::now(tx)?;
            Ok::<_, NotifyError>((delivery::give_up_paused(tx, now)?, now))
        };
        let (given_up, now) = self.store.write(give_up).await?;
        if given_up > 0 {
            tracing::error!(
                count = given_up,
                "notifications of paused channels were given up"
            );
        }
        let before = now.plus_millis(-KEPT_MS);
        let prune = move |tx: &mut dyn Tx| Ok::<_, NotifyError>(delivery::prune(tx, before)?);
        while self.store.write(prune).await? > 0 {}
        Ok(())
    }
}

fn free(busy: &mut HashMap<String, usize>, channel: &str) {
    if let Some(running) = busy.get_mut(channel) {
        *running = running.saturating_sub(1);
        if *running == 0 {
            busy.remove(channel);
        }
    }
}

/// Records the result of an attempt that was claimed as `claimed`.
fn record(
    tx: &mut dyn Tx,
    claimed: &Delivery,
    outcome: &Outcome,
    began_at: Timestamp,
    channel: &str,
) -> Result<(), NotifyError> {
    // `None`: the channel was deleted meanwhile.
    let Some(mut delivery) = delivery::find_locked(tx, &claimed.id)? else {
        return Ok(());
    };
    delivery.attempts = with_attempt(&delivery.attempts, outcome, began_at);
    let is_ours = delivery.next_attempt_at == claimed.next_attempt_at;
    match (&outcome.error, delivery.state) {
        (None, _) => {
            delivery.state = DeliveryState::Delivered;
            delivery.next_attempt_at = None;
        }
        (Some(_), DeliveryState::Pending) if is_ours => {
            delivery.tries += 1;
            delivery.next_attempt_at = if outcome.is_gone() {
                // Due again when the channel is resumed.
                Some(began_at)
            } else {
                next_attempt(&delivery, outcome.retry_after, server_state::now(tx)?)
            };
            if delivery.next_attempt_at.is_none() {
                delivery.state = DeliveryState::Failed;
                tracing::error!(
                    delivery = %delivery.id,
                    channel,
                    event = %delivery.event,
                    error = outcome.error.as_deref(),
                    "a notification was given up after three days"
                );
            }
        }
        // Somebody sends it again, or it is settled.
        (Some(_), _) => {}
    }
    delivery::update(tx, &delivery)?;
    if outcome.is_gone() && channel::pause(tx, &delivery.channel_id, GONE)? {
        tracing::warn!(channel, "the channel is paused: {GONE}");
    }
    Ok(())
}

/// The stored attempts with one more.
fn with_attempt(stored: &str, outcome: &Outcome, at: Timestamp) -> String {
    let mut attempts: Vec<AttemptView> = serde_json::from_str(stored).unwrap_or_default();
    attempts.push(AttemptView {
        at,
        status: outcome.status,
        error: outcome.error.clone(),
        answer: outcome.answer.clone(),
    });
    let surplus = attempts.len().saturating_sub(ATTEMPTS_KEPT);
    attempts.drain(..surplus);
    serde_json::to_string(&attempts).unwrap_or_default()
}
