//! `/presets/{name}`: the form that queues a job, with a preview of the script. One file, because
//! the form and its preview read the same values.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::form::{Faults, Input, RestorableForm};
use super::layout::{self, Page};
use super::node_picker::Picker;
use super::preset_values::{FormValues, expiry_of, new_key, timeout_of};
use super::preview::Preview;
use super::run_form::{self, RunFields, Submitted};
use super::{Site, drift, history, param, presets, saved_form, secrets, words};
use crate::auth::{Operator, Role, User, Viewer};
use crate::http::{ApiError, FieldErrors, Path, Query};
use crate::jobs::{
    ClaimTimes, Idempotency, JobError, QueueOutcome, QueueRequest, Scope, check_timeout,
};
use crate::presets::{CatalogEntry, ParamKind, Preset, Risk};
use crate::runs::{DryRun, RunRequest};
use crate::store::job::JobKind;

/// The form; with `?from=` it has the values of an earlier job.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(name): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let entry = entry(&site, &name).await?;
    let mut filled = FormValues::fresh(&entry.preset);
    filled.node = query.get("node").unwrap_or_default().to_owned();
    if query.get("on") == Some("many") {
        filled.run = Some(RunFields::default());
    }
    if let Some(id) = query.get("from") {
        filled
            .fill_from(&site, &user, &entry.preset, &query, id)
            .await?;
    }
    let shown = Shown {
        saved: query.parse("saved", 1..=u64::MAX, "the number of a version")?,
        ..Shown::default()
    };
    page(&site, &user, &entry, &filled, None, &shown).await
}

/// What a page shows besides the form.
#[derive(Default)]
struct Shown {
    preview: Option<Preview>,
    /// The nodes that a run would take.
    matched: Option<DryRun>,
    /// The version that was just saved.
    saved: Option<u64>,
}

/// Queues a job, or shows the script that would be queued.
pub(super) async fn submit(
    State(site): State<Site>,
    Operator(user): Operator,
    Path(name): Path<String>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let entry = entry(&site, &name).await?;
    let mut filled = FormValues::typed(&entry.preset, &form);
    if let Some(picked) = form.0.get("pick") {
        picked.clone_into(&mut filled.node);
    }
    if is_restored {
        filled.shows_found = false;
        let page = page(
            &site,
            &user,
            &entry,
            &filled,
            Some(&saved_form::restored_notice()),
            &Shown::default(),
        )
        .await?;
        return Ok(page.into_response());
    }
    if filled.shows_found || form.0.get("pick").is_some() {
        let page = page(&site, &user, &entry, &filled, None, &Shown::default()).await?;
        return Ok(page.into_response());
    }
    let wish = form.0.get("do");
    let must_ask = entry.preset.risk == Risk::High && filled.run.is_none();
    let is_check = wish == Some("check");
    if must_ask && !is_check && !matches!(wish, Some("preview" | "confirmed")) {
        filled.asks = true;
        let page = page(&site, &user, &entry, &filled, None, &Shown::default()).await?;
        return Ok(page.into_response());
    }
    let params = param::json(entry.preset.params.iter(), &form);
    let kind = is_check.then_some(JobKind::Check);
    let answer = if wish == Some("preview") {
        preview(&site, &user, &name, params, &filled)
            .await
            .map(|preview| Answer::Preview(Box::new(preview)))
    } else if let Some(run) = &filled.run {
        let may_queue = is_check || matches!(wish, Some("queue" | "confirmed"));
        queue_run(
            &site,
            &user,
            &name,
            params,
            (&filled, run),
            (may_queue, kind),
        )
        .await
    } else {
        queue(&site, &user, name, params, &filled, kind)
            .await
            .map(|id| Answer::Queued(format!("/jobs/{id}")))
    };
    match answer {
        Ok(Answer::Queued(address)) => Ok(Redirect::to(&address).into_response()),
        Ok(answer) => {
            let mut shown = Shown::default();
            match answer {
                Answer::Preview(preview) => shown.preview = Some(*preview),
                Answer::Matched(matched) => shown.matched = Some(matched),
                Answer::Queued(_) => {}
            }
            let page = page(&site, &user, &entry, &filled, None, &shown).await?;
            Ok(page.into_response())
        }
        Err(error) if is_for_the_form(&error) => {
            if error.code == "idempotency_key_reused" {
                filled.key = new_key();
            }
            let shown = Shown::default();
            let page = page(&site, &user, &entry, &filled, Some(&error), &shown).await?;
            Ok((error.status, page).into_response())
        }
        Err(error) => Err(error),
    }
}

enum Answer {
    /// The address of the job's or run's page.
    Queued(String),
    Preview(Box<Preview>),
    Matched(DryRun),
}

fn is_for_the_form(error: &ApiError) -> bool {
    error.status == StatusCode::BAD_REQUEST
        || ["node_not_found", "idempotency_key_reused"].contains(&error.code)
}

async fn entry(site: &Site, name: &str) -> Result<Arc<CatalogEntry>, ApiError> {
    let presets = site.jobs.presets().await?;
    let entry = presets.get(name).cloned();
    Ok(entry.ok_or_else(|| JobError::no_preset(&presets, name))?)
}

async fn preview(
    site: &Site,
    user: &User,
    preset: &str,
    params: Map<String, Value>,
    filled: &FormValues,
) -> Result<Preview, ApiError> {
    let mut faults = FieldErrors::default();
    check_timeout(timeout_of(&filled.timeout)?, &mut faults);
    ClaimTimes::check(filled.not_before(), expiry_of(&filled.expiry)?, &mut faults);
    Preview::make(site, user, preset, params, faults, &filled.node).await
}

/// Queues a run, or returns its nodes to be shown first.
async fn queue_run(
    site: &Site,
    user: &User,
    preset: &str,
    params: Map<String, Value>,
    (filled, run): (&FormValues, &RunFields),
    (may_queue, kind): (bool, Option<JobKind>),
) -> Result<Answer, ApiError> {
    let mut faults = FieldErrors::default();
    let expiry = expiry_of(&filled.expiry)?;
    let times = ClaimTimes::check(filled.not_before(), expiry, &mut faults);
    faults.into_result()?;
    let request = RunRequest {
        kind,
        ..run.request(preset, params, timeout_of(&filled.timeout)?, times)?
    };
    let key = key_for(filled, kind);
    let submitted = run.submit(site, user, request, &key, may_queue);
    Ok(match submitted.await? {
        Submitted::Queued(id) => Answer::Queued(format!("/runs/{id}")),
        Submitted::Matched(matched) => Answer::Matched(matched),
    })
}

/// The Idempotency-Key of the form's job. A check has its own, so that the same form can then queue
/// the job.
fn key_for(filled: &FormValues, kind: Option<JobKind>) -> String {
    match kind {
        Some(JobKind::Check) if !filled.key.is_empty() => format!("{}-check", filled.key),
        _ => filled.key.clone(),
    }
}

async fn queue(
    site: &Site,
    user: &User,
    preset: String,
    params: Map<String, Value>,
    filled: &FormValues,
    kind: Option<JobKind>,
) -> Result<String, ApiError> {
    if filled.node.is_empty() {
        return Err(
            ApiError::bad_request("bad_input", "Choose a node").with_field("nodeId", "is required")
        );
    }
    let timeout_seconds = timeout_of(&filled.timeout)?;
    let not_before = filled.not_before();
    let expires_in_seconds = expiry_of(&filled.expiry)?;
    let body = serde_json::json!({"preset": preset, "nodeId": filled.node, "kind": kind, "params": params, "timeoutSeconds": timeout_seconds,
        "notBefore": not_before, "expiresInSeconds": expires_in_seconds});
    let request = QueueRequest {
        preset,
        node_id: filled.node.clone(),
        params: Some(params.into()),
        kind,
        timeout_seconds,
        not_before: not_before.map(str::to_owned),
        expires_in_seconds,
    };
    let key = key_for(filled, kind);
    let idempotency = (!key.is_empty()).then_some(Idempotency { key, body });
    match site.jobs.queue(user, request, idempotency).await {
        Ok(QueueOutcome::New(job) | QueueOutcome::Existing(job)) => Ok(job.id),
        Err(JobError::NodeNotFound) => Err(ApiError::from(JobError::NodeNotFound)
            .with_field("nodeId", "doesn't exist; choose another node")),
        Err(error) => Err(error.into()),
    }
}

async fn page(
    site: &Site,
    user: &User,
    entry: &CatalogEntry,
    filled: &FormValues,
    error: Option<&ApiError>,
    shown: &Shown,
) -> Result<Markup, ApiError> {
    let preset = &entry.preset;
    let node = match &filled.run {
        Some(run) => {
            let nodes = site.jobs.all_nodes(None).await?;
            run.draw(preset, &nodes, &Faults::of(error))
        }
        None => {
            let picker = Picker::find(site, preset, &filled.node).await?;
            let fault = error.and_then(|error| error.fields.get("nodeId"));
            let shows_found = filled.shows_found || fault.is_some();
            picker.draw(preset, &filled.node, fault.map(String::as_str), shows_found)
        }
    };
    let presets = site.jobs.presets().await?;
    let secrets = secrets::names_for(site, user, entry).await?;
    let has_versions = presets.saved_version(&preset.name).is_some();
    // Everybody's, for those who may read them: what is usual does not depend on who asks.
    let scope = match site.jobs.reads_all(user) {
        true => Scope::All,
        false => Scope::Mine,
    };
    let history = history::of_preset(site, user, scope, &preset.name).await?;
    let body = html! {
        p.crumbs { a href="/presets" { "Presets" } }
        @if let Some(version) = shown.saved { p.banner role="status" { "Saved as version " (version) "." } }
        div.preset { div.head { h1 { bdi { (words::visible(&preset.title)) } } (presets::risk(preset.risk)) } }
        p.dim {
            code { (preset.name) } " · for " (presets::targets(preset))
            @if let Some(origin) = presets::origin(entry) { " · " (origin) }
        }
        (more(site, user, entry, has_versions))
        div.beside {
            div.about-preset {
                @if let Some(seconds) = preset.confirm_seconds {
                    p { strong { "To be confirmed." } " After its last step the job waits " (words::span(i64::from(seconds) * 1_000))
                        " for your confirmation. Without it, its steps are undone, even if the node has lost its network." }
                }
                @for part in preset.description.split("\n\n").filter(|part| !part.trim().is_empty()) {
                    p { (words::prose(part.trim())) }
                }
            }
            @if user.role >= Role::Operator { (form(preset, &node, filled, &secrets, error, shown.matched.as_ref())) }
            @else { p.none { "Queueing jobs requires the role OPERATOR. Yours is VIEWER." } }
        }
        (history)
        div #preview { @if let Some(preview) = &shown.preview { (preview.draw()) } }
        details { summary { "The preset's file" } pre.code.tall tabindex="0" { (words::visible(&entry.source)) } }
    };
    let page = Page::new(&preset.title, body)
        .for_user(Some(user))
        .under("/presets")
        .with_style("history.css");
    Ok(layout::draw(&page.with_module("queue.js")))
}

/// Links to the editor and to the versions.
fn more(site: &Site, user: &User, entry: &CatalogEntry, has_versions: bool) -> Markup {
    let name = &entry.preset.name;
    html! {
        @if let Some(saved) = &entry.saved {
            p.dim { "Saved " (words::moment(saved.at)) " by " bdi { (saved.by_email) } }
        }
        @if let Some(commit) = &entry.commit { p.dim { "Commit " code { (commit) } } }
        div.actions {
            @if user.role == Role::Admin && site.jobs.saves_presets() {
                a.button href=(format!("/presets/{name}/edit")) { "Edit" }
            }
            @if user.role >= Role::Operator { a.button href=(format!("/schedules/new?preset={name}")) { "Schedule this" } }
            a.button href=(drift::address_of_preset(name)) { "Drift" }
            @if has_versions { a.button href=(format!("/presets/{name}/versions")) { "Versions" } }
        }
    }
}

fn form(
    preset: &Preset,
    node: &Markup,
    filled: &FormValues,
    secrets: &[String],
    error: Option<&ApiError>,
    matched: Option<&DryRun>,
) -> Markup {
    let faults = Faults::of(error);
    let paths: Vec<String> = preset
        .params
        .iter()
        .map(|param| format!("params.{}", param.name))
        .collect();
    let more = ["timeoutSeconds", "notBefore", "expiresInSeconds"];
    let has_fault = more.iter().any(|path| faults.at(path).is_some());
    let mut shown = vec!["nodeId"];
    shown.extend(more);
    shown.extend(filled.run.iter().flat_map(|_| RunFields::FAULTS));
    shown.extend(paths.iter().map(String::as_str));
    let is_reused = error.is_some_and(|error| error.code == "idempotency_key_reused");
    let limit = format!(
        "In seconds. The preset's default is {}",
        words::span(i64::from(preset.timeout_seconds) * 1_000)
    );
    let timeout = Input {
        name: "timeout",
        label: "Time limit (optional)",
        value: &filled.timeout,
        hint: Some(&limit),
        fault: faults.at("timeoutSeconds"),
        autocomplete: "off",
        is_optional: true,
        pattern: Some("[0-9]{1,6}"),
        ..Input::default()
    };
    let not_before = Input {
        name: "not_before",
        label: "Not before (optional)",
        value: &filled.not_before,
        hint: Some("A time with its zone, such as 2026-12-01T08:00:00Z. The job waits until then"),
        fault: faults.at("notBefore"),
        autocomplete: "off",
        is_optional: true,
        ..Input::default()
    };
    let expiry = Input {
        name: "expiry",
        label: "Expires after (optional)",
        value: &filled.expiry,
        hint: Some(
            "Such as 36h or 7d. The job is cancelled if the node's agent has not started it by then",
        ),
        fault: faults.at("expiresInSeconds"),
        autocomplete: "off",
        is_optional: true,
        ..Input::default()
    };
    // With scripts the browser asks before the form is sent, and the button's value carries the
    // answer.
    let ask = (preset.risk == Risk::High)
        .then(|| format!("{} is a high-risk preset. Queue it?", preset.name));
    let sure = ask.as_ref().map(|_| "confirmed");
    let has_secret = preset
        .params
        .iter()
        .any(|param| param.kind == ParamKind::Secret);
    html! {
        form #queue .card method="post" action=(format!("/presets/{}", preset.name)) {
            div #faults {
                @if is_reused {
                    div.alert role="alert" { p { "This form has already queued a job. Select Queue again to queue another one." } }
                } @else { (faults.summary(&shown)) }
            }
            @if filled.asks {
                div.alert role="alert" {
                    p { "This is a high-risk preset, and nothing is queued yet. Check the node and the params, then queue it." }
                    @if has_secret { p { "Enter its secrets again." } }
                }
            }
            input type="hidden" name="key" value=(filled.key);
            // Enter uses the form's first button. Without this one that would be a search.
            @if filled.run.is_some() { button hidden name="do" value="match" {} }
            @else { button hidden name="do" value="queue" data-ask=[ask.as_ref()] data-sure=[sure] {} }
            (switch(preset, filled))
            (node)
            @for (((param, path), value), stored) in preset.params.iter().zip(&paths).zip(&filled.values).zip(&filled.stored) {
                @if param.kind == ParamKind::Secret { (param::draw_secret(param, stored, secrets, faults.at(path))) }
                @else { (param::draw(param, Some(value), faults.at(path))) }
            }
            details open[has_fault || filled.has_times()] {
                summary { "More" }
                (timeout.draw())
                (not_before.draw())
                (expiry.draw())
            }
            div.actions {
                @if filled.run.is_some() { button.primary name="do" value="match" { "Show the nodes" } }
                @else if filled.asks { button.danger name="do" value="confirmed" { "Queue it anyway" } }
                @else { button.primary name="do" value="queue" data-ask=[ask.as_ref()] data-sure=[sure] { "Queue" } }
                @if !filled.asks { button name="do" value="check" title="Asks each node which steps would run, and changes nothing" { "Check first" } }
                button name="do" value="preview" formnovalidate { "Show the script" }
                button name="do" value="schedule" formnovalidate formaction=(format!("/schedules/new?preset={}", preset.name)) { "Schedule this" }
            }
            @if filled.run.is_some() {
                div #matches aria-live="polite" { @if let Some(matched) = matched { (run_form::matches(preset, matched)) } }
            }
        }
    }
}

/// The switch between one node and several.
fn switch(preset: &Preset, filled: &FormValues) -> Markup {
    let one = format!("/presets/{}", preset.name);
    let current = |is_many: bool| (is_many == filled.run.is_some()).then_some("true");
    html! {
        div.switch role="group" aria-label="Where" {
            a href=(one) aria-current=[current(false)] { "One node" }
            a href=(format!("{one}?on=many")) aria-current=[current(true)] { "Several nodes" }
        }
    }
}
