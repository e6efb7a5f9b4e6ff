//! 200 MiB of output of one job: time, memory and disk, and whether the kept tail is exact.

use std::time::{Duration, Instant};

use crate::limit::{bash, network};
use crate::noop::Noop;
use crate::process;
use crate::row::{Figure, Row, Target};
use crate::stage::{Bench, FLOOD, Server};

const BYTES: u64 = 200 * 1024 * 1024;
const KEPT: usize = 4_194_304;
const LINE: &[u8] = b"the quick brown fox jumps over the lazy dog 0123456789\n";

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let server = Server::start(bench).await?;
    let agent = server.start_agent(bench, "bench").await?;
    let noop = Noop::start().await?;
    let pipe = bash::through_a_pipe(FLOOD)?;
    let upload = network::upload_seconds(&noop.address, BYTES as usize).await?;
    let written = process::written_bytes(server.pid)?;
    let start = Instant::now();
    let id = server.queue("flood", "bench").await?;
    let (watched, supervisor) = with_peak_of_children(agent.pid, server.watch(&id, start)).await;
    let (_, ms) = watched?;
    exact(&server, &id).await?;
    let written = process::written_bytes(server.pid)? - written;
    let mb = |kilobytes: u64| kilobytes as f64 / 1024.0;
    let agent = process::memory(agent.pid)?.peak;
    let figures = vec![
        Figure::new("200 MiB through a job, to SUCCEEDED", ms / 1_000.0, "s")
            .with_limit(pipe, "through a pipe to cat")
            .with_target(Target::AtMost(1.5)),
        Figure::new("the same, as a rate", BYTES as f64 / ms / 1_000.0, "MB/s")
            .with_limit(BYTES as f64 / upload / 1e6, "raw HTTP upload"),
        Figure::new(
            "server, peak RSS",
            mb(process::memory(server.pid)?.peak),
            "MiB",
        )
        .with_target(Target::AtMost(48.0)),
        Figure::new(
            "agent with supervisor, peak RSS",
            mb(agent + supervisor),
            "MiB",
        )
        .with_target(Target::AtMost(16.0)),
        Figure::new("written to disk by the server", written as f64 / 1e6, "MB"),
    ];
    let ran = "one job of `yes … | head -c 209715200`, watched; all bytes counted, the kept 4 MiB compared byte by byte".to_owned();
    Ok(Row::new("flood", ran, figures))
}

/// Does the work, and also returns the peak memory of the process's children in kilobytes.
async fn with_peak_of_children<T>(pid: u32, work: impl Future<Output = T>) -> (T, u64) {
    let mut work = std::pin::pin!(work);
    let mut peak = 0;
    loop {
        let alive = process::children(pid).into_iter();
        let now = alive.filter_map(|child| process::memory(child).ok());
        peak = peak.max(now.map(|memory| memory.peak).sum());
        tokio::select! {
            done = &mut work => return (done, peak),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}

/// Fails unless every byte was counted and the kept tail is the end of what was written.
async fn exact(server: &Server, id: &str) -> anyhow::Result<()> {
    let job = server.get(&format!("/api/jobs/{id}")).await?;
    let heading = "==> [1/1] go\n".len() as u64;
    anyhow::ensure!(job["status"] == "SUCCEEDED", "{}", job["errorMsg"]);
    anyhow::ensure!(
        job["stdoutBytes"] == BYTES + heading,
        "stdoutBytes is {}",
        job["stdoutBytes"]
    );
    let kept = server
        .answer(&format!("/api/jobs/{id}/log?stream=stdout"))
        .await?
        .bytes()
        .await?;
    let first = BYTES - kept.len() as u64;
    let at = |offset: u64| LINE[(offset % LINE.len() as u64) as usize];
    let exact = kept
        .iter()
        .enumerate()
        .all(|(index, byte)| *byte == at(first + index as u64));
    anyhow::ensure!(
        kept.len() == KEPT && exact,
        "the kept tail is not the end of what was written"
    );
    Ok(())
}
