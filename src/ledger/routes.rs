//! `GET /api/ledger/head` and `POST /api/ledger/acknowledge`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Admin;
use crate::clock::{self, Timestamp};
use crate::http::ApiError;
use crate::store::ledger::{self, LedgerFault};
use crate::store::{Store, StoreError, Tx, audit};

/// The ledger's endpoints.
pub fn routes(store: Store) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(head))
        .routes(routes!(acknowledge))
        .with_state(store)
}

/// The end of the ledger, and whether the history fits it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct LedgerAnswer {
    /// The number of the last entry; 0 if there is none.
    seq: u64,
    /// The last entry's hash, 64 hex digits.
    hash: String,
    /// When the last check ended.
    #[schema(required = true)]
    checked_at: Option<Timestamp>,
    /// The first fault that nobody has acknowledged.
    #[schema(required = true)]
    first_bad: Option<BadEntry>,
}

/// A place where the history does not fit the ledger.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct BadEntry {
    /// The number of the entry; null for a row without an entry.
    #[schema(required = true)]
    seq: Option<u64>,
    /// The entry's kind; `missing` for an entry that is missing, `witness` if a node has seen
    /// another history.
    kind: String,
    /// The id of the job, the audit entry or the node.
    id: String,
    /// The problem in words.
    detail: String,
}

impl From<LedgerFault> for BadEntry {
    fn from(fault: LedgerFault) -> Self {
        Self {
            seq: (fault.seq > 0).then_some(fault.seq),
            kind: fault.kind,
            id: fault.id,
            detail: fault.detail,
        }
    }
}

/// Returns the end of the ledger.
#[utoipa::path(get, path = "/api/ledger/head", tag = "audit", operation_id = "ledger_head",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = LedgerAnswer)))]
async fn head(State(store): State<Store>, _: Admin) -> Result<Json<LedgerAnswer>, ApiError> {
    let read = |tx: &mut dyn Tx| {
        let first_bad = ledger::open_faults(tx, 1)?.into_iter().next();
        Ok::<_, StoreError>((ledger::state(tx)?, first_bad))
    };
    let (state, first_bad) = store.read(read).await?;
    Ok(Json(LedgerAnswer {
        seq: state.seq,
        hash: state.hash,
        checked_at: state.checked_at,
        first_bad: first_bad.map(BadEntry::from),
    }))
}

/// How many alarms have ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Acknowledgement {
    acknowledged: u64,
}

/// Records that the caller has seen the alarms, and ends them. The audit log names each.
#[utoipa::path(post, path = "/api/ledger/acknowledge", tag = "audit", operation_id = "acknowledge_ledger",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Acknowledgement)))]
async fn acknowledge(
    State(store): State<Store>,
    Admin(user): Admin,
) -> Result<Json<Acknowledgement>, ApiError> {
    let write = move |tx: &mut dyn Tx| {
        for fault in ledger::open_faults(tx, u64::from(u32::MAX))? {
            let entry = audit::Entry {
                actor: &user.email,
                action: "ledger.acknowledge",
                job_id: None,
                node_id: None,
                detail: Some(&fault.detail),
            };
            audit::insert(tx, entry)?;
        }
        ledger::acknowledge(tx, &user.email, clock::now())
    };
    let acknowledged = store.write(write).await?;
    Ok(Json(Acknowledgement { acknowledged }))
}
