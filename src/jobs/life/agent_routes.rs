//! The endpoints for agents. Every call counts as a sign of life.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::{CompleteRequest, LedgerHead, OutputAnswer, OutputRequest, PendingAnswer};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{NodeIdentity, NodeStanding};
use crate::http::{AgentJson, ApiError, Pairs, Path, Query, Waiter};
use crate::jobs::life::finish::AgentIds;
use crate::jobs::life::poll::PollRequest;
use crate::jobs::{JobView, Jobs};

/// The most characters of an id that an agent chose.
const ID_MAX: usize = 128;

/// How long a poll stays open while two processes use one agent instance: frequent polls show
/// sooner which of them is alive.
const UNSETTLED_WAIT: Duration = Duration::from_secs(2);

fn instance_of<'q>(query: &'q Pairs<'_>) -> Result<Option<&'q str>, ApiError> {
    short_id(query, "agent")
}

fn process_of<'q>(query: &'q Pairs<'_>) -> Result<Option<&'q str>, ApiError> {
    short_id(query, "process")
}

fn agent_of(query: &Pairs<'_>) -> Result<AgentIds, ApiError> {
    Ok(AgentIds {
        instance: instance_of(query)?.map(str::to_owned),
        process: process_of(query)?.map(str::to_owned),
    })
}

/// An id that an agent chose.
fn short_id<'q>(query: &'q Pairs<'_>, name: &str) -> Result<Option<&'q str>, ApiError> {
    let Some(id) = query.get(name) else {
        return Ok(None);
    };
    let fits = (1..=ID_MAX).contains(&id.chars().count()) && !id.chars().any(char::is_control);
    if fits {
        Ok(Some(id))
    } else {
        Err(query.wrong(name, "1 to 128 characters without control characters"))
    }
}

/// Parses a poll's query parameters.
pub(super) fn parse_poll<'q>(query: &'q Pairs<'_>) -> Result<PollRequest<'q>, ApiError> {
    let node_id = query
        .get("nodeId")
        .ok_or_else(|| query.wrong("nodeId", "the id of the node"))?;
    let wait = query.parse("wait", 0..=60, "0 to 60")?.unwrap_or(0);
    let capacity = query
        .parse(
            "capacity",
            0..=1_000_000,
            "a whole number from 0 to 1000000",
        )?
        .unwrap_or(1);
    let running = query.get("running").unwrap_or_default();
    Ok(PollRequest {
        node_id,
        instance: instance_of(query)?,
        process: process_of(query)?,
        wants_job: capacity > 0,
        running: running.split(',').filter(|id| !id.is_empty()).collect(),
        wait: Duration::from_secs(wait),
    })
}

/// Claims a job.
#[utoipa::path(get, path = "/api/jobs/pending", tag = "agents",
    params(("nodeId" = String, Query), ("wait" = Option<u64>, Query, maximum = 60, description = "How many seconds the call may wait for work, 0 to 60"),
        ("agent" = Option<String>, Query, description = "The agent instance"),
        ("process" = Option<String>, Query, min_length = 1, max_length = 128, description = "The process of that instance; a lost claim is delivered again only to the process that made it"),
        ("capacity" = Option<u64>, Query, maximum = 1_000_000, description = "0 to receive only cancels, no job"),
        ("running" = Option<String>, Query, description = "Comma-separated ids of the started jobs whose completion is not acknowledged")),
    responses((status = 200, body = PendingAnswer),
        (status = 403)),
    security(("node" = [])))]
async fn pending(
    State(jobs): State<Jobs>,
    node: NodeIdentity,
    query: Query,
    standing: NodeStanding,
    waiter: Waiter,
) -> Result<axum::Json<PendingAnswer>, ApiError> {
    let mut request = parse_poll(&query)?;
    node.must_be(request.node_id)?;
    if waiter.resumed_deadline().is_none() {
        jobs.nodes
            .record_life(request.node_id, request.instance)
            .await?;
        if let (Some(instance), Some(process)) = (request.instance, request.process) {
            let lease_seconds = jobs.limits.lease_seconds;
            let is_settled = jobs
                .nodes
                .record_poll(request.node_id, instance, process, lease_seconds)
                .await?;
            if !is_settled {
                request.wait = request.wait.min(UNSETTLED_WAIT);
            }
        }
    }
    let poll = jobs.poll(&request, node.token_id, &standing, &waiter);
    Ok(axum::Json(poll.await?))
}

/// Refuses HEAD, because a claim changes the job's state and HEAD must not.
async fn no_head() -> Response {
    let message = "Use GET; HEAD could claim a job and discard it";
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    );
    ([(header::ALLOW, "GET")], error).into_response()
}

/// Stores output.
#[utoipa::path(post, path = "/api/jobs/{id}/output", tag = "agents", request_body = OutputRequest,
    params(("id" = String, Path), ("agent" = Option<String>, Query, description = "The agent instance of the claim"),
        ("process" = Option<String>, Query, min_length = 1, max_length = 128, description = "The process of that instance")),
    responses((status = 200, body = OutputAnswer),
        (status = 409)),
    security(("node" = [])))]
async fn output(
    State(jobs): State<Jobs>,
    node: NodeIdentity,
    Path(id): Path<String>,
    query: Query,
    AgentJson(request): AgentJson<OutputRequest>,
) -> Result<axum::Json<OutputAnswer>, ApiError> {
    let agent = agent_of(&query)?;
    let instance = agent.instance.as_deref();
    jobs.nodes.record_life(&node.node_id, instance).await?;
    Ok(axum::Json(jobs.append(node, agent, id, request).await?))
}

/// The answer to a job's end: the job, and the newest entry of the server's ledger.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct CompleteAnswer {
    #[serde(flatten)]
    job: JobView,
    /// Null before the first entry. The agent keeps it and sends it with its heartbeats.
    #[schema(required = true)]
    ledger_head: Option<LedgerHead>,
}

/// Ends a job.
#[utoipa::path(post, path = "/api/jobs/{id}/complete", tag = "agents", request_body = CompleteRequest,
    params(("id" = String, Path), ("agent" = Option<String>, Query, description = "The agent instance of the claim"),
        ("process" = Option<String>, Query, min_length = 1, max_length = 128, description = "The process of that instance")),
    responses((status = 200, body = CompleteAnswer),
        (status = 409)),
    security(("node" = [])))]
async fn complete(
    State(jobs): State<Jobs>,
    node: NodeIdentity,
    Path(id): Path<String>,
    query: Query,
    AgentJson(request): AgentJson<CompleteRequest>,
) -> Result<axum::Json<CompleteAnswer>, ApiError> {
    let agent = agent_of(&query)?;
    let instance = agent.instance.as_deref();
    jobs.nodes.record_life(&node.node_id, instance).await?;
    let job = jobs.complete(node, agent, id, request).await?;
    Ok(axum::Json(CompleteAnswer {
        job: job.into(),
        ledger_head: jobs.nodes.ledger.head(),
    }))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(pending))
        .route("/api/jobs/pending", axum::routing::head(no_head))
        .routes(routes!(output))
        .routes(routes!(complete))
}
