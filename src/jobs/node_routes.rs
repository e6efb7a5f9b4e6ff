//! The endpoints for nodes that involve their jobs: reading a node's load, and deleting a node.

use std::collections::{BTreeSet, HashMap, HashSet};

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::life::end::record_end;
use super::run::advance::RunAdvance;
use super::{JobError, Jobs};
use crate::audit;
use crate::auth::{Admin, User, Viewer};
use crate::clock;
use crate::http::{ApiError, JsonBody, Path, Query};
use crate::nodes::{EditNode, Load, NodeView, Selector};
use crate::store::job;
use crate::store::{Change, Tx, node, run};

/// Up to this many nodes are read one by one; beyond it, one read of all nodes is cheaper.
const ONE_BY_ONE_MAX: usize = 100;

/// Every node.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct NodeList {
    /// Ordered by id.
    pub nodes: Vec<NodeView>,
}

impl Jobs {
    /// Every node that the selector matches, with its running and queued jobs.
    pub async fn all_nodes(&self, selector: Option<Selector>) -> Result<Vec<NodeView>, JobError> {
        let (nodes, running, queued) = self
            .store
            .read(|tx| {
                Ok::<_, JobError>((
                    node::list(tx)?,
                    (job::running(tx)?, job::still_running(tx)?),
                    job::count_queued(tx)?,
                ))
            })
            .await?;
        let (running, still_running) = running;
        let mut still_running: HashMap<String, (String, Option<String>)> = still_running
            .into_iter()
            .map(|(id, node_id, instance)| (node_id, (id, instance)))
            .collect();
        let mut running: HashMap<String, String> = running
            .into_iter()
            .map(|(id, node_id, _)| (node_id, id))
            .collect();
        let mut queued: HashMap<String, u64> = queued.into_iter().collect();
        let view = |node: node::Node| {
            let load = Load {
                running_job_id: running.remove(&node.id),
                still_running: still_running.remove(&node.id),
                queued_jobs: queued.remove(&node.id).unwrap_or(0),
            };
            self.nodes.view(node, load)
        };
        let is_meant = |node: &node::Node| {
            selector
                .as_ref()
                .is_none_or(|selector| selector.matches(node))
        };
        Ok(nodes.into_iter().filter(is_meant).map(view).collect())
    }

    /// The nodes that match a search, ordered by id; all nodes if the search is empty.
    pub async fn search_nodes(&self, sought: &str) -> Result<Vec<node::NodeMatch>, JobError> {
        let sought = sought.to_owned();
        Ok(self.store.read(move |tx| node::search(tx, &sought)).await?)
    }

    /// The ids of the paused nodes.
    pub async fn paused_nodes(&self) -> Result<HashSet<String>, JobError> {
        Ok(self.store.read(|tx| node::paused(tx)).await?)
    }

    /// The ids of the nodes that report that they can't run jobs.
    pub async fn nodes_with_problem(&self) -> Result<HashSet<String>, JobError> {
        Ok(self.store.read(|tx| node::with_problem(tx)).await?)
    }

    /// The ids of the nodes that a selector matches.
    pub async fn selected_nodes(&self, selector: Selector) -> Result<HashSet<String>, JobError> {
        let nodes = self.store.read(|tx| node::list(tx)).await?;
        let matching = nodes.into_iter().filter(|node| selector.matches(node));
        Ok(matching.map(|node| node.id).collect())
    }

    /// The nodes with these ids, in the same order, with their running and queued jobs. Unknown ids
    /// are left out.
    pub async fn nodes_of(&self, ids: Vec<String>) -> Result<Vec<NodeView>, JobError> {
        if ids.len() > ONE_BY_ONE_MAX {
            let ids: BTreeSet<String> = ids.into_iter().collect();
            let mut nodes = self.all_nodes(None).await?;
            nodes.retain(|node| ids.contains(&node.id));
            return Ok(nodes);
        }
        let found = self
            .store
            .read(move |tx| {
                let found = ids.into_iter().map(|id| find_with_load(tx, &id));
                found.collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let views = found.into_iter().flatten();
        Ok(views
            .map(|(node, load)| self.nodes.view(node, load))
            .collect())
    }

    /// One node, with its running and queued jobs.
    pub async fn one_node(&self, id: String) -> Result<NodeView, JobError> {
        let (node, load) = self
            .store
            .read(move |tx| find_with_load(tx, &id)?.ok_or(JobError::NodeNotFound))
            .await?;
        Ok(self.nodes.view(node, load))
    }

    /// Changes a node's name, labels or pause. Once a pause is answered, no job of the node is
    /// claimed.
    pub async fn edit_node(
        &self,
        user: User,
        id: String,
        change: EditNode,
    ) -> Result<NodeView, ApiError> {
        change.check()?;
        let node_id = id.clone();
        self.store
            .write(move |tx| {
                let node = node::find_locked(tx, &node_id)?.ok_or(JobError::NodeNotFound)?;
                change.apply(tx, &user, node)?;
                Ok::<_, JobError>(())
            })
            .await?;
        Ok(self.one_node(id).await?)
    }

    /// Deletes a node with its tokens. QUEUED jobs become CANCELLED; finished jobs stay.
    pub async fn delete_node(&self, user: User, id: String) -> Result<(), JobError> {
        let node_id = id.clone();
        let runs = self.run_advance();
        self.store
            .write(move |tx| delete_node(tx, &runs, &user, &node_id))
            .await?;
        self.nodes.presence.forget(&id);
        self.hub.forget_node(&id);
        self.polls.forget(&id);
        Ok(())
    }
}

/// A node with its running and queued jobs.
pub(crate) fn find_with_load(
    tx: &mut dyn Tx,
    id: &str,
) -> Result<Option<(node::Node, Load)>, JobError> {
    let Some(node) = node::find(tx, id)? else {
        return Ok(None);
    };
    let load = Load::read(tx, id)?;
    Ok(Some((node, load)))
}

fn delete_node(tx: &mut dyn Tx, runs: &RunAdvance, user: &User, id: &str) -> Result<(), JobError> {
    // The lock keeps jobs from being queued meanwhile. Running jobs are checked after the cancel,
    // so that a claim that came first is found.
    node::find_locked(tx, id)?.ok_or(JobError::NodeNotFound)?;
    run::lock_of_node(tx, id)?;
    let cancelled = job::cancel_all_queued(tx, id, clock::now())?;
    if !job::running_on(tx, id)?.is_empty() {
        return Err(JobError::NodeBusy);
    }
    node::delete(tx, id)?;
    let entry = audit::Entry {
        actor: &user.email,
        action: "node.delete",
        job_id: None,
        node_id: Some(id),
        detail: Some(&format!("{} queued jobs cancelled", cancelled.len())),
    };
    audit::record(tx, entry)?;
    for job in &cancelled {
        record_end(tx, runs, job, None)?;
    }
    tx.publish(Change::Node { id: id.to_owned() });
    tx.publish(Change::Credentials);
    Ok(())
}

/// Lists nodes.
#[utoipa::path(get, path = "/api/nodes", tag = "nodes", operation_id = "list_nodes",
    params(("selector" = Option<String>, Query, description = "Only nodes that match, such as `role=web,zone in (a,b),!gpu`: the grammar of Kubernetes' label selectors; `node`, `os.id` and `os.version` are built-in keys")),
    responses((status = 200, body = NodeList)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    query: Query,
) -> Result<axum::Json<NodeList>, ApiError> {
    let selector = query.get("selector").map(Selector::parse).transpose()?;
    Ok(axum::Json(NodeList {
        nodes: jobs.all_nodes(selector).await?,
    }))
}

/// Shows a node.
#[utoipa::path(get, path = "/api/nodes/{id}", tag = "nodes", operation_id = "show_node", params(("id" = String, Path)),
    responses((status = 200, body = NodeView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn show(
    State(jobs): State<Jobs>,
    Viewer(_): Viewer,
    Path(id): Path<String>,
) -> Result<axum::Json<NodeView>, ApiError> {
    Ok(axum::Json(jobs.one_node(id).await?))
}

/// Changes a node.
#[utoipa::path(patch, path = "/api/nodes/{id}", tag = "nodes", operation_id = "edit_node", params(("id" = String, Path)),
    request_body = EditNode,
    responses((status = 200, body = NodeView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn edit(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<EditNode>,
) -> Result<axum::Json<NodeView>, ApiError> {
    Ok(axum::Json(jobs.edit_node(user, id, change).await?))
}

/// Deletes a node.
#[utoipa::path(delete, path = "/api/nodes/{id}", tag = "nodes", operation_id = "delete_node", params(("id" = String, Path)),
    responses((status = 204),
        (status = 409, description = "The node is running a job")),
    security(("bearer" = []), ("cookie" = [])))]
async fn delete(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    jobs.delete_node(user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, edit, delete))
}
