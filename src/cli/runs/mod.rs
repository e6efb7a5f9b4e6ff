//! Runs, one preset on many nodes: `hyprbox runs …`, and what `hyprbox run` does with them.

mod board;
mod changes;
mod follow;
mod reading;
mod request;
mod words;

use std::sync::Arc;

use serde_json::{Value, json};

pub(super) use request::{RunRequest, Target};
pub(super) use words::nodes;

use self::follow::FollowRun;
use self::reading::nodes_of;
use self::words::{status_cell, summary};
use super::answers::RunAnswer;
use super::args::{
    OneJob, OneRun, Params, RunsCommand, ScopeArg, Scoped, SignWith, StreamArg, Sure, Watch,
};
use super::ask;
use super::client::{Answer, Client, segment};
use super::error::{CliError, exit};
use super::follow::Follow;
use super::interrupts::Interrupts;
use super::newest::Newest;
use super::params::{self, Secrets};
use super::queue::{confirm_risk, fetch_preset, interrupted, report_retry};
use super::screen::{Paint, Screen, print_note};
use super::sign;
use super::table::{Cell, Table, facts};
use super::times;
use crate::presets::ONE_OFF;
use crate::runs::DryRun;

/// `hyprbox runs …`
pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: RunsCommand,
) -> Result<u8, CliError> {
    match command {
        RunsCommand::List {
            status,
            preset,
            queued,
            limit,
            mut scope,
            output,
        } => {
            let screen = screen.formatted(output);
            let mut query = queued.query(&mut scope);
            query.extend(status.into_iter().map(|s| ("status", s.to_uppercase())));
            query.extend(preset.map(|preset| ("preset", preset)));
            let newest = Newest::<RunAnswer>::read(&client, "runs", &query, &scope, limit).await?;
            let if_empty = "No runs. `hyprbox run PRESET --on SELECTOR` queues one; --scope all lists everybody's.";
            newest.print(
                &screen,
                |run| &run.id,
                if_empty,
                |runs| table(runs, &screen),
            )?;
            Ok(0)
        }
        RunsCommand::Show { run, watch, output } => {
            let (run, screen) = (run.whole(&client).await?, screen.formatted(output));
            if !watch.follow {
                return show(&client, screen, &run).await;
            }
            let interrupts = Interrupts::new(watch.cancel_on_interrupt)?;
            let follow = FollowRun {
                client: Arc::new(client),
                screen,
                run,
                patient: false,
            };
            finish_following(follow, interrupts).await
        }
        RunsCommand::Pause { run } => {
            let run = run.named(&client).await?;
            let words = "Paused run {}: no further batch is released.";
            change(&client, screen, &run, "/pause", words).await
        }
        RunsCommand::Resume { run } => {
            let run = run.named(&client).await?;
            change(&client, screen, &run, "/resume", "Resumed run {}.").await
        }
        RunsCommand::Cancel { run, sure } => {
            let run = run.named(&client).await?;
            let question = format!("Cancel run {} and its running jobs?", run.id);
            ask::confirm(&screen, &sure, &question, "nothing was cancelled")?;
            let words = "Cancelled run {}. Running jobs receive the cancel.";
            change(&client, screen, &run, "/cancel", words).await
        }
        RunsCommand::Retry {
            run,
            params,
            watch,
            sure,
        } => {
            let run = run.named(&client).await?;
            retry(client, screen, &run, &params, &watch, &sure).await
        }
    }
}

fn table(runs: &[RunAnswer], screen: &Screen) -> Table {
    let mut table = Table::new(&["ID", "PRESET", "STATUS", "NODES", "JOBS", "QUEUED", "TOOK"])
        .optional(&["NODES", "TOOK", "QUEUED"]);
    for run in runs {
        table.row([
            screen.id(&run.id).into(),
            run.preset.as_str().into(),
            status_cell(run),
            run.node_count.to_string().into(),
            words::counts(&run.counts).into(),
            times::ago(run.created_at).into(),
            times::took(Some(run.created_at), run.finished_at).into(),
        ]);
    }
    table
}

async fn show(client: &Client, screen: Screen, run: &OneRun) -> Result<u8, CliError> {
    let answer = client.get::<RunAnswer>(&run.path("")).await?;
    let run = answer.value;
    if screen.is_done_with(&answer.json, [run.id.as_str()])? {
        return Ok(0);
    }
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("id", run.id.as_str().into()),
        ("preset", run.preset.as_str().into()),
        ("status", status_cell(&run)),
        ("nodes", run.node_count.to_string().into()),
        ("jobs", words::counts(&run.counts).into()),
        ("queued", times::moment(Some(run.created_at)).into()),
        ("by", run.created_by_email.as_str().into()),
        ("finished", times::moment(run.finished_at).into()),
    ];
    let more = [
        ("selector", &run.selector),
        ("retry of", &run.retry_of),
        ("stopped", &run.stopped_because),
    ];
    for (name, text) in more {
        pairs.extend(text.as_ref().map(|text| (name, text.as_str().into())));
    }
    screen.data(&facts(&pairs, screen.colors))?;
    let nodes = nodes_of(client, &run).await;
    let mut table = Table::new(&["NODE", "BATCH", "STATUS", "STEP", "TOOK", "JOB"])
        .optional(&["BATCH", "TOOK", "STEP"]);
    for job in &run.jobs {
        table.row([
            job.node_id.as_str().into(),
            job.batch.to_string().into(),
            Cell::painted(words::state(job, &nodes), Paint::of_status(job.status)),
            words::step(job).unwrap_or_default().into(),
            times::took(job.started_at, job.finished_at).into(),
            screen.id(&job.id).into(),
        ]);
    }
    screen.data("\n")?;
    screen.table(&table)?;
    Ok(0)
}

/// Changes a run. `words` has `{}` for its id.
async fn change(
    client: &Client,
    screen: Screen,
    run: &OneRun,
    verb: &str,
    words: &str,
) -> Result<u8, CliError> {
    let changed = client
        .post::<RunAnswer>(&run.path(verb), &Value::Null)
        .await?;
    if screen.json {
        screen.value(&changed.json)?;
    } else {
        print_note(&words.replace("{}", &run.id));
    }
    Ok(0)
}

async fn retry(
    client: Client,
    screen: Screen,
    run: &OneRun,
    given: &Params,
    watch: &Watch,
    sure: &Sure,
) -> Result<u8, CliError> {
    let path = run.path("");
    let separator = if path.contains('?') { '&' } else { '?' };
    let before = client
        .get::<RunAnswer>(&format!("{path}{separator}jobs=false"))
        .await?
        .value;
    let params = if before.preset == ONE_OFF {
        refuse_params(given)?;
        serde_json::Map::new()
    } else {
        let preset = fetch_preset(&client, &before.preset).await?;
        let known = params::without_secrets(&before.params, &preset);
        let params = params::resolve(&preset, given, known, Secrets::Ask)?;
        confirm_risk(&preset, "the nodes that have not succeeded", &screen, sure)?;
        params
    };
    let interrupts = Interrupts::new(watch.cancel_on_interrupt)?;
    let queued = client
        .post::<RunAnswer>(&run.path("/retry"), &json!({"params": params}))
        .await?;
    if !queued.value.left_out.is_empty() && !screen.json {
        let gone = queued.value.left_out.join(", ");
        print_note(&format!("Left out, since they were deleted: {gone}"));
    }
    finish(client, screen, queued, watch, interrupts).await
}

/// A script without a preset takes no params.
fn refuse_params(given: &Params) -> Result<(), CliError> {
    if given.params.is_empty() && given.params_file.is_none() {
        return Ok(());
    }
    Err(CliError::failed(
        "the run has a script without a preset, which takes no params",
    ))
}

/// Queues a run.
pub(super) async fn queue(
    client: Client,
    screen: Screen,
    request: &RunRequest,
    watch: &Watch,
    sign: Option<(&SignWith, &Sure)>,
) -> Result<u8, CliError> {
    if let Some((_, sure)) = sign {
        sign::require_person(&screen, sure)?;
    }
    let (queued, interrupts) = post(&client, "/api/runs", &request.body(), watch).await?;
    if let Some((with, sure)) = sign {
        let path = format!("/api/runs/{}", segment(&queued.value.id));
        let jobs = client.get::<RunAnswer>(&path).await?.value.jobs;
        let ids: Vec<String> = jobs.into_iter().map(|job| job.id).collect();
        sign::new_jobs(&client, &screen, &ids, with, sure).await?;
    }
    finish(client, screen, queued, watch, interrupts).await
}

/// Queues a run of a script without a preset. Followed on one node, that is like following a job.
pub(super) async fn exec(
    client: Client,
    screen: Screen,
    body: &Value,
    watch: &Watch,
) -> Result<u8, CliError> {
    let (queued, mut interrupts) = post(&client, "/api/exec", body, watch).await?;
    if !watch.follow || queued.value.node_count != 1 {
        return finish(client, screen, queued, watch, interrupts).await;
    }
    let run = client
        .get::<RunAnswer>(&format!("/api/runs/{}", queued.value.id))
        .await?
        .value;
    let job = run.jobs.into_iter().next();
    let job = job.ok_or_else(|| CliError::failed("the run has no job"))?;
    if screen.json {
        screen.json_line(&json!({"type": "queued", "run": queued.json}))?;
    } else {
        print_note(&format!("Job {}: a script on {}", job.id, job.node_id));
    }
    let follow = Follow {
        client: Arc::new(client),
        screen,
        job: OneJob {
            id: job.id,
            scope: Scoped {
                scope: ScopeArg::Mine,
            },
        },
        stream: Some(StreamArg::Both),
        tail: None,
        patient: true,
    };
    follow.run(&mut interrupts).await
}

/// Posts a request that queues a run, until the server has answered.
pub(super) async fn post(
    client: &Client,
    path: &str,
    body: &Value,
    watch: &Watch,
) -> Result<(Answer<RunAnswer>, Interrupts), CliError> {
    let mut interrupts = Interrupts::new(watch.cancel_on_interrupt)?;
    let queued = tokio::select! {
        queued = client.post_once::<RunAnswer>(path, body, report_retry("run")) => queued?,
        () = interrupts.next() => {
            return Err(interrupted("run"));
        }
    };
    Ok((queued, interrupts))
}

/// Prints a new run's id, or follows the run.
pub(super) async fn finish(
    client: Client,
    screen: Screen,
    queued: Answer<RunAnswer>,
    watch: &Watch,
    interrupts: Interrupts,
) -> Result<u8, CliError> {
    let Answer { json, value: run } = queued;
    let one = OneRun {
        id: run.id.clone(),
        scope: Scoped {
            scope: ScopeArg::Mine,
        },
    };
    if watch.follow {
        if screen.json {
            screen.json_line(&json!({"type": "queued", "run": json}))?;
        }
        if !screen.json {
            let nodes = words::nodes(run.node_count);
            print_note(&format!("Run {}: {} on {nodes}", run.id, run.preset));
        }
        let follow = FollowRun {
            client: Arc::new(client),
            screen,
            run: one,
            patient: true,
        };
        return finish_following(follow, interrupts).await;
    }
    if screen.json {
        screen.value(&json)?;
        return Ok(0);
    }
    screen.data(&format!("{}\n", run.id))?;
    print_note(&format!(
        "Queued {} on {}. To follow it: {}",
        run.preset,
        words::nodes(run.node_count),
        one.command("show --follow")
    ));
    Ok(0)
}

async fn finish_following(follow: FollowRun, interrupts: Interrupts) -> Result<u8, CliError> {
    let screen = follow.screen;
    let Some(ended) = follow.run(interrupts).await? else {
        return Ok(exit::INTERRUPTED);
    };
    let code = words::exit_code(ended.status);
    if !screen.json {
        screen.data(&summary(&ended, &screen))?;
    }
    Ok(code)
}

/// Shows what a run would do.
pub(super) async fn show_plan(
    client: &Client,
    screen: Screen,
    request: &RunRequest,
) -> Result<u8, CliError> {
    let planned = client
        .post::<DryRun>("/api/runs?dryRun=true", &request.body())
        .await?;
    if screen.json {
        screen.value(&planned.json)?;
        return Ok(0);
    }
    let nodes = planned.value.nodes;
    let mut table = Table::new(&["BATCH", "NODE", "STATUS", "TARGET"]);
    for node in &nodes {
        table.row([
            node.batch.to_string().into(),
            node.id.as_str().into(),
            words::node_status(node),
            words::target(node.matches_targets),
        ]);
    }
    screen.table(&table)?;
    let batches = nodes.last().map_or(0, |node| node.batch + 1);
    print_note(&format!(
        "{} in {}. Nothing was queued.",
        words::nodes(nodes.len() as u64),
        words::count(batches, "batch", "batches")
    ));
    Ok(0)
}
