//! `/login`, `/logout`, and the one-time link that signs in.

use std::borrow::Cow;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{Faults, Form, FormPairs, Input};
use super::layout::{self, Page};
use super::saved_form::{self, SavedForm};
use super::{Site, local};
use crate::auth::{Caller, ClientAddress, NotForeign};
use crate::http::{ApiError, Path, Query};

/// The form; redirects to the setup if there are no users yet.
pub(super) async fn show(
    State(site): State<Site>,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    if !site.auth.has_users().await? {
        return Ok(Redirect::to("/setup").into_response());
    }
    let to = local::path(query.get("to"));
    if query.get("kept").is_none() {
        return Ok(page("", to, None, &SavedForm::default()).into_response());
    }
    // The user has just signed in; whether the browser kept the cookie is checked now.
    match site.auth.authenticate(&parts).await {
        Ok(_) => Ok(Redirect::to(to).into_response()),
        Err(error) if error.status == StatusCode::UNAUTHORIZED => {
            let dropped = site.auth.cookie_was_dropped();
            Ok(page("", to, Some(&dropped), &SavedForm::default()).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Starts a session.
pub(super) async fn submit(
    State(site): State<Site>,
    _: NotForeign,
    from: ClientAddress,
    parts: Parts,
    FormPairs(pairs): FormPairs,
) -> Result<Response, ApiError> {
    let typed = SavedForm::of_sign_in(&pairs);
    let form = Form(pairs);
    let (email, to) = (form.text("email"), form.text("to"));
    let to = local::path(Some(&to));
    let password = form.0.get("password").unwrap_or_default();
    match site.auth.login(&email, password, from).await {
        // Posts the saved form to its own page, which shows it again.
        Ok((token, _)) if typed.has_form() && saved_form::has_fields(to) => {
            let cookie = [(header::SET_COOKIE, site.auth.cookie_for(&token))];
            Ok((cookie, Redirect::temporary(to)).into_response())
        }
        Ok((token, _)) => Ok(signed_in(&site, &parts, &token, to)),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(error) => {
            let again = page(&email, to, Some(&error), &typed);
            let mut response = (error.status, again).into_response();
            if let Some(seconds) = error.retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, seconds.into());
            }
            Ok(response)
        }
    }
}

/// Ends the session.
pub(super) async fn logout(State(site): State<Site>, caller: Caller) -> Result<Response, ApiError> {
    site.auth.logout(&caller).await?;
    let cookie = [(header::SET_COOKIE, site.auth.clearing_cookie())];
    Ok((cookie, Redirect::to("/login")).into_response())
}

/// Signs in the holder of a one-time link and redirects to `?to=`.
pub(super) async fn once(
    State(site): State<Site>,
    Path(code): Path<String>,
    query: Query,
    parts: Parts,
) -> Result<Response, ApiError> {
    let to = local::path(query.get("to"));
    match site.auth.redeem(&code).await {
        Ok(token) => Ok(signed_in(&site, &parts, &token, to)),
        Err(error) if error.status == StatusCode::UNAUTHORIZED => {
            let page = page("", to, Some(&error), &SavedForm::default());
            Ok((error.status, page).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Sets the session cookie and redirects. A browser that may drop the cookie is first sent to the
/// sign-in page, which explains the problem.
pub(super) fn signed_in(site: &Site, parts: &Parts, token: &str, to: &str) -> Response {
    let cookie = [(header::SET_COOKIE, site.auth.cookie_for(token))];
    let to = match site.auth.is_cookie_at_risk(parts) {
        true => Cow::Owned(format!(
            "/login?{}",
            local::query(&[("kept", "1"), ("to", to)])
        )),
        false => Cow::Borrowed(to),
    };
    (cookie, Redirect::to(&to)).into_response()
}

/// The sign-in page, which continues to `to`.
pub(super) fn page(email: &str, to: &str, error: Option<&ApiError>, typed: &SavedForm) -> Markup {
    let (words, fields) = typed.draw();
    let faults = Faults::of(error);
    let mail = Input {
        name: "email",
        label: "Email",
        kind: "email",
        value: email,
        autocomplete: "username",
        has_focus: email.is_empty(),
        ..Input::default()
    };
    let password = Input {
        name: "password",
        label: "Password",
        kind: "password",
        autocomplete: "current-password",
        has_focus: !email.is_empty(),
        ..Input::default()
    };
    let body = html! {
        div.card.narrow {
            h1 { "Sign in" }
            (words)
            (faults.summary(&[]))
            form method="post" action="/login" {
                input type="hidden" name="to" value=(to);
                (fields)
                (mail.draw()) (password.draw())
                button.primary { "Sign in" }
            }
        }
    };
    layout::draw(&Page::new("Sign in", body))
}
