//! `/exec`: runs a script without a preset, once.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{Faults, Form, RestorableForm, around, described_by};
use super::layout::{self, Page};
use super::preset_values::{new_key, timeout_of};
use super::{Site, parts, saved_form};
use crate::auth::{Admin, User};
use crate::http::{ApiError, Query};
use crate::jobs::{Idempotency, find_visible};
use crate::presets::ONE_OFF;
use crate::runs::{CreateOutcome, ExecRequest};

/// The typed values.
#[derive(Default)]
struct Typed {
    script: String,
    nodes: String,
    selector: String,
    timeout: String,
    /// The idempotency key: a form that is sent twice queues one run.
    key: String,
}

/// The form; with `?from=` it has the script and the node of an earlier job.
pub(super) async fn show(
    State(site): State<Site>,
    Admin(user): Admin,
    query: Query,
) -> Result<Markup, ApiError> {
    let mut typed = Typed {
        key: new_key(),
        nodes: query.get("node").unwrap_or_default().to_owned(),
        ..Typed::default()
    };
    if let Some(id) = query.get("from") {
        let scope = parts::scope_of(&site, &user, &query)?;
        let job = find_visible(&site.jobs, &user, scope, id.to_owned(), "job.look").await?;
        if job.preset == ONE_OFF {
            typed.script = site.jobs.script(job.id).await?;
            typed.timeout = job.timeout_seconds.to_string();
        }
        typed.nodes = job.node_id;
    }
    Ok(page(&user, &typed, None))
}

/// Queues the run.
pub(super) async fn submit(
    State(site): State<Site>,
    Admin(user): Admin,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let mut typed = Typed::of(&form);
    if is_restored {
        let notice = saved_form::restored_notice();
        return Ok(page(&user, &typed, Some(&notice)).into_response());
    }
    match queue(&site, &user, &typed).await {
        Ok(id) => Ok(Redirect::to(&format!("/runs/{id}")).into_response()),
        Err(error) => {
            let is_for_the_form = error.status == StatusCode::BAD_REQUEST
                || ["node_not_found", "idempotency_key_reused"].contains(&error.code);
            if !is_for_the_form {
                return Err(error);
            }
            typed.key = new_key();
            Ok((error.status, page(&user, &typed, Some(&error))).into_response())
        }
    }
}

impl Typed {
    fn of(form: &Form) -> Self {
        let text = |name: &str| form.text(name).trim().to_owned();
        let key = text("key");
        let is_key =
            (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        Self {
            script: form.text("script"),
            nodes: text("nodes"),
            selector: text("selector"),
            timeout: text("timeout"),
            key: if is_key { key } else { new_key() },
        }
    }
}

async fn queue(site: &Site, user: &User, typed: &Typed) -> Result<String, ApiError> {
    let nodes: Vec<String> = typed
        .nodes
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect();
    let selector = Some(typed.selector.clone()).filter(|text| !text.is_empty());
    let timeout_seconds = timeout_of(&typed.timeout)?;
    let body = serde_json::json!({"script": typed.script, "nodes": nodes, "selector": selector,
        "timeoutSeconds": timeout_seconds});
    let has_nodes = !nodes.is_empty() || selector.is_none();
    let request = ExecRequest {
        script: typed.script.clone(),
        nodes: has_nodes.then(|| nodes.into_iter().collect()),
        selector,
        timeout_seconds,
    };
    let key = typed.key.clone();
    let idempotency = Some(Idempotency { key, body });
    let made = site.runs.exec(user, request, idempotency).await?;
    let (CreateOutcome::New(run) | CreateOutcome::Existing(run)) = made;
    Ok(run.id)
}

fn page(user: &User, typed: &Typed, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let fault = faults.at("script");
    let control = html! {
        textarea #f-script .script name="script" rows="16" required wrap="off" autocapitalize="none" autocomplete="off" spellcheck="false"
            aria-invalid=[fault.map(|_| "true")] aria-describedby=(described_by("f-script")) { "\n" (typed.script) }
    };
    let body = html! {
        p.crumbs { a href="/runs" { "Runs" } }
        h1 { "Run a script" }
        p.prose {
            "The nodes run the script once, as it is, with bash: without distro guard, params and " code { "set -e" }
            ". Its standard input is the script itself: give commands that read it " code { "</dev/null" } "."
        }
        form.card method="post" action="/exec" {
            (faults.summary(&["script", "nodes", "selector", "timeoutSeconds"]))
            input type="hidden" name="key" value=(typed.key);
            (around("f-script", "Script", None, fault, control))
            (faults.optional_input("nodes", "Nodes", &typed.nodes, "Ids, with blanks between them. Or a selector", "nodes"))
            (faults.optional_input("selector", "Selector", &typed.selector, "All nodes with these labels, such as role=web", "selector"))
            (faults.optional_input("timeout", "Time limit (optional)", &typed.timeout, "In seconds. Default: 600", "timeoutSeconds"))
            div.actions { button.primary { "Run" } }
        }
    };
    let page = Page::new("Run a script", body)
        .for_user(Some(user))
        .under("/runs")
        .with_style("editor.css");
    layout::draw(&page)
}
