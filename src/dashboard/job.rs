//! `/jobs/{id}`: one job with its live output.

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};
use serde_json::Value;

use super::job_content::{Content, gather};
use super::layout::{self, Page};
use super::{Site, job_head, job_steps, job_words, parts, plain, words, would_change};
use crate::auth::{Operator, Role, ServerAddress, Viewer};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{JobError, JobView, Scope, SignedBy, find_visible};
use crate::presets::ONE_OFF;
use crate::store::job::{JobKind, JobStatus};

/// How often the page of a running job reloads without JavaScript, in seconds.
const RELOAD_SECONDS: u32 = 3;

/// The page; `?view=plain` is for browsers without JavaScript.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
    server: ServerAddress,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&site, &user, &query)?;
    let job = find_visible(&site.jobs, &user, scope, id, "job.look").await?;
    let is_plain = query.get("view") == Some("plain");
    let output = match is_plain {
        true => {
            let end = site.jobs.output_end(job.id.clone(), plain::READ).await?;
            Some(end.bytes())
        }
        false => None,
    };
    let shown = gather(&site, user, scope, job, is_plain).await?;
    let api = format!("/api/jobs/{}", shown.job.id);
    let section = match &output {
        Some(output) => plain_output(output, shown.job.status.is_terminal()),
        None => live_output(&shown.job.id, &api, scope),
    };
    let is_over = shown.job.status.is_terminal();
    let (mark, icon) = parts::tab(&shown.job);
    let title = format!(
        "{mark} {} on {}",
        words::preset(&shown.job.preset),
        shown.job.node_id
    );
    let would_change = match shown.job.kind {
        JobKind::Check => {
            let (job, nodes) = (&shown.job, vec![shown.job.node_id.clone()]);
            let what = (job.preset.as_str(), &job.params);
            would_change::draw(&site, &shown.user, scope, what, nodes).await?
        }
        JobKind::Apply => html! {},
    };
    let body = html! {
        (body(&server, &shown, &api, &section))
        (would_change)
    };
    let page = Page::new(&title, body)
        .with_style("log.css")
        .with_style("history.css")
        .with_icon(&icon)
        .for_user(Some(&shown.user))
        .under("/jobs");
    Ok(layout::draw(&match is_plain {
        true if is_over => page,
        true => page.refreshed_every(RELOAD_SECONDS),
        false => page
            .with_module("job.js")
            .with_early_stream(parts::events(scope), &shown.job.id)
            .without_script(plain_address(&shown.job.id, scope)),
    }))
}

/// Cancels the job.
pub(super) async fn cancel(
    State(site): State<Site>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<Redirect, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let back = parts::job_address(&id, scope);
    match site.jobs.cancel(&user, id, scope == Scope::All).await {
        // The job ended before the click: its page shows how.
        Ok(_) | Err(JobError::WrongState(_)) => Ok(Redirect::to(&back)),
        Err(error) => Err(error.into()),
    }
}

/// Confirms the waiting job.
pub(super) async fn confirm(
    State(site): State<Site>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<Redirect, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let back = parts::job_address(&id, scope);
    match site.jobs.confirm(&user, id, scope == Scope::All).await {
        // The job ended before the click: its page shows how.
        Ok(_) | Err(JobError::NotWaiting) => Ok(Redirect::to(&back)),
        Err(error) => Err(error.into()),
    }
}

fn plain_address(id: &str, scope: Scope) -> String {
    match scope {
        Scope::All => format!("/jobs/{id}?view=plain&scope=all"),
        Scope::Mine => format!("/jobs/{id}?view=plain"),
    }
}

fn body(server: &ServerAddress, shown: &Content, api: &str, output: &Markup) -> Markup {
    let Content { job, scope, .. } = shown;
    html! {
        p.crumbs { a href=(format!("/jobs{}", parts::scope_query(*scope))) { "Jobs" } }
        div.head {
            h1 { bdi { (words::visible(&shown.title)) } span.dim { " on " } a href=(format!("/nodes/{}", job.node_id)) { (job.node_id) } }
            div.actions { (actions(shown)) }
        }
        div.bar { (job_head::draw(shown)) }
        div #job-why .banner data-region {
            (job_words::draw(shown, shown.node.as_ref(), !shown.is_plain))
            @if shown.still_running {
                p {
                    "The script is still running on " (job.node_id) ", although the job has ended here. "
                    @if job.cancel_requested_at.is_some() { "A cancel request is on its way to the agent." }
                    @else { "Select Cancel to stop it." }
                }
            }
        }
        div.job {
            div.side {
                (job_steps::draw(shown))
                div #job-history data-region { (shown.history) }
                details.about {
                    summary { "Details" }
                    div #job-facts data-region { (facts(shown)) }
                    (params(&job.params))
                    details {
                        summary { "Script" }
                        p.dim { "The exact script that was frozen when the job was queued. SHA-256 " code { (job.script_sha256) } }
                        pre.code.tall tabindex="0" { (words::visible(&shown.script)) }
                    }
                    @if !shown.verify_commands.is_empty() { details {
                        summary { "Signatures" }
                        @for (identity, command) in &shown.verify_commands {
                            p.dim { (signed_by(identity, job)) }
                            (parts::copyable(command, "the command"))
                        }
                    } }
                    @if job.preset != ONE_OFF {
                        details {
                            summary { "As a curl command" }
                            (parts::copyable(&curl(&server.url, job), "the command"))
                            @if server.is_local { p.dim { "The address works only on the server's own machine." } }
                        }
                    }
                }
            }
            section.output aria-labelledby="output-h" {
                div.head {
                    h2 #output-h { "Output" }
                    (downloads(api, job, *scope))
                }
                (output)
            }
        }
    }
}

fn actions(shown: &Content) -> Markup {
    let Content {
        job, scope, user, ..
    } = shown;
    let query = parts::scope_query(*scope);
    let (form, least) = if job.preset == ONE_OFF {
        ("/exec".to_owned(), Role::Admin)
    } else {
        (format!("/presets/{}", job.preset), Role::Operator)
    };
    let again = format!("{form}?from={}{}", job.id, query.replace('?', "&"));
    html! {
        @if user.role >= least { a.button href=(again) { "Run again" } }
        (shown.other_runs.draw(job, *scope))
    }
}

fn facts(shown: &Content) -> Markup {
    let job = &shown.job;
    let waited_until = job.started_at.or(job.finished_at);
    html! {
        dl.facts {
            div { dt { "Queued" } dd { (words::moment(job.created_at)) } }
            div { dt { "By" } dd { bdi { (job.created_by_email) } } }
            @if let Some(at) = job.not_before { div { dt { "Not before" } dd { (words::moment(at)) } } }
            @if let Some(at) = job.expires_at { div { dt { "Expires" } dd { (words::moment(at)) } } }
            div { dt { "Waited" } dd {
                @match waited_until {
                    Some(end) => { (words::span(end.millis_since(job.created_at))) }
                    None => { (words::running_since(job.created_at)) }
                }
            } }
            @if job.started_at.is_some() { div { dt { "Ran" } dd { (parts::took(job)) } } }
            @if !job.status.is_terminal() { div { dt { "Time limit" } dd { (limit(job)) } } }
            @if let (JobStatus::Running, Some(at)) = (job.status, shown.last_output) {
                div { dt { "Last output" } dd #last-output { (words::since(at)) } }
            }
            @if let (JobStatus::Running, Some(pid)) = (job.status, shown.pid) { div { dt { "Process" } dd { (pid) } } }
            @if let Some(code) = job.exit_code { div { dt { "Exit code" } dd { (code) } } }
            @if let Some(signal) = &job.signal { div { dt { "Signal" } dd { (words::visible(signal)) } } }
            div { dt { "Output" } dd { (output_size(job)) } }
            @if let Some(run) = &job.run_id {
                div { dt { "Run" } dd {
                    a href=(super::runs::address(run, shown.scope)) { "batch " (job.batch.unwrap_or(0)) }
                } }
            }
            @if let Some(version) = job.preset_version {
                div { dt { "Preset" } dd { a href=(format!("/presets/{}/versions/{version}", job.preset)) { "version " (version) } } }
            }
            @if let Some(commit) = &job.preset_commit { div { dt { "Commit" } dd { code { (commit) } } } }
            div { dt { "Job" } dd {
                code { (job.id) }
                button.quiet.copy type="button" data-copy aria-label="Copy the job's id" { "Copy" }
            } }
        }
    }
}

/// Who made a signature, above the command that verifies it.
fn signed_by(identity: &str, job: &JobView) -> Markup {
    let person = job.signed_by.as_ref();
    html! {
        @match identity {
            "server" => { "The server has signed this job. To verify it in bash:" }
            "person" => { "By a person" (by(person)) ":" }
            _ => { "By a person, in advance for the schedule" (by(person)) ":" }
        }
    }
}

fn by(person: Option<&SignedBy>) -> Markup {
    html! { @if let Some(person) = person { ", " bdi { (words::visible(&person.comment)) } " " code { (person.fingerprint) } } }
}

fn limit(job: &JobView) -> String {
    words::span(
        i64::try_from(job.timeout_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000),
    )
}

fn output_size(job: &JobView) -> Markup {
    let dropped = job.stdout_dropped + job.stderr_dropped;
    let all = words::bytes(job.stdout_bytes + job.stderr_bytes);
    html! {
        @match (job.proof_in_words(), job.output_verified) {
            (Some(words), Some(false)) => { strong.error role="alert" { (words) } }
            (Some(words), Some(true) | None) => { (words) }
            (None, _) if dropped == 0 => { (all) }
            (None, _) => { (all) ", of which " (words::bytes(dropped)) " are not kept" }
        }
    }
}

/// The params that were used.
pub(super) fn params(params: &Value) -> Markup {
    let given = params.as_object();
    html! {
        @if let Some(given) = given.filter(|given| !given.is_empty()) {
            details {
                summary { "Params " span.dim { (given.len()) } }
                dl.facts.params { @for (name, value) in given {
                    div { dt { code { (name) } } dd { (parts::param_value(value)) } }
                } }
            }
        }
    }
}

fn downloads(api: &str, job: &JobView, scope: Scope) -> Markup {
    let scope = if scope == Scope::All {
        "&scope=all"
    } else {
        ""
    };
    let link = |query: &str, end: &str, words: &str| {
        let file = format!("job-{}-{end}", job.id);
        html! { li { a href=(format!("{api}/log?{query}{scope}")) download=(file) { (words) } } }
    };
    html! {
        details.menu {
            summary.button { "Download" }
            ul {
                (link("stream=both", "both.log", "All output"))
                (link("stream=stdout", "stdout.log", "Only stdout"))
                (link("stream=stderr", "stderr.log", "Only stderr"))
                (link("times=true", "times.log", "All output with timestamps"))
                (link("format=gzip", "both.log.gz", "All output as .gz"))
                li { a href=(format!("{api}/export?format=html{scope}")) download=(format!("job-{}.html", job.id)) {
                    "Everything about this job, as one HTML file"
                } }
            }
        }
    }
}

/// The element in which `job.js` builds the log.
fn live_output(id: &str, api: &str, scope: Scope) -> Markup {
    let stream = format!("{api}/stream{}", parts::scope_query(scope));
    html! {
        div #log .log data-job=(id) data-stream=(stream) data-events=(parts::events(scope)) { noscript { p { "Loading the page for browsers without JavaScript…" } } }
    }
}

fn plain_output(output: &[u8], is_over: bool) -> Markup {
    let (text, is_cut) = plain::text(output);
    html! {
        p.dim { "This is the page for browsers without JavaScript. It shows the end of the output" @if !is_over { " and reloads every few seconds" } "." }
        @if is_cut { p.dim { "The output is longer than what is shown here. Download it to see all of it." } }
        @if text.is_empty() { p.none { "No output yet." } } @else { pre.code tabindex="0" { (words::visible(&text)) } }
    }
}

/// A command that queues the same job.
fn curl(server_url: &str, job: &JobView) -> String {
    let body =
        serde_json::json!({"preset": job.preset, "nodeId": job.node_id, "params": job.params});
    let quoted = body.to_string().replace('\'', r"'\''");
    format!(
        "curl -sS -H \"Authorization: Bearer $HYPRBOX_TOKEN\" -H 'Content-Type: application/json' \\\n  -d '{quoted}' \\\n  {server_url}/api/jobs"
    )
}
