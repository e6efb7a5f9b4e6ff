//! How long a line takes from a script that writes to those who watch it.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::lines::{LINE_BYTES, LINES_PER_SECOND};
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::stage::{Bench, Server};
use crate::viewer::{Seen, watch};
use crate::{limit, process};

/// Lines of the first second are left out: until the agent has heard that somebody watches, it
/// takes its time.
const WARM_UP_MS: u64 = 1_500;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let (many, seconds) = (bench.size(1_000, 100), bench.size(10, 3) as u64);
    let server = Server::start(bench).await?;
    let _agent = server.start_agent(bench, "bench").await?;
    let trips = limit::network::round_trips_ms(1_000)?;
    let beside = |figure: Figure, q: f64| figure.beside(quantile(&trips, q), "loopback round trip");
    let one = run(&server, 1, seconds).await?;
    let crowd = run(&server, many, seconds).await?;
    let delay = |run: &Run, who: &str, name: &str, q: f64| {
        let figure = Figure::new(
            format!("line written → line seen, {who}, {name}"),
            quantile(&run.delays, q),
            "ms",
        );
        beside(figure, q)
    };
    let crowd_name = format!("{many} viewers");
    let figures = vec![
        delay(&one, "one viewer", "p50", 0.5).aiming_at(Target::AtMost(15.0)),
        delay(&one, "one viewer", "p95", 0.95).aiming_at(Target::AtMost(60.0)),
        Figure::new("server's processor, one viewer", one.cpu, "% of a core"),
        delay(&crowd, &crowd_name, "p50", 0.5),
        delay(&crowd, &crowd_name, "p99", 0.99).aiming_at(Target::AtMost(250.0)),
        Figure::new(
            format!("bytes that arrived, {crowd_name}"),
            crowd.delivered,
            "%",
        )
        .aiming_at(Target::AtLeast(100.0)),
        Figure::new(
            format!("server's processor, {crowd_name}"),
            crowd.cpu,
            "% of a core",
        )
        .aiming_at(Target::AtMost(100.0)),
    ];
    let ran = format!(
        "a job that writes a line of 10 kB each 10 ms for {seconds} s, each line with the time of its writing; {} and {} lines timed, \
         those of the first {WARM_UP_MS} ms left out",
        one.delays.len(),
        crowd.delays.len()
    );
    Ok(Row::new("live", ran, figures))
}

struct Run {
    delays: Vec<f64>,
    /// Percent of what the viewers should have got, without a hole.
    delivered: f64,
    /// Percent of a core that the server took.
    cpu: f64,
}

async fn run(server: &Server, viewers: usize, seconds: u64) -> anyhow::Result<Run> {
    let id = server.queue(&format!("lines-{seconds}"), "bench").await?;
    let (start, cpu) = (Instant::now(), process::cpu_seconds(server.pid)?);
    let mut watching = tokio::task::JoinSet::new();
    for _ in 0..viewers {
        let (address, token, id) = (server.address.clone(), server.token.clone(), id.clone());
        watching.spawn(async move { watch(&address, &token, &id).await });
    }
    let mut all: Vec<Seen> = Vec::new();
    while let Some(seen) = watching.join_next().await {
        all.push(seen.context("a viewer panicked")??);
    }
    let took = start.elapsed();
    anyhow::ensure!(
        took < Duration::from_secs(6 * seconds),
        "the viewers were not done in time"
    );
    let cpu = (process::cpu_seconds(server.pid)? - cpu) / took.as_secs_f64() * 100.0;
    let heading = "==> [1/1] go\n".len() as u64;
    let written = heading + seconds * LINES_PER_SECOND * LINE_BYTES as u64;
    let whole = all
        .iter()
        .filter(|seen| seen.end == written && !seen.skipped);
    let delivered = whole.count() as f64 * 100.0 / all.len() as f64;
    let left_out = (WARM_UP_MS * LINES_PER_SECOND / 1_000) as usize;
    let delays = all
        .into_iter()
        .flat_map(|seen| seen.delays.into_iter().skip(left_out))
        .collect();
    Ok(Run {
        delays,
        delivered,
        cpu,
    })
}
