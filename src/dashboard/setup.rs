//! `/setup`: creates the first ADMIN, with the code that the server printed when it started.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::{Faults, Form, Input};
use super::layout::{self, Page};
use super::{Site, login};
use crate::auth::{ClientAddress, NotForeign, Registration};
use crate::http::{ApiError, Query};

/// The form; `?code=` fills in the code.
pub(super) async fn show(State(site): State<Site>, query: Query) -> Result<Response, ApiError> {
    if site.auth.has_users().await? {
        return Ok(page(&done()).into_response());
    }
    let code = query.get("code").unwrap_or_default();
    Ok(page(&form(code, "", None)).into_response())
}

/// Creates the user and signs them in.
pub(super) async fn submit(
    State(site): State<Site>,
    _: NotForeign,
    from: ClientAddress,
    parts: Parts,
    form_body: Form,
) -> Result<Response, ApiError> {
    let (code, email) = (form_body.text("code"), form_body.text("email"));
    let wanted = Registration {
        email: email.clone(),
        password: form_body.0.get("password").unwrap_or_default().to_owned(),
        name: None,
        setup_code: Some(code.clone()),
    };
    if site.auth.has_users().await? {
        return Ok(page(&done()).into_response());
    }
    match site.auth.register(wanted, from).await {
        Ok((token, _)) => Ok(login::signed_in(&site, &parts, &token, "/")),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(mut error) => {
            if error.code == "setup_code" {
                let words = "is wrong; the server printed the right one when it started";
                error = error.with_field("code", words);
            }
            let again = page(&form(&code, &email, Some(&error)));
            Ok((error.status, again).into_response())
        }
    }
}

fn page(body: &Markup) -> Markup {
    layout::draw(&Page::new("Set up", html! { div.card.narrow { (body) } }))
}

fn done() -> Markup {
    html! {
        h1 { "The server is set up" }
        p { "An ADMIN already exists. Ask them for an account." }
        p { a.button href="/login" { "Sign in" } }
    }
}

fn form(code: &str, email: &str, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let code = Input {
        name: "code",
        label: "Setup code",
        value: code,
        hint: Some("Printed by the server when it starts, such as ABCD-EFGH-JKLM-NPQR"),
        fault: faults.at("code"),
        autocomplete: "off",
        has_focus: code.is_empty(),
        ..Input::default()
    };
    let mail = Input {
        name: "email",
        label: "Your email",
        kind: "email",
        value: email,
        fault: faults.at("email"),
        autocomplete: "username",
        has_focus: !code.has_focus,
        ..Input::default()
    };
    let password = Input::new_password("Password", "At least 10 characters", faults.at("password"));
    html! {
        h1 { "Set up HyprBox Jobs" }
        p { "This creates the first ADMIN account, which can add nodes and users." }
        (faults.summary(&["code", "email", "password"]))
        form method="post" action="/setup" {
            (code.draw()) (mail.draw()) (password.draw())
            button.primary { "Set up" }
        }
    }
}
