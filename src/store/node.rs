//! Nodes and the agent instances that used their tokens. One file, because all statements are about
//! the same record.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use super::id::{JobId, NodeId};
pub use super::node_search::{NodeMatch, search};
use super::tx::{Row, Statement, Tx, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/node_insert.sql"));
static FIND: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("sql/node_columns.sql"),
    " FROM nodes WHERE id = $1"
));
static FIND_HELD: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("sql/node_columns.sql"),
    " FROM nodes WHERE id = $1 /* for key share */"
));
static HOLD_ALL: Statement = Statement::new(
    "SELECT id FROM nodes WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
);
static HOLD_ALL_SHARED: Statement = Statement::new(
    "SELECT id FROM nodes WHERE id IN (SELECT jsonb_array_elements_text(CAST(CAST($1 AS TEXT) AS JSONB)))
     ORDER BY id /* for key share */",
);
static FIND_LOCKED: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("sql/node_columns.sql"),
    " FROM nodes WHERE id = $1 /* for update */"
));
static LIST: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("sql/node_columns.sql"),
    " FROM nodes ORDER BY id"
));
static SOME: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("sql/node_columns.sql"),
    " FROM nodes WHERE id IN (SELECT value FROM json_each($1))"
));
static SOME_SHARED: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("sql/node_columns.sql"),
    " FROM nodes WHERE id IN (SELECT jsonb_array_elements_text(CAST(CAST($1 AS TEXT) AS JSONB)))"
));
static PAUSED: Statement = Statement::new("SELECT id FROM nodes WHERE paused = 1");
static WITH_PROBLEM: Statement = Statement::new("SELECT id FROM nodes WHERE problem IS NOT NULL");
static DELETE: Statement = Statement::new("DELETE FROM nodes WHERE id = $1");
static SET_FACTS: Statement = Statement::new(include_str!("sql/node_set_facts.sql"));
static SET_MACHINE_FACTS: Statement =
    Statement::new("UPDATE nodes SET facts = $2, facts_at = $3 WHERE id = $1");
static SET_REFUSED: Statement = Statement::new(
    "UPDATE nodes SET refused = refused + 1, refused_at = $2, refused_job_id = $3, refused_because = $4 WHERE id = $1",
);
static UPDATE: Statement =
    Statement::new("UPDATE nodes SET name = $2, labels = $3, paused = $4 WHERE id = $1");
static SET_COPIED: Statement = Statement::new(
    "UPDATE nodes SET copied_at = $2 WHERE id = $1 AND (copied_at IS NULL OR copied_at < $3 OR copied_at > $2)",
);
static SET_SEEN: Statement = Statement::new(include_str!("sql/node_set_seen.sql"));
static INSTANCE_SEEN: Statement = Statement::new(include_str!("sql/node_instance_seen.sql"));
static SEEN_SHARED: Statement = Statement::new(include_str!("sql/node_set_seen.postgres.sql"));
static INSTANCE_SEEN_SHARED: Statement =
    Statement::new(include_str!("sql/node_instance_seen.postgres.sql"));
static LIFE: Statement = Statement::new(include_str!("sql/node_life.postgres.sql"));
static PROCESS_SEEN_SHARED: Statement =
    Statement::new(include_str!("sql/node_process_seen.postgres.sql"));
static INSTANCE_LIFE: Statement =
    Statement::new(include_str!("sql/node_instance_life.postgres.sql"));
static INSTANCE_PRUNE: Statement = Statement::new(include_str!("sql/node_instance_prune.sql"));
static INSTANCE_LIST: Statement = Statement::new(include_str!("sql/node_instance_list.sql"));

/// What an agent reports about its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NodeFacts {
    pub hostname: Option<String>,
    /// `ID` of os-release.
    pub os_id: Option<String>,
    /// `ID_LIKE` of os-release.
    pub os_id_like: Option<String>,
    /// `VERSION_ID` of os-release.
    pub os_version_id: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub os_pretty_name: Option<String>,
    pub agent_version: Option<String>,
    /// Time between two heartbeats.
    pub interval_ms: u64,
    /// Why the node can't run jobs.
    pub problem: Option<String>,
    /// Whether the agent runs only jobs that a person has signed.
    pub requires_signatures: bool,
    /// The sign keys that the agent trusts, as a JSON list of fingerprints; `None` if it does not
    /// check signatures.
    pub trusted_keys: Option<String>,
}

/// The jobs that were refused on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedJobs {
    pub count: u64,
    /// The last one.
    pub at: Timestamp,
    pub job_id: String,
    /// The reason in words.
    pub because: String,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// The slug.
    pub id: String,
    /// The display name.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
    /// The last sign of life that was written to the database.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the agent announced its stop in that sign of life.
    pub stopping: bool,
    pub facts: NodeFacts,
    /// When a second machine last used a copy of the agent's state directory.
    pub copied_at: Option<Timestamp>,
    /// Whether its agent gets no jobs.
    pub paused: bool,
    /// What the agent reported about the machine, as JSON.
    pub machine_facts: Option<String>,
    pub machine_facts_at: Option<Timestamp>,
    /// Jobs that were refused because of their signature.
    pub refused: Option<RefusedJobs>,
}

fn refused_of_row(row: &mut Row) -> Result<Option<RefusedJobs>, StoreError> {
    let count = row.take()?;
    let at = row.take_typed_time()?;
    let job_id: Option<String> = row.take()?;
    let because: Option<String> = row.take()?;
    Ok(at.map(|at| RefusedJobs {
        count,
        at,
        job_id: job_id.unwrap_or_default(),
        because: because.unwrap_or_default(),
    }))
}

fn node_of_row(row: &mut Row) -> Result<Node, StoreError> {
    Ok(Node {
        id: row.take()?,
        name: row.take()?,
        labels: serde_json::from_str(&row.take::<String>()?).unwrap_or_default(),
        created_at: row.take()?,
        last_seen_at: row.take()?,
        stopping: row.take()?,
        facts: NodeFacts {
            interval_ms: row.take()?,
            hostname: row.take()?,
            os_id: row.take()?,
            os_id_like: row.take()?,
            os_version_id: row.take()?,
            os_pretty_name: row.take()?,
            agent_version: row.take()?,
            problem: row.take()?,
            requires_signatures: row.take()?,
            trusted_keys: row.take()?,
        },
        copied_at: row.take()?,
        paused: row.take()?,
        machine_facts: row.take()?,
        machine_facts_at: row.take()?,
        refused: refused_of_row(row)?,
    })
}

/// Adds a node; false if the id is taken.
pub fn insert(
    tx: &mut dyn Tx,
    id: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(tx.execute(&INSERT, values![id, name, labels_json(labels), now])? == 1)
}

/// Stores a node's name, labels and pause.
pub fn update(tx: &mut dyn Tx, node: &Node) -> Result<(), StoreError> {
    let labels = labels_json(&node.labels);
    tx.execute(&UPDATE, values![&node.id, &node.name, labels, node.paused])
        .map(|_| ())
}

fn labels_json(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).unwrap_or_else(|_| "{}".to_owned())
}

/// Returns the node with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Node>, StoreError> {
    tx.query_one(&FIND, values![id])?
        .map(|mut row| node_of_row(&mut row))
        .transpose()
}

/// Returns the node with this id and prevents its deletion until the transaction ends. For
/// transactions that add a row which belongs to the node.
pub fn find_held(tx: &mut dyn Tx, id: &str) -> Result<Option<Node>, StoreError> {
    tx.query_one(&FIND_HELD, values![id])?
        .map(|mut row| node_of_row(&mut row))
        .transpose()
}

/// Returns those of the nodes (a JSON list of ids) that exist, and prevents their deletion until
/// the transaction ends.
pub fn hold_all(tx: &mut dyn Tx, ids: &str) -> Result<Vec<String>, StoreError> {
    let hold = if tx.is_shared() {
        &HOLD_ALL_SHARED
    } else {
        &HOLD_ALL
    };
    read_all(tx.query(hold, values![ids])?, Row::take)
}

/// Returns the node with this id and locks its row until the transaction ends: nobody else changes
/// the node or adds rows that belong to it.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Node>, StoreError> {
    tx.query_one(&FIND_LOCKED, values![id])?
        .map(|mut row| node_of_row(&mut row))
        .transpose()
}

/// Returns every node, ordered by id.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Node>, StoreError> {
    read_all(tx.query(&LIST, &[])?, node_of_row)
}

/// Returns those of the nodes with these ids that exist, in any order.
pub fn some(tx: &mut dyn Tx, ids: &[String]) -> Result<Vec<Node>, StoreError> {
    let some = if tx.is_shared() { &SOME_SHARED } else { &SOME };
    let ids = json!(ids).to_string();
    read_all(tx.query(some, values![ids])?, node_of_row)
}

/// Returns the ids of the paused nodes.
pub fn paused(tx: &mut dyn Tx) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<String> = read_all(tx.query(&PAUSED, &[])?, Row::take)?;
    Ok(ids.into_iter().collect())
}

/// Returns the ids of the nodes that report that they can't run jobs.
pub fn with_problem(tx: &mut dyn Tx) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<String> = read_all(tx.query(&WITH_PROBLEM, &[])?, Row::take)?;
    Ok(ids.into_iter().collect())
}

/// Deletes a node with its tokens; false if the node does not exist.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<bool, StoreError> {
    Ok(tx.execute(&DELETE, values![id])? == 1)
}

/// Stores what the agent reported about its node.
pub fn set_facts(tx: &mut dyn Tx, id: &str, facts: &NodeFacts) -> Result<(), StoreError> {
    let facts = facts.clone();
    tx.execute(
        &SET_FACTS,
        values![
            id,
            facts.interval_ms,
            facts.hostname,
            facts.os_id,
            facts.os_id_like,
            facts.os_version_id,
            facts.os_pretty_name,
            facts.agent_version,
            facts.problem,
            facts.requires_signatures,
            facts.trusted_keys
        ],
    )
    .map(|_| ())
}

/// Records that a job was refused on a node.
pub fn set_refused(
    tx: &mut dyn Tx,
    id: NodeId<&str>,
    job_id: JobId<&str>,
    because: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&SET_REFUSED, values![id.0, now, job_id.0, because])
        .map(|_| ())
}

/// Stores what the agent reported about the machine, as JSON.
pub fn set_machine_facts(
    tx: &mut dyn Tx,
    id: &str,
    json: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&SET_MACHINE_FACTS, values![id, json, now])
        .map(|_| ())
}

/// Records that a second machine uses a copy of the agent's state directory; false if this was
/// already recorded after `since`.
pub fn set_copied(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
    since: Timestamp,
) -> Result<bool, StoreError> {
    Ok(tx.execute(&SET_COPIED, values![id, now, since])? == 1)
}

/// A sign of life: its time by this server's clock, and its age, from which a shared database
/// computes the time by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignOfLife {
    pub at: Timestamp,
    pub ago_ms: u64,
}

/// A node's signs of life to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeUpdate {
    pub node_id: String,
    pub seen: SignOfLife,
    /// Whether the agent announced its stop.
    pub stopping: bool,
    /// Agent instances with a sign of life that is not stored yet.
    pub instances: Vec<(String, SignOfLife)>,
    /// The first process of each of these instances. Stored only in a shared database.
    pub processes: Vec<ProcessLife>,
}

/// The last poll of an instance's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessLife {
    pub instance: String,
    pub process: String,
    pub ago_ms: u64,
}

/// Stores signs of life. In a database that other servers also write to, a later sign of life that
/// is already stored stays.
pub fn write_lives(tx: &mut dyn Tx, lives: &[LifeUpdate]) -> Result<(), StoreError> {
    if tx.is_shared() {
        return write_lives_shared(tx, lives);
    }
    for life in lives {
        tx.execute(
            &SET_SEEN,
            values![&life.node_id, life.seen.at, life.stopping],
        )?;
        for (instance, seen) in &life.instances {
            write_instance(tx, &life.node_id, instance, *seen)?;
        }
    }
    Ok(())
}

/// Like [`write_lives`], in two statements for all nodes.
fn write_lives_shared(tx: &mut dyn Tx, lives: &[LifeUpdate]) -> Result<(), StoreError> {
    // Without the lock, two servers that write the same rows in different order would deadlock.
    tx.lock("node_lives")?;
    let nodes: Vec<_> = lives
        .iter()
        .map(|life| json!({"id": life.node_id, "ago": life.seen.ago_ms, "stopping": i64::from(life.stopping)}))
        .collect();
    tx.execute(&SEEN_SHARED, values![json!(nodes).to_string()])?;
    let instance = |(life, instance, seen): (&LifeUpdate, &str, SignOfLife)| json!({"id": life.node_id, "instance": instance, "ago": seen.ago_ms});
    let instances: Vec<_> = lives
        .iter()
        .flat_map(|life| {
            let of_node = life.instances.iter();
            of_node.map(move |(id, seen)| instance((life, id, *seen)))
        })
        .collect();
    if instances.is_empty() {
        return Ok(());
    }
    tx.execute(&INSTANCE_SEEN_SHARED, values![json!(instances).to_string()])?;
    let process = |(life, of): (&LifeUpdate, &ProcessLife)| json!({"id": life.node_id, "instance": of.instance, "process": of.process, "ago": of.ago_ms});
    let processes: Vec<_> = lives
        .iter()
        .flat_map(|life| life.processes.iter().map(move |of| process((life, of))))
        .collect();
    if !processes.is_empty() {
        tx.execute(&PROCESS_SEEN_SHARED, values![json!(processes).to_string()])?;
    }
    Ok(())
}

/// Deletes agent instances, except the `kept` that were seen last on each node.
pub fn prune_instances(tx: &mut dyn Tx, kept: u64) -> Result<u64, StoreError> {
    if tx.is_shared() {
        tx.lock("node_lives")?;
    }
    tx.execute(&INSTANCE_PRUNE, values![kept])
}

/// The stored sign of life of a node.
#[derive(Debug, Clone)]
pub struct NodeLife {
    pub node_id: String,
    /// `ago_ms` is counted by the database's clock.
    pub seen: Option<SignOfLife>,
    /// Whether the agent announced its stop.
    pub stopping: bool,
    /// Time between two heartbeats.
    pub interval_ms: u64,
}

/// The stored sign of life of an agent instance.
#[derive(Debug, Clone)]
pub struct InstanceLife {
    pub node_id: String,
    pub instance: String,
    /// Milliseconds since the last sign of life, by the database's clock.
    pub ago_ms: u64,
    /// Its first process, and the milliseconds since that last polled.
    pub process: Option<(String, u64)>,
}

/// Returns the stored signs of life of all nodes, and of the instances seen within `within_ms`,
/// including those that other servers stored. Only on a database with [`Tx::is_shared`].
pub fn lives(
    tx: &mut dyn Tx,
    within_ms: u64,
) -> Result<(Vec<NodeLife>, Vec<InstanceLife>), StoreError> {
    let nodes = read_all(tx.query(&LIFE, &[])?, |row| {
        let (node_id, stopping, interval_ms) = (row.take()?, row.take()?, row.take()?);
        let (at, ago_ms): (Option<Timestamp>, Option<u64>) = (row.take()?, row.take()?);
        Ok(NodeLife {
            node_id,
            seen: at.zip(ago_ms).map(|(at, ago_ms)| SignOfLife { at, ago_ms }),
            stopping,
            interval_ms,
        })
    })?;
    let instances = read_all(tx.query(&INSTANCE_LIFE, values![within_ms])?, |row| {
        let (node_id, instance, ago_ms) = (row.take()?, row.take()?, row.take()?);
        let (process, polled_ago_ms): (Option<String>, Option<u64>) = (row.take()?, row.take()?);
        Ok(InstanceLife {
            node_id,
            instance,
            ago_ms,
            process: process.zip(polled_ago_ms),
        })
    })?;
    Ok((nodes, instances))
}

/// Records that an agent instance used a token of the node.
fn write_instance(
    tx: &mut dyn Tx,
    node_id: &str,
    instance: &str,
    seen: SignOfLife,
) -> Result<(), StoreError> {
    tx.execute(&INSTANCE_SEEN, values![node_id, instance, seen.at])
        .map(|_| ())
}

/// Returns a node's agent instances (id, first seen, last seen), the latest first; at most 32.
pub fn instances(
    tx: &mut dyn Tx,
    node_id: &str,
) -> Result<Vec<(String, Timestamp, Timestamp)>, StoreError> {
    read_all(tx.query(&INSTANCE_LIST, values![node_id])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}
