//! Nodes, their tokens and the agent instances that used them.

use std::collections::BTreeMap;

use serde_json::json;

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
static DELETE: Statement = Statement::new("DELETE FROM nodes WHERE id = $1");
static SET_FACTS: Statement = Statement::new(include_str!("sql/node_set_facts.sql"));
static SET_COPIED: Statement = Statement::new(
    "UPDATE nodes SET copied_at = $2 WHERE id = $1 AND (copied_at IS NULL OR copied_at < $3 OR copied_at > $2)",
);
static COUNT_PROBLEMS: Statement =
    Statement::new("SELECT CAST(count(*) AS BIGINT) FROM nodes WHERE problem IS NOT NULL");
static SET_SEEN: Statement = Statement::new(include_str!("sql/node_set_seen.sql"));
static TOKEN_INSERT: Statement = Statement::new(include_str!("sql/node_token_insert.sql"));
static TOKEN_LIST: Statement = Statement::new(include_str!("sql/node_token_list.sql"));
static TOKEN_REVOKE: Statement = Statement::new(include_str!("sql/node_token_revoke.sql"));
static INSTANCE_SEEN: Statement = Statement::new(include_str!("sql/node_instance_seen.sql"));
static SEEN_SHARED: Statement = Statement::new(include_str!("sql/node_set_seen.postgres.sql"));
static INSTANCE_SEEN_SHARED: Statement =
    Statement::new(include_str!("sql/node_instance_seen.postgres.sql"));
static LIFE: Statement = Statement::new(include_str!("sql/node_life.postgres.sql"));
static INSTANCE_LIFE: Statement =
    Statement::new(include_str!("sql/node_instance_life.postgres.sql"));
static INSTANCE_PRUNE: Statement = Statement::new(include_str!("sql/node_instance_prune.sql"));
static INSTANCE_LIST: Statement = Statement::new(include_str!("sql/node_instance_list.sql"));

/// Words that a search looks at.
const SEARCH_WORDS_MAX: usize = 8;

/// What an agent tells of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NodeFacts {
    /// The node's own name for itself.
    pub hostname: Option<String>,
    /// `ID` of os-release.
    pub os_id: Option<String>,
    /// `ID_LIKE` of os-release.
    pub os_id_like: Option<String>,
    /// `VERSION_ID` of os-release.
    pub os_version_id: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub os_pretty_name: Option<String>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// The heartbeat's interval.
    pub interval_ms: u64,
    /// Why the node can't run jobs.
    pub problem: Option<String>,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// The slug.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// The last sign of life that was written down.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the agent said goodbye then.
    pub stopping: bool,
    /// What its agent told.
    pub facts: NodeFacts,
    /// When a second machine last used a copy of its agent's state folder.
    pub copied_at: Option<Timestamp>,
}

/// A node's token, without its secret.
#[derive(Debug, Clone)]
pub struct NodeToken {
    /// UUIDv7.
    pub id: String,
    /// The token's first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

fn record(row: &mut Row) -> Result<Node, StoreError> {
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
        },
        copied_at: row.take()?,
    })
}

/// Adds a node; false where the id is taken.
pub fn insert(
    tx: &mut dyn Tx,
    id: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let labels = serde_json::to_string(labels).unwrap_or_else(|_| "{}".to_owned());
    Ok(tx.execute(&INSERT, values![id, name, labels, now])? == 1)
}

/// The node of that id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Node>, StoreError> {
    tx.query_one(&FIND, values![id])?
        .map(|mut row| record(&mut row))
        .transpose()
}

/// The node of that id, which nobody deletes until this transaction ends: for one that adds
/// something of the node's.
pub fn find_held(tx: &mut dyn Tx, id: &str) -> Result<Option<Node>, StoreError> {
    tx.query_one(&FIND_HELD, values![id])?
        .map(|mut row| record(&mut row))
        .transpose()
}

/// The node of that id, which nobody else changes, or adds to, until this transaction ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Node>, StoreError> {
    tx.query_one(&FIND_LOCKED, values![id])?
        .map(|mut row| record(&mut row))
        .transpose()
}

/// Every node, by id.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Node>, StoreError> {
    read_all(tx.query(&LIST, &[])?, record)
}

/// As much of a node as a search puts in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundNode {
    /// The slug.
    pub id: String,
    /// `ID` of os-release; empty where it is not known.
    pub os_id: String,
    /// `ID_LIKE` of os-release.
    pub os_id_like: String,
}

/// The nodes in whose id, name, hostname, system or labels every word is found, by id; all of them
/// where there is no word.
pub fn search(tx: &mut dyn Tx, sought: &str) -> Result<Vec<FoundNode>, StoreError> {
    let mut sql = String::from(include_str!("sql/node_search.sql"));
    let mut params = Vec::new();
    for word in sought.split_whitespace().take(SEARCH_WORDS_MAX) {
        let word = word
            .to_lowercase()
            .replace('\\', r"\\")
            .replace('%', r"\%")
            .replace('_', r"\_");
        params.push(format!("%{word}%").into());
        sql.push_str(&format!(
            include_str!("sql/node_search_word.sql"),
            word = params.len()
        ));
    }
    sql.push_str(" ORDER BY id");
    read_all(tx.query(&Statement::composed(sql), &params)?, |row| {
        Ok(FoundNode {
            id: row.take()?,
            os_id: row.take()?,
            os_id_like: row.take()?,
        })
    })
}

/// Deletes a node with its tokens; false where there is none.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<bool, StoreError> {
    Ok(tx.execute(&DELETE, values![id])? == 1)
}

/// Writes down what the agent told of its node.
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
            facts.problem
        ],
    )
    .map(|_| ())
}

/// How many nodes report that they can't run jobs.
pub fn count_problems(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    tx.query_one(&COUNT_PROBLEMS, values![])?
        .map_or(Ok(0), |mut row| row.take())
}

/// Records that a second machine uses a copy of the node's agent state; false if that was recorded
/// since `since` already.
pub fn set_copied(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
    since: Timestamp,
) -> Result<bool, StoreError> {
    Ok(tx.execute(&SET_COPIED, values![id, now, since])? == 1)
}

/// A sign of life: when it was, by this server's clock, and how long ago, which the database's own
/// clock can count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// Milliseconds from then to now.
    pub ago_ms: u64,
}

/// What is to be written down of a node's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The node.
    pub node_id: String,
    /// When it was last seen.
    pub seen: Seen,
    /// Whether it said goodbye then.
    pub stopping: bool,
    /// Its instances that were seen since they were last written down.
    pub instances: Vec<(String, Seen)>,
}

/// Writes down signs of life. In a database that other servers write to, too, a later one that is
/// there already stays.
pub fn write_lives(tx: &mut dyn Tx, lives: &[Life]) -> Result<(), StoreError> {
    if tx.is_shared() {
        return write_lives_shared(tx, lives);
    }
    for life in lives {
        tx.execute(
            &SET_SEEN,
            values![&life.node_id, life.seen.at, life.stopping],
        )?;
        for (instance, seen) in &life.instances {
            instance_seen(tx, &life.node_id, instance, *seen)?;
        }
    }
    Ok(())
}

/// All at once, as two statements.
fn write_lives_shared(tx: &mut dyn Tx, lives: &[Life]) -> Result<(), StoreError> {
    // Two servers that write the same rows in another order would wait for one another.
    tx.lock("node_lives")?;
    let nodes: Vec<_> = lives
        .iter()
        .map(|life| json!({"id": life.node_id, "ago": life.seen.ago_ms, "stopping": i64::from(life.stopping)}))
        .collect();
    tx.execute(&SEEN_SHARED, values![json!(nodes).to_string()])?;
    let instance = |(life, instance, seen): (&Life, &str, Seen)| json!({"id": life.node_id, "instance": instance, "ago": seen.ago_ms});
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
    tx.execute(&INSTANCE_SEEN_SHARED, values![json!(instances).to_string()])
        .map(|_| ())
}

/// Forgets agent instances, of each node all but the `kept` that were seen last.
pub fn prune_instances(tx: &mut dyn Tx, kept: u64) -> Result<u64, StoreError> {
    if tx.is_shared() {
        tx.lock("node_lives")?;
    }
    tx.execute(&INSTANCE_PRUNE, values![kept])
}

/// What the database knows of a node's life.
#[derive(Debug, Clone)]
pub struct KnownLife {
    /// The node.
    pub node_id: String,
    /// Its last sign of life; `ago_ms` is by the database's clock.
    pub seen: Option<Seen>,
    /// Whether it said goodbye then.
    pub stopping: bool,
    /// The heartbeat's interval.
    pub interval_ms: u64,
}

/// What the database knows of an agent instance's life.
#[derive(Debug, Clone)]
pub struct KnownInstance {
    /// The node.
    pub node_id: String,
    /// The instance.
    pub instance: String,
    /// Milliseconds since its last sign of life, by the database's clock.
    pub ago_ms: u64,
}

/// The lives of all nodes, and of the instances seen within `within_ms`: what other servers wrote
/// down, too. Only where [`Tx::is_shared`].
pub fn lives(
    tx: &mut dyn Tx,
    within_ms: u64,
) -> Result<(Vec<KnownLife>, Vec<KnownInstance>), StoreError> {
    let nodes = read_all(tx.query(&LIFE, &[])?, |row| {
        let (node_id, stopping, interval_ms) = (row.take()?, row.take()?, row.take()?);
        let (at, ago_ms): (Option<Timestamp>, Option<u64>) = (row.take()?, row.take()?);
        Ok(KnownLife {
            node_id,
            seen: at.zip(ago_ms).map(|(at, ago_ms)| Seen { at, ago_ms }),
            stopping,
            interval_ms,
        })
    })?;
    let instances = read_all(tx.query(&INSTANCE_LIFE, values![within_ms])?, |row| {
        Ok(KnownInstance {
            node_id: row.take()?,
            instance: row.take()?,
            ago_ms: row.take()?,
        })
    })?;
    Ok((nodes, instances))
}

/// Adds a token to a node that is there.
pub fn token_insert(
    tx: &mut dyn Tx,
    id: &str,
    node_id: &str,
    prefix: &str,
    sha256: [u8; 32],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&TOKEN_INSERT, values![id, node_id, prefix, sha256, now])
        .map(|_| ())
}

/// A node's tokens, oldest first, the revoked ones too.
pub fn token_list(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<NodeToken>, StoreError> {
    read_all(tx.query(&TOKEN_LIST, values![node_id])?, |row| {
        Ok(NodeToken {
            id: row.take()?,
            prefix: row.take()?,
            created_at: row.take()?,
            last_used_at: row.take()?,
            revoked_at: row.take()?,
        })
    })
}

/// Revokes a node's token; false where the node has no such token. Revoked again, the first time
/// stands.
pub fn token_revoke(
    tx: &mut dyn Tx,
    node_id: &str,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(tx.execute(&TOKEN_REVOKE, values![node_id, id, now])? == 1)
}

/// Writes down that an agent instance used a token of the node.
pub fn instance_seen(
    tx: &mut dyn Tx,
    node_id: &str,
    instance: &str,
    seen: Seen,
) -> Result<(), StoreError> {
    tx.execute(&INSTANCE_SEEN, values![node_id, instance, seen.at])
        .map(|_| ())
}

/// The agent instances of a node: id, first and last seen; the latest first, 32 at the most.
pub fn instances(
    tx: &mut dyn Tx,
    node_id: &str,
) -> Result<Vec<(String, Timestamp, Timestamp)>, StoreError> {
    read_all(tx.query(&INSTANCE_LIST, values![node_id])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}
