//! Signs of life of every node: kept in memory, and written to the database every few seconds.
//!
//! Durations are measured on a clock that runs only while this server does (`run_clock.rs`), so
//! that neither a step of the machine's clock nor a pause of the process makes a node, or a job's
//! lease, look older than it is. Servers that share a database merge each other's records; the age
//! of a record comes from the database's clock.
//!
//! One file, because everything here works on one locked map.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::life::{INSTANCES_MAX, Instance, NodeLife, NodeStatus, record_instance, signed};
use super::processes::{Processes, Sign, Standing};
use super::run_clock::RunClock;
use super::second_instances::AuditDecision;
use crate::clock::{self, Timestamp};
use crate::store::node::{
    self, InstanceLife, LifeUpdate, Node, NodeFacts, ProcessLife, SignOfLife,
};
use crate::store::node_status::StatusChange;
use crate::sync::lock;

/// Signs of life of every node.
#[derive(Debug)]
pub struct Presence {
    clock: Arc<RunClock>,
    /// Whether other servers use the same database and may add nodes.
    shared: bool,
    nodes: Mutex<HashMap<String, NodeLife>>,
}

/// A node's new status, to be announced to the rest of the server.
#[derive(Debug)]
pub struct Announcement {
    pub node_id: String,
    /// `None` for a new node.
    pub before: Option<NodeStatus>,
    pub status: NodeStatus,
    /// Whether the agent announced its stop.
    pub is_stopping: bool,
}

impl Presence {
    pub(super) fn new(clock: Arc<RunClock>, shared: bool) -> Self {
        Self {
            clock,
            shared,
            nodes: Mutex::default(),
        }
    }

    /// The current time on the run clock.
    pub fn now_ms(&self) -> u64 {
        self.clock.ran_ms()
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, NodeLife>> {
        lock(&self.nodes)
    }

    /// Loads a node from the database.
    pub fn load(&self, node: &Node) {
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
        // The node itself is announced elsewhere; only a change of its status is news.
        let status = life.status(self.clock.ran_ms());
        life.announced.get_or_insert(status);
    }

    /// Merges the records of other servers. Returns each node and instance of which another server
    /// has the first process, and this one a second.
    pub(super) fn merge(
        &self,
        known: &[node::NodeLife],
        instances: &[InstanceLife],
    ) -> Vec<(String, String)> {
        let mut copied = Vec::new();
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
            if let (Some((process, ago_ms)), Some(processes)) =
                (&known.process, life.processes.get_mut(&known.instance))
            {
                let seen_ms = self.clock.ran_ms().saturating_sub(*ago_ms);
                if processes.merge_first(process, seen_ms) {
                    copied.push((known.node_id.clone(), known.instance.clone()));
                }
            }
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
        copied
    }

    /// Removes a deleted node.
    pub fn forget(&self, node_id: &str) {
        self.nodes().remove(node_id);
    }

    /// Records a call of an agent: the node and that agent instance are alive. Returns a decision
    /// if the instance is new here while another one of the node is alive.
    pub fn record_life(&self, node_id: &str, instance: Option<&str>) -> Option<AuditDecision> {
        let now_ms = self.clock.ran_ms();
        let mut nodes = self.nodes();
        let life = match nodes.get_mut(node_id) {
            Some(life) => life,
            // Its token was accepted: another server has just added the node.
            None if self.shared => nodes.entry(node_id.to_owned()).or_default(),
            // Deleted in the meantime.
            None => return None,
        };
        life.record_sign(now_ms);
        let is_second = record_instance(&mut life.instances, instance?, now_ms);
        is_second.then(|| life.second_instances.count(now_ms))
    }

    /// Records a call of a known instance. Returns false and records nothing if it is new.
    pub fn record_known(
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
                .is_some_and(|processes| processes.record_known(process, now_ms))
        {
            return false;
        }
        if let Some(id) = instance {
            let Some(instance) = life.instances.get_mut(id) else {
                return false;
            };
            *instance = Instance::seen_at(now_ms);
        }
        life.record_sign(now_ms);
        true
    }

    /// Records a poll of a process of an agent instance.
    pub(super) fn record_poll(
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
            .record_poll(process, now_ms)
    }

    /// Which of an instance's processes this is.
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

    /// Whether `poller` may get a job that `claimer`, a process of the same instance, has claimed:
    /// if both are the same process, or the claimer has stopped or was silent for a lease.
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

    /// The standing of an instance's process towards a job that `claimer`, a process of the same
    /// instance, has claimed. It may report on the job if it is `Settled`.
    pub fn standing_for(
        &self,
        node_id: &str,
        instance: &str,
        process: &str,
        claimer: &str,
    ) -> Standing {
        let now_ms = self.clock.ran_ms();
        if process == claimer {
            return Standing::Settled;
        }
        self.nodes()
            .get(node_id)
            .and_then(|life| life.processes.get(instance))
            .map_or(Standing::Unproven, |processes| {
                processes.standing_for(process, claimer, now_ms)
            })
    }

    /// Records that a process stopped; without a process id, the instance's only one.
    pub(super) fn record_stop(&self, node_id: &str, instance: &str, process: Option<&str>) {
        let mut nodes = self.nodes();
        let processes = nodes
            .get_mut(node_id)
            .and_then(|life| life.processes.get_mut(instance));
        if let Some(processes) = processes {
            processes.record_stop(process);
        }
    }

    /// Whether an agent instance is alive.
    pub fn is_alive(&self, node_id: &str, instance: &str) -> bool {
        let now_ms = self.clock.ran_ms();
        self.nodes()
            .get(node_id)
            .and_then(|life| life.instances.get(instance))
            .is_some_and(|instance| instance.is_alive(now_ms))
    }

    /// Records a heartbeat. Returns whether its facts are new and must be written.
    pub fn record_heartbeat(&self, node_id: &str, facts: &NodeFacts, stopping: bool) -> bool {
        let mut nodes = self.nodes();
        let Some(life) = nodes.get_mut(node_id) else {
            return false;
        };
        life.stopping = stopping;
        life.interval_ms = facts.interval_ms;
        let has_news = life.facts.as_ref() != Some(facts);
        life.facts = Some(facts.clone());
        has_news
    }

    /// The node's status, and when it was last seen.
    pub fn status_of(&self, node_id: &str) -> (NodeStatus, Option<Timestamp>) {
        let now_ms = self.clock.ran_ms();
        self.nodes()
            .get(node_id)
            .map_or((NodeStatus::Offline, None), |life| {
                (life.status(now_ms), life.seen_at)
            })
    }

    /// When the instance that claimed a job was last seen, on the run clock; for a claim without an
    /// instance, when its node was. `None`: not since this server started.
    pub fn last_seen_ms(&self, node_id: &str, instance: Option<&str>) -> Option<u64> {
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

    /// How long each node has been silent, in milliseconds, and when it was last seen. A node that
    /// announced its stop is not silent. Silence counts from the start of this server at the
    /// earliest, plus `grace_ms` for a node that has not called it yet.
    pub fn silences(&self, grace_ms: u64) -> Vec<(String, u64, Timestamp)> {
        let now_ms = signed(self.clock.ran_ms());
        let silence = |(id, life): (&String, &NodeLife)| {
            let (seen_ms, seen_at) = (life.seen_ms?, life.seen_at?);
            let since_ms = if seen_ms < 0 {
                signed(grace_ms)
            } else {
                seen_ms
            };
            let silent_ms = u64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(0);
            (!life.stopping).then(|| (id.clone(), silent_ms, seen_at))
        };
        self.nodes().iter().filter_map(silence).collect()
    }

    /// Number of agent instances of the node that are alive.
    pub fn live_instances(&self, node_id: &str) -> usize {
        let now_ms = self.clock.ran_ms();
        let alive = |instance: &&Instance| instance.is_alive(now_ms);
        self.nodes()
            .get(node_id)
            .map_or(0, |life| life.instances.values().filter(alive).count())
    }

    /// Number of ONLINE nodes, and of all nodes.
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

    /// Nodes whose status changed since the last call.
    pub fn take_status_changes(&self) -> Vec<Announcement> {
        let now_ms = self.clock.ran_ms();
        let changed = |(id, life): (&String, &mut NodeLife)| {
            let status = life.status(now_ms);
            let before = life.announced.replace(status);
            (before != Some(status)).then(|| Announcement {
                node_id: id.clone(),
                before,
                status,
                is_stopping: life.stopping,
            })
        };
        self.nodes().iter_mut().filter_map(changed).collect()
    }

    /// Statuses that changed since the last call; at the first call, the status of each node that
    /// was ever seen.
    pub fn take_unrecorded(&self) -> Vec<StatusChange> {
        let now_ms = self.clock.ran_ms();
        let changed = |(id, life): (&String, &mut NodeLife)| {
            let at = life.seen_at?;
            let status = life.status(now_ms);
            let before = life.recorded.replace(status);
            (before != Some(status)).then(|| StatusChange {
                node_id: id.clone(),
                at,
                is_online: status == NodeStatus::Online,
            })
        };
        self.nodes().iter_mut().filter_map(changed).collect()
    }

    /// Marks statuses as unrecorded again after a failed write.
    pub fn restore_unrecorded(&self, changes: &[StatusChange]) {
        let mut nodes = self.nodes();
        for change in changes {
            if let Some(life) = nodes.get_mut(&change.node_id) {
                life.recorded = None;
            }
        }
    }

    /// Signs of life since the last call.
    pub fn take_unwritten(&self) -> Vec<LifeUpdate> {
        let (ran_ms, now) = (self.clock.ran_ms(), clock::now());
        let now_ms = signed(ran_ms);
        let seen = |ms: i64| {
            let ago_ms = now_ms.saturating_sub(ms).max(0);
            SignOfLife {
                at: now.plus_millis(-ago_ms),
                ago_ms: ago_ms.unsigned_abs(),
            }
        };
        let write = |(id, life): (&String, &mut NodeLife)| {
            let seen_ms = life
                .seen_ms
                .filter(|_| std::mem::take(&mut life.unwritten))?;
            let fresh = |(id, instance): (&String, &mut Instance)| {
                let fresh = std::mem::take(&mut instance.unwritten);
                fresh.then(|| (id.clone(), seen(instance.seen_ms)))
            };
            let first_process = |(id, processes): (&String, &Processes)| {
                let (process, seen_ms) = processes.first()?;
                Some(ProcessLife {
                    instance: id.clone(),
                    process: process.to_owned(),
                    ago_ms: ran_ms.saturating_sub(seen_ms),
                })
            };
            Some(LifeUpdate {
                processes: life.processes.iter().filter_map(first_process).collect(),
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

    /// Marks signs of life as unwritten again after a failed write.
    pub fn restore_unwritten(&self, lives: &[LifeUpdate]) {
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
