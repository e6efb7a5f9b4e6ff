//! Rules, and which events they want.

use crate::clock::Timestamp;
use crate::nodes::Selector;
use crate::outbox::EventKind;
use crate::store::node::{self, Node};
use crate::store::rule::{self, StoredRule};
use crate::store::{StoreError, Tx, run};

/// Seconds after a node's last sign of life at which `node_offline` is sent, by default.
const OFFLINE_AFTER_SECONDS: u64 = 300;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub channel_id: String,
    pub events: Vec<EventKind>,
    /// Names; `None`: every preset.
    pub presets: Option<Vec<String>>,
    pub selector: Option<String>,
    /// Ids; `None`: also jobs and runs that no schedule has made.
    pub schedules: Option<Vec<String>>,
    /// Only with `node_offline`.
    pub after_seconds: Option<u64>,
    pub created_at: Timestamp,
}

/// What an event is about. A filter of a rule narrows only events that have what it names.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    pub preset: Option<&'s str>,
    pub nodes: SubjectNodes<'s>,
    /// The inner value is `None` for a job or run that no schedule has made.
    pub schedule: Option<Option<&'s str>>,
}

/// The nodes that an event is about.
#[derive(Debug, Clone, Copy)]
pub enum SubjectNodes<'s> {
    None,
    One(&'s str),
    /// The nodes of the run with this id.
    OfRun(&'s str),
    /// The nodes with these ids.
    Several(&'s [String]),
}

impl Subject<'_> {
    /// An event about the server itself.
    pub const SERVER: Self = Self {
        preset: None,
        nodes: SubjectNodes::None,
        schedule: None,
    };
}

fn list<T: serde::de::DeserializeOwned>(json: &str) -> Vec<T> {
    serde_json::from_str(json).unwrap_or_default()
}

fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).unwrap_or_default()
}

impl From<StoredRule> for Rule {
    fn from(stored: StoredRule) -> Self {
        Self {
            id: stored.id,
            channel_id: stored.channel_id,
            events: list(&stored.events),
            presets: stored.presets.as_deref().map(list),
            selector: stored.selector,
            schedules: stored.schedules.as_deref().map(list),
            after_seconds: stored.after_seconds,
            created_at: stored.created_at,
        }
    }
}

impl Rule {
    /// The rule's row.
    pub fn stored(&self) -> StoredRule {
        StoredRule {
            id: self.id.clone(),
            channel_id: self.channel_id.clone(),
            events: json(&self.events),
            presets: self.presets.as_deref().map(json),
            selector: self.selector.clone(),
            schedules: self.schedules.as_deref().map(json),
            after_seconds: self.after_seconds,
            created_at: self.created_at,
        }
    }

    /// Seconds after a node's last sign of life at which `node_offline` is sent; `None` if the rule
    /// does not name that event.
    pub fn offline_after(&self) -> Option<u64> {
        let wants = self.events.contains(&EventKind::NodeOffline);
        wants.then(|| self.after_seconds.unwrap_or(OFFLINE_AFTER_SECONDS))
    }

    /// The rules that want an event about this subject.
    pub(super) fn wanting(
        tx: &mut dyn Tx,
        event: EventKind,
        subject: &Subject<'_>,
    ) -> Result<Vec<Self>, StoreError> {
        let mut wanting = Vec::new();
        let mut nodes: Option<Vec<Node>> = None;
        for stored in rule::list(tx)? {
            let rule = Self::from(stored);
            if !rule.events.contains(&event) || !rule.passes(subject) {
                continue;
            }
            if let Some(selector) = &rule.selector
                && !matches!(subject.nodes, SubjectNodes::None)
            {
                let nodes = match &nodes {
                    Some(read) => read,
                    None => nodes.insert(nodes_of(tx, subject.nodes)?),
                };
                // A selector that an operator has made unreadable matches nothing.
                let selector = Selector::parse(selector).ok();
                let matches = |selector: Selector| nodes.iter().any(|node| selector.matches(node));
                if !selector.is_some_and(matches) {
                    continue;
                }
            }
            wanting.push(rule);
        }
        Ok(wanting)
    }

    /// Whether the filters other than the selector let the subject pass.
    fn passes(&self, subject: &Subject<'_>) -> bool {
        let preset_passes = match (&self.presets, subject.preset) {
            (Some(wanted), Some(preset)) => wanted.iter().any(|name| name == preset),
            _ => true,
        };
        let schedule_passes = match (&self.schedules, subject.schedule) {
            (Some(wanted), Some(Some(schedule))) => wanted.iter().any(|id| id == schedule),
            (Some(_), Some(None)) => false,
            _ => true,
        };
        preset_passes && schedule_passes
    }
}

fn nodes_of(tx: &mut dyn Tx, nodes: SubjectNodes<'_>) -> Result<Vec<Node>, StoreError> {
    match nodes {
        SubjectNodes::None => Ok(Vec::new()),
        SubjectNodes::One(id) => Ok(node::find(tx, id)?.into_iter().collect()),
        SubjectNodes::Several(ids) => node::some(tx, ids),
        SubjectNodes::OfRun(run_id) => {
            let jobs = run::jobs(tx, run_id)?.into_iter();
            let ids: Vec<String> = jobs.map(|job| job.node_id).collect();
            node::some(tx, &ids)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(presets: Option<&[&str]>, schedules: Option<&[&str]>) -> Rule {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Rule {
            id: "r".into(),
            channel_id: "c".into(),
            events: vec![EventKind::JobFailed],
            presets: presets.map(owned),
            selector: None,
            schedules: schedules.map(owned),
            after_seconds: None,
            created_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_filter_narrows_only_events_that_have_what_it_names() {
        let job = Subject {
            preset: Some("backup"),
            nodes: SubjectNodes::None,
            schedule: Some(None),
        };
        let scheduled = Subject {
            schedule: Some(Some("s1")),
            ..job
        };
        for (rule, subject, passes) in [
            (rule(None, None), job, true),
            (rule(Some(&["backup"]), None), job, true),
            (rule(Some(&["other"]), None), job, false),
            (rule(None, Some(&["s1"])), job, false),
            (rule(None, Some(&["s1"])), scheduled, true),
            (rule(None, Some(&["s2"])), scheduled, false),
            (rule(Some(&["other"]), Some(&["s2"])), Subject::SERVER, true),
        ] {
            assert_eq!(rule.passes(&subject), passes, "{rule:?} {subject:?}");
        }
    }

    #[test]
    fn a_rule_is_stored_and_read_back() {
        let mut rule = rule(Some(&["a", "b"]), Some(&[]));
        rule.events = vec![EventKind::NodeOffline, EventKind::JobLost];
        assert_eq!(Rule::from(rule.stored()), rule);
        assert_eq!(rule.offline_after(), Some(300));
    }
}
