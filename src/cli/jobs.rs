//! `hyprbox jobs …`

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{JobsCommand, OneJob, ScopeArg, Scoped, StreamArg};
use super::client::{Client, connection_error, segment};
use super::error::CliError;
use super::follow::Follow;
use super::interrupts::Interrupts;
use super::log;
use super::newest::Newest;
use super::queue::{self, wait_for_node};
use super::screen::{Paint, Screen, print_note};
use super::table::{Cell, Table, facts};
use super::times;
use crate::jobs::{DoneEvent, JobDetail, JobView};
use crate::store::job::JobStatus;

/// Checks combinations of flags that clap can't express.
pub(super) fn check(command: &JobsCommand, json: bool) -> Result<(), CliError> {
    if let JobsCommand::Log { follow, tail, .. } = command
        && json
        && (!follow || tail.is_some())
    {
        let words = "a log is text: --json requires --follow and excludes --tail";
        return Err(CliError::usage(words));
    }
    Ok(())
}

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: JobsCommand,
) -> Result<u8, CliError> {
    match command {
        JobsCommand::List {
            node,
            status,
            preset,
            run,
            limit,
            scope,
        } => {
            let mut query = vec![];
            query.extend(node.map(|node| ("nodeId", node)));
            query.extend(status.into_iter().map(|s| ("status", s.to_uppercase())));
            query.extend(preset.map(|preset| ("preset", preset)));
            query.extend(run.map(|run| ("runId", run)));
            list(&client, screen, &query, limit, &scope).await
        }
        JobsCommand::Show { job, script } => show(&client, screen, &job, script).await,
        JobsCommand::Log {
            job,
            follow,
            tail,
            stream,
        } => {
            if follow {
                return watch(client, screen, job, Some(stream), tail).await;
            }
            log::print(&client, screen, &job, tail, stream).await
        }
        JobsCommand::Wait { job } => watch(client, screen, job, None, None).await,
        JobsCommand::Cancel { job } => cancel(&client, screen, &job).await,
        JobsCommand::Fail { job, why } => fail(&client, screen, &job, &why).await,
        JobsCommand::Retry {
            job,
            params,
            watch,
            sure,
        } => queue::retry(client, screen, job, &params, &watch, &sure).await,
        JobsCommand::Diff { old, new, scope } => diff(&client, screen, &old, &new, &scope).await,
    }
}

async fn list(
    client: &Client,
    screen: Screen,
    query: &[(&'static str, String)],
    limit: u32,
    scope: &Scoped,
) -> Result<u8, CliError> {
    let newest = Newest::<JobView>::read(client, "jobs", query, scope, limit).await?;
    if screen.json {
        newest.print_json(screen)?;
        return Ok(0);
    }
    if newest.entries.is_empty() {
        print_note(empty_list_message(!query.is_empty(), scope.scope));
        return Ok(0);
    }
    screen.data(&table(&newest.entries, scope.scope).render(screen.colors))?;
    newest.note_older();
    Ok(0)
}

fn empty_list_message(is_filtered: bool, scope: ScopeArg) -> &'static str {
    match (is_filtered, scope) {
        (true, ScopeArg::Mine) => {
            "None of your jobs match. --scope all lists everybody's (VIEWER, OPERATOR, ADMIN)."
        }
        (true, ScopeArg::All) => "No jobs match.",
        (false, ScopeArg::Mine) => {
            "You have no jobs yet. `hyprbox run PRESET --node NODE` queues one; --scope all lists everybody's (VIEWER, OPERATOR, ADMIN)."
        }
        (false, ScopeArg::All) => "There are no jobs yet.",
    }
}

fn table(jobs: &[JobView], scope: ScopeArg) -> Table {
    let mut heading = vec!["ID", "PRESET", "NODE", "STATUS", "QUEUED", "TOOK", "EXIT"];
    if scope == ScopeArg::All {
        heading.push("BY");
    }
    let mut table = Table::new(&heading);
    for job in jobs {
        let exit = job.exit_code.map_or_else(String::new, |c| c.to_string());
        let mut row: Vec<Cell> = vec![
            job.id.as_str().into(),
            job.preset.as_str().into(),
            job.node_id.as_str().into(),
            status(job),
            times::ago(job.created_at).into(),
            times::took(job.started_at, job.finished_at).into(),
            exit.into(),
        ];
        if scope == ScopeArg::All {
            row.push(job.created_by_email.as_str().into());
        }
        table.row(row);
    }
    table
}

fn status(job: &JobView) -> Cell {
    let words = match (job.status, job.cancel_requested_at) {
        (JobStatus::Running, Some(_)) => "RUNNING, cancelling".to_owned(),
        (JobStatus::Queued, _) if !job.holds.is_empty() => "QUEUED, held".to_owned(),
        (status, _) => status.to_string(),
    };
    Cell::painted(words, Paint::of_status(job.status))
}

async fn show(client: &Client, screen: Screen, job: &OneJob, script: bool) -> Result<u8, CliError> {
    let detail = client.get::<JobDetail>(&job.path("")).await?;
    if script {
        screen.text(detail.value.script.as_bytes())?;
        return Ok(0);
    }
    if screen.json {
        screen.value(&detail.json)?;
        return Ok(0);
    }
    let job = detail.value.job;
    let done = DoneEvent {
        status: job.status,
        exit_code: job.exit_code,
        error_msg: job.error_msg.clone(),
        finished_at: job.finished_at,
    };
    let output = |bytes: u64, dropped: u64| match dropped {
        0 => format!("{bytes} bytes"),
        _ => format!("{bytes} bytes, of which {dropped} were dropped"),
    };
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("id", job.id.as_str().into()),
        ("preset", job.preset.as_str().into()),
        ("node", job.node_id.as_str().into()),
        (
            "status",
            Cell::painted(done.describe(), Paint::of_status(job.status)),
        ),
        ("queued", times::moment(Some(job.created_at)).into()),
        ("by", job.created_by_email.as_str().into()),
        ("started", times::moment(job.started_at).into()),
        ("finished", times::moment(job.finished_at).into()),
        ("took", times::took(job.started_at, job.finished_at).into()),
        ("timeout", format!("{} s", job.timeout_seconds).into()),
        (
            "stdout",
            output(job.stdout_bytes, job.stdout_dropped).into(),
        ),
        (
            "stderr",
            output(job.stderr_bytes, job.stderr_dropped).into(),
        ),
        ("script", format!("sha256 {}", job.script_sha256).into()),
    ];
    if let Some(at) = job.not_before {
        pairs.push(("not before", at.to_string().into()));
    }
    if let Some(at) = job.expires_at {
        pairs.push(("expires", at.to_string().into()));
    }
    if !job.holds.is_empty() {
        let waits: Vec<&str> = job.holds.iter().map(|hold| hold.detail.as_str()).collect();
        pairs.push(("held", waits.join("; ").into()));
    } else if job.status == JobStatus::Queued
        && let Some(words) = wait_for_node(client, &job).await
    {
        pairs.push(("waits", words.into()));
    }
    if job.cancel_requested_at.is_some() {
        pairs.push((
            "cancel requested",
            times::moment(job.cancel_requested_at).into(),
        ));
    }
    if job.recovered_at.is_some() {
        pairs.push(("recovered", times::moment(job.recovered_at).into()));
    }
    screen.data(&facts(&pairs, screen.colors))?;
    if let Some(params) = job.params.as_object().filter(|params| !params.is_empty()) {
        let pairs: Vec<(&str, Cell)> = params
            .iter()
            .map(|(name, value)| (name.as_str(), plain(value).into()))
            .collect();
        screen.data(&format!("\nparams\n{}", facts(&pairs, screen.colors)))?;
    }
    Ok(0)
}

/// A value as it would be typed.
pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

async fn watch(
    client: Client,
    screen: Screen,
    job: OneJob,
    stream: Option<StreamArg>,
    tail: Option<usize>,
) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::new(false)?;
    let follow = Follow {
        client: Arc::new(client),
        screen,
        job,
        stream,
        tail,
        patient: false,
    };
    follow.run(&mut interrupts).await
}

async fn cancel(client: &Client, screen: Screen, job: &OneJob) -> Result<u8, CliError> {
    let cancelled = client
        .post::<JobView>(&job.path("/cancel"), &Value::Null)
        .await
        .map_err(|error| match &error.api {
            Some((code, _)) if code == "wrong_state" => error.hint("the job has already ended"),
            _ => error,
        })?;
    if screen.json {
        screen.value(&cancelled.json)?;
        return Ok(0);
    }
    let job = cancelled.value;
    print_note(&match job.status {
        JobStatus::Running => format!(
            "Cancelling job {}: its script receives SIGTERM, and SIGKILL 10 s later. To wait for the end: hyprbox jobs wait {}",
            job.id, job.id
        ),
        JobStatus::Queued | JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => {
            format!("Job {} is {}.", job.id, job.status)
        }
    });
    Ok(0)
}

async fn fail(client: &Client, screen: Screen, job: &OneJob, why: &str) -> Result<u8, CliError> {
    let failed = client
        .post::<JobView>(&job.path("/fail"), &json!({"errorMsg": why}))
        .await
        .map_err(|error| match &error.api {
            Some((code, _)) if code == "wrong_state" => error.hint(
                "only a RUNNING job can be failed; `hyprbox jobs cancel` cancels a QUEUED one",
            ),
            _ => error,
        })?;
    if screen.json {
        screen.value(&failed.json)?;
        return Ok(0);
    }
    let job = failed.value;
    print_note(&format!(
        "Job {} is {}. If its script still runs on {}, `hyprbox jobs cancel {}` stops it.",
        job.id, job.status, job.node_id, job.id
    ));
    Ok(0)
}

async fn diff(
    client: &Client,
    screen: Screen,
    old: &str,
    new: &str,
    scope: &Scoped,
) -> Result<u8, CliError> {
    let path = format!(
        "/api/jobs/{}/diff/{}{}",
        segment(old),
        segment(new),
        scope.query()
    );
    let answer = client.bytes(&path).await?;
    let text = answer
        .text()
        .await
        .map_err(|error| client.explain(connection_error(&error)))?;
    if screen.json {
        screen.value(&json!({"diff": text}))?;
        return Ok(0);
    }
    if text.is_empty() {
        print_note("The two scripts are identical.");
        return Ok(0);
    }
    if !screen.colors {
        screen.text(text.as_bytes())?;
        return Ok(0);
    }
    let painted: String = text.split_inclusive('\n').map(paint_line).collect();
    screen.text(painted.as_bytes())?;
    Ok(0)
}

/// A line of a unified diff in its colour.
fn paint_line(line: &str) -> String {
    let bare = line.strip_suffix('\n').unwrap_or(line);
    let paint = match bare.as_bytes().first() {
        _ if bare.starts_with("---") || bare.starts_with("+++") => Paint::Bold,
        Some(b'+') => Paint::Green,
        Some(b'-') => Paint::Red,
        Some(b'@') => Paint::Cyan,
        Some(_) | None => Paint::Plain,
    };
    format!("{}{}", paint.of(bare, true), &line[bare.len()..])
}
