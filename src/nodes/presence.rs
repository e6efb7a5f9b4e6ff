//! Who lives: signs of life, kept in memory and written down every few seconds.
//!
//! Lengths of time are counted on a clock that runs only while this server does (`run_clock.rs`),
//! so that neither a step of the machine's clock nor a pause of the process makes a node, or a
//! job's lease, look older than it is. Where several servers share the database, each takes over
//! what the others wrote down: how long ago that was, the database's clock says.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::processes::{Processes, Sign, Standing};
use super::run_clock::RunClock;
use crate::clock::{self, Timestamp};
use crate::store::node::{self, InstanceLife, Node, NodeFacts, NodeLife, SignOfLife};

/// The least time without a sign of life before a node is OFFLINE, in milliseconds.
const OFFLINE_AFTER_MIN_MS: u64 = 90_000;
/// Agent instances remembered per node; a node that makes up more loses the oldest.
const INSTANCES_MAX: usize = 32;
/// New instances beside a living one that are written to the audit log within
/// [`NEWCOMERS_WITHIN_MS`]; the database would grow with every id that somebody makes up.
const NEWCOMERS_MAX: u32 = 10;
/// An hour.
const NEWCOMERS_WITHIN_MS: u64 = 3_600_000;

/// Whether a node's agent lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum NodeStatus {
    /// It gave a sign of life within three intervals (90 s at the least).
    Online,
    /// It did not, or said goodbye.
    Offline,
}

#[derive(Debug, Default)]
struct LifeUpdate {
    seen_at: Option<Timestamp>,
    /// On the run clock; negative where it was before this server's start.
    seen_ms: Option<i64>,
    stopping: bool,
    interval_ms: u64,
    facts: Option<NodeFacts>,
    instances: HashMap<String, Instance>,
    processes: HashMap<String, Processes>,
    newcomers: Newcomers,
    /// SignOfLife since it was last written down.
    unwritten: bool,
    /// What the rest of the server was last told.
    told: Option<NodeStatus>,
}

/// Instances that came while another one was alive, within the hour that began at `since_ms` on the
/// run clock.
#[derive(Debug, Default, Clone, Copy)]
struct Newcomers {
    since_ms: u64,
    count: u32,
}

impl Newcomers {
    /// Counts one more.
    fn count(&mut self, now_ms: u64) -> Newcomer {
        if now_ms.saturating_sub(self.since_ms) >= NEWCOMERS_WITHIN_MS {
            *self = Self {
                since_ms: now_ms,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        match self.count {
            ..NEWCOMERS_MAX => Newcomer::Told,
            NEWCOMERS_MAX => Newcomer::LastTold,
            _ => Newcomer::Untold,
        }
    }
}

/// What becomes of an instance that is new here while another one of its node is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomer {
    /// It is to be written down.
    Told,
    /// The same, and that more of this hour are not.
    LastTold,
    /// There were too many already.
    Untold,
}

/// An agent instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instance {
    /// Its last sign of life, on the run clock; negative where it was before this server's start.
    seen_ms: i64,
    /// SignOfLife since it was last written down.
    unwritten: bool,
}

impl Instance {
    fn at(now_ms: u64) -> Self {
        Self {
            seen_ms: signed(now_ms),
            unwritten: true,
        }
    }

    fn give_sign(&mut self, now_ms: u64) {
        *self = Self::at(now_ms);
    }

    fn is_alive(&self, now_ms: u64) -> bool {
        signed(now_ms) - self.seen_ms < signed(OFFLINE_AFTER_MIN_MS)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl LifeUpdate {
    fn give_sign(&mut self, now_ms: u64) {
        self.seen_at = Some(clock::now());
        self.seen_ms = Some(signed(now_ms));
        self.stopping = false;
        self.unwritten = true;
    }

    fn status(&self, now_ms: u64) -> NodeStatus {
        let patience = (3 * self.interval_ms).max(OFFLINE_AFTER_MIN_MS);
        match self.seen_ms {
            Some(seen) if !self.stopping && signed(now_ms) - seen < signed(patience) => {
                NodeStatus::Online
            }
            Some(_) | None => NodeStatus::Offline,
        }
    }
}

/// Signs of life of every node.
#[derive(Debug)]
pub struct Presence {
    clock: Arc<RunClock>,
    /// Other servers add nodes, too.
    shared: bool,
    nodes: Mutex<HashMap<String, LifeUpdate>>,
}

impl Presence {
    pub(super) fn new(clock: Arc<RunClock>, shared: bool) -> Self {
        Self {
            clock,
            shared,
            nodes: Mutex::default(),
        }
    }

    /// The run clock's present.
    pub fn now_ms(&self) -> u64 {
        self.clock.ran_ms()
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, LifeUpdate>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the database knows of a node.
    pub fn know(&self, node: &Node) {
        let now_ms = signed(self.clock.ran_ms());
        let mut nodes = self.nodes();
        let life = nodes.entry(node.id.clone()).or_default();
        if life.seen_at.is_none() {
            life.seen_at = node.last_seen_at;
            life.seen_ms = node
                .last_seen_at
                .map(|at| now_ms - clock::now().millis_since(at).max(0));
            life.stopping = node.stopping;
        }
        life.interval_ms = node.facts.interval_ms;
        life.facts = Some(node.facts.clone());
        // That it is there was told otherwise: only a turn is news.
        let status = life.status(self.clock.ran_ms());
        life.told.get_or_insert(status);
    }

    /// Takes over what other servers wrote down.
    pub fn take_over(&self, known: &[NodeLife], instances: &[InstanceLife]) {
        let now_ms = signed(self.clock.ran_ms());
        let mut nodes = self.nodes();
        let ids: HashSet<&str> = known.iter().map(|life| life.node_id.as_str()).collect();
        nodes.retain(|id, _| ids.contains(id.as_str()));
        for node in known {
            let life = nodes.entry(node.node_id.clone()).or_default();
            life.interval_ms = node.interval_ms;
            let Some(seen) = node.seen else { continue };
            let seen_ms = now_ms.saturating_sub(signed(seen.ago_ms));
            if life.seen_ms.is_none_or(|before| before < seen_ms) {
                life.seen_ms = Some(seen_ms);
                life.seen_at = Some(seen.at);
                life.stopping = node.stopping;
            }
        }
        for known in instances {
            let Some(life) = nodes.get_mut(&known.node_id) else {
                continue;
            };
            let seen_ms = now_ms.saturating_sub(signed(known.ago_ms));
            if let Some(instance) = life.instances.get_mut(&known.instance) {
                instance.seen_ms = instance.seen_ms.max(seen_ms);
            } else if life.instances.len() < INSTANCES_MAX {
                let instance = Instance {
                    seen_ms,
                    unwritten: false,
                };
                life.instances.insert(known.instance.clone(), instance);
            }
        }
    }

    /// A node that was deleted.
    pub fn forget(&self, node_id: &str) {
        self.nodes().remove(node_id);
    }

    /// Every call of an agent: the node lives, and so does that instance of its agent. Tells when
    /// the instance is new here and another one of the same node was alive just now.
    pub fn sign_of_life(&self, node_id: &str, instance: Option<&str>) -> Option<Newcomer> {
        let now_ms = self.clock.ran_ms();
        let mut nodes = self.nodes();
        let life = match nodes.get_mut(node_id) {
            Some(life) => life,
            // Its token was let in: another server added it just now.
            None if self.shared => nodes.entry(node_id.to_owned()).or_default(),
            // Deleted meanwhile.
            None => return None,
        };
        life.give_sign(now_ms);
        note_instance(&mut life.instances, instance?, now_ms).then(|| life.newcomers.count(now_ms))
    }

    /// The same of an instance that was here before. False, and nothing noted, where it is new.
    pub fn sign_of_known(
        &self,
        node_id: &str,
        instance: Option<&str>,
        process: Option<&str>,
    ) -> bool {
        let now_ms = self.clock.ran_ms();
        let mut nodes = self.nodes();
        let Some(life) = nodes.get_mut(node_id) else {
            return false;
        };
        if let (Some(instance), Some(process)) = (instance, process)
            && !life
                .processes
                .get_mut(instance)
                .is_some_and(|processes| processes.sign_of_known(process, now_ms))
        {
            return false;
        }
        if let Some(id) = instance {
            let Some(instance) = life.instances.get_mut(id) else {
                return false;
            };
            instance.give_sign(now_ms);
        }
        life.give_sign(now_ms);
        true
    }

    /// A poll of a process of an agent instance.
    pub(super) fn sign_of_process(
        &self,
        node_id: &str,
        instance: &str,
        process: &str,
        lease_seconds: u64,
    ) -> Sign {
        let now_ms = self.clock.ran_ms();
        let mut nodes = self.nodes();
        let Some(life) = nodes.get_mut(node_id) else {
            return Sign::default();
        };
        let instances = &life.instances;
        life.processes.retain(|id, _| instances.contains_key(id));
        life.processes
            .entry(instance.to_owned())
            .or_insert_with(|| Processes::since(now_ms, lease_seconds))
            .sign(process, now_ms)
    }

    /// Which of an instance's processes that is.
    pub fn standing(
        &self,
        node_id: &str,
        instance: Option<&str>,
        process: Option<&str>,
    ) -> Standing {
        let (Some(instance), Some(process)) = (instance, process) else {
            return Standing::Settled;
        };
        self.nodes()
            .get(node_id)
            .and_then(|life| life.processes.get(instance))
            .map_or(Standing::Settled, |processes| processes.standing(process))
    }

    /// Whether `poller` may get a job again that `claimer`, a process of the same instance, has
    /// claimed: it is the same one, or the other one has stopped, or was silent for a lease.
    pub fn may_take_from(
        &self,
        node_id: &str,
        instance: &str,
        claimer: &str,
        poller: &str,
    ) -> bool {
        let now_ms = self.clock.ran_ms();
        claimer == poller
            || self
                .nodes()
                .get(node_id)
                .and_then(|life| life.processes.get(instance))
                .is_some_and(|processes| processes.is_silent(claimer, now_ms))
    }

    /// A process said goodbye; an agent that doesn't name it means the only one.
    pub(super) fn process_gone(&self, node_id: &str, instance: &str, process: Option<&str>) {
        let mut nodes = self.nodes();
        let processes = nodes
            .get_mut(node_id)
            .and_then(|life| life.processes.get_mut(instance));
        if let Some(processes) = processes {
            processes.gone(process);
        }
    }

    /// Whether an agent instance lives now.
    pub fn is_alive(&self, node_id: &str, instance: &str) -> bool {
        let now_ms = self.clock.ran_ms();
        self.nodes()
            .get(node_id)
            .and_then(|life| life.instances.get(instance))
            .is_some_and(|instance| instance.is_alive(now_ms))
    }

    /// What a heartbeat told; true when it is news that must be written down.
    pub fn heartbeat(&self, node_id: &str, facts: &NodeFacts, stopping: bool) -> bool {
        let mut nodes = self.nodes();
        let Some(life) = nodes.get_mut(node_id) else {
            return false;
        };
        life.stopping = stopping;
        life.interval_ms = facts.interval_ms;
        let news = life.facts.as_ref() != Some(facts);
        life.facts = Some(facts.clone());
        news
    }

    /// Whether the node lives, and when it was last seen.
    pub fn of(&self, node_id: &str) -> (NodeStatus, Option<Timestamp>) {
        let now_ms = self.clock.ran_ms();
        self.nodes()
            .get(node_id)
            .map_or((NodeStatus::Offline, None), |life| {
                (life.status(now_ms), life.seen_at)
            })
    }

    /// When, on the run clock, the instance that claimed a job last gave a sign of life; for a
    /// claim without an instance, when its node did. `None`: not since this server's start.
    pub fn last_life_ms(&self, node_id: &str, instance: Option<&str>) -> Option<u64> {
        let nodes = self.nodes();
        let life = nodes.get(node_id)?;
        match instance {
            Some(instance) => life
                .instances
                .get(instance)
                .map(|instance| instance.seen_ms),
            None => life.seen_ms,
        }
        .and_then(|seen| u64::try_from(seen).ok())
    }

    /// How many instances of the node's agent live now.
    pub fn live_instances(&self, node_id: &str) -> usize {
        let now_ms = self.clock.ran_ms();
        let alive = |instance: &&Instance| instance.is_alive(now_ms);
        self.nodes()
            .get(node_id)
            .map_or(0, |life| life.instances.values().filter(alive).count())
    }

    /// How many nodes are ONLINE, and how many there are.
    pub fn count_online(&self) -> (usize, usize) {
        let now_ms = self.clock.ran_ms();
        let nodes = self.nodes();
        (
            nodes
                .values()
                .filter(|life| life.status(now_ms) == NodeStatus::Online)
                .count(),
            nodes.len(),
        )
    }

    /// Nodes whose status is another one than was last told; they count as told now.
    pub fn turned(&self) -> Vec<String> {
        let now_ms = self.clock.ran_ms();
        let turn = |(id, life): (&String, &mut LifeUpdate)| {
            let status = life.status(now_ms);
            let before = life.told.replace(status);
            (before != Some(status)).then(|| id.clone())
        };
        self.nodes().iter_mut().filter_map(turn).collect()
    }

    /// The signs of life since the last call.
    pub fn take_unwritten(&self) -> Vec<node::LifeUpdate> {
        let (now_ms, now) = (signed(self.clock.ran_ms()), clock::now());
        let seen = |ms: i64| {
            let ago_ms = now_ms.saturating_sub(ms).max(0);
            SignOfLife {
                at: now.plus_millis(-ago_ms),
                ago_ms: ago_ms.unsigned_abs(),
            }
        };
        let write = |(id, life): (&String, &mut LifeUpdate)| {
            let seen_ms = life
                .seen_ms
                .filter(|_| std::mem::take(&mut life.unwritten))?;
            let fresh = |(id, instance): (&String, &mut Instance)| {
                let fresh = std::mem::take(&mut instance.unwritten);
                fresh.then(|| (id.clone(), seen(instance.seen_ms)))
            };
            Some(node::LifeUpdate {
                node_id: id.clone(),
                seen: SignOfLife {
                    at: life.seen_at.unwrap_or(now),
                    ..seen(seen_ms)
                },
                stopping: life.stopping,
                instances: life.instances.iter_mut().filter_map(fresh).collect(),
            })
        };
        self.nodes().iter_mut().filter_map(write).collect()
    }

    /// What was taken could not be written: it is to be taken again.
    pub fn give_back(&self, lives: &[node::LifeUpdate]) {
        let mut nodes = self.nodes();
        for taken in lives {
            let Some(life) = nodes.get_mut(&taken.node_id) else {
                continue;
            };
            life.unwritten = true;
            for (id, _) in &taken.instances {
                if let Some(instance) = life.instances.get_mut(id) {
                    instance.unwritten = true;
                }
            }
        }
    }
}

fn note_instance(instances: &mut HashMap<String, Instance>, id: &str, now_ms: u64) -> bool {
    if let Some(instance) = instances.get_mut(id) {
        instance.give_sign(now_ms);
        return false;
    }
    let another_lives = instances.values().any(|instance| instance.is_alive(now_ms));
    if instances.len() >= INSTANCES_MAX
        && let Some(oldest) = instances
            .iter()
            .min_by_key(|(_, instance)| instance.seen_ms)
            .map(|(id, _)| id.clone())
    {
        instances.remove(&oldest);
    }
    instances.insert(id.to_owned(), Instance::at(now_ms));
    another_lives
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(seen_ms: i64, interval_ms: u64, stopping: bool) -> LifeUpdate {
        LifeUpdate {
            seen_ms: Some(seen_ms),
            interval_ms,
            stopping,
            ..LifeUpdate::default()
        }
    }

    #[test]
    fn online_for_three_intervals_and_ninety_seconds_at_the_least() {
        assert_eq!(life(0, 1_000, false).status(89_999), NodeStatus::Online);
        assert_eq!(life(0, 1_000, false).status(90_000), NodeStatus::Offline);
        assert_eq!(life(0, 60_000, false).status(179_999), NodeStatus::Online);
        assert_eq!(life(0, 60_000, false).status(180_000), NodeStatus::Offline);
        assert_eq!(life(0, 60_000, true).status(1), NodeStatus::Offline);
        assert_eq!(life(-100_000, 30_000, false).status(1), NodeStatus::Offline);
        assert_eq!(LifeUpdate::default().status(0), NodeStatus::Offline);
    }

    #[test]
    fn ids_that_somebody_makes_up_are_told_ten_times_an_hour() {
        let mut newcomers = Newcomers::default();
        let mut told = |now_ms| newcomers.count(now_ms);
        assert!((0..9).all(|_| told(5) == Newcomer::Told));
        assert_eq!(told(6), Newcomer::LastTold);
        assert!((0..1_000).all(|_| told(3_599_999) == Newcomer::Untold));
        assert_eq!(told(3_600_000), Newcomer::Told);
    }

    #[test]
    fn a_second_instance_is_news_while_the_first_lives() {
        let mut instances = HashMap::new();
        assert!(!note_instance(&mut instances, "a", 0));
        assert!(!note_instance(&mut instances, "a", 5));
        assert!(note_instance(&mut instances, "b", 10));
        assert!(!note_instance(&mut instances, "c", 200_000));
    }
}
