//! Enrolment: a new machine exchanges a one-time code, created by an ADMIN, for a node token. The
//! token itself never appears in a shell history or a chat.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::Nodes;
use super::tokens::{mint_into, node_not_found};
use crate::audit;
use crate::auth::{self, Admin, Auth, ClientAddress, User};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, JsonBody, Path};
use crate::store::{Tx, enrolment, node};

/// How long a code is valid.
const VALID_MILLIS: i64 = 3_600 * 1_000;
/// Name that wrong codes are counted under. It is not an email.
const GUESS_NAME: &str = "enrol";

/// A new code, which is shown only once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// `hbe_…`: valid once, until `expiresAt`.
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

/// Response to a valid code.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnrolAnswer {
    /// The machine's node id.
    node_id: String,
    /// The node's token, `hbn_…`, shown only once.
    token: String,
    /// The public keys with which this server signs jobs, as in a public key file:
    /// `ssh-ed25519 AAAA…`.
    sign_keys: Vec<String>,
}

/// Creates a one-time code for a node and voids its previous one.
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

/// Exchanges a one-time code for a node token. A 401 if the code is wrong, used or expired; a 429
/// after ten of them from one address within a minute.
#[utoipa::path(post, path = "/api/enrol", tag = "nodes", operation_id = "enrol", request_body = EnrolRequest, security(()),
    responses((status = 200, body = EnrolAnswer),
        (status = 401),
        (status = 429)))]
pub(super) async fn enrol(
    State(nodes): State<Nodes>,
    Extension(auth): Extension<Auth>,
    from: ClientAddress,
    JsonBody(request): JsonBody<EnrolRequest>,
) -> Result<Json<EnrolAnswer>, ApiError> {
    nodes.enrol(&auth, &request.code, from).await.map(Json)
}

impl Nodes {
    /// Creates a one-time code for a node.
    pub async fn add_enrolment(&self, user: User, node_id: String) -> Result<Enrolment, ApiError> {
        let (code, sha256, _) = auth::mint(auth::ENROLMENT);
        let now = clock::now();
        let expires_at = now.plus_millis(VALID_MILLIS);
        let add = move |tx: &mut dyn Tx| {
            node::find_held(tx, &node_id)?.ok_or_else(node_not_found)?;
            enrolment::insert(tx, &node_id, sha256, now, expires_at)?;
            let detail = format!("valid until {expires_at}");
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
    ) -> Result<EnrolAnswer, ApiError> {
        let guess = auth.record_guess(GUESS_NAME, from).await?;
        // A text that can't be a code is not looked up.
        let sha256 = auth::digest_of_code(code).ok_or_else(wrong_code)?;
        let sign_keys = vec![self.signer.current().await?.public_line()];
        let exchange = move |tx: &mut dyn Tx| {
            let Some((node_id, expires_at)) = enrolment::redeem(tx, sha256)? else {
                return Ok(None);
            };
            if expires_at < clock::now() || node::find_held(tx, &node_id)?.is_none() {
                return Ok(None);
            }
            guess.accept(tx)?;
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
            Ok::<_, ApiError>(Some(EnrolAnswer {
                node_id,
                token,
                sign_keys,
            }))
        };
        // The transaction commits even if the code has expired, so that the code is used up.
        self.store.write(exchange).await?.ok_or_else(wrong_code)
    }
}

fn wrong_code() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "wrong_code",
        "This code is wrong, already used or expired; create a new one on the node's page",
    )
}
