//! `/account`: the user's own password and personal tokens.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{self, Faults, Input, RestorableForm};
use super::layout::{self, Page};
use super::{Site, parts, saved_form, words};
use crate::auth::{Caller, ClientAddress, NewToken, PersonalToken, SignedIn, User, Viewer};
use crate::clock;
use crate::http::{ApiError, Path};

/// The result of a form, shown at the top of the page.
enum Notice<'n> {
    None,
    PasswordChanged,
    PasswordWrong(&'n ApiError),
    Token(&'n str),
    TokenWrong {
        name: &'n str,
        days: &'n str,
        error: &'n ApiError,
    },
}

/// The page.
pub(super) async fn show(State(site): State<Site>, caller: Caller) -> Result<Markup, ApiError> {
    page(&site, &caller, Notice::None).await
}

/// Changes the password.
pub(super) async fn change_password(
    State(site): State<Site>,
    caller: Caller,
    from: ClientAddress,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    if is_restored {
        let page = page(
            &site,
            &caller,
            Notice::PasswordWrong(&saved_form::restored_notice()),
        )
        .await?;
        return Ok(page.into_response());
    }
    let text = |name| form.0.get(name).unwrap_or_default();
    let changed = site
        .auth
        .change_own_password(
            &caller,
            text("old"),
            text("password"),
            form.filled("keep").is_some(),
            from,
        )
        .await;
    match changed {
        Ok(_) => Ok(page(&site, &caller, Notice::PasswordChanged)
            .await?
            .into_response()),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(mut error) => {
            if error.code == "wrong_password" {
                error = error.with_field("old", "is wrong");
            }
            let again = page(&site, &caller, Notice::PasswordWrong(&error)).await?;
            Ok((error.status, again).into_response())
        }
    }
}

/// Creates a personal token.
pub(super) async fn add_token(
    State(site): State<Site>,
    _: Viewer,
    caller: Caller,
    from: ClientAddress,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let (name, typed_days) = (form.text("name"), form.text("days"));
    let again = |error| Notice::TokenWrong {
        name: &name,
        days: &typed_days,
        error,
    };
    if is_restored {
        let error = saved_form::restored_notice();
        return Ok(page(&site, &caller, again(&error)).await?.into_response());
    }
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
        Ok(expires_in_days) => {
            let wanted = NewToken {
                name: &name,
                expires_in_days,
                password: form.0.get("password").filter(|text| !text.is_empty()),
            };
            site.auth.add_token(&caller, wanted, from).await
        }
        Err(error) => Err(error),
    };
    match made {
        Ok((_, token)) => {
            let page = page(&site, &caller, Notice::Token(&token)).await?;
            Ok((StatusCode::CREATED, page).into_response())
        }
        Err(error) if error.status.is_server_error() => Err(error),
        Err(mut error) => {
            if error.code == "wrong_password" {
                error = error.with_field("password", "is wrong");
            }
            let again = page(&site, &caller, again(&error)).await?;
            Ok((error.status, again).into_response())
        }
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

async fn page(site: &Site, caller: &Caller, notice: Notice<'_>) -> Result<Markup, ApiError> {
    let user = &caller.user;
    let tokens = site.auth.tokens(user).await?;
    let (password_error, token_error) = match &notice {
        Notice::PasswordWrong(error) => (Some(*error), None),
        Notice::TokenWrong { name, days, error } => (None, Some((*name, *days, *error))),
        Notice::None | Notice::PasswordChanged | Notice::Token(_) => (None, None),
    };
    let body = html! {
        h1 { "Your account" }
        p.dim { bdi { (user.email) } " · " (user.role) }
        @match notice {
            Notice::PasswordChanged => { p.banner role="status" { "Your password is changed. Your other sessions have ended, and your tokens are revoked unless you kept them." } }
            Notice::Token(token) => {
                section.card {
                    h2 { "Your new token" }
                    p { "Copy it now: it is shown only once. Send it as " code { "Authorization: Bearer …" } ". It has your permissions." }
                    (parts::copyable(token, "the token"))
                }
            }
            Notice::None | Notice::PasswordWrong(_) | Notice::TokenWrong { .. } => {}
        }
        (token_section(&tokens, !caller.is_recent(clock::now()), token_error))
        (password_form(user, password_error))
    };
    let page = Page::new("Your account", body)
        .for_user(Some(user))
        .under("/account");
    Ok(layout::draw(&page))
}

fn token_section(
    tokens: &[PersonalToken],
    needs_password: bool,
    wrong: Option<(&str, &str, &ApiError)>,
) -> Markup {
    let (typed_name, typed_days, error) = wrong.map_or(("", "", None), |(name, days, error)| {
        (name, days, Some(error))
    });
    let faults = Faults::of(error);
    let name = Input {
        name: "name",
        label: "Name",
        value: typed_name,
        hint: Some("What the token is for, such as ci"),
        fault: faults.at("name"),
        autocomplete: "off",
        max_length: Some(255),
        ..Input::default()
    };
    let days = Input {
        name: "days",
        label: "Expires after (days, optional)",
        value: typed_days,
        fault: faults.at("expiresInDays"),
        autocomplete: "off",
        is_optional: true,
        pattern: Some("[0-9]{1,4}"),
        ..Input::default()
    };
    let password = Input {
        name: "password",
        id: Some("f-token-password"),
        label: "Your password",
        kind: "password",
        hint: Some("Required because you signed in more than 15 minutes ago"),
        fault: faults.at("password"),
        autocomplete: "current-password",
        ..Input::default()
    };
    html! {
        section aria-labelledby="tokens-h" {
            h2 #tokens-h { "Tokens for scripts and CI" }
            (token_table(tokens, "/account"))
            details.card.add open[error.is_some()] {
                summary { "Create a token" }
                (faults.summary(&["name", "expiresInDays", "password"]))
                form method="post" action="/account/tokens" {
                    (name.draw()) (days.draw()) @if needs_password { (password.draw()) }
                    button.primary { "Create" }
                }
            }
        }
    }
}

/// Personal tokens, each with a button that revokes it below `address`.
pub(super) fn token_table(tokens: &[PersonalToken], address: &str) -> Markup {
    if tokens.is_empty() {
        return html! { p.none { "No tokens yet." } };
    }
    html! {
        table {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Token" } th scope="col" { "Created" } th scope="col" { "Last used" } th scope="col" { "Expires" } th scope="col" { span.unseen { "Actions" } } } }
            tbody { @for token in tokens {
                tr {
                    td.main { bdi { (words::visible(&token.name)) } }
                    td data-label="Token" { code { (token.prefix) "…" } }
                    td data-label="Created" { (words::since(token.created_at)) }
                    td data-label="Last used" { @match token.last_used_at { Some(at) => { (words::since(at)) } None => { "never" } } }
                    td data-label="Expires" { @match token.expires_at { Some(at) => { (words::moment(at)) } None => { "never" } } }
                    td.num { (form::button(&format!("{address}/tokens/{}/revoke", token.id), "danger", "Revoke", Some("Revoke this token?"))) }
                }
            } }
        }
    }
}

fn password_form(user: &User, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let old = Input {
        name: "old",
        label: "Current password",
        kind: "password",
        fault: faults.at("old"),
        autocomplete: "current-password",
        ..Input::default()
    };
    let new = Input::new_password(
        "New password",
        "At least 10 characters",
        faults.at("password"),
    );
    let keep = form::toggle(
        "f-keep",
        "Keep my tokens",
        Some("If unchecked, your tokens are revoked. Your other sessions always end"),
        None,
        html! { input #f-keep type="checkbox" name="keep" value="true" aria-describedby=(form::described_by("f-keep")); },
    );
    html! {
        section aria-labelledby="password-h" {
            h2 #password-h { "Password" }
            details.card.add open[error.is_some()] {
                summary { "Change the password" }
                (faults.summary(&["old", "password"]))
                form method="post" action="/account/password" {
                    // Tells password managers which user the password belongs to.
                    input type="hidden" name="email" value=(user.email) autocomplete="username";
                    (old.draw()) (new.draw()) (keep)
                    button.primary { "Change" }
                }
            }
        }
    }
}
