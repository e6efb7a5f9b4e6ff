//! From the response to the queued job to the first instruction of its script, one job at a time.

use anyhow::Context;

use crate::clock;
use crate::limit::bash::Script;
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::stage::{Bench, Server};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let samples = bench.size(500, 60);
    let server = Server::start(bench).await?;
    let _agent = server.start_agent(bench, "bench").await?;
    let script = Script::new("echo \"at $EPOCHREALTIME\"\n")?;
    let (mut jobs, mut bash) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        jobs.push(dispatch(&server).await?);
        bash.push(script.stamp_ms()?);
    }
    let figure = |name: &str, q: f64| {
        Figure::new(
            format!("queued → first instruction, {name}"),
            quantile(&jobs, q),
            "ms",
        )
        .with_limit(quantile(&bash, q), "bash -s alone")
    };
    let figures = vec![
        figure("p50", 0.5).with_target(Target::RatioAtMost(2.5)),
        figure("p95", 0.95).with_target(Target::RatioAtMost(4.0)),
        figure("p99", 0.99),
    ];
    let ran = format!(
        "{samples} jobs, one at a time, with an agent in a long poll; the script writes EPOCHREALTIME. Alternating with a plain \
         `bash -s` that writes the same"
    );
    Ok(Row::new("dispatch", ran, figures))
}

/// Milliseconds from the response to a queued job to the first instruction of its script.
pub(super) async fn dispatch(server: &Server) -> anyhow::Result<f64> {
    let id = server.queue("stamp", "bench").await?;
    let accepted = clock::micros();
    server.watch(&id, std::time::Instant::now()).await?;
    let job = server.get(&format!("/api/jobs/{id}")).await?;
    let stamp = job["stdout"]
        .as_str()
        .and_then(|text| clock::parse_bash_time(text.rsplit("at ").next()?))
        .context("the job wrote no stamp")?;
    Ok(stamp.saturating_sub(accepted) as f64 / 1_000.0)
}
