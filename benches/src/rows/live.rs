//! How long a line takes from the script to its viewers.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::lines::{LINE_BYTES, LINES_PER_SECOND};
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::stage::{Bench, Server};
use crate::viewer::{Reception, watch};
use crate::{limit, process};

/// Lines of the first 1.5 seconds are left out: the agent holds output back until it learns that
/// somebody watches.
const WARM_UP_MS: u64 = 1_500;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let (many, seconds) = (bench.size(1_000, 100), bench.size(10, 3) as u64);
    let server = Server::start(bench).await?;
    let _agent = server.start_agent(bench, "bench").await?;
    let trips = limit::network::round_trips_ms(1_000)?;
    let one = run(&server, 1, seconds).await?;
    let crowd = run(&server, many, seconds).await?;
    let delay = |run: &Run, who: &str, name: &str, q: f64| {
        let figure = Figure::new(
            format!("line written → line received, {who}, {name}"),
            quantile(&run.delays, q),
            "ms",
        );
        figure.with_limit(quantile(&trips, q), "loopback round trip")
    };
    let crowd_name = format!("{many} viewers");
    let figures = vec![
        delay(&one, "one viewer", "p50", 0.5).with_target(Target::AtMost(15.0)),
        delay(&one, "one viewer", "p95", 0.95).with_target(Target::AtMost(60.0)),
        Figure::new("server's processor, one viewer", one.cpu, "% of a core"),
        delay(&crowd, &crowd_name, "p50", 0.5),
        delay(&crowd, &crowd_name, "p99", 0.99).with_target(Target::AtMost(250.0)),
        Figure::new(
            format!("viewers that received every byte, {crowd_name}"),
            crowd.delivered,
            "%",
        )
        .with_target(Target::AtLeast(100.0)),
        Figure::new(
            format!("server's processor, {crowd_name}"),
            crowd.cpu,
            "% of a core",
        )
        .with_target(Target::AtMost(100.0)),
    ];
    let ran = format!(
        "a job that writes a line of 10 kB every 10 ms for {seconds} s, each line with its time; {} and {} lines timed, without \
         those of the first {WARM_UP_MS} ms. At most 64 viewers are one person, and at most 512 share an address",
        one.delays.len(),
        crowd.delays.len()
    );
    Ok(Row::new("live", ran, figures))
}

struct Run {
    delays: Vec<f64>,
    /// Percentage of viewers that received every byte.
    delivered: f64,
    /// Percentage of a core that the server used.
    cpu: f64,
}

async fn run(server: &Server, viewers: usize, seconds: u64) -> anyhow::Result<Run> {
    let watchers = server.viewers(viewers).await?;
    let id = server.queue(&format!("lines-{seconds}"), "bench").await?;
    let (start, cpu) = (Instant::now(), process::cpu_seconds(server.pid)?);
    let mut watching = tokio::task::JoinSet::new();
    for viewer in watchers {
        let (address, id) = (server.address.clone(), id.clone());
        watching.spawn(async move { watch(&address, &viewer, &id).await });
    }
    let mut all: Vec<Reception> = Vec::new();
    while let Some(received) = watching.join_next().await {
        all.push(received.context("a viewer panicked")??);
    }
    let took = start.elapsed();
    anyhow::ensure!(
        took < Duration::from_secs(6 * seconds),
        "the viewers did not finish in time"
    );
    let cpu = (process::cpu_seconds(server.pid)? - cpu) / took.as_secs_f64() * 100.0;
    let heading = "==> [1/1] go\n".len() as u64;
    let written = heading + seconds * LINES_PER_SECOND * LINE_BYTES as u64;
    let whole = all
        .iter()
        .filter(|received| received.end == written && !received.has_gap);
    let delivered = whole.count() as f64 * 100.0 / all.len() as f64;
    let left_out = (WARM_UP_MS * LINES_PER_SECOND / 1_000) as usize;
    let delays = all
        .into_iter()
        .flat_map(|received| received.delays.into_iter().skip(left_out))
        .collect();
    Ok(Run {
        delays,
        delivered,
        cpu,
    })
}
