//! `/account`: one's own password and personal tokens.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{self, Faults, Form, Input};
use super::layout::{self, Page};
use super::{Site, parts, words};
use crate::auth::{Caller, ClientAddress, PersonalToken, SignedIn, User};
use crate::http::{ApiError, Path};

/// What happened, above the page.
enum Notice<'n> {
    None,
    PasswordChanged,
    PasswordWrong(&'n ApiError),
    Token(&'n str),
    TokenWrong(&'n ApiError),
}

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    SignedIn(user): SignedIn,
) -> Result<Markup, ApiError> {
    page(&site, &user, Notice::None).await
}

/// Changes the password.
pub(super) async fn change_password(
    State(site): State<Site>,
    caller: Caller,
    from: ClientAddress,
    form: Form,
) -> Result<Response, ApiError> {
    let text = |name| form.0.get(name).unwrap_or_default();
    let changed = site
        .auth
        .change_own_password(&caller, text("old"), text("password"), from)
        .await;
    match changed {
        Ok(_) => Ok(page(&site, &caller.user, Notice::PasswordChanged)
            .await?
            .into_response()),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(mut error) => {
            if error.code == "wrong_password" {
                error = error.with_field("old", "is wrong");
            }
            let again = page(&site, &caller.user, Notice::PasswordWrong(&error)).await?;
            Ok((error.status, again).into_response())
        }
    }
}

/// Makes a personal token.
pub(super) async fn add_token(
    State(site): State<Site>,
    SignedIn(user): SignedIn,
    form: Form,
) -> Result<Response, ApiError> {
    let days = match form.filled("days").map(|days| days.trim().parse()) {
        None => Ok(None),
        Some(Ok(days)) => Ok(Some(days)),
        Some(Err(_)) => Err(ApiError::bad_request(
            "bad_input",
            "expiresInDays: must be 1 to 3,650",
        )
        .with_field("expiresInDays", "must be 1 to 3,650")),
    };
    let made = match days {
        Ok(days) => site.auth.add_token(&user, &form.text("name"), days).await,
        Err(error) => Err(error),
    };
    match made {
        Ok((_, token)) => {
            let page = page(&site, &user, Notice::Token(&token)).await?;
            Ok((StatusCode::CREATED, page).into_response())
        }
        Err(error) if error.status == StatusCode::BAD_REQUEST => {
            let again = page(&site, &user, Notice::TokenWrong(&error)).await?;
            Ok((error.status, again).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Revokes a personal token.
pub(super) async fn revoke_token(
    State(site): State<Site>,
    SignedIn(user): SignedIn,
    Path(id): Path<String>,
) -> Result<Redirect, ApiError> {
    site.auth.revoke_token(&user, &id).await?;
    Ok(Redirect::to("/account"))
}

async fn page(site: &Site, user: &User, notice: Notice<'_>) -> Result<Markup, ApiError> {
    let tokens = site.auth.tokens(user).await?;
    let (password_error, token_error) = match &notice {
        Notice::PasswordWrong(error) => (Some(*error), None),
        Notice::TokenWrong(error) => (None, Some(*error)),
        Notice::None | Notice::PasswordChanged | Notice::Token(_) => (None, None),
    };
    let body = html! {
        h1 { "Your account" }
        p.dim { bdi { (user.email) } " · " (user.role) }
        @match notice {
            Notice::PasswordChanged => { p.banner role="status" { "The password is changed; your other sessions are signed out." } }
            Notice::Token(token) => {
                section.card {
                    h2 { "Your new token" }
                    p { "It is shown this once. Send it as " code { "Authorization: Bearer …" } "; it may do what you may do." }
                    (parts::copyable(token, "the token"))
                }
            }
            Notice::None | Notice::PasswordWrong(_) | Notice::TokenWrong(_) => {}
        }
        (token_section(&tokens, token_error))
        (password_form(user, password_error))
    };
    let page = Page::new("Your account", body)
        .for_user(Some(user))
        .under("/account");
    Ok(layout::draw(&page))
}

fn token_section(tokens: &[PersonalToken], error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let name = Input {
        name: "name",
        label: "Name",
        hint: Some("To tell tokens apart, like ci"),
        fault: faults.at("name"),
        autocomplete: "off",
        max_length: Some(255),
        ..Input::default()
    };
    let days = Input {
        name: "days",
        label: "Ends after days (optional)",
        fault: faults.at("expiresInDays"),
        autocomplete: "off",
        is_optional: true,
        pattern: Some("[0-9]{1,4}"),
        ..Input::default()
    };
    html! {
        section aria-labelledby="tokens-h" {
            h2 #tokens-h { "Tokens for scripts and CI" }
            @if tokens.is_empty() { p.none { "None." } } @else { (token_table(tokens)) }
            details.card.add open[error.is_some()] {
                summary { "Make a token" }
                (faults.summary(&["name", "expiresInDays"]))
                form method="post" action="/account/tokens" { (name.draw()) (days.draw()) button.primary { "Make" } }
            }
        }
    }
}

fn token_table(tokens: &[PersonalToken]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Token" } th scope="col" { "Made" } th scope="col" { "Last used" } th scope="col" { "Ends" } th scope="col" {} } }
            tbody { @for token in tokens {
                tr {
                    td.main { bdi { (words::visible(&token.name)) } }
                    td data-label="Token" { code { (token.prefix) "…" } }
                    td data-label="Made" { (words::since(token.created_at)) }
                    td data-label="Last used" { @match token.last_used_at { Some(at) => { (words::since(at)) } None => { "never" } } }
                    td data-label="Ends" { @match token.expires_at { Some(at) => { (words::moment(at)) } None => { "never" } } }
                    td.num { (form::button(&format!("/account/tokens/{}/revoke", token.id), "danger", "Revoke", Some("Revoke this token?"))) }
                }
            } }
        }
    }
}

fn password_form(user: &User, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let old = Input {
        name: "old",
        label: "Old password",
        kind: "password",
        fault: faults.at("old"),
        autocomplete: "current-password",
        ..Input::default()
    };
    let new = Input::new_password(
        "New password",
        "10 characters at the least",
        faults.at("password"),
    );
    html! {
        section aria-labelledby="password-h" {
            h2 #password-h { "Password" }
            details.card.add open[error.is_some()] {
                summary { "Change the password" }
                (faults.summary(&["old", "password"]))
                form method="post" action="/account/password" {
                    // For password managers, which want to know whose it is.
                    input type="hidden" name="email" value=(user.email) autocomplete="username";
                    (old.draw()) (new.draw()) button.primary { "Change" }
                }
            }
        }
    }
}
