//! A node's sign of life, and what it tells of itself.

use axum::extract::State;
use hyprbox_protocol::{HeartbeatAnswer, HeartbeatRequest};

use super::Nodes;
use super::presence::Newcomer;
use super::processes::Standing;
use crate::audit;
use crate::auth::NodeIdentity;
use crate::clock::{self, Timestamp};
use crate::http::{AgentJson, ApiError, FieldErrors, Path};
use crate::store::node::{LifeUpdate, NodeFacts, SignOfLife};
use crate::store::{Change, StoreError};

/// A heartbeat's interval, in milliseconds, where the agent doesn't tell one.
const INTERVAL_MS: u64 = 30_000;
/// Characters of a node's problem that are kept.
const PROBLEM_MAX: usize = 500;
const MINUTE_MS: i64 = 60_000;
/// A clock that is this far from the server's is a problem: certificates and times in logs are
/// wrong by then.
const CLOCK_OFF_MS: i64 = 5 * MINUTE_MS;
/// Copies of one node's agent are recorded at most once in this time.
const COPIED_EVERY_MS: i64 = 60 * MINUTE_MS;
/// Nodes per transaction, so that other writes come through between them.
const LIVES: usize = 500;
/// Instances that other servers heard within this time are of interest, in milliseconds.
const INSTANCES_WITHIN_MS: u64 = 180_000;

/// A sign of life.
#[utoipa::path(post, path = "/api/nodes/{id}/heartbeat", tag = "agents",
    params(("id" = String, Path, description = "The node, which must be the token's")),
    request_body = HeartbeatRequest,
    responses((status = 200, body = HeartbeatAnswer),
        (status = 403)),
    security(("node" = [])))]
pub(super) async fn heartbeat(
    State(nodes): State<Nodes>,
    node: NodeIdentity,
    Path(id): Path<String>,
    AgentJson(request): AgentJson<HeartbeatRequest>,
) -> Result<axum::Json<HeartbeatAnswer>, ApiError> {
    node.must_be(&id)?;
    let facts = facts_of(&request)?;
    nodes.sign_of_life(&id, request.instance.as_deref()).await?;
    let stopping = request.stopping.unwrap_or(false);
    if stopping && let Some(instance) = &request.instance {
        let process = request.process.as_deref();
        nodes.presence.process_gone(&id, instance, process);
    }
    let news = nodes.presence.heartbeat(&id, &facts, stopping);
    if news || stopping {
        nodes.write_facts(id, facts, stopping).await?;
    }
    Ok(axum::Json(HeartbeatAnswer {}))
}

impl NodeIdentity {
    /// A 403 unless the token is that node's.
    pub fn must_be(&self, node_id: &str) -> Result<(), ApiError> {
        if self.node_id == node_id {
            return Ok(());
        }
        let words = format!(
            "This token is for the node {}, not for the one named here",
            self.node_id
        );
        Err(ApiError::forbidden(words))
    }
}

impl Nodes {
    /// Notes that the node's agent lives. A second live instance on the node's tokens is let in,
    /// and written down.
    pub async fn sign_of_life(
        &self,
        node_id: &str,
        instance: Option<&str>,
    ) -> Result<(), ApiError> {
        match (self.presence.sign_of_life(node_id, instance), instance) {
            (Some(newcomer @ (Newcomer::Told | Newcomer::LastTold)), Some(instance)) => {
                self.write_second_instance(node_id.to_owned(), instance.to_owned(), newcomer)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Records which process an agent instance is; whether that is clear.
    pub async fn sign_of_process(
        &self,
        node_id: &str,
        instance: &str,
        process: &str,
        lease_seconds: u64,
    ) -> Result<bool, ApiError> {
        let sign = self
            .presence
            .sign_of_process(node_id, instance, process, lease_seconds);
        if sign.is_news {
            // The other process's poll that is open ends, and its next one decides.
            self.hub.wake_node(node_id);
        }
        if sign.recognised {
            self.write_copied(node_id.to_owned(), instance.to_owned())
                .await?;
        }
        Ok(sign.standing == Standing::Settled)
    }

    async fn write_copied(&self, node_id: String, instance: String) -> Result<(), ApiError> {
        tracing::warn!(%node_id, %instance, "two processes use one agent instance: the second one gets an instance of its own");
        self.store
            .write(move |tx| {
                let now = clock::now();
                if !crate::store::node::set_copied(
                    tx,
                    &node_id,
                    now,
                    now.plus_millis(-COPIED_EVERY_MS),
                )? {
                    return Ok(());
                }
                let entry = audit::Entry {
                    actor: &format!("node:{node_id}"),
                    action: "node.copied_agent",
                    job_id: None,
                    node_id: Some(&node_id),
                    detail: Some(&format!(
                        "two live processes used agent instance {instance}; the second one gets an instance of its own"
                    )),
                };
                audit::record(tx, entry)?;
                tx.publish(Change::Node { id: node_id });
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(())
    }

    async fn write_second_instance(
        &self,
        node_id: String,
        instance: String,
        newcomer: Newcomer,
    ) -> Result<(), ApiError> {
        let more = match newcomer {
            Newcomer::LastTold => "; more of this hour are not written down",
            Newcomer::Told | Newcomer::Untold => "",
        };
        tracing::warn!(%node_id, %instance, "a second agent instance uses this node's tokens");
        self.store
            .write(move |tx| {
                let entry = audit::Entry {
                    actor: &format!("node:{node_id}"),
                    action: "node.second_instance",
                    job_id: None,
                    node_id: Some(&node_id),
                    detail: Some(&format!(
                        "agent instance {instance} came while another one was alive{more}"
                    )),
                };
                audit::record(tx, entry)?;
                crate::store::node::write_lives(tx, &[alive(&node_id, false, Some(instance))])?;
                tx.publish(Change::Node { id: node_id });
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(())
    }

    async fn write_facts(
        &self,
        id: String,
        facts: NodeFacts,
        stopping: bool,
    ) -> Result<(), StoreError> {
        self.store
            .write(move |tx| {
                crate::store::node::write_lives(tx, &[alive(&id, stopping, None)])?;
                crate::store::node::set_facts(tx, &id, &facts)?;
                tx.publish(Change::Node { id });
                Ok(())
            })
            .await
    }

    /// Writes down the signs of life since the last call.
    pub async fn write_seen(&self) -> Result<(), StoreError> {
        let unwritten = self.presence.take_unwritten();
        for (index, some) in unwritten.chunks(LIVES).enumerate() {
            let lives = some.to_vec();
            let written = self
                .store
                .write(move |tx| crate::store::node::write_lives(tx, &lives))
                .await;
            if written.is_err() {
                self.presence.give_back(&unwritten[index * LIVES..]);
            }
            written?;
        }
        Ok(())
    }

    /// Takes over what other servers wrote down of nodes' lives; those within a lease count for
    /// leases.
    pub async fn take_over_lives(&self, lease_seconds: u64) -> Result<(), StoreError> {
        let within_ms = lease_seconds.saturating_mul(2_000).max(INSTANCES_WITHIN_MS);
        let (nodes, instances) = self
            .store
            .read(move |tx| crate::store::node::lives(tx, within_ms))
            .await?;
        self.presence.take_over(&nodes, &instances);
        Ok(())
    }

    /// Tells everybody of nodes that turned ONLINE or OFFLINE.
    pub fn announce_turned(&self) {
        let turned: Vec<Change> = self
            .presence
            .turned()
            .into_iter()
            .map(|id| Change::Node { id })
            .collect();
        self.hub.publish(&turned);
    }
}

/// A node that is seen now.
fn alive(node_id: &str, stopping: bool, instance: Option<String>) -> LifeUpdate {
    let seen = SignOfLife {
        at: clock::now(),
        ago_ms: 0,
    };
    LifeUpdate {
        node_id: node_id.to_owned(),
        seen,
        stopping,
        instances: instance.into_iter().map(|id| (id, seen)).collect(),
    }
}

/// Why the node can't run jobs, in one line: what its agent says, and a clock that is far off.
fn problem_of(request: &HeartbeatRequest) -> Option<String> {
    let told = request.problem.as_deref().unwrap_or_default();
    let told: String = told
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(PROBLEM_MAX)
        .collect();
    let sent_at = request.sent_at_ms.map(Timestamp::from_millis);
    let off_ms = sent_at.map_or(0, |at| at.millis_since(clock::now()));
    let clock = (off_ms.abs() >= CLOCK_OFF_MS).then(|| {
        // Rounded, so that it is the same at each heartbeat.
        let (length, unit) = match off_ms.abs() {
            ms if ms < 120 * MINUTE_MS => (ms / MINUTE_MS, "minutes"),
            ms if ms < 48 * 60 * MINUTE_MS => (ms / (60 * MINUTE_MS), "hours"),
            ms => (ms / (24 * 60 * MINUTE_MS), "days"),
        };
        let side = if off_ms > 0 { "ahead of" } else { "behind" };
        format!("the node's clock is {length} {unit} {side} the server's")
    });
    let told = Some(told.trim().to_owned()).filter(|told| !told.is_empty());
    let parts: Vec<String> = told.into_iter().chain(clock).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn facts_of(request: &HeartbeatRequest) -> Result<NodeFacts, ApiError> {
    let mut faults = FieldErrors::default();
    let mut text = |field: &str, value: &Option<String>, max: usize| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        let fits = value.chars().count() <= max && !value.chars().any(char::is_control);
        faults.check(
            fits,
            field,
            &format!("must be at most {max} characters, none of them a control character"),
        );
        Some(value.to_owned())
    };
    text("instance", &request.instance, 128);
    let os = request.os.clone().unwrap_or_default();
    let facts = NodeFacts {
        hostname: text("hostname", &request.hostname, 253),
        os_id: text("os.id", &os.id, 255),
        os_id_like: text("os.idLike", &os.id_like, 255),
        os_version_id: text("os.versionId", &os.version_id, 255),
        os_pretty_name: text("os.prettyName", &os.pretty_name, 255),
        agent_version: text("agentVersion", &request.agent_version, 255),
        interval_ms: request
            .interval_seconds
            .map_or(INTERVAL_MS, |seconds| (seconds * 1_000.0) as u64),
        problem: problem_of(request),
    };
    let interval_fits = request
        .interval_seconds
        .is_none_or(|seconds| (1.0..=3_600.0).contains(&seconds));
    faults.check(interval_fits, "intervalSeconds", "must be 1 to 3600");
    faults.into_result()?;
    Ok(facts)
}
