//! Pings: calls of an outside service, which notices when they stop. The server pings while it is
//! healthy, and schedules ping when their runs begin and end.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Notifications;
use super::receiver::client;
use crate::jobs::Failures;
use crate::outbox::{Ping, PingKind};
use crate::schedules::ping_url_of;
use crate::store::StoreError;

/// How often the server pings.
const EVERY: Duration = Duration::from_secs(60);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// The pauses before a schedule's ping is tried again.
const RETRIES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Calls an address; the error is for the log and leaves the address out, since it may be secret.
async fn call(url: reqwest::Url) -> Result<(), String> {
    let answer = client()?
        .get(url)
        .timeout(CALL)
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

/// The address of a ping: `/start` or `/fail` after the path, as healthchecks services expect it.
fn address(url: &str, kind: PingKind) -> Option<reqwest::Url> {
    let mut url = reqwest::Url::parse(url).ok()?;
    let end = match kind {
        PingKind::Start => "start",
        PingKind::Failure => "fail",
        PingKind::Success => return Some(url),
    };
    url.path_segments_mut().ok()?.pop_if_empty().push(end);
    Some(url)
}

impl Notifications {
    /// Pings `url` every minute while `is_healthy`, until the server shuts down.
    pub async fn ping_while_healthy<H>(self, url: String, is_healthy: impl Fn() -> H)
    where
        H: Future<Output = Result<(), String>>,
    {
        let mut failures = Failures::of("call HYPRBOX_PING_URL");
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stopped() => return,
            }
            let pinged = async {
                is_healthy().await?;
                let url = reqwest::Url::parse(&url).map_err(|error| error.to_string())?;
                call(url).await
            };
            failures.log(pinged.await);
        }
    }

    /// Calls the ping addresses of schedules until the server shuts down. The calls of one schedule
    /// are made in their order: a start that arrives after its success would raise an alarm.
    pub async fn send_pings(self) {
        let mut calls = JoinSet::new();
        let mut waiting: HashMap<String, VecDeque<PingKind>> = HashMap::new();
        loop {
            tokio::select! {
                ping = self.outbox.next_ping() => {
                    let Some(Ping { schedule_id, kind }) = ping else { return };
                    match waiting.get_mut(&schedule_id) {
                        Some(queue) => queue.push_back(kind),
                        None => {
                            waiting.insert(schedule_id.clone(), VecDeque::new());
                            calls.spawn(self.clone().send_ping(schedule_id, kind));
                        }
                    }
                }
                Some(ended) = calls.join_next() => match ended {
                    Ok(schedule_id) => {
                        let next = waiting.get_mut(&schedule_id).and_then(VecDeque::pop_front);
                        match next {
                            Some(kind) => {
                                calls.spawn(self.clone().send_ping(schedule_id, kind));
                            }
                            None => {
                                waiting.remove(&schedule_id);
                            }
                        }
                    }
                    // A panic, which is logged.
                    Err(_) => waiting.clear(),
                },
                () = self.stopped() => return,
            }
        }
    }

    /// Calls a schedule's ping address, if it has one. Returns the schedule's id.
    async fn send_ping(self, schedule_id: String, kind: PingKind) -> String {
        let id = schedule_id.clone();
        let read = self.store.read(move |tx| ping_url_of(tx, &id)).await;
        let url: Result<Option<String>, StoreError> = read;
        let url = match url {
            Ok(url) => url.and_then(|url| address(&url, kind)),
            Err(error) => {
                tracing::warn!(schedule = %schedule_id, %error, "can't read the ping address of a schedule");
                None
            }
        };
        let Some(url) = url else { return schedule_id };
        let mut pauses = RETRIES.iter();
        while let Err(error) = call(url.clone()).await {
            let Some(pause) = pauses.next() else {
                tracing::warn!(schedule = %schedule_id, %error, "can't call the ping address of a schedule");
                break;
            };
            tokio::time::sleep(*pause).await;
        }
        schedule_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_names_start_and_failure() {
        let shown = |url, kind| address(url, kind).map(|url| url.to_string());
        let url = "https://hc.example/ping/abc";
        for (url, kind, wanted) in [
            (url, PingKind::Start, "https://hc.example/ping/abc/start"),
            (url, PingKind::Failure, "https://hc.example/ping/abc/fail"),
            (url, PingKind::Success, url),
            (
                "https://hc.example/ping/abc/?x=1",
                PingKind::Start,
                "https://hc.example/ping/abc/start?x=1",
            ),
            (
                "https://hc.example",
                PingKind::Failure,
                "https://hc.example/fail",
            ),
        ] {
            assert_eq!(shown(url, kind).as_deref(), Some(wanted), "{url}");
        }
    }
}
