//! `hyprbox jobs …`

use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{JobsCommand, Log, OneJob, ScopeArg, Scoped, StreamArg, Sure};
use super::ask;
use super::client::{Client, connection_error, segment};
use super::error::CliError;
use super::export;
use super::follow::Follow;
use super::interrupts::Interrupts;
use super::log;
use super::newest::Newest;
use super::outcome;
use super::queue::{self, wait_for_node};
use super::screen::{Paint, Screen, print_note};
use super::short_id::{self, Thing};
use super::sign;
use super::table::{Cell, Table, facts};
use super::times;
use super::watch;
use crate::jobs::{DoneEvent, JobDetail, JobView};
use crate::store::job::JobStatus;

/// Checks combinations of flags that clap can't express.
pub(super) fn check(command: &JobsCommand, json: bool) -> Result<(), CliError> {
    if let JobsCommand::Log(log) = command
        && json
        && (!log.follow || log.tail.is_some())
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
            queued,
            limit,
            mut scope,
            output,
        } => {
            let screen = screen.formatted(output);
            let mut query = vec![];
            if let Some(node) = node {
                query.push(("nodeId", short_id::node(&client, &node).await?));
            }
            let run = match run {
                Some(run) => Some(short_id::whole(&client, Thing::Run, &run, &scope).await?),
                None => None,
            };
            query.extend(status.into_iter().map(|s| ("status", s.to_uppercase())));
            query.extend(preset.map(|preset| ("preset", preset)));
            query.extend(run.map(|run| ("runId", run)));
            query.extend(queued.query(&mut scope));
            let newest = Newest::<JobView>::read(&client, "jobs", &query, &scope, limit).await?;
            let if_empty = empty_list_message(!query.is_empty(), scope.scope);
            let table = |jobs: &[JobView]| table(jobs, &screen, scope.scope);
            newest.print(&screen, |job| &job.id, if_empty, table)?;
            Ok(0)
        }
        JobsCommand::Watch(wanted) => watch::run(client, screen, wanted).await,
        JobsCommand::Show {
            job,
            script,
            output,
        } => {
            let job = job.whole(&client).await?;
            show(&client, screen.formatted(output), &job, script).await
        }
        JobsCommand::Log(wanted) => print_log(client, screen, wanted).await,
        JobsCommand::Export { job, file, format } => {
            let job = job.whole(&client).await?;
            export::run(&client, screen, &job, file.as_deref(), &format).await
        }
        JobsCommand::Wait { job } => {
            let job = job.whole(&client).await?;
            follow(client, screen, job, None, None).await
        }
        JobsCommand::Sign {
            job,
            sign_with,
            sure,
        } => sign::one(&client, &screen, job, &sign_with, &sure).await,
        JobsCommand::Confirm { job } => confirm(&client, screen, job).await,
        JobsCommand::Cancel { job, sure } => cancel(&client, screen, job, &sure).await,
        JobsCommand::Fail { job, why, sure } => fail(&client, screen, job, &why, &sure).await,
        JobsCommand::Retry {
            job,
            params,
            watch,
            sure,
        } => queue::retry(client, screen, job, &params, &watch, &sure).await,
        JobsCommand::Diff { job, new, scope } => {
            let job = short_id::whole(&client, Thing::Job, &job, &scope).await?;
            let (old, new) = match new {
                Some(new) => (
                    job,
                    short_id::whole(&client, Thing::Job, &new, &scope).await?,
                ),
                None => (job_before(&client, &job, &scope).await?, job),
            };
            diff(&client, screen, &old, &new, &scope).await
        }
    }
}

/// `hyprbox jobs log`
pub(super) async fn print_log(client: Client, screen: Screen, wanted: Log) -> Result<u8, CliError> {
    let Log { id, scope, .. } = wanted;
    let job = match id {
        Some(id) => OneJob { id, scope }.whole(&client).await?,
        // Without an id there is `--failed`.
        None => log::newest_failed(&client, scope).await?,
    };
    if wanted.follow {
        return follow(client, screen, job, Some(wanted.stream), wanted.tail).await;
    }
    if wanted.failed {
        return log::print_failed(&client, screen, &job, wanted.tail).await;
    }
    log::print(&client, screen, &job, wanted.tail, wanted.stream).await
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

fn table(jobs: &[JobView], screen: &Screen, scope: ScopeArg) -> Table {
    let mut heading = vec!["ID", "PRESET", "NODE", "STATUS", "QUEUED", "TOOK", "EXIT"];
    if scope == ScopeArg::All {
        heading.push("BY");
    }
    let mut table = Table::new(&heading).optional(&["EXIT", "TOOK", "BY", "QUEUED"]);
    for job in jobs {
        let exit = job.exit_code.map_or_else(String::new, |c| c.to_string());
        let mut row: Vec<Cell> = vec![
            screen.id(&job.id).into(),
            job.preset.as_str().into(),
            job.node_id.as_str().into(),
            outcome::status(job),
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

async fn show(client: &Client, screen: Screen, job: &OneJob, script: bool) -> Result<u8, CliError> {
    let detail = client.get::<JobDetail>(&job.path("")).await?;
    if script {
        screen.text(detail.value.script.as_bytes())?;
        return Ok(0);
    }
    let job = detail.value.job;
    if screen.is_done_with(&detail.json, [job.id.as_str()])? {
        return Ok(0);
    }
    let done = DoneEvent::of(&job);
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
    if let Some(words) = job.proof_in_words() {
        let paint = match job.output_verified {
            Some(false) => Paint::Red,
            Some(true) | None => Paint::Plain,
        };
        pairs.push(("output", Cell::painted(words, paint)));
    }
    if let Some(version) = job.preset_version {
        pairs.push(("version", version.to_string().into()));
    }
    if let Some(commit) = &job.preset_commit {
        pairs.push(("commit", commit.as_str().into()));
    }
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
    if let Some(by) = job.confirm_by {
        pairs.push(("confirm by", by.to_string().into()));
    }
    if job.confirm_requested_at.is_some() {
        pairs.push(("confirmed", times::moment(job.confirm_requested_at).into()));
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

async fn follow(
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

async fn confirm(client: &Client, screen: Screen, job: OneJob) -> Result<u8, CliError> {
    let job = job.named(client).await?;
    let confirmed = client
        .post::<JobView>(&job.path("/confirm"), &Value::Null)
        .await?;
    if screen.json {
        screen.value(&confirmed.json)?;
        return Ok(0);
    }
    let (id, node) = (&confirmed.value.id, &confirmed.value.node_id);
    print_note(&format!(
        "Confirmed: {node} keeps the changes of job {id} as soon as it receives this. To wait for that: hyprbox jobs wait {id}"
    ));
    Ok(0)
}

async fn cancel(client: &Client, screen: Screen, job: OneJob, sure: &Sure) -> Result<u8, CliError> {
    let job = job.named(client).await?;
    let question = format!("Cancel job {}?", job.id);
    ask::confirm(&screen, sure, &question, "nothing was cancelled")?;
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

async fn fail(
    client: &Client,
    screen: Screen,
    job: OneJob,
    why: &str,
    sure: &Sure,
) -> Result<u8, CliError> {
    let job = job.named(client).await?;
    let question = format!("Fail job {} now? Its script is not stopped.", job.id);
    ask::confirm(&screen, sure, &question, "nothing was changed")?;
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

/// The job of the same preset on the same node before this one.
async fn job_before(client: &Client, id: &str, scope: &Scoped) -> Result<String, CliError> {
    let path = format!("/api/jobs/{}{}", segment(id), scope.query());
    let JobView {
        id,
        preset,
        node_id,
        ..
    } = client.get::<JobView>(&path).await?.value;
    let older = [
        ("preset", preset.clone()),
        ("nodeId", node_id.clone()),
        ("cursor", id),
    ];
    let before = Newest::<JobView>::read(client, "jobs", &older, scope, 1).await?;
    let Some(job) = before.entries.into_iter().next() else {
        let text = format!("no job of the preset {preset:?} ran on {node_id} before this one");
        let hint = "name two jobs; --scope all also finds other people's jobs";
        return Err(CliError::not_found(text).hint(hint));
    };
    print_note(&format!(
        "Compared with the job {} of {}",
        job.id,
        times::ago(job.created_at)
    ));
    Ok(job.id)
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
