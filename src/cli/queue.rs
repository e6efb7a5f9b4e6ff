//! Queues a job, and follows it if requested.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answers::{Preset, Presets};
use super::args::{OneJob, Params, ScopeArg, Scoped, SignWith, StreamArg, Sure, Watch};
use super::ask;
use super::client::{Answer, CallError, Client, segment};
use super::error::{CliError, closest, exit};
use super::follow::Follow;
use super::interrupts::Interrupts;
use super::params::{self, Secrets};
use super::screen::{Screen, print_note};
use super::sign;
use super::times;
use crate::clock::Timestamp;
use crate::jobs::{JobDetail, JobView};
use crate::nodes::{NodeStatus, NodeView};

/// Time limit for finding out why a job waits, which is only a note.
const WAIT_REPORT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// `hyprbox jobs retry`
pub(super) async fn retry(
    client: Client,
    screen: Screen,
    job: OneJob,
    given: &Params,
    watch: &Watch,
    sure: &Sure,
) -> Result<u8, CliError> {
    let job = job.named(&client).await?;
    let before = client.get::<JobDetail>(&job.path("")).await?.value.job;
    let preset = fetch_preset(&client, &before.preset).await?;
    let wanted = JobRequest {
        params: params::resolve(
            &preset,
            given,
            params::without_secrets(&before.params, &preset),
            Secrets::Ask,
        )?,
        preset: before.preset,
        node: before.node_id,
        timeout_seconds: Some(before.timeout_seconds),
        expires_in_seconds: None,
        not_before: None,
    };
    confirm_risk(&preset, &wanted.node, &screen, sure)?;
    let (code, after) = queue(client, screen, wanted, watch, None).await?;
    if after.script_sha256 != before.script_sha256 && !screen.json {
        print_note(&format!(
            "The script has changed since then; `hyprbox jobs diff {} {}` shows the difference.",
            before.id, after.id
        ));
    }
    Ok(code)
}

/// Asks before a high-risk preset is queued, if there is a terminal.
pub(super) fn confirm_risk(
    preset: &Preset,
    on: &str,
    screen: &Screen,
    sure: &Sure,
) -> Result<(), CliError> {
    if preset.risk != "high" {
        return Ok(());
    }
    let question = format!("{} is a high-risk preset. Queue it on {on}?", preset.name);
    ask::confirm(screen, sure, &question, "nothing was queued")
}

/// Reads a preset by name. The error suggests similar names.
pub(super) async fn fetch_preset(client: &Client, name: &str) -> Result<Preset, CliError> {
    let error = match client
        .get::<Preset>(&format!("/api/presets/{}", segment(name)))
        .await
    {
        Ok(preset) => return Ok(preset.value),
        Err(error) if error.code == exit::NOT_FOUND => error,
        Err(error) => return Err(error),
    };
    let Ok(known) = client.get::<Presets>("/api/presets").await else {
        return Err(error);
    };
    let is_its_file = |file: &str| {
        file.strip_suffix(".yaml")
            .or_else(|| file.strip_suffix(".yml"))
            .is_some_and(|stem| stem == name)
    };
    if let Some(broken) = known.value.errors.iter().find(|e| is_its_file(&e.file)) {
        let line = broken
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        return Err(CliError {
            message: format!(
                "the preset {name} is invalid: {}{line}: {}",
                broken.file, broken.message
            ),
            ..error
        });
    }
    let names = known
        .value
        .presets
        .iter()
        .map(|preset| preset.name.as_str());
    Err(no_such("preset", name, names, "hyprbox presets list"))
}

/// Adds similar names to a 404 for a node.
pub(super) async fn explain_node(client: &Client, node: &str, error: CliError) -> CliError {
    let is_that = error
        .api
        .as_ref()
        .is_some_and(|(code, _)| code == "node_not_found");
    if !is_that {
        return error;
    }
    let Ok(known) = client.list::<NodeView>("/api/nodes", "nodes").await else {
        return error;
    };
    let names = known.value.iter().map(|node| node.id.as_str());
    no_such("node", node, names, "hyprbox nodes list")
}

/// The error for a name that doesn't exist, with similar names.
pub(super) fn no_such<'k>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
    list: &str,
) -> CliError {
    let near = closest(name, known);
    let error = CliError::not_found(format!("there is no {what} {name:?}"));
    if near.is_empty() {
        return error.hint(format!("`{list}` lists them all"));
    }
    error.hint(format!(
        "did you mean {}? `{list}` lists them all",
        near.join(" or ")
    ))
}

/// Prints why a job has to wait, if it does. Failures are ignored: the job is queued.
async fn report_wait(client: &Client, job: &JobView) {
    if let Some(hold) = job.holds.first() {
        print_note(&format!("The job waits: {}.", hold.detail));
    } else if let Some(words) = wait_for_node(client, job).await {
        print_note(&words);
    }
}

/// How the node keeps a job waiting, if it does and the server says so in time.
pub(super) async fn wait_for_node(client: &Client, job: &JobView) -> Option<String> {
    let path = format!("/api/nodes/{}", segment(&job.node_id));
    let asked = tokio::time::timeout(WAIT_REPORT_TIMEOUT, client.get::<NodeView>(&path)).await;
    wait_reason(&asked.ok()?.ok()?.value, &job.id)
}

fn wait_reason(node: &NodeView, job_id: &str) -> Option<String> {
    let id = &node.id;
    let is_ours = node.running_job_id.as_deref() == Some(job_id);
    match node.status {
        _ if is_ours => None,
        _ if node.paused => Some(format!(
            "{id} is paused: the job can start once an ADMIN resumes it (hyprbox nodes resume {id})."
        )),
        NodeStatus::Offline => Some(match node.last_seen_at {
            Some(at) => format!(
                "{id} is OFFLINE, last seen {}: the job starts when its agent reconnects.",
                times::ago(at)
            ),
            None => format!(
                "{id} is OFFLINE and its agent has never connected: the job starts when it does."
            ),
        }),
        NodeStatus::Online => {
            if let Some(problem) = &node.problem {
                return Some(format!("{id} can't run jobs: {problem}. The job waits."));
            }
            let other = node.running_job_id.as_ref()?;
            Some(format!(
                "{id} is busy with job {other}: the new job waits for it to end."
            ))
        }
    }
}

/// The job to queue.
pub(super) struct JobRequest {
    pub(super) preset: String,
    pub(super) node: String,
    pub(super) params: Map<String, Value>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) expires_in_seconds: Option<u64>,
    pub(super) not_before: Option<Timestamp>,
}

/// Queues a job. Returns this program's exit code and the job.
pub(super) async fn queue(
    client: Client,
    screen: Screen,
    wanted: JobRequest,
    watch: &Watch,
    sign: Option<(&SignWith, &Sure)>,
) -> Result<(u8, JobView), CliError> {
    if let Some((_, sure)) = sign {
        sign::require_person(&screen, sure)?;
    }
    let mut interrupts = Interrupts::new(watch.cancel_on_interrupt)?;
    let mut body = json!({"preset": wanted.preset, "nodeId": wanted.node, "params": wanted.params});
    if let Some(seconds) = wanted.timeout_seconds {
        body["timeoutSeconds"] = Value::from(seconds);
    }
    if let Some(seconds) = wanted.expires_in_seconds {
        body["expiresInSeconds"] = Value::from(seconds);
    }
    if let Some(at) = wanted.not_before {
        body["notBefore"] = Value::from(at.to_string());
    }
    let queued = tokio::select! {
        queued = client.post_once::<JobView>("/api/jobs", &body, report_retry("job")) => queued,
        () = interrupts.next() => {
            return Err(interrupted("job"));
        }
    };
    let Answer { json, value: job } = match queued {
        Ok(queued) => queued,
        Err(error) => return Err(explain_node(&client, &wanted.node, error).await),
    };
    if let Some((with, sure)) = sign {
        sign::new_jobs(&client, &screen, std::slice::from_ref(&job.id), with, sure).await?;
    }
    if !watch.follow {
        if screen.json {
            screen.value(&json)?;
        } else {
            screen.data(&format!("{}\n", job.id))?;
            print_note(&format!(
                "Queued {} on {}. To follow it: hyprbox jobs log --follow {}",
                job.preset, job.node_id, job.id
            ));
            report_wait(&client, &job).await;
        }
        return Ok((0, job));
    }
    if screen.json {
        screen.json_line(&json!({"type": "queued", "job": json}))?;
    } else {
        print_note(&format!(
            "Job {}: {} on {}",
            job.id, job.preset, job.node_id
        ));
        report_wait(&client, &job).await;
    }
    let follow = Follow {
        client: Arc::new(client),
        screen,
        job: OneJob {
            id: job.id.clone(),
            scope: Scoped {
                scope: ScopeArg::Mine,
            },
        },
        stream: Some(StreamArg::Both),
        tail: None,
        patient: true,
    };
    Ok((follow.run(&mut interrupts).await?, job))
}

/// Reports the first retry of a call that queues a job or a run.
pub(super) fn report_retry(what: &'static str) -> impl FnMut(&CallError) {
    let mut is_reported = false;
    move |error| {
        if std::mem::replace(&mut is_reported, true) {
            return;
        }
        print_note(&match error {
            CallError::Connection { .. } => format!(
                "No response; retrying. The {what} is queued only once, however many tries it takes."
            ),
            CallError::Refused { .. } | CallError::Protocol(_) => {
                "The server is busy; retrying.".to_owned()
            }
        });
    }
}

/// The error of an interrupt before the response.
pub(super) fn interrupted(what: &str) -> CliError {
    let text = format!("interrupted before the server responded: the {what} may have been queued");
    CliError::new(exit::INTERRUPTED, text).hint(format!(
        "`hyprbox {what}s list --limit 1` shows whether it was"
    ))
}
