//! The endpoints of jobs for agents. Every call is a sign of life.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::{CompleteRequest, OutputAnswer, OutputRequest, PendingAnswer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{NodeIdentity, NodeStanding};
use crate::http::{AgentJson, ApiError, Pairs, Path, Query, Waiting};
use crate::jobs::life::claim::Asked;
use crate::jobs::{JobView, Jobs};

/// Characters of an agent's ids, at most.
const ID_MAX: usize = 128;

/// How long a poll stays open while it is not clear which of two processes an agent instance is:
/// each poll helps to decide.
const UNSETTLED_WAIT: Duration = Duration::from_secs(2);

fn instance_of<'q>(query: &'q Pairs<'_>) -> Result<Option<&'q str>, ApiError> {
    short_id(query, "agent")
}

fn process_of<'q>(query: &'q Pairs<'_>) -> Result<Option<&'q str>, ApiError> {
    short_id(query, "process")
}

/// An id that an agent made up.
fn short_id<'q>(query: &'q Pairs<'_>, name: &str) -> Result<Option<&'q str>, ApiError> {
    let Some(id) = query.get(name) else {
        return Ok(None);
    };
    let fits = (1..=ID_MAX).contains(&id.chars().count()) && !id.chars().any(char::is_control);
    if fits {
        Ok(Some(id))
    } else {
        Err(query.wrong(
            name,
            "1 to 128 characters, none of them a control character",
        ))
    }
}

/// What a poll's query asks for.
pub(in crate::jobs) fn asked_of<'q>(query: &'q Pairs<'_>) -> Result<Asked<'q>, ApiError> {
    let node_id = query
        .get("nodeId")
        .ok_or_else(|| query.wrong("nodeId", "given: the node's id"))?;
    let wait = query.parse("wait", 0..=60, "0 to 60")?.unwrap_or(0);
    let capacity = query
        .parse("capacity", 0..=1_000_000, "a whole number from 0")?
        .unwrap_or(1);
    let running = query.get("running").unwrap_or_default();
    Ok(Asked {
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
    params(("nodeId" = String, Query), ("wait" = Option<u64>, Query, maximum = 60, description = "Seconds that the call may stay open, 0 to 60"),
        ("agent" = Option<String>, Query, description = "The agent instance"),
        ("process" = Option<String>, Query, min_length = 1, max_length = 128, description = "The process of that instance: a claim is sent again only to the process that took it"),
        ("capacity" = Option<u64>, Query, maximum = 1_000_000, description = "0: no job, only cancels"),
        ("running" = Option<String>, Query, description = "Ids of started jobs whose completion is not acknowledged, comma-separated")),
    responses((status = 200, body = PendingAnswer),
        (status = 403)),
    security(("node" = [])))]
async fn pending(
    State(jobs): State<Jobs>,
    node: NodeIdentity,
    query: Query,
    standing: NodeStanding,
    waiting: Waiting,
) -> Result<axum::Json<PendingAnswer>, ApiError> {
    let mut asked = asked_of(&query)?;
    node.must_be(asked.node_id)?;
    if waiting.deadline_from_before().is_none() {
        jobs.nodes
            .sign_of_life(asked.node_id, asked.instance)
            .await?;
        if let (Some(instance), Some(process)) = (asked.instance, asked.process) {
            let lease_seconds = jobs.limits.lease_seconds;
            let is_settled = jobs
                .nodes
                .sign_of_process(asked.node_id, instance, process, lease_seconds)
                .await?;
            if !is_settled {
                asked.wait = asked.wait.min(UNSETTLED_WAIT);
            }
        }
    }
    let poll = jobs.poll(&asked, node.token_id, &standing, &waiting);
    Ok(axum::Json(poll.await?))
}

/// A claim changes the job's state, so that looking alone must not make one.
async fn no_head() -> Response {
    let words = "Use GET: a HEAD could claim a job and lose it";
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", words);
    ([(header::ALLOW, "GET")], error).into_response()
}

/// Takes output.
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
    let instance = instance_of(&query)?;
    let process = process_of(&query)?.map(str::to_owned);
    jobs.nodes.sign_of_life(&node.node_id, instance).await?;
    Ok(axum::Json(
        jobs.append(node, (instance.map(str::to_owned), process), id, request)
            .await?,
    ))
}

/// Ends a job.
#[utoipa::path(post, path = "/api/jobs/{id}/complete", tag = "agents", request_body = CompleteRequest,
    params(("id" = String, Path), ("agent" = Option<String>, Query, description = "The agent instance of the claim")),
    responses((status = 200, body = JobView),
        (status = 409)),
    security(("node" = [])))]
async fn complete(
    State(jobs): State<Jobs>,
    node: NodeIdentity,
    Path(id): Path<String>,
    query: Query,
    AgentJson(request): AgentJson<CompleteRequest>,
) -> Result<axum::Json<JobView>, ApiError> {
    let instance = instance_of(&query)?;
    jobs.nodes.sign_of_life(&node.node_id, instance).await?;
    let job = jobs
        .complete(node.node_id, instance.map(str::to_owned), id, request)
        .await?;
    Ok(axum::Json(job.into()))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(pending))
        .route("/api/jobs/pending", axum::routing::head(no_head))
        .routes(routes!(output))
        .routes(routes!(complete))
}
