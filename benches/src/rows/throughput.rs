//! How many queued jobs of `true` one node, and eight nodes, run per second.

use std::time::{Duration, Instant};

use crate::limit::{bash, disk};
use crate::row::{Figure, Row, Target};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, post};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let jobs = bench.size(1_000, 200);
    let server = Server::start(bench).await?;
    // The limit is measured before and after, since the machine's speed changes within seconds.
    let before = bash::runs_per_second(1, jobs)?;
    let one = run(bench, &server, "one", 1, jobs).await?;
    let bash_one = f64::midpoint(before, bash::runs_per_second(1, jobs)?);
    let before = bash::runs_per_second(8, jobs)?;
    let eight = run(bench, &server, "eight", 8, jobs).await?;
    let bash_eight = f64::midpoint(before, bash::runs_per_second(8, jobs)?);
    let syncs = disk::syncs_per_second(server.folder.path())?;
    let figures = vec![
        Figure::new("one node, one job at a time", one, "jobs/s")
            .with_limit(bash_one, "bash -s, one at a time")
            .with_target(Target::AtLeast(150.0))
            .with_target(Target::RatioAtLeast(1.0 / 4.0)),
        Figure::new("eight agents", eight, "jobs/s")
            .with_limit(bash_eight, "bash -s, eight at a time")
            .with_target(Target::AtLeast(400.0))
            .with_target(Target::RatioAtLeast(1.0 / 3.5)),
        Figure::new("the disk, for comparison", syncs, "fdatasync/s of 4 KiB"),
    ];
    let ran = format!(
        "{jobs} jobs of `true` queued, then the agents started; until the last job has ended. The limit is the mean of one \
         measurement before and one after"
    );
    Ok(Row::new("throughput", ran, figures))
}

/// Runs the jobs on so many agents and returns the jobs per second.
async fn run(
    bench: &Bench,
    server: &Server,
    name: &str,
    agents: usize,
    jobs: usize,
) -> anyhow::Result<f64> {
    let mut nodes = Vec::new();
    for number in 0..agents {
        let node = format!("{name}-{number}");
        nodes.push((server.add_node(&node).await?, node));
    }
    let mut connection = Connection::open(&server.address).await?;
    for number in 0..jobs {
        let (_, node) = &nodes[number % agents];
        let body = format!(r#"{{"preset":"true","nodeId":"{node}"}}"#);
        let request = post("/api/jobs", &server.token, body.as_bytes());
        let answer = connection.call(&request).await?;
        anyhow::ensure!(answer.status == 201, "the job was not queued");
    }
    let start = Instant::now();
    let mut running = Vec::new();
    for (token, node) in &nodes {
        running.push(server.spawn_agent(bench, node, token)?);
    }
    for (_, node) in &nodes {
        let path = format!("/api/jobs?nodeId={node}&status=QUEUED&status=RUNNING&limit=1");
        while server.get(&path).await?["jobs"][0].is_object() {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(300),
                "the jobs did not end in time"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let per_second = jobs as f64 / start.elapsed().as_secs_f64();
    for (_, node) in &nodes {
        let path = format!("/api/jobs?nodeId={node}&status=FAILED&limit=1");
        let failed = server.get(&path).await?;
        anyhow::ensure!(failed["jobs"][0].is_null(), "a job of `true` failed");
    }
    Ok(per_second)
}
