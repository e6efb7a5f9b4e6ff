//! `/jobs/{id}/compare`: compares a job with the previous run (or `?with=`): state, steps, output,
//! params and script, side by side.

use axum::extract::State;
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{self, Page};
use super::side_by_side::SideBySide;
use super::{Site, job_runs, parts, plain, step_times, words};
use crate::auth::{User, Viewer};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{JobView, Scope, Step, find_visible};
use crate::store::job::JobFilter;

/// The column headings of the two jobs.
const NAMES: (&str, &str) = ("Previous", "This run");
/// Bytes of output that are compared per job: the size of the tail that is kept by default.
const COMPARED_BYTES: u64 = 4 * 1024 * 1024;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&site, &user, &query)?;
    let new = JobView::from(find_visible(&site.jobs, &user, scope, id, "job.look").await?);
    let old = match query.get("with") {
        Some(id) => Some(
            find_visible(&site.jobs, &user, scope, id.to_owned(), "job.look")
                .await?
                .into(),
        ),
        None => {
            let before = Some(new.id.clone());
            last_run(&site, &user, scope, (&new.node_id, &new.preset), before).await?
        }
    };
    let compared = match &old {
        Some(old) => sections(&site, scope, old, &new).await?,
        None => html! { p.none { "No earlier job of this preset on this node." } },
    };
    let body = html! {
        p.crumbs { a href=(parts::job_address(&new.id, scope)) { (words::preset(&new.preset)) " on " (new.node_id) } }
        div.head {
            h1 { "Compared with " @match (&old, query.get("with")) {
                (Some(old), Some(_)) => { "the run on " (old.node_id) }
                _ => { "the previous run" }
            } }
            div.actions { (job_runs::find(&site, &user, scope, &new).await?.draw(&new, scope)) }
        }
        (compared)
    };
    let page = Page::new("Compare", body)
        .with_style("log.css")
        .for_user(Some(&user))
        .under("/jobs");
    Ok(layout::draw(&page))
}

/// The last job of a preset on a node; with `before`, the last one before that job.
pub(super) async fn last_run(
    site: &Site,
    user: &User,
    scope: Scope,
    (node, preset): (&str, &str),
    before: Option<String>,
) -> Result<Option<JobView>, ApiError> {
    let filter = JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        node_id: Some(node.to_owned()),
        preset: Some(preset.to_owned()),
        before,
        ..JobFilter::default()
    };
    Ok(site.jobs.page(filter, 1).await?.jobs.pop())
}

async fn sections(
    site: &Site,
    scope: Scope,
    old: &JobView,
    new: &JobView,
) -> Result<Markup, ApiError> {
    // Held until everything is drawn. The outputs and scripts are read and compared in sequence, so
    // that they are not all in memory at the same time.
    let _turn = site.jobs.turn_to_compare().await?;
    let (old_output, new_output) = (read_output(site, old).await?, read_output(site, new).await?);
    let steps = (old_output.steps, new_output.steps);
    let (links_old, links_new) = (
        parts::job_address(&old.id, scope),
        parts::job_address(&new.id, scope),
    );
    let texts = (old_output.text, new_output.text);
    let cut = (old_output.is_cut, new_output.is_cut);
    let output = off_thread(move || {
        let logs = SideBySide::of_ends(texts.0, texts.1);
        output((&links_old, cut.0), (&links_new, cut.1), &logs)
    });
    let output = output.await?;
    let scripts = (
        site.jobs.script(old.id.clone()).await?,
        site.jobs.script(new.id.clone()).await?,
    );
    let script = off_thread(move || {
        let scripts = SideBySide::of(scripts.0, scripts.1);
        html! { @if scripts.is_same() { p.none { "The same." } } @else { (scripts.draw(NAMES)) } }
    });
    let script = script.await?;
    Ok(html! {
        (jobs_table(scope, old, new))
        // First what people have chosen.
        section { h2 { "Params" } (params(&old.params, &new.params)) }
        (step_times::draw(&steps.0, &steps.1, NAMES))
        section { h2 { "Output" } (output) }
        section { h2 { "Script" } (script) }
    })
}

/// The end of a job's output, as it is compared.
struct Output {
    text: String,
    steps: Vec<Step>,
    is_cut: bool,
}

async fn read_output(site: &Site, job: &JobView) -> Result<Output, ApiError> {
    let stored = site.jobs.steps(job.id.clone()).await?;
    let end = site.jobs.output_end(job.id.clone(), COMPARED_BYTES).await?;
    let job = job.clone();
    off_thread(move || {
        let steps = match stored.is_empty() {
            true => end.steps(&job),
            false => stored,
        };
        let (is_cut, bytes) = (end.is_cut(), end.into_bytes());
        Output {
            text: plain::whole(&bytes),
            steps,
            is_cut,
        }
    })
    .await
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(ApiError::internal)
}

/// Draws the comparison. For each job: its address, and whether the beginning of its output is
/// missing.
fn output(old: (&str, bool), new: (&str, bool), logs: &SideBySide) -> Markup {
    let old = (old.0, old.1 || logs.is_cut_before.0);
    let new = (new.0, new.1 || logs.is_cut_before.1);
    // If it is missing, line numbers differ from those on the job's page.
    let link = |(address, is_cut): (&str, bool), line: usize| {
        html! { @if is_cut { (line) } @else { a href=(format!("{address}#L{line}")) { (line) } } }
    };
    html! {
        @match logs.first() {
            None if logs.is_same() => { p.none { "The same." } }
            None => { p.none { "The compared part is the same. The rest is too long to compare." } }
            Some((before, now)) => {
                p { "First difference: line " (link(old, before)) " of the previous run, line " (link(new, now)) " of this run." }
                @if old.1 || new.1 {
                    p.dim { "The beginning of the output is not compared. Line numbers start where the comparison starts." }
                }
                (logs.draw(NAMES))
            }
        }
    }
}

fn jobs_table(scope: Scope, old: &JobView, new: &JobView) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Run" } th scope="col" { "State" } th scope="col" { "Queued" } th scope="col" { "Took" } th scope="col" { "Exit code" } } }
            tbody { @for (name, job) in [(NAMES.0, old), (NAMES.1, new)] {
                tr {
                    td.main { a href=(parts::job_address(&job.id, scope)) { (name) } }
                    td { (parts::job_state(job)) }
                    td data-label="Queued" { (words::moment(job.created_at)) }
                    td data-label="Took" { (parts::took(job)) }
                    td data-label="Exit code" { @match job.exit_code { Some(code) => { (code) } None => { "–" } } }
                }
            } }
        }
    }
}

/// The params that differ, side by side.
pub(super) fn params(old: &Value, new: &Value) -> Markup {
    let empty = serde_json::Map::new();
    let (old, new) = (
        old.as_object().unwrap_or(&empty),
        new.as_object().unwrap_or(&empty),
    );
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed: Vec<_> = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .collect();
    html! {
        @if changed.is_empty() { p.none { "The same." } }
        @else {
            table {
                thead { tr { th scope="col" { "Param" } th scope="col" { "Before" } th scope="col" { "Now" } } }
                tbody { @for name in changed {
                    tr { td.main { code { (name) } } td data-label="Before" { (or_none(old.get(name))) } td data-label="Now" { (or_none(new.get(name))) } }
                } }
            }
        }
    }
}

fn or_none(value: Option<&Value>) -> Markup {
    html! { @match value { Some(value) => { (parts::param_value(value)) } None => { span.dim { "not given" } } } }
}

/// A unified diff of two scripts.
pub(super) fn script(diff: &str) -> Markup {
    // The first two lines name the files; the table's heading already does.
    let lines = diff.lines().skip(2);
    html! {
        @if diff.is_empty() { p.none { "The scripts are identical." } }
        @else {
            pre.code.tall.diff tabindex="0" { @for line in lines {
                @match line.as_bytes().first() {
                    Some(b'+') => { ins { (words::visible(line)) } "\n" }
                    Some(b'-') => { del { (words::visible(line)) } "\n" }
                    Some(b'@') => { span.hunk { (line) } "\n" }
                    _ => { (words::visible(line)) "\n" }
                }
            } }
        }
    }
}
