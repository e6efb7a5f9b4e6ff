//! Heartbeats: a node's sign of life and the facts that it reports.

use axum::extract::State;
use hyprbox_protocol::{HeartbeatAnswer, HeartbeatRequest};

use super::Nodes;
use super::facts::read_facts;
use super::life::NodeStatus;
use super::load::Load;
use super::presence::Announcement;
use super::processes::Standing;
use super::second_instances::AuditDecision;
use crate::audit;
use crate::auth::NodeIdentity;
use crate::clock::{self, Timestamp};
use crate::http::{AgentJson, ApiError, FieldErrors, Path};
use crate::outbox::{EventKind, Message, Subject, SubjectNodes};
use crate::store::node::{LifeUpdate, NodeFacts, SignOfLife};
use crate::store::{Change, StoreError, Tx, job, node_status};

/// Default interval of heartbeats, in milliseconds.
const INTERVAL_MS: u64 = 30_000;
/// Longest problem of a node, in characters; the rest is cut.
const PROBLEM_MAX: usize = 500;
const MINUTE_MS: i64 = 60_000;
/// A clock that differs by more from the server's is reported as a problem: it breaks certificates
/// and the times in logs.
const CLOCK_OFF_MS: i64 = 5 * MINUTE_MS;
/// A copied agent of one node is recorded at most once in this time.
const COPIED_EVERY_MS: i64 = 60 * MINUTE_MS;
/// Nodes per transaction, so that other writes get through in between.
const LIVES: usize = 500;
/// Fingerprints of trusted keys that are kept; the rest is cut.
const TRUSTED_MAX: usize = 64;
/// The longest fingerprint.
const FINGERPRINT_MAX: usize = 64;
/// Instances that other servers have seen within this time are loaded, in milliseconds.
const INSTANCES_WITHIN_MS: u64 = 180_000;

/// Receives a heartbeat.
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
    nodes.record_life(&id, request.instance.as_deref()).await?;
    let stopping = request.stopping.unwrap_or(false);
    if stopping && let Some(instance) = &request.instance {
        let process = request.process.as_deref();
        nodes.presence.record_stop(&id, instance, process);
    }
    let has_news = nodes.presence.record_heartbeat(&id, &facts, stopping);
    let machine_facts = request
        .facts
        .as_ref()
        .and_then(|sent| read_facts(&id, sent));
    if has_news || stopping {
        nodes.write_facts(id.clone(), facts, stopping).await?;
    }
    if let Some(head) = &request.ledger_head {
        nodes.ledger.compare(&id, head).await?;
    }
    if let Some(json) = machine_facts {
        nodes.write_machine_facts(id, json).await?;
    }
    Ok(axum::Json(HeartbeatAnswer {}))
}

impl NodeIdentity {
    /// A 403 unless the token is that node's.
    pub fn must_be(&self, node_id: &str) -> Result<(), ApiError> {
        if self.node_id == node_id {
            return Ok(());
        }
        let message = format!(
            "This token belongs to the node {}, not to the node in this request",
            self.node_id
        );
        Err(ApiError::forbidden(message))
    }
}

impl Nodes {
    /// Records that the node's agent is alive. A second live instance with the node's tokens is
    /// accepted, and recorded in the audit log.
    pub async fn record_life(&self, node_id: &str, instance: Option<&str>) -> Result<(), ApiError> {
        match (self.presence.record_life(node_id, instance), instance) {
            (
                Some(decision @ (AuditDecision::Write | AuditDecision::WriteLast)),
                Some(instance),
            ) => {
                self.record_second_instance(node_id.to_owned(), instance.to_owned(), decision)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Records a poll of an instance's process. Returns whether it is the instance's only process.
    pub async fn record_poll(
        &self,
        node_id: &str,
        instance: &str,
        process: &str,
        lease_seconds: u64,
    ) -> Result<bool, ApiError> {
        let sign = self
            .presence
            .record_poll(node_id, instance, process, lease_seconds);
        if sign.is_news {
            // Ends the other process's open poll; its next poll proves whether it is alive.
            self.hub.wake_node(node_id);
        }
        if sign.recognised {
            self.record_copy(node_id.to_owned(), instance.to_owned())
                .await?;
        }
        Ok(sign.standing == Standing::Settled)
    }

    async fn record_copy(&self, node_id: String, instance: String) -> Result<(), StoreError> {
        tracing::warn!(%node_id, %instance, "two processes use the same agent instance; the second one gets its own");
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
                        "two live processes used agent instance {instance}; the second one gets its own"
                    )),
                };
                audit::record(tx, entry)?;
                tx.publish(Change::Node { id: node_id });
                Ok(())
            })
            .await
    }

    async fn record_second_instance(
        &self,
        node_id: String,
        instance: String,
        decision: AuditDecision,
    ) -> Result<(), ApiError> {
        let more = match decision {
            AuditDecision::WriteLast => "; more of this hour are not recorded",
            AuditDecision::Write | AuditDecision::Skip => "",
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
                        "agent instance {instance} appeared while another one was alive{more}"
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
        let nodes = self.clone();
        self.store
            .write(move |tx| {
                crate::store::node::write_lives(tx, &[alive(&id, stopping, None)])?;
                crate::store::node::set_facts(tx, &id, &facts)?;
                let is_required = facts.requires_signatures;
                let changed = job::require_signatures(tx, &id, is_required)?;
                if is_required {
                    nodes.report_waits(tx, &id, changed.len())?;
                }
                for job_id in changed {
                    tx.publish(Change::Job {
                        id: job_id,
                        node_id: id.clone(),
                    });
                }
                tx.publish(Change::Node { id });
                Ok(())
            })
            .await
    }

    /// Reports the jobs that wait for a signature since the node requires one: one message for all
    /// of them.
    fn report_waits(&self, tx: &mut dyn Tx, node_id: &str, count: usize) -> Result<(), StoreError> {
        if count == 0 {
            return Ok(());
        }
        let Some(node) = crate::store::node::find(tx, node_id)? else {
            return Ok(());
        };
        let event = EventKind::WaitsForSignature;
        let subject = Subject {
            nodes: SubjectNodes::One(node_id),
            ..Subject::SERVER
        };
        self.outbox.report(tx, event, &subject, |tx| {
            let load = Load::read(tx, node_id)?;
            let jobs = match count {
                1 => "1 job that was queued before waits".to_owned(),
                _ => format!("{count} jobs that were queued before wait"),
            };
            Ok(Message {
                event: Some(event),
                object: Some(("node", serde_json::json!(self.view(node, load)))),
                reason: format!(
                    "{node_id} now runs only jobs that a person has signed: {jobs} for a signature"
                ),
                stderr_tail: None,
                path: format!("/nodes/{node_id}"),
            })
        })
    }

    async fn write_machine_facts(&self, id: String, json: String) -> Result<(), StoreError> {
        self.store
            .write(move |tx| {
                crate::store::node::set_machine_facts(tx, &id, &json, clock::now())?;
                tx.publish(Change::Node { id });
                Ok(())
            })
            .await
    }

    /// Writes the signs of life since the last call to the database.
    pub async fn write_seen(&self) -> Result<(), StoreError> {
        let unwritten = self.presence.take_unwritten();
        for (index, some) in unwritten.chunks(LIVES).enumerate() {
            let lives = some.to_vec();
            let written = self
                .store
                .write(move |tx| crate::store::node::write_lives(tx, &lives))
                .await;
            if written.is_err() {
                self.presence.restore_unwritten(&unwritten[index * LIVES..]);
            }
            written?;
        }
        Ok(())
    }

    /// Records in the database which nodes became ONLINE or OFFLINE since the last call.
    pub async fn record_status_changes(&self) -> Result<(), StoreError> {
        let changes = self.presence.take_unrecorded();
        for (index, some) in changes.chunks(LIVES).enumerate() {
            let some = some.to_vec();
            let written = self
                .store
                .write(move |tx| node_status::record(tx, &some))
                .await;
            if written.is_err() {
                self.presence.restore_unrecorded(&changes[index * LIVES..]);
            }
            written?;
        }
        Ok(())
    }

    /// Merges the signs of life that other servers recorded.
    pub async fn merge_lives(&self, lease_seconds: u64) -> Result<(), StoreError> {
        let within_ms = lease_seconds.saturating_mul(2_000).max(INSTANCES_WITHIN_MS);
        let (nodes, instances) = self
            .store
            .read(move |tx| crate::store::node::lives(tx, within_ms))
            .await?;
        for (node_id, instance) in self.presence.merge(&nodes, &instances) {
            // Its open poll is answered, so that the second process learns of it.
            self.hub.wake_node(&node_id);
            self.record_copy(node_id, instance).await?;
        }
        Ok(())
    }

    /// Publishes and logs which nodes became ONLINE or OFFLINE.
    pub fn publish_status_changes(&self) {
        let announced = self.presence.take_status_changes();
        for announcement in &announced {
            log_status(announcement);
        }
        let changes: Vec<Change> = announced
            .into_iter()
            .map(|node| Change::Node { id: node.node_id })
            .collect();
        self.hub.publish(&changes);
    }
}

fn log_status(announced: &Announcement) {
    let node = &announced.node_id;
    match (announced.before, announced.status) {
        (_, NodeStatus::Online) => tracing::info!(%node, "node is online"),
        (Some(_), NodeStatus::Offline) if announced.is_stopping => {
            tracing::info!(%node, "node is offline: its agent has stopped");
        }
        (Some(_), NodeStatus::Offline) => {
            tracing::info!(%node, "node is offline: no sign of life from its agent");
        }
        // Its agent has not connected yet.
        (None, NodeStatus::Offline) => {}
    }
}

/// A sign of life at the current time.
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
        processes: Vec::new(),
    }
}

/// Why the node can't run jobs, in one line: the agent's report, and a clock that is far off.
fn problem_of(request: &HeartbeatRequest) -> Option<String> {
    let reported = request.problem.as_deref().unwrap_or_default();
    let reported: String = reported
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(PROBLEM_MAX)
        .collect();
    let sent_at = request.sent_at_ms.map(Timestamp::from_millis);
    let off_ms = sent_at.map_or(0, |at| at.millis_since(clock::now()));
    let clock = (off_ms.abs() >= CLOCK_OFF_MS).then(|| {
        // Rounded, so that it does not change with each heartbeat.
        let (length, unit) = match off_ms.abs() {
            ms if ms < 120 * MINUTE_MS => (ms / MINUTE_MS, "minutes"),
            ms if ms < 48 * 60 * MINUTE_MS => (ms / (60 * MINUTE_MS), "hours"),
            ms => (ms / (24 * 60 * MINUTE_MS), "days"),
        };
        let side = if off_ms > 0 { "ahead of" } else { "behind" };
        format!("the node's clock is {length} {unit} {side} the server's")
    });
    let reported = Some(reported.trim().to_owned()).filter(|text| !text.is_empty());
    let parts: Vec<String> = reported.into_iter().chain(clock).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The fingerprints that the agent trusts, as a JSON list.
fn trusted_keys_of(request: &HeartbeatRequest) -> Option<String> {
    let is_fingerprint = |text: &&String| {
        text.len() <= FINGERPRINT_MAX && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let given = request.trusted_keys.as_ref()?;
    let kept: Vec<&String> = given
        .iter()
        .filter(is_fingerprint)
        .take(TRUSTED_MAX)
        .collect();
    serde_json::to_string(&kept).ok()
}

fn facts_of(request: &HeartbeatRequest) -> Result<NodeFacts, ApiError> {
    let mut faults = FieldErrors::default();
    let mut text = |field: &str, value: &Option<String>, max: usize| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        let fits = value.chars().count() <= max && !value.chars().any(char::is_control);
        faults.check(
            fits,
            field,
            &format!("must have at most {max} characters, without control characters"),
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
        requires_signatures: request.requires_signatures.unwrap_or(false),
        trusted_keys: trusted_keys_of(request),
    };
    let interval_fits = request
        .interval_seconds
        .is_none_or(|seconds| (1.0..=3_600.0).contains(&seconds));
    faults.check(interval_fits, "intervalSeconds", "must be 1 to 3600");
    faults.into_result()?;
    Ok(facts)
}
