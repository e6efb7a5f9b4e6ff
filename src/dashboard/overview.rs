//! `/`: whether all is well, and what needs a look: failures, running jobs, nodes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use maud::{Markup, html};

use super::first_run::FirstSteps;
use super::job_rows::JobRows;
use super::layout::{self, Page};
use super::{Site, channels, history, parts, runs, schedules, words};
use crate::auth::{Role, User, Viewer};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, Query};
use crate::jobs::{Activity, EndedWithin, JobView, RunView, Scope};
use crate::nodes::{NodeStatus, NodeView};
use crate::presets::Snapshot;
use crate::store::job::{JobFilter, JobStatus};
use crate::store::ledger::{self, LedgerFault};
use crate::store::run::{RunFilter, RunStatus};

/// Failed jobs shown.
const FAILED_MAX: u64 = 5;
/// Unfinished jobs and runs shown.
const NOW_MAX: u64 = 6;
const RUNS_MAX: u64 = 3;
/// Ended jobs shown if there is no unfinished one.
const LATEST_MAX: u64 = 3;
/// Nodes shown; the nodes page has all of them.
const NODES_MAX: usize = 60;
/// Faults of the ledger that are named.
const ALTERED_MAX: u64 = 5;
const HOUR_MS: i64 = 3_600_000;
/// The size of the strip of hours: its height, an hour's width, and that with its gap.
const TALL: u64 = 40;
const WIDE: usize = 9;
const PITCH: usize = 12;

/// What the page shows.
struct Content<'c> {
    user: &'c User,
    scope: Scope,
    activity: Activity,
    failed: JobRows<'c>,
    now: JobRows<'c>,
    /// The last jobs that ended, if none is unfinished.
    latest: JobRows<'c>,
    now_count: u64,
    runs: Vec<RunView>,
    presets: Arc<Snapshot>,
    nodes: Vec<NodeView>,
    /// Number of ONLINE nodes, and of all.
    counts: (usize, usize),
    schedules: schedules::Overview,
    /// Notifications that nobody has received.
    given_up: Markup,
    in_the_clear: bool,
    /// Where the history does not fit the ledger.
    altered: Vec<LedgerFault>,
    /// What a new server still lacks.
    first: Option<FirstSteps>,
}

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
    asked: Parts,
) -> Result<Markup, ApiError> {
    let scope = parts::list_scope_of(&site, &user, &query)?;
    let owner = history::owner(&user, scope);
    let activity = site
        .jobs
        .activity(hours(clock::now()), owner.clone(), FAILED_MAX);
    let mut activity = activity.await?;
    let failed = std::mem::take(&mut activity.failed);
    let now = now_jobs(&site, owner.clone()).await?;
    let latest = match now.is_empty() {
        true => latest_jobs(&site, owner.clone()).await?,
        false => Vec::new(),
    };
    let active = RunFilter {
        created_by: owner,
        statuses: vec![RunStatus::Running, RunStatus::Paused],
        ..RunFilter::default()
    };
    let content = Content {
        user: &user,
        scope,
        now_count: activity.running + activity.waiting,
        activity,
        failed: JobRows::read(&site, &user, scope, &failed).await?,
        now: JobRows::read(&site, &user, scope, &now).await?,
        latest: JobRows::read(&site, &user, scope, &latest).await?,
        runs: site.runs.page(active, RUNS_MAX).await?.runs,
        presets: site.jobs.presets().await?,
        nodes: nodes_by_need(&site).await?,
        counts: site.jobs.nodes.presence.count_online(),
        schedules: schedules::Overview::load(&site, clock::now().plus_millis(-24 * HOUR_MS))
            .await?,
        given_up: channels::given_up(&site, &user).await?,
        in_the_clear: user.role == Role::Admin && site.auth.is_in_the_clear(&asked),
        altered: site
            .jobs
            .store
            .read(|tx| ledger::open_faults(tx, ALTERED_MAX))
            .await?,
        first: FirstSteps::load(&site, &user).await?,
    };
    let body = body(&site, &content);
    let page = Page::new("Overview", body)
        .for_user(Some(&user))
        .with_style("lists.css");
    Ok(layout::draw(&page.under("/").live(parts::events(scope))))
}

/// The hours of the last 24, the first and the last of them cut off.
fn hours(now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let start = now.plus_millis(-24 * HOUR_MS);
    let first = start.as_millis() / HOUR_MS;
    let hour = |n: i64| Timestamp::from_millis((first + n) * HOUR_MS);
    // Until a little later, for jobs that end by another clock.
    let end = now.plus_millis(HOUR_MS);
    let last = now.as_millis() / HOUR_MS - first;
    let within = |n: i64| {
        let to = if n == last { end } else { hour(n + 1) };
        (hour(n).max(start), to)
    };
    (0..=last).map(within).collect()
}

/// The running jobs, and then those that wait.
async fn now_jobs(site: &Site, owner: Option<String>) -> Result<Vec<JobView>, ApiError> {
    let mut now = Vec::new();
    for status in [JobStatus::Running, JobStatus::Queued] {
        let left = NOW_MAX.saturating_sub(now.len() as u64);
        if left > 0 {
            let filter = JobFilter {
                created_by: owner.clone(),
                statuses: vec![status],
                ..JobFilter::default()
            };
            now.extend(site.jobs.page(filter, left).await?.jobs);
        }
    }
    Ok(now)
}

async fn latest_jobs(site: &Site, owner: Option<String>) -> Result<Vec<JobView>, ApiError> {
    let ended = JobFilter {
        created_by: owner,
        statuses: vec![
            JobStatus::Succeeded,
            JobStatus::Failed,
            JobStatus::Cancelled,
        ],
        ..JobFilter::default()
    };
    Ok(site.jobs.page(ended, LATEST_MAX).await?.jobs)
}

/// The nodes, those that need a look first: OFFLINE ones, those with a problem, paused ones, and
/// those that have never connected.
async fn nodes_by_need(site: &Site) -> Result<Vec<NodeView>, ApiError> {
    let presence = &site.jobs.nodes.presence;
    let problems = site.jobs.nodes_with_problem().await?;
    let paused = site.jobs.paused_nodes().await?;
    let need = |id: &str| match presence.status_of(id) {
        (NodeStatus::Offline, Some(_)) => 0,
        _ if problems.contains(id) => 1,
        _ if paused.contains(id) => 2,
        (NodeStatus::Offline, None) => 3,
        (NodeStatus::Online, _) => 4,
    };
    let mut found = site.jobs.search_nodes("").await?;
    found.sort_by_cached_key(|node| need(&node.id));
    let ids: Vec<String> = found
        .into_iter()
        .take(NODES_MAX)
        .map(|node| node.id)
        .collect();
    let mut nodes = site.jobs.nodes_of(ids).await?;
    nodes.sort_by_cached_key(|node| need(&node.id));
    Ok(nodes)
}

fn body(site: &Site, content: &Content<'_>) -> Markup {
    let Content { user, scope, .. } = content;
    html! {
        @if content.in_the_clear {
            p.alert {
                strong { "You reached this server over plain http. " }
                "Anyone who can read the network traffic can read passwords, tokens and output. Set HYPRBOX_TLS_CERT and "
                "HYPRBOX_TLS_KEY, or put the server behind a proxy with https and set HYPRBOX_PUBLIC_URL."
            }
        }
        @if !content.altered.is_empty() {
            div.alert role="alert" {
                p { strong { "Somebody has changed the history in the database." } }
                ul { @for fault in &content.altered { li { (words::visible(&fault.detail)) } } }
                p { "Run " code { "hyprbox audit verify --nodes" } " on the server. " code { "hyprbox audit acknowledge" } " ends the alarm." }
            }
        }
        (content.given_up)
        div.head {
            h1 { "Overview" }
            (parts::scope_switch(site, user, *scope, "/", &[]))
        }
        div #first data-region data-shows="nodes jobs" { @if let Some(first) = &content.first { (first.draw()) } }
        div #tiles data-region data-shows="jobs nodes" { (tiles(content)) }
        div.overview {
            div {
                section aria-labelledby="failed-h" {
                    div.head { h2 #failed-h { "Failed lately" } (link(content, "/jobs", &[("state", "failed")], "All failed jobs")) }
                    div #failed data-region data-shows="jobs" { (failed(content)) }
                }
                section aria-labelledby="now-h" {
                    div.head { h2 #now-h { "Now" } (link(content, "/jobs", &[], "All jobs")) }
                    div #now data-region data-shows="jobs" { (now(content)) }
                }
            }
            div {
                section aria-labelledby="nodes-h" {
                    div.head { h2 #nodes-h { "Nodes" } a href="/nodes" { "All nodes" } }
                    div #nodes data-region data-shows="nodes" { (nodes(content)) }
                }
                section aria-labelledby="day-h" {
                    div.head { h2 #day-h { "Last 24 hours" } (link(content, "/jobs", &[("time", "24h")], "Jobs of this time")) }
                    div #day data-region data-shows="jobs" { (strip(&content.activity.ended)) }
                }
                (content.schedules.draw(site, user))
            }
        }
    }
}

fn link(content: &Content<'_>, page: &str, pairs: &[(&str, &str)], words: &str) -> Markup {
    html! { a href=(parts::list_address(content.user, content.scope, page, pairs)) { (words) } }
}

/// The first line: four numbers, each a link to what it counts.
fn tiles(content: &Content<'_>) -> Markup {
    let Content {
        activity,
        user,
        scope,
        ..
    } = content;
    let jobs = |pairs: &[(&str, &str)]| parts::list_address(user, *scope, "/jobs", pairs);
    let failed: u64 = activity.ended.iter().map(|hour| hour.failed).sum();
    let (online, all) = content.counts;
    let offline = (all - online.min(all)) as u64;
    let tile = |address: String, state: &str, count: u64, of: Option<usize>, words: &str| {
        let state = (count > 0).then_some(state);
        html! { li { a href=(address) data-state=[state] {
            b { (count) @if let Some(of) = of { small { " of " (of) } } } " " span { (words) }
        } } }
    };
    html! {
        ul.tiles {
            (tile(jobs(&[("state", "running")]), "running", activity.running, None, "running"))
            (tile(jobs(&[("state", "queued")]), "queued", activity.waiting, None, "waiting"))
            (tile(jobs(&[("state", "failed"), ("time", "24h")]), "failed", failed, None, "failed in 24 h"))
            (tile("/nodes?state=offline".to_owned(), "offline", offline, Some(all), "nodes offline"))
        }
    }
}

fn failed(content: &Content<'_>) -> Markup {
    let has_ended = content
        .activity
        .ended
        .iter()
        .any(|hour| hour.succeeded + hour.failed > 0);
    html! {
        @if !content.failed.is_empty() { (content.failed.short_list()) }
        @else if has_ended { p.none { "Nothing has failed in the last 24 hours." } }
        @else { p.none { "No job has ended in the last 24 hours." } }
    }
}

fn now(content: &Content<'_>) -> Markup {
    let left = content.now_count.saturating_sub(NOW_MAX);
    html! {
        @if !content.runs.is_empty() {
            ul.runs.rows { @for run in &content.runs { (runs::short_row(run, content.user, content.scope, &content.presets)) } }
        }
        @if !content.now.is_empty() { (content.now.short_list()) }
        @else if content.runs.is_empty() {
            p.none { "Nothing running or queued." @if !content.latest.is_empty() { " The last jobs:" } }
            (content.latest.short_list())
            @if content.latest.is_empty() && content.user.role >= Role::Operator { p { a.button href="/presets" { "Choose a preset to run" } } }
        }
        @if left > 0 { p { (link(content, "/jobs", &[("state", "open")], &format!("{left} more"))) } }
    }
}

fn nodes(content: &Content<'_>) -> Markup {
    let all = content.counts.1;
    let with_need: Vec<_> = content
        .nodes
        .iter()
        .map(|node| (node, need(node)))
        .collect();
    let (calm, needy): (Vec<_>, Vec<_>) =
        with_need.into_iter().partition(|(_, need)| need.is_none());
    html! {
        @if content.nodes.is_empty() {
            p.none { "No nodes yet." }
        } @else {
            @for some in [&needy, &calm] {
                @if !some.is_empty() { ul.grid { @for (node, words) in some { (cell(node, words.as_ref())) } } }
            }
            @if all > content.nodes.len() {
                p.dim { (all - content.nodes.len()) " more. " a href="/nodes" { "All nodes" } }
            }
        }
    }
}

/// Why a node needs a look, in words.
fn need(node: &NodeView) -> Option<Markup> {
    let words = match node.status {
        NodeStatus::Offline => match node.last_seen_at {
            Some(at) => html! { "seen " (words::since(at)) },
            None => html! { "never connected" },
        },
        NodeStatus::Online if node.problem.is_some() => html! { "can't run jobs" },
        NodeStatus::Online if node.live_instances > 1 => html! { "two agents" },
        NodeStatus::Online if node.paused => html! { "paused" },
        NodeStatus::Online => return None,
    };
    Some(words)
}

/// A node in the grid, with why it needs a look.
fn cell(node: &NodeView, need: Option<&Markup>) -> Markup {
    let (state, spoken) = match node.status {
        NodeStatus::Offline => ("offline", "offline"),
        NodeStatus::Online if node.problem.is_some() || node.live_instances > 1 => {
            ("failed", "problem")
        }
        NodeStatus::Online if node.paused => ("paused", "paused"),
        NodeStatus::Online if node.running_job_id.is_some() => ("running", "running a job"),
        NodeStatus::Online => ("online", "online"),
    };
    html! {
        li data-state=(state) data-needs=[need.map(|_| "look")] {
            a href=(format!("/nodes/{}", node.id)) title=(node.id) {
                span.state data-state=(state) { span.unseen { (spoken) " " } }
                span.name { (node.id) }
            }
            @if let Some(need) = need { span.dim { (need) } }
        }
    }
}

/// A bar for each hour: the jobs that ended in it, by outcome.
fn strip(hours: &[EndedWithin]) -> Markup {
    let all = |hour: &EndedWithin| hour.succeeded + hour.failed + hour.cancelled;
    let most = hours.iter().map(all).max().unwrap_or(0).max(1);
    let sum = |of: fn(&EndedWithin) -> u64| hours.iter().map(of).sum::<u64>();
    let (succeeded, failed, cancelled) = (
        sum(|hour| hour.succeeded),
        sum(|hour| hour.failed),
        sum(|hour| hour.cancelled),
    );
    let words = format!(
        "{} ended: {succeeded} succeeded, {failed} failed, {cancelled} cancelled",
        words::count(succeeded + failed + cancelled, "job", "jobs")
    );
    html! {
        svg.day viewBox=(format!("0 0 {} {TALL}", (hours.len() * PITCH).saturating_sub(PITCH - WIDE))) preserveAspectRatio="none" role="img"
            aria-label=(format!("Jobs by hour, last 24 hours. {words}")) {
            @for (index, hour) in hours.iter().enumerate() { (hour_bar(index, hour, most)) }
        }
        div.ends aria-hidden="true" { span { "24 h ago" } span { (words) } span { "now" } }
    }
}

fn hour_bar(index: usize, hour: &EndedWithin, most: u64) -> Markup {
    // Few of many are seen, too.
    let tall = |count: u64| match count {
        0 => 0,
        count => (count * (TALL - 6) / most).max(2),
    };
    let parts = [
        ("cancelled", tall(hour.cancelled)),
        ("succeeded", tall(hour.succeeded)),
        ("failed", tall(hour.failed)),
    ];
    let mut top = TALL;
    // From the bottom up.
    let bars = parts.map(|(name, height)| {
        top = top.saturating_sub(height);
        (name, top, height)
    });
    let x = index * PITCH;
    let title = format!(
        "{} to {}: {} succeeded, {} failed, {} cancelled",
        words::plain_time(hour.from),
        words::plain_time(hour.to),
        hour.succeeded,
        hour.failed,
        hour.cancelled
    );
    html! {
        g {
            title { (title) }
            rect.none x=(x) y=(TALL - 1) width=(WIDE) height="1" {}
            @for (name, top, height) in bars {
                @if height > 0 {
                    rect data-state=(name) x=(x) y=(top) width=(WIDE) height=(height) {}
                }
            }
        }
    }
}

/// A node's running and queued jobs in words.
pub(super) fn load(node: &NodeView) -> Markup {
    html! {
        @match (&node.running_job_id, node.queued_jobs) {
            (None, 0) => { "Idle" }
            (Some(_), 0) => { "Running a job" }
            (None, waiting) => { (words::count(waiting, "job queued", "jobs queued")) }
            (Some(_), waiting) => { "Running a job, " (waiting) " queued" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_cover_a_day_without_a_gap() {
        for minutes in [0, 1, 59] {
            let now = Timestamp::from_millis(1_000 * HOUR_MS + minutes * 60_000);
            let found = hours(now);
            assert_eq!(found[0].0, now.plus_millis(-24 * HOUR_MS));
            assert!(found.windows(2).all(|two| two[0].1 == two[1].0));
            let last = found.last().expect("an hour");
            assert!(last.0 <= now && now < last.1, "{minutes}");
            assert_eq!(found.len(), 25);
        }
    }
}
