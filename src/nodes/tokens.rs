//! Node tokens: creating, listing without secrets, revoking.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Nodes;
use crate::audit;
use crate::auth::{self, Admin, Auth, Credential, User};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, Path};
use crate::store::id::{NodeId, TokenId};
use crate::store::node_token::NodeToken;
use crate::store::{Change, Tx, node, node_token};

/// A new token, which is shown only once.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MintedToken {
    /// The token's id.
    pub id: String,
    /// `hbn_…`
    pub token: String,
}

/// A token in lists.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// UUIDv7.
    pub id: String,
    /// The first characters, to distinguish tokens.
    pub prefix: String,
    pub created_at: Timestamp,
    /// When an agent last used it.
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
    #[schema(required = true)]
    pub revoked_at: Option<Timestamp>,
}

/// A node's tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TokenList {
    tokens: Vec<TokenView>,
}

impl From<NodeToken> for TokenView {
    fn from(token: NodeToken) -> Self {
        Self {
            id: token.id,
            prefix: token.prefix,
            created_at: token.created_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        }
    }
}

/// Creates a token for a node, in the caller's transaction.
pub(super) fn mint_into(tx: &mut dyn Tx, node_id: &str) -> Result<MintedToken, ApiError> {
    let (token, sha256, prefix) = auth::mint("hbn_");
    let id = uuid::Uuid::now_v7().to_string();
    node_token::insert(
        tx,
        TokenId(&id),
        NodeId(node_id),
        &prefix,
        sha256,
        clock::now(),
    )?;
    Ok(MintedToken { id, token })
}

/// Creates another token.
#[utoipa::path(post, path = "/api/nodes/{id}/tokens", tag = "nodes", operation_id = "add_node_token", params(("id" = String, Path)),
    responses((status = 201, body = MintedToken)),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn add(
    State(nodes): State<Nodes>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<MintedToken>), ApiError> {
    Ok((
        StatusCode::CREATED,
        axum::Json(nodes.add_token(user, id).await?),
    ))
}

/// Lists the tokens.
#[utoipa::path(get, path = "/api/nodes/{id}/tokens", tag = "nodes", operation_id = "list_node_tokens", params(("id" = String, Path)),
    responses((status = 200, body = TokenList)),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn list(
    State(nodes): State<Nodes>,
    Extension(auth): Extension<Auth>,
    Admin(_): Admin,
    Path(id): Path<String>,
) -> Result<axum::Json<TokenList>, ApiError> {
    let tokens = nodes
        .tokens(&auth, id)
        .await?
        .into_iter()
        .map(TokenView::from)
        .collect();
    Ok(axum::Json(TokenList { tokens }))
}

/// Revokes a token: the next call with it is a 401.
#[utoipa::path(delete, path = "/api/nodes/{id}/tokens/{token_id}", tag = "nodes", operation_id = "revoke_node_token",
    params(("id" = String, Path), ("token_id" = String, Path)),
    responses((status = 204)),
    security(("bearer" = []), ("cookie" = [])))]
pub(super) async fn revoke(
    State(nodes): State<Nodes>,
    Admin(user): Admin,
    Path((id, token_id)): Path<(NodeId, TokenId)>,
) -> Result<StatusCode, ApiError> {
    nodes.revoke_token(user, id, token_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Nodes {
    /// Creates another token for a node.
    pub async fn add_token(&self, user: User, node_id: String) -> Result<MintedToken, ApiError> {
        self.store
            .write(move |tx| {
                node::find_held(tx, &node_id)?.ok_or_else(node_not_found)?;
                let minted = mint_into(tx, &node_id)?;
                let (node_id, token_id) = (NodeId(&*node_id), TokenId(&*minted.id));
                record(tx, &user, "node.token_add", node_id, token_id)?;
                Ok(minted)
            })
            .await
    }

    /// A node's tokens. `auth` has uses that are not in the database yet.
    pub async fn tokens(&self, auth: &Auth, node_id: String) -> Result<Vec<NodeToken>, ApiError> {
        let mut tokens = self
            .store
            .read(move |tx| {
                node::find(tx, &node_id)?.ok_or_else(node_not_found)?;
                Ok::<_, ApiError>(node_token::list(tx, &node_id)?)
            })
            .await?;
        for token in &mut tokens {
            let pending = auth.last_used(&Credential::NodeToken(token.id.clone()));
            token.last_used_at = pending.or(token.last_used_at);
        }
        Ok(tokens)
    }

    /// Revokes a token of a node.
    pub async fn revoke_token(
        &self,
        user: User,
        node_id: NodeId,
        token_id: TokenId,
    ) -> Result<(), ApiError> {
        self.store
            .write(move |tx| {
                let (node, token) = (node_id.borrowed(), token_id.borrowed());
                if !node_token::revoke(tx, node, token, clock::now())? {
                    return Err(ApiError::not_found("token_not_found", "Token not found"));
                }
                record(tx, &user, "node.token_revoke", node, token)?;
                tx.publish(Change::Credentials);
                // Wakes the token's open polls, which authenticate again.
                tx.publish(Change::Node { id: node_id.0 });
                Ok(())
            })
            .await
    }
}

fn record(
    tx: &mut dyn Tx,
    user: &User,
    action: &'static str,
    node_id: NodeId<&str>,
    token_id: TokenId<&str>,
) -> Result<(), crate::store::StoreError> {
    let entry = audit::Entry {
        actor: &user.email,
        action,
        job_id: None,
        node_id: Some(node_id.0),
        detail: Some(token_id.0),
    };
    audit::record(tx, entry)
}

/// The error for an unknown node.
pub(crate) fn node_not_found() -> ApiError {
    ApiError::not_found("node_not_found", "Node not found")
}
