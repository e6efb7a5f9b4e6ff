//! Agents that send output as fast as the servers accept it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fleet::Fleet;
use crate::median;

const AGENTS: usize = 16;
/// 64 KiB of text, whose JSON is hardly longer.
const PIECE: usize = 65_536;

pub(crate) async fn row(what: &str, fleet: &Arc<Fleet>, length: Duration) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for agent in 0..AGENTS {
        let node = format!("out-{agent}");
        let token = fleet.node(&node).await?;
        fleet.queue(agent, &node).await?;
        let fleet = Arc::clone(fleet);
        tasks.spawn(async move { send(&fleet, agent, &node, &token, length).await });
    }
    let (mut bytes, mut calls) = (0, Vec::new());
    while let Some(sent) = tasks.join_next().await {
        let mut times = sent??;
        bytes += times.len() * PIECE;
        calls.append(&mut times);
    }
    let rate = bytes as f64 / 1e6 / length.as_secs_f64();
    println!(
        "output of {AGENTS} jobs, 64 KiB a call, {what}: {rate:.0} MB/s, a call {:.1} ms at the median",
        median(&calls)
    );
    Ok(())
}

/// Sends output and returns the milliseconds of each call.
async fn send(
    fleet: &Fleet,
    server: usize,
    node: &str,
    token: &str,
    length: Duration,
) -> anyhow::Result<Vec<f64>> {
    let id = fleet.claim(server, node, token).await?.unwrap_or_default();
    let path = format!("/api/jobs/{id}/output");
    let piece = "0123456789abcde\n".repeat(PIECE / 16);
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < length {
        let offset = times.len() * PIECE;
        let body = json!({"chunks": [{"stream": "stdout", "offset": offset, "data": piece}]});
        let call = Instant::now();
        // Each call goes to the next server, as behind a load balancer.
        let sent = fleet
            .call(server + times.len(), "POST", &path, token)
            .json(&body);
        sent.send().await?.error_for_status()?;
        times.push(call.elapsed().as_secs_f64() * 1_000.0);
    }
    let done = json!({"exitCode": 0});
    let path = format!("/api/jobs/{id}/complete");
    let call = fleet.call(server, "POST", &path, token).json(&done);
    call.send().await?.error_for_status()?;
    Ok(times)
}
