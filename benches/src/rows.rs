//! The rows of the table.

use std::time::{Duration, Instant};

use crate::limit;
use crate::row::{Row, quantile, spread};
use crate::stage::{FLOOD, FLOOD_BYTES, NODE, Stage, binary, start_server, write_presets};

/// Sizes of the binaries.
pub(crate) fn sizes() -> anyhow::Result<Vec<Row>> {
    let row = |name: &str| -> anyhow::Result<Row> {
        let bytes = std::fs::metadata(binary(name)?)?.len();
        Ok(Row::plain(
            &format!("size of {name}"),
            format!("{:.1} MB", bytes as f64 / 1e6),
        ))
    };
    Ok(vec![row("hyprbox")?, row("hyprbox-agent")?])
}

/// From the start of the process to the first 200 of /readyz, with a fresh database each time.
pub(crate) async fn cold_start(samples: usize) -> anyhow::Result<Row> {
    let mut times = Vec::new();
    for _ in 0..samples {
        let folder = tempfile::tempdir()?;
        write_presets(folder.path())?;
        let (mut server, _, ms) = start_server(folder.path()).await?;
        server.kill().await?;
        times.push(ms);
    }
    Ok(Row::plain(
        "cold start to readyz, first user made",
        format!("{:.0} ms", quantile(&times, 0.5)),
    ))
}

/// Memory of a server and an agent that have nothing to do.
pub(crate) async fn idle(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let [server, agent] = stage.memory()?;
    let mb = |kb: u64| format!("{:.1} MB", kb as f64 / 1024.0);
    Ok(vec![
        Row::plain("idle RSS of the server", mb(server.0)),
        Row::plain("idle RSS of the agent", mb(agent.0)),
    ])
}

/// Queue → first line at a subscriber, and → done, with an idle agent in its long-poll.
pub(crate) async fn dispatch(stage: &Stage, samples: usize) -> anyhow::Result<Vec<Row>> {
    let (mut firsts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let start = Instant::now();
        let id = stage.queue("hello").await?;
        let (first, end) = stage.watch(&id, start).await?;
        firsts.push(first);
        ends.push(end);
    }
    let bash = limit::bash_spawns(samples)?;
    let row = |what: &str, times: &[f64]| Row {
        what: what.to_owned(),
        figure: spread(times),
        limit: format!("bash -s alone: {}", spread(&bash)),
        ratio: Some(quantile(times, 0.5) / quantile(&bash, 0.5)),
    };
    Ok(vec![
        row(
            "queue → first line at a subscriber, p50 / p95 / p99",
            &firsts,
        ),
        row("queue → done at a subscriber", &ends),
    ])
}

/// What a job's own supervisor costs, over the same bash spawned plainly.
pub(crate) fn supervision(samples: usize) -> anyhow::Result<Row> {
    let bash = limit::bash_spawns(samples)?;
    let supervised = limit::supervised(&binary("hyprbox-agent")?, samples)?;
    Ok(Row {
        what: "one script under its supervisor, to the record of its end".to_owned(),
        figure: spread(&supervised),
        limit: format!("bash -s alone: {}", spread(&bash)),
        ratio: Some(quantile(&supervised, 0.5) / quantile(&bash, 0.5)),
    })
}

/// Many jobs queued at once for one node, which runs one at a time.
pub(crate) async fn throughput(stage: &Stage, jobs: usize) -> anyhow::Result<Row> {
    let start = Instant::now();
    let mut last = String::new();
    for _ in 0..jobs {
        last = stage.queue("hello").await?;
    }
    stage.watch(&last, start).await?;
    let per_second = jobs as f64 / start.elapsed().as_secs_f64();
    let bash = limit::bash_spawns(jobs)?;
    let spawns = 1_000.0 * bash.len() as f64 / bash.iter().sum::<f64>();
    Ok(Row {
        what: format!("{jobs} jobs on one node, one at a time"),
        figure: format!("{per_second:.0} jobs/s"),
        limit: format!("bash -s alone: {spawns:.0}/s"),
        ratio: Some(spawns / per_second),
    })
}

/// 200 MB of output through one job: how long, what memory, and that the tail is exact.
pub(crate) async fn flood(stage: &Stage) -> anyhow::Result<Vec<Row>> {
    let start = Instant::now();
    let id = stage.queue("flood").await?;
    let (_, ms) = stage.watch(&id, start).await?;
    let job = stage.get(&format!("/api/jobs/{id}")).await?;
    let heading = "==> [1/1] go\n".len() as u64;
    anyhow::ensure!(job["status"] == "SUCCEEDED", "{}", job["errorMsg"]);
    anyhow::ensure!(
        job["stdoutBytes"] == FLOOD_BYTES + heading,
        "stdoutBytes is {}",
        job["stdoutBytes"]
    );
    let kept = stage
        .answer(&format!("/api/jobs/{id}/log?stream=stdout"))
        .await?
        .bytes()
        .await?;
    let line = b"the quick brown fox jumps over the lazy dog 0123456789\n";
    let at = |offset: u64| line[(offset % line.len() as u64) as usize];
    let first = FLOOD_BYTES - kept.len() as u64;
    let exact = kept
        .iter()
        .enumerate()
        .all(|(index, byte)| *byte == at(first + index as u64));
    anyhow::ensure!(
        kept.len() == 4_194_304 && exact,
        "the kept tail is not the end of what was written"
    );
    let pipe = limit::through_a_pipe(FLOOD)?;
    let [server, agent] = stage.memory()?;
    let mb = |kb: u64| format!("{:.1} MB", kb as f64 / 1024.0);
    Ok(vec![
        Row {
            what: format!("200 MB of output through one job on {NODE}, tail exact"),
            figure: format!("{:.2} s", ms / 1_000.0),
            limit: format!("the same through a pipe: {pipe:.2} s"),
            ratio: Some(ms / 1_000.0 / pipe),
        },
        Row::plain("peak RSS of the server by then", mb(server.1)),
        Row::plain("peak RSS of the agent by then", mb(agent.1)),
    ])
}
