//! `hyprbox plan`: asks nodes which steps of a preset would run, and changes nothing.

use std::fmt::Write as _;
use std::time::Duration;

use hyprbox_protocol::{CheckState, parse_step_line};
use serde_json::{Map, Value, json};

use super::answers::RunAnswer;
use super::args::{Check, Plan, Watch};
use super::client::{Client, segment};
use super::error::{CliError, exit};
use super::params::{self, Secrets};
use super::queue::fetch_preset;
use super::runs::{self, RunRequest, Target};
use super::safe;
use super::screen::{Screen, print_note};
use super::short_id::node_to_change;
use crate::jobs::{DoneEvent, JobDetail};
use crate::store::job::{JobKind, JobStatus};

/// The exit code if a check failed.
pub(super) const CHECK_FAILED: u8 = 1;
/// The exit code if a step would run.
pub(super) const WOULD_RUN: u8 = 3;
/// Between two questions whether all checks have ended.
const PAUSE: Duration = Duration::from_millis(300);

/// Queues a check, waits for its end, and shows each node's steps.
pub(super) async fn run(client: Client, screen: Screen, mut check: Check) -> Result<u8, CliError> {
    for node in &mut check.node {
        *node = node_to_change(&client, &screen, node).await?;
    }
    let preset = fetch_preset(&client, &check.preset).await?;
    let params = params::resolve(&preset, &check.params, Map::new(), Secrets::Placeholder)?;
    let request = RunRequest {
        preset: check.preset,
        kind: JobKind::Check,
        target: match check.on {
            Some(selector) => Target::Selector(selector),
            None => Target::Nodes(check.node),
        },
        params,
        plan: Plan::default(),
        timeout_seconds: check.timeout,
        expires_in_seconds: None,
        not_before: None,
    };
    let watch = Watch {
        follow: true,
        cancel_on_interrupt: false,
    };
    let (queued, mut interrupts) =
        runs::post(&client, "/api/runs", &request.body(), &watch).await?;
    let id = queued.value.id.clone();
    print_note(&format!(
        "Run {id}: asks {}",
        runs::nodes(queued.value.node_count)
    ));
    let ended = tokio::select! {
        ended = end_of(&client, &id) => ended?,
        () = interrupts.next() => {
            let hint = format!("`hyprbox runs show {id}` shows what they found");
            return Err(CliError::new(exit::INTERRUPTED, "interrupted; the checks go on").hint(hint));
        }
    };
    let mut found = Vec::with_capacity(ended.jobs.len());
    for job in &ended.jobs {
        let path = format!("/api/jobs/{}", segment(&job.id));
        found.push(client.get::<JobDetail>(&path).await?.value);
    }
    show(&screen, &id, &found)?;
    Ok(exit_code(&found))
}

/// Waits until all checks have ended.
pub(super) async fn end_of(client: &Client, id: &str) -> Result<RunAnswer, CliError> {
    let path = format!("/api/runs/{}", segment(id));
    // A run may have thousands of jobs, so they are read once.
    let alone = format!("{path}?jobs=false");
    let is_over = async || {
        let run = client.get::<RunAnswer>(&alone).await?.value;
        Ok::<_, CliError>(run.finished_at.is_some())
    };
    while !is_over().await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(client.get::<RunAnswer>(&path).await?.value)
}

fn exit_code(found: &[JobDetail]) -> u8 {
    let failed = |detail: &JobDetail| detail.job.status != JobStatus::Succeeded;
    let would_run = |detail: &JobDetail| {
        let result = detail.job.check_result;
        result.is_some_and(|result| result.would_run > 0)
    };
    if found.iter().any(failed) {
        CHECK_FAILED
    } else if found.iter().any(would_run) {
        WOULD_RUN
    } else {
        0
    }
}

fn show(screen: &Screen, run_id: &str, found: &[JobDetail]) -> Result<(), CliError> {
    if screen.json {
        let jobs: Vec<Value> = found.iter().map(|detail| json!(detail.job)).collect();
        return screen.value(&json!({"runId": run_id, "jobs": jobs}));
    }
    let mut text = String::new();
    for detail in found {
        describe(&mut text, detail);
    }
    screen.data(&text)
}

/// The node's line, and a line for each step that is not already done.
fn describe(text: &mut String, detail: &JobDetail) {
    let job = &detail.job;
    let counts = match (job.status, job.check_result) {
        (JobStatus::Succeeded, Some(found)) => format!(
            "{} would run, {} ok, {} can't tell",
            found.would_run, found.ok, found.cant_tell
        ),
        _ => format!(
            "the check {}; see: hyprbox jobs log {}",
            DoneEvent::of(job).describe(),
            job.id
        ),
    };
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "{}: {}",
        safe::line(&job.node_id),
        safe::line(&counts)
    );
    for line in detail.stdout.lines() {
        let Some(step) = parse_step_line(line) else {
            continue;
        };
        let Some((name, state)) = CheckState::split(step.name) else {
            continue;
        };
        if state != CheckState::Ok {
            let (number, of, state) = (step.number, step.of, state.as_str());
            let _ = writeln!(text, "  {state:<10}  [{number}/{of}] {}", safe::line(name));
        }
    }
}
