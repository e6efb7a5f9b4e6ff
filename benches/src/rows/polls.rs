//! Polls without work, compared with a handler that does nothing.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::noop::Noop;
use crate::row::{Figure, Row, Target};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, get};

/// Concurrent callers.
const CALLERS: usize = 8;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let turns = bench.size(8, 2);
    let (server, noop) = (Server::start(bench).await?, Noop::start().await?);
    let mut requests = Vec::new();
    for caller in 0..CALLERS {
        let node = format!("p{caller}");
        let token = server.add_node(&node).await?;
        requests.push(get(
            &format!("/api/jobs/pending?nodeId={node}&wait=0&agent=i{caller}"),
            &token,
        ));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Alternate, so that other load on the machine slows both.
    for _ in 0..turns {
        ours.push(calls_per_second(&server.address, &requests).await?);
        theirs.push(calls_per_second(&noop.address, &requests).await?);
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let figures = vec![
        Figure::new("polls without work", mean(&ours), "polls/s")
            .with_limit(mean(&theirs), "no-op axum handler")
            .with_target(Target::RatioAtLeast(0.8)),
    ];
    let ran = format!(
        "{CALLERS} callers with a node each, {turns} times one second, alternating with a handler in its own process that sends the \
         same response; one load generator for both"
    );
    Ok(Row::new("polls", ran, figures))
}

/// Repeats each request on its own connection for a second, and returns the calls per second.
async fn calls_per_second(address: &str, requests: &[Vec<u8>]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for request in requests {
        let (address, request) = (address.to_owned(), request.clone());
        callers.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let mut calls = 0;
            while start.elapsed() < Duration::from_secs(1) {
                let answer = connection.call(&request).await?;
                anyhow::ensure!(answer.status == 200, "a poll got status {}", answer.status);
                calls += 1;
            }
            Ok(f64::from(calls))
        });
    }
    let mut calls = 0.0;
    while let Some(ended) = callers.join_next().await {
        calls += ended.context("a caller panicked")??;
    }
    Ok(calls / start.elapsed().as_secs_f64())
}
