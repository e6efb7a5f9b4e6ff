//! Enrolment: a one-time code, made by an ADMIN, that a new machine trades for its node's token. So
//! the token itself stands in no shell history and no chat.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::Nodes;
use super::tokens::{mint_into, no_such_node};
use crate::audit;
use crate::auth::{self, Admin, Auth, ClientAddress, User};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, JsonBody, Path};
use crate::store::{Tx, enrolment, node};

/// How long a code holds.
const HOLDS_MILLIS: i64 = 3_600 * 1_000;
/// Under what wrong codes of an address are counted. No account's email is like it.
const COUNTED_AS: &str = "enrol";

/// A code that was just made, shown this once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// `hbe_…`: holds once, and until `expiresAt`.
    pub code: String,
    /// An hour from now.
    pub expires_at: Timestamp,
}

/// The body of `POST /api/enrol`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct EnrolRequest {
    /// `hbe_…`
    code: String,
}

/// What a code gives.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Enrolled {
    /// The node that the machine now is.
    node_id: String,
    /// Its token, `hbn_…`, shown this once.
    token: String,
}

/// Makes a one-time code for a node, in place of the one that it may have.
#[utoipa::path(post, path = "/api/nodes/{id}/enrolments", tag = "nodes", operation_id = "add_enrolment",
    params(("id" = String, Path)),
    responses((status = 201, body = Enrolment)),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn add(
    State(nodes): State<Nodes>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Enrolment>), ApiError> {
    let enrolment = nodes.add_enrolment(user, id).await?;
    Ok((StatusCode::CREATED, Json(enrolment)))
}

/// Trades a one-time code for its node's token. A 401 for a code that is wrong, used or too old;
/// after ten of them from an address within a minute a 429.
#[utoipa::path(post, path = "/api/enrol", tag = "nodes", operation_id = "enrol", request_body = EnrolRequest, security(()),
    responses((status = 200, body = Enrolled),
        (status = 401),
        (status = 429)))]
pub(super) async fn enrol(
    State(nodes): State<Nodes>,
    Extension(auth): Extension<Auth>,
    from: ClientAddress,
    JsonBody(request): JsonBody<EnrolRequest>,
) -> Result<Json<Enrolled>, ApiError> {
    nodes.enrol(&auth, &request.code, from).await.map(Json)
}

impl Nodes {
    /// Makes a one-time code for a node.
    pub async fn add_enrolment(&self, user: User, node_id: String) -> Result<Enrolment, ApiError> {
        let (code, sha256, _) = auth::mint(auth::ENROLMENT);
        let now = clock::now();
        let expires_at = now.plus_millis(HOLDS_MILLIS);
        let add = move |tx: &mut dyn Tx| {
            node::find_held(tx, &node_id)?.ok_or_else(no_such_node)?;
            enrolment::insert(tx, &node_id, sha256, now, expires_at)?;
            let detail = format!("holds until {expires_at}");
            let entry = audit::Entry {
                actor: &user.email,
                action: "node.enrolment_add",
                job_id: None,
                node_id: Some(&node_id),
                detail: Some(&detail),
            };
            Ok::<_, ApiError>(audit::record(tx, entry)?)
        };
        self.store.write(add).await?;
        Ok(Enrolment { code, expires_at })
    }

    async fn enrol(
        &self,
        auth: &Auth,
        code: &str,
        from: ClientAddress,
    ) -> Result<Enrolled, ApiError> {
        let guess = auth.guess(COUNTED_AS, from).await?;
        // What is no code costs no look.
        let sha256 = auth::digest_of_code(code).ok_or_else(wrong_code)?;
        let trade = move |tx: &mut dyn Tx| {
            let Some((node_id, expires_at)) = enrolment::redeem(tx, sha256)? else {
                return Ok(None);
            };
            if expires_at < clock::now() || node::find_held(tx, &node_id)?.is_none() {
                return Ok(None);
            }
            guess.was_right(tx)?;
            let minted = mint_into(tx, &node_id)?;
            let actor = format!("node:{node_id}");
            let detail = format!("token {} for {}", minted.id, from.0);
            let entry = audit::Entry {
                actor: &actor,
                action: "node.enrol",
                job_id: None,
                node_id: Some(&node_id),
                detail: Some(&detail),
            };
            audit::record(tx, entry)?;
            let token = minted.token;
            Ok::<_, ApiError>(Some(Enrolled { node_id, token }))
        };
        // A code that is too old is used up all the same, so this is no error of the transaction.
        self.store.write(trade).await?.ok_or_else(wrong_code)
    }
}

fn wrong_code() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "wrong_code",
        "This code is wrong, was used already, or is too old; make another one on the node's page",
    )
}
