//! From the request that queues a job of `true` to the job's end at a subscriber.

use std::time::Instant;

use crate::limit::bash::Script;
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::stage::{Bench, Server};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let samples = bench.size(500, 60);
    let server = Server::start(bench).await?;
    let _agent = server.start_agent(bench, "bench").await?;
    let script = Script::new("true\n")?;
    let (mut firsts, mut ends, mut bash) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        let start = Instant::now();
        let id = server.queue("true", "bench").await?;
        let (first, end) = server.watch(&id, start).await?;
        firsts.extend(first);
        ends.push(end);
        bash.push(script.run_ms()?);
    }
    let figure = |what: &str, times: &[f64], q: f64| {
        Figure::new(what, quantile(times, q), "ms").with_limit(quantile(&bash, q), "bash -s alone")
    };
    let figures = vec![
        // 12 ms if bash alone takes 1.5 ms.
        figure("queue → SUCCEEDED, p50", &ends, 0.5).with_target(Target::RatioAtMost(8.0)),
        figure("queue → SUCCEEDED, p95", &ends, 0.95),
        figure("queue → SUCCEEDED, p99", &ends, 0.99),
        figure("queue → first line, p50", &firsts, 0.5),
    ];
    let ran = format!(
        "{samples} jobs of `true`, one at a time; from before POST /api/jobs to `done` in GET /api/jobs/:id/stream, opened after \
         the response. Alternating with a plain `bash -s`"
    );
    Ok(Row::new("end-to-end", ran, figures))
}
