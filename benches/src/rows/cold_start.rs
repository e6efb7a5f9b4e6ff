//! From the start of the server's process to the first 200 of /readyz.

use crate::row::{Figure, Row, Target};
use crate::sample::median;
use crate::stage::{Bench, Server};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let samples = bench.size(20, 5);
    let (mut fresh, mut known) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let server = Server::start(bench).await?;
        fresh.push(server.start_ms);
        let server = Server::start_in(bench, server.stop().await?).await?;
        known.push(server.start_ms);
    }
    let figures = vec![
        Figure::new("start → ready, p50", median(&known), "ms").with_target(Target::AtMost(100.0)),
        Figure::new(
            "the same with a new database and its first user, p50",
            median(&fresh),
            "ms",
        ),
    ];
    let ran = format!(
        "{samples} starts each; much of the second figure is the hash of the first user's password"
    );
    Ok(Row::new("cold-start", ran, figures))
}
