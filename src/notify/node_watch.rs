//! Watches nodes for `node_offline` and `node_online`. The watch itself reads only memory, and the
//! database when a node may have become silent or come back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::{Notifications, NotifyError};
use crate::clock::Timestamp;
use crate::jobs::{Failures, find_with_load};
use crate::nodes::Nodes;
use crate::outbox::{EventKind, Message, Outbox, Rule, Subject, SubjectNodes};
use crate::store::id::NodeId;
use crate::store::{Change, StoreError, Tx, channel, node, node_alarm, rule};

/// How often silences are read.
const TICK: Duration = Duration::from_secs(1);
/// How often rules and alarms are read that other servers may have written.
const REREAD: Duration = Duration::from_secs(15);
/// How long agents may take to come back after a start of the server, in milliseconds: their
/// longest pause between two tries, and a poll.
const GRACE_MS: u64 = 60_000;

/// What the watch needs of the database.
#[derive(Debug, Default)]
struct Watched {
    /// The silences in seconds that rules report, each once, shortest first.
    afters: Vec<u64>,
    /// Nodes with an alarm, and when they were last seen before it.
    alarms: HashMap<String, Timestamp>,
}

impl Watched {
    fn read(tx: &mut dyn Tx) -> Result<Self, StoreError> {
        let rules = rule::list(tx)?.into_iter().map(Rule::from);
        let mut afters: Vec<u64> = rules.filter_map(|rule| rule.offline_after()).collect();
        afters.sort_unstable();
        afters.dedup();
        Ok(Self {
            afters,
            alarms: node_alarm::list(tx)?.into_iter().collect(),
        })
    }

    fn is_idle(&self) -> bool {
        self.afters.is_empty() && self.alarms.is_empty()
    }

    /// How many of the silences that rules report have passed.
    fn level(&self, seconds: u64) -> usize {
        self.afters
            .iter()
            .filter(|after| **after <= seconds)
            .count()
    }
}

/// The silences that were dealt with: each node's last sign of life, and how many of the silences
/// that rules report had passed.
type Settled = HashMap<String, (Timestamp, usize)>;

impl Notifications {
    /// Watches nodes until the server shuts down.
    pub async fn watch_nodes(self) {
        let mut failures = Failures::of("watch nodes");
        let mut watched: Option<Watched> = None;
        let mut settled = Settled::new();
        let (mut tick, mut reread) = (tokio::time::interval(TICK), tokio::time::interval(REREAD));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        reread.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changes = self.hub.changes();
        loop {
            let is_idle = watched.as_ref().is_some_and(Watched::is_idle);
            tokio::select! {
                _ = tick.tick(), if !is_idle => {}
                _ = reread.tick(), if self.store.is_shared() => { watched = None; continue; }
                () = self.outbox.watch_woken() => { watched = None; settled.clear(); continue; }
                change = changes.recv(), if !is_idle => {
                    match change {
                        // It may have been paused.
                        Ok(Change::Node { id }) => { settled.remove(&id); }
                        Ok(Change::Foreign) | Err(RecvError::Lagged(_)) => settled.clear(),
                        Ok(_) => {}
                        Err(RecvError::Closed) => return,
                    }
                    continue;
                }
                () = self.stopped() => return,
            }
            if watched.is_none() {
                watched = failures.log(self.store.read(Watched::read).await);
            }
            let Some(known) = &mut watched else { continue };
            if failures
                .log(self.report(known, &mut settled).await)
                .is_none()
            {
                watched = None;
            }
        }
    }

    /// Reports nodes that have become silent or come back.
    async fn report(
        &self,
        watched: &mut Watched,
        settled: &mut Settled,
    ) -> Result<(), NotifyError> {
        let silences = self.nodes.presence.silences(GRACE_MS);
        let ids: HashSet<&str> = silences.iter().map(|(id, ..)| id.as_str()).collect();
        settled.retain(|id, _| ids.contains(id.as_str()));
        for (id, silent_ms, seen_at) in &silences {
            let alarm_at = watched.alarms.get(id);
            if alarm_at.is_some_and(|alarm_at| seen_at > alarm_at) {
                self.report_online(id.clone()).await?;
                watched.alarms.remove(id);
            }
            let seconds = silent_ms / 1_000;
            let level = watched.level(seconds);
            if level == 0 || settled.get(id) == Some(&(*seen_at, level)) {
                continue;
            }
            if self.report_offline(id.clone(), seconds, *seen_at).await? {
                watched.alarms.insert(id.clone(), *seen_at);
            }
            settled.insert(id.clone(), (*seen_at, level));
        }
        Ok(())
    }

    /// Reports a node that has been silent for so long to the channels that have not heard it yet.
    /// Returns whether there is an alarm about it.
    async fn report_offline(
        &self,
        node_id: String,
        seconds: u64,
        seen_at: Timestamp,
    ) -> Result<bool, NotifyError> {
        let (outbox, nodes) = (self.outbox.clone(), self.nodes.clone());
        let read_id = node_id.clone();
        let is_wanted = move |tx: &mut dyn Tx| {
            let rules = offline_rules(tx, &outbox, &read_id, seconds)?;
            Ok::<_, NotifyError>(!rules.is_empty())
        };
        if !self.store.read(is_wanted).await? {
            return Ok(false);
        }
        let outbox = self.outbox.clone();
        let work = move |tx: &mut dyn Tx| {
            let mut channels = Vec::new();
            for rule in offline_rules(tx, &outbox, &node_id, seconds)? {
                let is_new = channel::find(tx, &rule.channel_id)?.is_some()
                    && node_alarm::insert(tx, &rule.channel_id, NodeId(&*node_id), seen_at)?;
                if is_new {
                    channels.push(rule.channel_id);
                }
            }
            if channels.is_empty() {
                return Ok(true);
            }
            let reason = format!("no sign of life for {}", in_words(seconds));
            let message = message(tx, &nodes, EventKind::NodeOffline, &node_id, reason)?;
            if let Some(message) = message {
                outbox.write(tx, &channels, &message)?;
            }
            Ok::<_, NotifyError>(true)
        };
        self.store.write(work).await
    }

    /// Reports that a node is back to the channels that have heard of its silence.
    async fn report_online(&self, node_id: String) -> Result<(), NotifyError> {
        let (outbox, nodes) = (self.outbox.clone(), self.nodes.clone());
        let work = move |tx: &mut dyn Tx| {
            let alarmed = node_alarm::delete(tx, &node_id)?;
            if alarmed.is_empty() {
                return Ok(());
            }
            let event = EventKind::NodeOnline;
            let all = rule::list(tx)?.into_iter().map(Rule::from);
            let reporting: HashSet<String> = all
                .filter(|rule| rule.offline_after().is_some())
                .map(|rule| rule.channel_id)
                .collect();
            let wanting = outbox.rules_for(tx, event, &subject(&node_id))?;
            // A channel that gets `node_offline` itself hears only of nodes that it knows to be
            // silent.
            let mut channels: Vec<String> = wanting
                .into_iter()
                .map(|rule| rule.channel_id)
                .filter(|id| alarmed.contains(id) || !reporting.contains(id))
                .collect();
            channels.sort_unstable();
            channels.dedup();
            if channels.is_empty() {
                return Ok(());
            }
            let reason = "its agent calls again".to_owned();
            if let Some(message) = message(tx, &nodes, event, &node_id, reason)? {
                outbox.write(tx, &channels, &message)?;
            }
            Ok::<_, NotifyError>(())
        };
        self.store.write(work).await
    }
}

fn subject(node_id: &str) -> Subject<'_> {
    Subject {
        preset: None,
        nodes: SubjectNodes::One(node_id),
        schedule: None,
    }
}

/// The rules that report a silence of so many seconds; none if the node is paused.
fn offline_rules(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    node_id: &str,
    seconds: u64,
) -> Result<Vec<Rule>, StoreError> {
    if node::find(tx, node_id)?.is_none_or(|node| node.paused) {
        return Ok(Vec::new());
    }
    let mut rules = outbox.rules_for(tx, EventKind::NodeOffline, &subject(node_id))?;
    rules.retain(|rule| rule.offline_after().is_some_and(|after| seconds >= after));
    Ok(rules)
}

/// The message about a node; `None` if it was deleted.
fn message(
    tx: &mut dyn Tx,
    nodes: &Nodes,
    event: EventKind,
    node_id: &str,
    reason: String,
) -> Result<Option<Message>, NotifyError> {
    let Some((node, load)) = find_with_load(tx, node_id)? else {
        return Ok(None);
    };
    Ok(Some(Message {
        event: Some(event),
        object: Some(("node", json!(nodes.view(node, load)))),
        reason,
        stderr_tail: None,
        path: format!("/nodes/{node_id}"),
    }))
}

/// A length of time in its largest whole unit.
fn in_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_silence_is_written_in_its_largest_unit() {
        for (seconds, words) in [
            (5, "5 s"),
            (300, "5 min"),
            (7_200, "2 h"),
            (200_000, "2 days"),
        ] {
            assert_eq!(in_words(seconds), words);
        }
    }
}
