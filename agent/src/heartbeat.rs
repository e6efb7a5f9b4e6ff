//! The node's heartbeat, independent of everything else that the agent does.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use hyprbox_protocol::HeartbeatRequest;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::clock;
use crate::config::Config;
use crate::facts::{Facts, Snapshot};
use crate::host;
use crate::trouble::Caller;
use crate::version::version;

/// How long the last heartbeat may take: the agent stops within 2 s of SIGTERM.
const LAST_TIMEOUT: Duration = Duration::from_millis(1200);

/// What the heartbeat sends about the agent itself. The poll loop writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The agent instance, once the state folder is open.
    pub(crate) instance: Option<String>,
    /// Which process of that instance this is.
    pub(crate) process: Option<String>,
    /// Why the agent takes no jobs, in one line.
    pub(crate) problem: Option<String>,
    /// Whether the node runs only jobs that a person has signed.
    pub(crate) requires_signatures: bool,
    /// Fingerprints of the server's keys.
    pub(crate) trusted_keys: Vec<String>,
}

/// The report, shared by the poll loop and the heartbeat.
#[derive(Debug, Default)]
pub(crate) struct SharedReport {
    report: Mutex<Report>,
    changed: Notify,
    /// Whether the server has received a report.
    arrived: watch::Sender<bool>,
}

impl SharedReport {
    pub(crate) fn get(&self) -> Report {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until the server has received a first report.
    pub(crate) async fn arrived(&self) {
        let mut arrived = self.arrived.subscribe();
        // The sender lives as long as this report.
        let _closed = arrived.wait_for(|arrived| *arrived).await;
    }

    /// Changes the report. The heartbeat sends at once what matters for jobs.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let before = report.clone();
        change(&mut report);
        let matters = |report: &Report| {
            (
                report.problem.clone(),
                report.requires_signatures,
                report.trusted_keys.clone(),
            )
        };
        if matters(&before) != matters(&report) {
            self.changed.notify_one();
        }
    }

    /// Waits until what matters for jobs has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Sends a heartbeat every `config.interval`, and at once if the node's problem changes, until the
/// future is dropped.
pub(crate) async fn beat(config: &Config, client: &Client, shared: &SharedReport) {
    let (mut backoff, mut facts) = (Backoff::default(), Facts::default());
    loop {
        let began = Instant::now();
        let news = facts.gather_news().await;
        let mut request = request(config, shared.get());
        request.facts = news.as_ref().and_then(Snapshot::to_json);
        match client.heartbeat(&request).await {
            Ok(()) => {
                shared.arrived.send_replace(true);
                if let Some(news) = news {
                    facts.record_sent(news);
                }
                client.trouble.ended(Caller::Heartbeat);
                backoff.reset();
                tokio::select! {
                    () = tokio::time::sleep_until(began + config.interval) => {}
                    () = shared.changed() => {}
                }
            }
            Err(e) => {
                client.trouble.failed(Caller::Heartbeat, &e);
                client.pause(backoff.next(config.interval)).await;
            }
        }
    }
}

/// Reports that the agent stops, so that the node is OFFLINE at once. Tries once.
pub(crate) async fn send_stopping(config: &Config, client: &Client, report: Report) {
    let mut last = request(config, report);
    last.stopping = Some(true);
    match tokio::time::timeout(LAST_TIMEOUT, client.heartbeat(&last)).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => client.trouble.failed(Caller::Heartbeat, &e),
        Err(_) => tracing::warn!("[heartbeat] the server doesn't answer; stopping without it"),
    }
}

fn request(config: &Config, report: Report) -> HeartbeatRequest {
    let since_1970 = clock::system_now().duration_since(UNIX_EPOCH);
    HeartbeatRequest {
        instance: report.instance,
        process: report.process,
        problem: report.problem,
        requires_signatures: Some(report.requires_signatures),
        trusted_keys: Some(report.trusted_keys),
        sent_at_ms: since_1970
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok()),
        hostname: host::hostname(),
        os: Some(host::os_info()),
        agent_version: Some(version().to_owned()),
        interval_seconds: Some(config.interval.as_secs_f64()),
        stopping: None,
        facts: None,
        ledger_head: None,
    }
}
