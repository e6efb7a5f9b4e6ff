//! `/users/{id}/tokens`: a user's personal tokens, for ADMINs.

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};

use super::layout::{self, Page};
use super::{Site, account, words};
use crate::auth::Admin;
use crate::http::{ApiError, Path};
use crate::store::id::{TokenId, UserId};

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Admin(admin): Admin,
    Path(id): Path<String>,
) -> Result<Markup, ApiError> {
    let (user, tokens) = site.auth.tokens_of(&id).await?;
    let title = format!("Tokens of {}", user.email);
    let body = html! {
        p.crumbs { a href="/users" { "Users" } }
        h1 { "Tokens of " bdi { (words::visible(&user.email)) } }
        p.dim { "A token has its user's permissions. The next request with a revoked token is refused." }
        (account::token_table(&tokens, &format!("/users/{}", user.id)))
    };
    let page = Page::new(&title, body)
        .for_user(Some(&admin))
        .under("/users");
    Ok(layout::draw(&page))
}

/// Revokes one of the tokens.
pub(super) async fn revoke(
    State(site): State<Site>,
    Admin(admin): Admin,
    Path((id, token_id)): Path<(UserId, TokenId)>,
) -> Result<Redirect, ApiError> {
    site.auth
        .revoke_token_of(&admin, id.borrowed(), token_id.borrowed())
        .await?;
    Ok(Redirect::to(&format!("/users/{id}/tokens")))
}
