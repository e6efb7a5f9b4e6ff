//! Adding nodes, and nodes in the API.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use hyprbox_protocol::{MachineFacts, OsInfo, is_slug};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::facts::stored_facts;
use super::labels::{check_labels, check_name};
use super::load::Load;
use super::tokens::{self, mint_into};
use super::{NodeStatus, Nodes, enrol, heartbeat};
use crate::audit;
use crate::auth::{Admin, User};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors, JsonBody, some_labels};
use crate::store::Change;
use crate::store::node::{self, Node};

/// The body of `POST /api/nodes`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct AddNode {
    /// The slug: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub id: String,
    /// Display name; the id if absent.
    #[serde(default)]
    #[schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub name: Option<String>,
    /// At most 32, keys of 63 characters and values of 255.
    #[serde(default, deserialize_with = "some_labels")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// A node with its first token, which is shown only once.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AddedNode {
    pub node: NodeView,
    /// `hbn_…`
    pub token: String,
}

/// An agent instance that has used a node's tokens.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInstance {
    /// The random id that the agent created.
    pub instance: String,
    pub first_seen_at: Timestamp,
    pub last_seen_at: Timestamp,
}

/// A node in the API.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// The slug.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its agent is alive.
    pub status: NodeStatus,
    /// Whether its agent gets no jobs, because an ADMIN has paused it.
    #[serde(default)]
    #[schema(required = true)]
    pub paused: bool,
    /// When its agent last called the server.
    #[schema(required = true)]
    pub last_seen_at: Option<Timestamp>,
    /// The machine's hostname.
    #[schema(required = true)]
    pub hostname: Option<String>,
    /// Its distribution.
    pub os: OsInfo,
    /// Version of its agent.
    #[schema(required = true)]
    pub agent_version: Option<String>,
    /// The version that the server ships, if this node's agent is older. The preset `agent-upgrade`
    /// installs it.
    #[serde(default)]
    #[schema(required = true)]
    pub agent_upgrade: Option<String>,
    /// The running job, or a job that has ended while its script still runs.
    #[schema(required = true)]
    pub running_job_id: Option<String>,
    /// A job whose script still runs although the job was reported lost or ended in the database.
    /// Cancelling the job stops the script.
    #[serde(default)]
    #[schema(required = true)]
    pub still_running_job_id: Option<String>,
    /// Why the node can't run jobs, as its agent reports it; null if it can.
    #[serde(default)]
    #[schema(required = true)]
    pub problem: Option<String>,
    /// When a second machine was last seen with a copy of this node's agent state.
    #[serde(default)]
    #[schema(required = true)]
    pub copied_agent_at: Option<Timestamp>,
    /// What its agent last reported about the machine.
    #[serde(default)]
    #[schema(required = true)]
    pub facts: Option<MachineFacts>,
    /// When its agent reported the facts.
    #[serde(default)]
    #[schema(required = true)]
    pub facts_at: Option<Timestamp>,
    /// Whether its agent runs only jobs that a person has signed.
    #[serde(default)]
    pub requires_signatures: bool,
    /// Fingerprints of the server keys whose jobs its agent runs; null if the agent does not check
    /// signatures.
    #[serde(default)]
    #[schema(required = true)]
    pub trusted_keys: Option<Vec<String>>,
    /// The jobs that were refused on the node because of their signature; null if none was.
    #[serde(default)]
    #[schema(required = true)]
    pub refused: Option<RefusedView>,
    /// Number of queued jobs.
    pub queued_jobs: u64,
    /// Number of live agent instances; more than one means that machines share its tokens.
    pub live_instances: usize,
}

/// The jobs that were refused on a node because of their signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedView {
    /// How many there were.
    pub count: u64,
    /// When the last one was refused.
    pub at: Timestamp,
    /// The last one.
    pub job_id: String,
    /// Why the last one was refused.
    pub because: String,
}

impl Nodes {
    /// The node in the API.
    pub fn view(&self, node: Node, load: Load) -> NodeView {
        let (status, last_seen_at) = self.presence.status_of(&node.id);
        // The report of an agent that is no longer alive is outdated.
        let still_running = load.still_running.filter(|(_, instance)| {
            instance
                .as_deref()
                .is_some_and(|instance| self.presence.is_alive(&node.id, instance))
        });
        let still_running_job_id = still_running.map(|(id, _)| id);
        NodeView {
            live_instances: self.presence.live_instances(&node.id),
            id: node.id,
            name: node.name,
            labels: node.labels,
            status,
            paused: node.paused,
            last_seen_at,
            hostname: node.facts.hostname,
            os: OsInfo {
                id: node.facts.os_id,
                id_like: node.facts.os_id_like,
                version_id: node.facts.os_version_id,
                pretty_name: node.facts.os_pretty_name,
            },
            agent_upgrade: self.install.upgrade_of(node.facts.agent_version.as_deref()),
            agent_version: node.facts.agent_version,
            running_job_id: load.running_job_id.or_else(|| still_running_job_id.clone()),
            still_running_job_id,
            problem: node.facts.problem,
            copied_agent_at: node.copied_at,
            facts: node.machine_facts.as_deref().and_then(stored_facts),
            facts_at: node.machine_facts_at,
            requires_signatures: node.facts.requires_signatures,
            trusted_keys: (node.facts.trusted_keys)
                .map(|json| serde_json::from_str(&json).unwrap_or_default()),
            refused: node.refused.map(|refused| RefusedView {
                count: refused.count,
                at: refused.at,
                job_id: refused.job_id,
                because: refused.because,
            }),
            queued_jobs: load.queued_jobs,
        }
    }

    /// Adds a node with its first token.
    pub async fn add(&self, user: User, request: AddNode) -> Result<AddedNode, ApiError> {
        check(&request)?;
        let (node, token) = self
            .store
            .write(move |tx| {
                let name = request
                    .name
                    .filter(|name| !name.is_empty())
                    .unwrap_or_else(|| request.id.clone());
                let labels = request.labels.unwrap_or_default();
                if !node::insert(tx, &request.id, &name, &labels, clock::now())? {
                    let message = format!("The node {} already exists", request.id);
                    return Err(ApiError::conflict("node_exists", message));
                }
                let minted = mint_into(tx, &request.id)?;
                let entry = audit::Entry {
                    actor: &user.email,
                    action: "node.add",
                    job_id: None,
                    node_id: Some(&request.id),
                    detail: None,
                };
                audit::record(tx, entry)?;
                let node = node::find(tx, &request.id)?.ok_or_else(tokens::node_not_found)?;
                tx.publish(Change::Node { id: request.id });
                Ok((node, minted.token))
            })
            .await?;
        self.presence.load(&node);
        Ok(AddedNode {
            node: self.view(node, Load::default()),
            token,
        })
    }
}

fn check(request: &AddNode) -> Result<(), ApiError> {
    let mut faults = FieldErrors::default();
    faults.check(
        is_slug(&request.id),
        "id",
        "must have 1 to 63 characters of a-z, 0-9 and -, and must not begin or end with -",
    );
    check_name(request.name.as_deref().unwrap_or_default(), &mut faults);
    if let Some(labels) = &request.labels {
        check_labels(labels, &mut faults);
    }
    faults.into_result()
}

/// Adds a node.
#[utoipa::path(post, path = "/api/nodes", tag = "nodes", operation_id = "add_node", request_body = AddNode,
    responses((status = 201, body = AddedNode),
        (status = 409)),
    security(("bearer" = []), ("cookie" = [])))]
async fn add(
    State(nodes): State<Nodes>,
    Admin(user): Admin,
    JsonBody(request): JsonBody<AddNode>,
) -> Result<(StatusCode, axum::Json<AddedNode>), ApiError> {
    Ok((
        StatusCode::CREATED,
        axum::Json(nodes.add(user, request).await?),
    ))
}

pub(super) fn routes(nodes: Nodes) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(add))
        .routes(routes!(heartbeat::heartbeat))
        .routes(routes!(tokens::add, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(enrol::add))
        .routes(routes!(enrol::enrol))
        .with_state(nodes)
}
