//! A form or a button of ours that was submitted after the session had ended gets the sign-in page,
//! with the form saved in it.

use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::saved_form::{PREFIX, SavedForm, fields, has_fields, is_restored};
use super::{Site, login};
use crate::http::{ApiError, Pairs};
use crate::presets::ParamKind;

/// Maximum size of a saved form: without a session a body has at most 64 KiB, and this one also has
/// the fields of the sign-in.
const LONGEST: usize = 56 * 1024;
/// Fields that are never saved.
const NEVER: [&str; 3] = ["password", "old", "secret"];

/// The page that has the button which posts to this path.
fn page_of(path: &str) -> String {
    let parts: Vec<_> = path.split('/').skip(1).collect();
    match parts[..] {
        [kind @ ("jobs" | "nodes" | "schedules" | "channels"), id, ..] => format!("/{kind}/{id}"),
        [kind @ ("users" | "account" | "secrets"), ..] => format!("/{kind}"),
        _ => "/".to_owned(),
    }
}

/// The sign-in page for a form or a button of ours whose session has ended; otherwise returns the
/// request unchanged.
pub(super) async fn keep(site: &Site, parts: Parts, body: Body) -> Result<Response, (Parts, Body)> {
    let path = parts.uri.path();
    let is_open = matches!(path, "/login" | "/setup" | "/logout");
    if parts.method != Method::POST || is_open || !has_ended(site, &parts).await {
        return Err((parts, body));
    }
    let query = parts.uri.query().map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();
    if !has_fields(path) {
        let typed = SavedForm {
            words: "Your session has ended, and nothing was changed. Sign in to continue.",
            ..SavedForm::default()
        };
        return Ok(sign_in(&format!("{}{query}", page_of(path)), &typed));
    }
    let to = format!("{path}{query}");
    let typed = match to_bytes(body, LONGEST).await {
        Ok(body) => {
            let pairs = Pairs::of(&body);
            let preset = preset_of(path, parts.uri.query().unwrap_or_default(), &pairs);
            typed(site, preset.as_deref(), &pairs).await
        }
        Err(_) => None,
    };
    let typed = typed.unwrap_or(SavedForm {
        words: "Your session has ended, and your form is too large to keep. Sign in in another tab, then return to this form.",
        ..SavedForm::default()
    });
    Ok(sign_in(&to, &typed))
}

/// Whether this is a request from our own pages without a valid session.
async fn has_ended(site: &Site, parts: &Parts) -> bool {
    let is_ours = site.auth.require_same_origin(&parts.headers).is_ok();
    let is_plain = !parts.headers.contains_key(header::CONTENT_ENCODING);
    let is_refused = |error: ApiError| error.status == StatusCode::UNAUTHORIZED;
    is_ours
        && is_plain
        && site.auth.authenticate(parts).await.is_err_and(is_refused)
        && site.auth.has_users().await.unwrap_or(false)
}

async fn typed(site: &Site, preset: Option<&str>, pairs: &Pairs<'_>) -> Option<SavedForm> {
    let secrets = match preset {
        Some(preset) => secrets(site, preset).await,
        None => Vec::new(),
    };
    let is_kept = |name: &str| !NEVER.contains(&name) && !secrets.iter().any(|known| known == name);
    let typed = pairs.pairs().filter(|(name, _)| is_kept(name));
    // A restored form whose new session has also ended is saved again as it is.
    let fields: Vec<_> = if is_restored(pairs) {
        fields(pairs)
    } else {
        typed
            .map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned()))
            .collect()
    };
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    let length = encoded.extend_pairs(&fields).finish().len();
    (length <= LONGEST).then_some(SavedForm {
        fields,
        words: "Your session has ended. Sign in to continue with your form. Passwords and secrets are not kept.",
        has_form: true,
    })
}

/// The preset whose params the form has: that of the path, or the one that a schedule's form names.
fn preset_of(path: &str, query: &str, pairs: &Pairs<'_>) -> Option<String> {
    if let Some(name) = path.strip_prefix("/presets/") {
        return Some(name.trim_end_matches("/edit").to_owned());
    }
    let is_schedule = path.starts_with("/schedules/");
    let named = pairs.get("preset").map(str::to_owned);
    let named = named.or_else(|| Pairs::of(query.as_bytes()).get("preset").map(str::to_owned));
    named.filter(|_| is_schedule)
}

/// The fields of a form with this preset's params that hold secrets.
async fn secrets(site: &Site, name: &str) -> Vec<String> {
    let Ok(presets) = site.jobs.presets().await else {
        return Vec::new();
    };
    let params = presets.get(name).map(|entry| entry.preset.params.iter());
    params
        .into_iter()
        .flatten()
        .filter(|param| param.kind == ParamKind::Secret)
        .map(|param| format!("p.{}", param.name))
        .collect()
}

fn sign_in(to: &str, typed: &SavedForm) -> Response {
    (StatusCode::UNAUTHORIZED, login::page("", to, None, typed)).into_response()
}
