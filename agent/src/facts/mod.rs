//! Facts about this machine for the server, and when to send them.
//!
//! They are gathered on a thread of their own: a disk that does not answer must hold up neither the
//! heartbeat nor the agent's end.

#[cfg(target_os = "linux")]
mod disks;
#[cfg(target_os = "linux")]
mod gather;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod updates;
#[cfg(target_os = "linux")]
mod virtualization;

use std::time::Duration;

use hyprbox_protocol::{FactsJson, MAX_FACTS_BYTES, MachineFacts};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Facts are sent at least this often.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a heartbeat waits for the facts. If they come later, the next heartbeat sends them.
const PATIENCE: Duration = Duration::from_secs(1);
/// The kernel computes the time of its start from the clock, so this time moves whenever the clock
/// is corrected. A smaller move is not a change.
const BOOT_SLACK_SECONDS: u64 = 120;

/// The machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    facts: MachineFacts,
    /// When the kernel was started, in seconds since 1970.
    booted_seconds: Option<u64>,
}

/// Gathers facts, and remembers which the server has.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    gathering: Option<oneshot::Receiver<Snapshot>>,
    sent: Option<(Instant, Snapshot)>,
}

impl Facts {
    /// Gathers the facts. Returns them if the server needs them.
    pub(crate) async fn gather_news(&mut self) -> Option<Snapshot> {
        let gathering = self.gathering.get_or_insert_with(start);
        let gathered = timeout(PATIENCE, &mut *gathering).await.ok()?;
        self.gathering = None;
        let snapshot = gathered.ok()?;
        let is_known = self
            .sent
            .as_ref()
            .is_some_and(|(at, before)| at.elapsed() < EVERY && is_alike(&snapshot, before));
        (!is_known).then_some(snapshot)
    }

    /// Records that the server has these facts.
    pub(crate) fn record_sent(&mut self, snapshot: Snapshot) {
        self.sent = Some((Instant::now(), snapshot));
    }
}

impl Snapshot {
    /// The facts as JSON. Disks and addresses that the server would not keep are left out.
    pub(crate) fn to_json(&self) -> Option<FactsJson> {
        let mut facts = self.facts.clone();
        loop {
            let json = serde_json::to_string(&facts).ok()?;
            if json.len() <= MAX_FACTS_BYTES {
                return Some(FactsJson(json));
            }
            let is_shorter = facts.disks.as_mut().and_then(Vec::pop).is_some()
                || facts.addresses.as_mut().and_then(Vec::pop).is_some();
            if !is_shorter {
                return None;
            }
        }
    }
}

/// Whether the snapshots differ in nothing but free sizes.
fn is_alike(one: &Snapshot, other: &Snapshot) -> bool {
    let boot = match (one.booted_seconds, other.booted_seconds) {
        (Some(one), Some(other)) => one.abs_diff(other) < BOOT_SLACK_SECONDS,
        (one, other) => one == other,
    };
    boot && lasting(one) == lasting(other)
}

/// The facts without those that move by themselves.
fn lasting(snapshot: &Snapshot) -> MachineFacts {
    let mut facts = snapshot.facts.clone();
    facts.booted_at = None;
    for disk in facts.disks.iter_mut().flatten() {
        disk.free_bytes = None;
    }
    facts
}

#[cfg(target_os = "linux")]
fn start() -> oneshot::Receiver<Snapshot> {
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new()
        .name("facts".to_owned())
        .spawn(move || {
            // Without a receiver the agent is about to end.
            let _ending = sender.send(gather::gather());
        });
    if let Err(error) = spawned {
        tracing::debug!("the thread that gathers facts can't be started: {error}");
    }
    receiver
}

#[cfg(not(target_os = "linux"))]
fn start() -> oneshot::Receiver<Snapshot> {
    let (sender, receiver) = oneshot::channel();
    let _received = sender.send(Snapshot {
        facts: MachineFacts {
            arch: Some(std::env::consts::ARCH.to_owned()),
            ..MachineFacts::default()
        },
        booted_seconds: None,
    });
    receiver
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::DiskFacts;

    use super::*;

    fn snapshot(free: u64, booted: u64) -> Snapshot {
        let disk = DiskFacts {
            mount: "/".to_owned(),
            size_bytes: Some(100),
            free_bytes: Some(free),
        };
        Snapshot {
            facts: MachineFacts {
                booted_at: Some(booted.to_string()),
                disks: Some(vec![disk]),
                ..MachineFacts::default()
            },
            booted_seconds: Some(booted),
        }
    }

    #[test]
    fn a_free_size_and_a_corrected_clock_are_no_change() {
        let before = snapshot(50, 1_000);
        assert!(is_alike(&snapshot(49, 1_119), &before));
        assert!(!is_alike(&snapshot(50, 1_120), &before), "a restart");
        let mut grown = snapshot(50, 1_000);
        grown.facts.disks.as_mut().expect("set")[0].size_bytes = Some(101);
        assert!(!is_alike(&grown, &before));
    }

    #[test]
    fn what_the_server_has_no_room_for_is_left_out() {
        let mut many = snapshot(50, 1_000);
        let disk = many.facts.disks.clone().expect("set")[0].clone();
        many.facts.disks = Some(vec![disk; 1_000]);
        many.facts.addresses = Some(vec!["192.0.2.1".to_owned()]);
        let json = many.to_json().expect("shorter").0;
        assert!(json.len() <= MAX_FACTS_BYTES && json.len() > MAX_FACTS_BYTES - 100);
        let read: MachineFacts = serde_json::from_str(&json).expect("JSON");
        assert!(read.disks.expect("some").len() > 100);
        assert_eq!(read.addresses, many.facts.addresses);
    }
}
