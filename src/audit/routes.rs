//! `GET /api/audit`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Admin;
use crate::clock::Timestamp;
use crate::http::{ApiError, Query};
use crate::store::audit::{self, AuditRecord, Filter};
use crate::store::{Store, Tx};

const LIMIT: u64 = 50;
const LIMIT_MAX: u64 = 200;

/// The audit log's endpoint.
pub fn routes(store: Store) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).with_state(store)
}

/// An action of a person, a node or the server.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntry {
    at: Timestamp,
    /// An email, `node:<id>`, or `server`.
    actor: String,
    /// `noun.verb`, such as `job.cancel` or `user.add`.
    action: String,
    /// The job that was changed or read.
    #[schema(required = true)]
    job_id: Option<String>,
    /// The node that was changed.
    #[schema(required = true)]
    node_id: Option<String>,
    /// More information, as text.
    #[schema(required = true)]
    detail: Option<String>,
}

/// A page of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditAnswer {
    /// Newest first.
    entries: Vec<AuditEntry>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Lists audit entries, newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", operation_id = "list_audit",
    security(("bearer" = []), ("cookie" = [])),
    params(
        ("limit" = Option<u64>, Query, description = "1 to 200; 50 if absent"),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before"),
        ("actor" = Option<String>, Query, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", description = "Only theirs"),
        ("action" = Option<String>, Query, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", description = "Only this"),
        ("jobId" = Option<String>, Query, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", description = "Only on this job"),
        ("nodeId" = Option<String>, Query, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", description = "Only on this node")),
    responses((status = 200, description = "A page", body = AuditAnswer)))]
pub(crate) async fn list(
    State(store): State<Store>,
    _: Admin,
    query: Query,
) -> Result<Json<AuditAnswer>, ApiError> {
    let limit = query
        .parse("limit", 1..=LIMIT_MAX, "1 to 200")?
        .unwrap_or(LIMIT);
    let filter = filter_of(&query)?;
    // One more than requested shows whether there is a next page.
    let read = move |tx: &mut dyn Tx| audit::list(tx, limit + 1, filter);
    let records = store.read(read).await?;
    Ok(Json(page(records, limit as usize)))
}

fn filter_of(query: &Query) -> Result<Filter, ApiError> {
    let plain = |name: &str| match query.get(name) {
        Some(value) if value.contains(char::is_control) => {
            Err(query.wrong(name, "without control characters"))
        }
        value => Ok(value.map(str::to_owned)),
    };
    let cursor = query.get("cursor").map(uuid::Uuid::try_parse).transpose();
    Ok(Filter {
        before: cursor
            .map_err(|_| query.wrong("cursor", "the nextCursor of the page before"))?
            .map(|id| id.to_string()),
        actor: plain("actor")?,
        action: plain("action")?,
        job_id: plain("jobId")?,
        node_id: plain("nodeId")?,
    })
}

fn page(mut records: Vec<AuditRecord>, limit: usize) -> AuditAnswer {
    let has_more = records.len() > limit;
    records.truncate(limit);
    let last = records.last().map(|record| record.id.clone());
    AuditAnswer {
        next_cursor: last.filter(|_| has_more),
        entries: records.into_iter().map(AuditEntry::from).collect(),
    }
}

impl From<AuditRecord> for AuditEntry {
    fn from(record: AuditRecord) -> Self {
        Self {
            at: record.at,
            actor: record.actor,
            action: record.action,
            job_id: record.job_id,
            node_id: record.node_id,
            detail: record.detail,
        }
    }
}
