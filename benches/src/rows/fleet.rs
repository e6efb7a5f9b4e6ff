//! Ten thousand agents that wait in long polls.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;

use crate::process;
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::seed::{Seed, node, node_token};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, get, job_id, post};

/// Open files that a process needs in addition to one per agent.
const OTHER_FILES: u64 = 200;
/// Polls that got a 503.
static BUSY: AtomicU32 = AtomicU32::new(0);
/// Agents that connect at the same time.
const ARRIVE: usize = 250;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let agents = bench.size(10_000, 2_000);
    let needed = agents as u64 + OTHER_FILES;
    if bench.open_files < needed {
        let why = format!(
            "{needed} open files are needed, {} are allowed (ulimit -Hn)",
            bench.open_files
        );
        return Ok(Row::skipped("fleet", why));
    }
    let server = Server::start(bench).await?;
    let database = server.database();
    let folder = server.stop().await?;
    Seed::open(&database)?.nodes(agents)?;
    let server = Server::start_in(bench, folder).await?;
    let before = process::memory(server.pid)?.now;
    let (claims, mut claimed) = mpsc::unbounded_channel();
    let mut fleet = tokio::task::JoinSet::new();
    let address: Arc<str> = server.address.clone().into();
    for some in (0..agents).collect::<Vec<_>>().chunks(ARRIVE) {
        for number in some {
            fleet.spawn(agent(Arc::clone(&address), *number, claims.clone()));
        }
        let here = some.last().map_or(0, |last| last + 1);
        wait_until_online(&server, here).await?;
    }
    // By now the tokens have been looked up and the signs of life have been written.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let each = (process::memory(server.pid)?.now - before) as f64 / agents as f64;
    let (rest, cpu) = (bench.size(20, 5), process::cpu_seconds(server.pid)?);
    tokio::time::sleep(Duration::from_secs(rest as u64)).await;
    let cpu = (process::cpu_seconds(server.pid)? - cpu) / rest as f64 * 100.0;
    let wakes = wake_some(&server, agents, bench.size(300, 60), &mut claimed).await?;
    let herd = herd(&database, agents, &mut claimed).await?;
    let refused = fleet.try_join_next().is_some();
    anyhow::ensure!(!refused, "an agent's poll was refused or interrupted");
    let figures = vec![
        Figure::new("server, RSS of one waiting agent", each, "KiB")
            .with_target(Target::AtMost(14.0 * 1_000.0 / 1_024.0)),
        Figure::new("server's processor while all wait", cpu, "% of a core")
            .with_target(Target::AtMost(1.0)),
        Figure::new(
            "queue → one agent has its job, p50",
            quantile(&wakes, 0.5),
            "ms",
        ),
        Figure::new(
            "queue → one agent has its job, p99",
            quantile(&wakes, 0.99),
            "ms",
        )
        .with_target(Target::AtMost(10.0)),
        Figure::new("a job for each, until all have claimed", herd, "s")
            .with_target(Target::AtMost(5.0)),
        Figure::new(
            "polls answered 503",
            f64::from(BUSY.load(Ordering::Relaxed)),
            "in all",
        ),
    ];
    let ran = format!(
        "{agents} nodes with their agents' polls (wait=60) from another process; RSS once all wait, processor over {rest} s; {} \
         jobs queued by POST for one node each, timed from before the POST; then one job for each node, inserted by another \
         program in one commit, timed from the commit",
        wakes.len()
    );
    Ok(Row::new("fleet", ran, figures))
}

/// A node's agent: polls, claims jobs and polls again. Ends only if a poll is refused.
async fn agent(
    address: Arc<str>,
    number: usize,
    claims: mpsc::UnboundedSender<(usize, String, Instant)>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(&address).await?;
    let (node, token) = (node(number), node_token(number));
    let mut running = Vec::<String>::new();
    loop {
        let path = format!(
            "/api/jobs/pending?nodeId={node}&wait=60&agent=i{number}&running={}",
            running.join(",")
        );
        let answer = connection.call(&get(&path, &token)).await?;
        // The server is busy: poll again, as an agent does.
        if answer.status == 503 {
            BUSY.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        anyhow::ensure!(answer.status == 200, "a poll got status {}", answer.status);
        if let Some(id) = job_id(answer.body) {
            running.push(id.clone());
            claims.send((number, id, Instant::now()))?;
        }
    }
}

/// Waits until the last of so many nodes is ONLINE.
async fn wait_until_online(server: &Server, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let node = node(count.saturating_sub(1));
    while server.get(&format!("/api/nodes/{node}")).await?["status"] != "ONLINE" {
        anyhow::ensure!(
            Instant::now() < deadline,
            "the agents did not connect in time"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Queues jobs one at a time, and returns the milliseconds from each request until the node's agent
/// has the job.
async fn wake_some(
    server: &Server,
    agents: usize,
    samples: usize,
    claimed: &mut mpsc::UnboundedReceiver<(usize, String, Instant)>,
) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(&server.address).await?;
    let mut times = Vec::new();
    for sample in 0..samples {
        let number = sample * 7_919 % agents;
        let body = format!(r#"{{"preset":"true","nodeId":"{}"}}"#, node(number));
        let request = post("/api/jobs", &server.token, body.as_bytes());
        let start = Instant::now();
        let answer = connection.call(&request).await?;
        anyhow::ensure!(answer.status == 201, "the job was not queued");
        let (who, _, at) = claimed.recv().await.context("the agents are gone")?;
        anyhow::ensure!(who == number, "another node got the job");
        times.push(at.duration_since(start).as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(times)
}

/// Commits one job for each agent, and returns the seconds until the last claim.
async fn herd(
    database: &std::path::Path,
    agents: usize,
    claimed: &mut mpsc::UnboundedReceiver<(usize, String, Instant)>,
) -> anyhow::Result<f64> {
    let seed = Seed::open(database)?;
    seed.queue(agents)?;
    let start = Instant::now();
    let (mut who, mut jobs, mut last) = (HashSet::new(), HashSet::new(), start);
    while who.len() < agents {
        let left = Duration::from_secs(60).saturating_sub(start.elapsed());
        let claim = tokio::time::timeout(left, claimed.recv()).await;
        let (number, id, at) = claim
            .with_context(|| format!("only {} of the agents got a job within a minute", who.len()))?
            .context("the agents are gone")?;
        anyhow::ensure!(jobs.insert(id), "a job was claimed twice");
        who.insert(number);
        last = last.max(at);
    }
    Ok(last.duration_since(start).as_secs_f64())
}
