//! `/schedules/{id}`: what a schedule does, its next due times, and what became of the last ones.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hyprbox_signing::millis_of_rfc3339;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::{list, slots, when};
use crate::auth::{Operator, Role, User, Viewer};
use crate::clock::{self, Timestamp};
use crate::dashboard::layout::{self, Page};
use crate::dashboard::{Site, form, history, job, parts, runs, words};
use crate::http::{ApiError, Path, Query};
use crate::jobs::Scope;
use crate::schedules::{
    Missed, Overlap, ScheduleChange, ScheduleView, StandingView, upcoming_times,
};
use crate::store::past_slot::PastSlot;
use crate::store::run::RunFilter;

/// Runs shown.
const RUNS: u64 = 5;

/// The page; with `?before=` it continues the list of due times.
pub(in crate::dashboard) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let before = query.parse("before", 0..=i64::MAX, "a time in milliseconds")?;
    let before = before.map(Timestamp::from_millis);
    page(&site, &user, id, before, None).await
}

/// Runs, pauses, resumes or deletes the schedule.
pub(in crate::dashboard) async fn act(
    State(site): State<Site>,
    Operator(user): Operator,
    Path((id, action)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let schedules = &site.schedules;
    let done = match action.as_str() {
        "run" => schedules
            .run_now(&user, id.clone())
            .await
            .map(|run| runs::address(&run.id, Scope::Mine)),
        "pause" | "resume" => {
            let pause = action == "pause";
            let Value::Object(body) = json!({ "paused": pause }) else {
                return Err(ApiError::not_found("not_found", "Page not found"));
            };
            let changed = schedules.change(&user, id.clone(), change(&body)?, body);
            changed.await.map(|_| format!("/schedules/{id}"))
        }
        "delete" => {
            let deleted = schedules.delete(&user, id.clone()).await;
            deleted.map(|()| "/schedules".to_owned())
        }
        _ => return Err(ApiError::not_found("not_found", "Page not found")),
    };
    match done.map_err(ApiError::from) {
        Ok(address) => Ok(Redirect::to(&address).into_response()),
        // Such as a preset that can't be rendered any more.
        Err(error) if matches!(error.status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT) => {
            let page = page(&site, &user, id, None, Some(&error)).await?;
            Ok((error.status, page).into_response())
        }
        Err(error) => Err(error),
    }
}

fn change(body: &Map<String, Value>) -> Result<ScheduleChange, ApiError> {
    serde_json::from_value(Value::Object(body.clone())).map_err(ApiError::internal)
}

async fn page(
    site: &Site,
    user: &User,
    id: String,
    before: Option<Timestamp>,
    error: Option<&ApiError>,
) -> Result<Markup, ApiError> {
    let schedule = site.schedules.one(id.clone()).await?;
    // One more shows whether there are older ones.
    let mut past = site
        .schedules
        .past_slots(id, before, slots::STRIP + 1)
        .await?;
    let has_older = past.len() as u64 > slots::STRIP;
    past.truncate(slots::STRIP as usize);
    let scope = list::scope(site, user);
    let filter = RunFilter {
        created_by: history::owner(user, scope),
        schedule_id: Some(schedule.id.clone()),
        ..RunFilter::default()
    };
    let made = site.runs.page(filter, RUNS).await?.runs;
    let presets = site.jobs.presets().await?;
    let times = upcoming_times(&schedule.cron, &schedule.time_zone).unwrap_or_default();
    let all_runs = parts::list_address(user, scope, "/runs", &[("schedule", &schedule.id)]);
    let body = html! {
        p.crumbs { a href="/schedules" { "Schedules" } }
        div.head {
            h1 { bdi { (words::visible(&schedule.name)) } }
            (actions(&schedule, user))
        }
        @if let Some(error) = error { (refusal(error)) }
        (banner(&schedule))
        (facts(&schedule, presets.get(&schedule.preset).is_some()))
        (job::params(&schedule.params))
        @if !schedule.paused && !times.is_empty() {
            section aria-labelledby="next-h" {
                h2 #next-h { "Next due times" }
                (when::table(&times, &schedule.time_zone))
            }
        }
        section.history aria-labelledby="slots-h" {
            h2 #slots-h { "Due times so far" }
            div #slots data-region data-shows="jobs" { (past_slots(site, user, &schedule, &past, has_older, before.is_some())) }
        }
        section aria-labelledby="runs-h" {
            div.head { h2 #runs-h { "Runs" } a href=(all_runs) { "All runs" } }
            div #runs data-region data-shows="jobs" {
                @if made.is_empty() { p.none { "No run yet." } }
                @else { ul.runs.rows { @for run in &made { (runs::short_row(run, user, scope, &presets)) } } }
            }
        }
    };
    let drawn = Page::new(&schedule.name, body)
        .for_user(Some(user))
        .under("/schedules")
        .with_style("lists.css")
        .with_style("history.css")
        .with_style("schedules.css");
    Ok(layout::draw(&drawn.live(parts::events(scope))))
}

fn refusal(error: &ApiError) -> Markup {
    html! {
        div.alert role="alert" {
            p { (error.message.trim_end_matches('.')) "." }
            @if error.fields.len() > 1 {
                ul { @for (field, fault) in &error.fields { li { (field) " " (fault) "." } } }
            }
        }
    }
}

fn actions(schedule: &ScheduleView, user: &User) -> Markup {
    let is_own = schedule.created_by == user.id;
    let may_change = user.role == Role::Admin || (is_own && user.role >= Role::Operator);
    // The server has paused it because its maker may not queue: whoever resumes it is its maker.
    let can_take = schedule.paused_because.is_some() && user.role >= Role::Operator;
    let action = |name: &str| format!("/schedules/{}/{name}", schedule.id);
    let ask = format!(
        "Delete {}? Its list of due times is deleted as well. Its runs are kept.",
        schedule.name
    );
    let resume = if can_take && !is_own {
        "Resume as yours"
    } else {
        "Resume"
    };
    html! {
        div.actions {
            @if may_change { (form::button(&action("run"), "", "Run now", None)) }
            @if schedule.paused && (may_change || can_take) { (form::button(&action("resume"), "primary", resume, None)) }
            @if may_change {
                @if !schedule.paused { (form::button(&action("pause"), "", "Pause", None)) }
                a.button href=(action("edit")) { "Edit" }
                (form::button(&action("delete"), "danger", "Delete", Some(&ask)))
            }
        }
    }
}

fn banner(schedule: &ScheduleView) -> Markup {
    html! {
        div.banner {
            @if schedule.paused {
                span.state data-state="paused" { "Paused" } " " (list::paused_words(schedule))
            } @else { "Next: " (when::next(schedule)) }
        }
    }
}

fn facts(schedule: &ScheduleView, has_preset: bool) -> Markup {
    let overlap = match schedule.overlap {
        Overlap::Skip => "skip the due time",
        Overlap::Queue => "queue one run behind it",
        Overlap::Cancel => "cancel it",
    };
    let missed = match schedule.missed {
        Missed::Once => "run once",
        Missed::Skip => "wait for the next due time",
    };
    let plan = &schedule.plan;
    let seconds = |seconds: u64| words::span(i64::try_from(seconds * 1_000).unwrap_or(i64::MAX));
    let span = |seconds: i64| words::span(seconds.saturating_mul(1_000));
    html! {
        dl.facts {
            div { dt { "Preset" } dd {
                @if has_preset { a href=(format!("/presets/{}", schedule.preset)) { bdi { (schedule.preset) } } }
                @else { bdi { (schedule.preset) } " (no longer exists)" }
            } }
            div { dt { "Where" } dd { (nodes(schedule)) } }
            div { dt { "When" } dd { code { (schedule.cron) } ", " (schedule.time_zone) } }
            div { dt { "If the last run has not ended" } dd { (overlap) } }
            div { dt { "After the server was down" } dd { (missed) } }
            @if plan.canary > 0 { div { dt { "Canary" } dd { (words::count(plan.canary, "node", "nodes")) } } }
            div { dt { "Batch" } dd { (plan.batch.words()) } }
            @if plan.pause_seconds > 0 { div { dt { "Pause" } dd { (seconds(plan.pause_seconds)) } } }
            div { dt { "Failures allowed" } dd { (plan.max_failures) } }
            @if let Some(limit) = schedule.timeout_seconds { div { dt { "Time limit" } dd { (span(limit)) } } }
            @if let Some(expiry) = schedule.expires_in_seconds { div { dt { "Expires after" } dd { (span(expiry)) } } }
            @if let Some(url) = &schedule.ping_url { div { dt { "Ping address" } dd { code { (words::visible(url)) } } } }
            @if let Some(standing) = &schedule.standing { div { dt { "Signed" } dd { (signed(standing)) } } }
            div { dt { "Runs with the rights of" } dd { bdi { (schedule.created_by_email) } } }
            div { dt { "Made" } dd { (words::moment(schedule.created_at)) } }
        }
    }
}

/// What a person has signed in advance: who, until when, and for what.
fn signed(standing: &StandingView) -> Markup {
    let now = clock::now().as_millis();
    let from = millis_of_rfc3339(&standing.from).map(Timestamp::from_millis);
    let until = millis_of_rfc3339(&standing.until).map(Timestamp::from_millis);
    let has_ended = until.is_none_or(|until| until.as_millis() <= now);
    let begins = from.filter(|from| from.as_millis() > now);
    let count = standing.nodes.len() as u64;
    html! {
        "by "
        @if standing.signed_by.comment.is_empty() { code { (standing.signed_by.fingerprint) } }
        @else { bdi { (words::visible(&standing.signed_by.comment)) } }
        @match (begins, until) {
            (Some(from), Some(until)) => { ", from " (words::moment(from)) " until " (words::moment(until)) }
            (None, Some(until)) if has_ended => { ". It ended on " (words::moment(until)) ": jobs wait for a signature on nodes that require one" }
            (_, Some(until)) => { ", until " (words::moment(until)) }
            (_, None) => {}
        }
        details {
            summary { "What was signed" }
            p { "At most " (words::count(standing.max_per_day, "job", "jobs")) " a day (UTC) on each of " (words::count(count, "node", "nodes")) ": " (standing.nodes.join(", ")) "." }
            p { "Key: " code { (standing.signed_by.fingerprint) } }
            p { "SHA-256 of the script: " code { (standing.script_sha256) } }
            p { "If the preset renders to another script, the job waits for a signature." }
        }
    }
}

fn nodes(schedule: &ScheduleView) -> Markup {
    html! {
        @match schedule.nodes.as_deref() {
            Some(nodes) if nodes.len() <= 8 => {
                @for (index, node) in nodes.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href=(format!("/nodes/{node}")) { (node) }
                }
            }
            Some(nodes) => { details { summary { (words::count(nodes.len() as u64, "node", "nodes")) } (nodes.join(", ")) } }
            None => { (list::place(schedule)) }
        }
    }
}

fn past_slots(
    site: &Site,
    user: &User,
    schedule: &ScheduleView,
    past: &[PastSlot],
    has_older: bool,
    is_continued: bool,
) -> Markup {
    let zone = &schedule.time_zone;
    let here = format!("/schedules/{}", schedule.id);
    let last = past.last().map(|slot| slot.slot.due_at.as_millis());
    html! {
        @if past.is_empty() { p.none { @if is_continued { "No older due times are kept." } @else { "It has not been due yet." } } }
        @else {
            (slots::strip(site, user, past, zone))
            (slots::table(site, user, past, zone))
        }
        @if has_older || is_continued {
            nav.pager aria-label="Due times" {
                @if is_continued { a.button href=(here) { "Newest" } }
                @if let (Some(last), true) = (last, has_older) { a.button rel="next" href=(format!("{here}?before={last}")) { "Older" } }
            }
        }
    }
}
