//! Middleware of every page: its headers, and errors shown as pages.

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use super::layout::{self, Page};
use super::policy::PAGE_CSP;
use super::{PARAMETERS, Site, local, session_end};
use crate::auth::{Auth, Role, User};
use crate::http::{ApiError, Pairs};

/// Middleware around every page.
pub(super) async fn wrap(State(site): State<Site>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let (parts, body) = match session_end::keep(&site, parts, body).await {
        Ok(mut sign_in) => {
            protect(sign_in.headers_mut());
            return sign_in;
        }
        Err(request) => request,
    };
    let asked = parts.clone();
    let mut response = match refuse_unknown(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = show(&site.auth, asked, error).await;
    }
    protect(response.headers_mut());
    response
}

/// A 400 for query parameters that the page does not know.
fn refuse_unknown(parts: &Parts) -> Result<(), ApiError> {
    let Some(query) = parts.uri.query() else {
        return Ok(());
    };
    let page = parts.extensions.get::<MatchedPath>();
    let known = page
        .and_then(|page| PARAMETERS.iter().find(|(path, _)| *path == page.as_str()))
        .map_or(&[][..], |(_, names)| *names);
    Pairs::of(query.as_bytes()).refuse_unknown(|name| known.contains(&name))
}

/// The headers of a page.
pub(super) fn protect(headers: &mut HeaderMap) {
    let csp = HeaderValue::from_static(PAGE_CSP);
    headers.insert(header::CONTENT_SECURITY_POLICY, csp);
    // Pages show what only the signed-in user may see, such as tokens. Neither a proxy nor the next
    // user of the browser may keep them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The error as a page. A user who isn't signed in is sent to the sign-in, and returns afterwards.
pub(super) async fn show(auth: &Auth, mut asked: Parts, error: ApiError) -> Response {
    if error.status == StatusCode::UNAUTHORIZED {
        return to_login(auth, &asked).await;
    }
    // The user is needed only for the navigation. The origin was checked with the request itself.
    asked.method = Method::GET;
    let user = auth.authenticate(&asked).await.ok();
    let mut error = error;
    if error.code == "cross_origin"
        && let Some(words) = auth.explain_refused_origin(&asked.headers)
    {
        error.message = words;
    }
    let mut response = (error.status, page(user.as_ref(), &error)).into_response();
    if let Some(seconds) = error.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn to_login(auth: &Auth, asked: &Parts) -> Response {
    // If the database can't be read, the sign-in page reports it.
    if !auth.has_users().await.unwrap_or(true) {
        return Redirect::to("/setup").into_response();
    }
    let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
    let to = if asked.method == Method::GET {
        path
    } else {
        "/"
    };
    Redirect::to(&local::with_to("/login", to)).into_response()
}

fn page(user: Option<&User>, error: &ApiError) -> maud::Markup {
    let is_pending = user.is_some_and(|user| user.role == Role::Pending);
    let body = html! {
        div.card.narrow {
            h1 { (heading(error.status)) }
            @if is_pending {
                p { "Your account has no role yet. Ask an ADMIN for one, then reload this page." }
            } @else {
                p { (error.message) "." }
            }
            @for (field, fault) in &error.fields {
                p.fault { (field) ": " (fault) }
            }
            p { a href="/" { "Go to the overview" } }
        }
    };
    layout::draw(&Page::new(heading(error.status), body).for_user(user))
}

fn heading(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "Not allowed",
        404 => "Not found",
        409 => "Can't do that right now",
        413 => "Too large",
        429 => "Too many attempts",
        503 => "The server can't answer right now",
        500.. => "Something went wrong",
        _ => "Bad request",
    }
}
