//! Queueing a run on a thousand nodes while others write, and the time from the end of a batch to
//! the claim of the next one, compared with a job that is queued for a waiting poll.

use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::seed::{Seed, node, node_token};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, get, job_id, post};

/// Nodes of the large run.
const NODES: usize = 1_000;
/// Large runs.
const RUNS: usize = 5;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let batches = bench.size(200, 40);
    let server = Server::start(bench).await?;
    let database = server.database();
    let folder = server.stop().await?;
    Seed::open(&database)?.nodes(NODES)?;
    let server = Server::start_in(bench, folder).await?;
    let (mut runs, mut writes) = (Vec::new(), Vec::new());
    let names: Vec<String> = (0..NODES).map(node).collect();
    for _ in 0..RUNS {
        let (run, others) = queue_run(&server, &names).await?;
        runs.push(run);
        writes.extend(others);
    }
    let folder = server.stop().await?;
    drop(folder);
    let server = Server::start(bench).await?;
    let database = server.database();
    let folder = server.stop().await?;
    Seed::open(&database)?.nodes(2)?;
    let server = Server::start_in(bench, folder).await?;
    let (mut released, mut dispatched) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        released.push(batch_to_claim(&server).await?);
        dispatched.push(queued_to_claim(&server).await?);
    }
    let figures = vec![
        Figure::new(
            "POST /api/runs, 1,000 nodes, slowest",
            quantile(&runs, 1.0),
            "ms",
        )
        .with_target(Target::AtMost(1_500.0)),
        Figure::new("other writes meanwhile, p99", quantile(&writes, 0.99), "ms")
            .with_target(Target::AtMost(50.0)),
        Figure::new(
            "end of a batch → claim of the next, p50",
            quantile(&released, 0.5),
            "ms",
        )
        .with_limit(quantile(&dispatched, 0.5), "a plain job, queued → claim")
        .with_target(Target::RatioAtMost(2.0)),
        Figure::new("the same, p99", quantile(&released, 0.99), "ms")
            .with_limit(quantile(&dispatched, 0.99), "a plain job, queued → claim"),
    ];
    let ran = format!(
        "{RUNS} runs over {NODES} nodes in batches of 100, with one other caller that adds nodes all the while ({} writes); {batches} \
         runs of two batches over two nodes, with the second node in a long poll, alternating with single jobs for that poll",
        writes.len()
    );
    Ok(Row::new("runs", ran, figures))
}

/// Queues a run. Returns its milliseconds, and those of another caller's writes meanwhile.
async fn queue_run(server: &Server, nodes: &[String]) -> anyhow::Result<(f64, Vec<f64>)> {
    let body = json!({"preset": "stamp", "nodes": nodes, "plan": {"batch": 100}});
    writes_meanwhile(server, async {
        let start = Instant::now();
        server.post("/api/runs", &body).await?;
        Ok(start.elapsed().as_secs_f64() * 1_000.0)
    })
    .await
}

/// Does the work while another caller writes. Returns the result and the milliseconds of each
/// write.
pub(super) async fn writes_meanwhile<T>(
    server: &Server,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Vec<f64>)> {
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let (address, token) = (server.address.clone(), server.token.clone());
    let others = tokio::spawn(async move {
        let mut connection = Connection::open(&address).await?;
        let mut times = Vec::new();
        while stopped.try_recv().is_err() {
            let id = format!("w-{}", next_name());
            let body = json!({ "id": id }).to_string();
            let request = post("/api/nodes", &token, body.as_bytes());
            let start = Instant::now();
            let status = connection.call(&request).await?.status;
            times.push(start.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(status == 201, "a write got status {status}");
        }
        Ok(times)
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let done = work.await?;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let _ended = stop.send(());
    Ok((done, others.await.context("the other caller panicked")??))
}

/// A name that was not used before.
fn next_name() -> String {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{number:06}")
}

fn poll(number: usize, wait: u8) -> Vec<u8> {
    let node = node(number);
    let path = format!("/api/jobs/pending?nodeId={node}&wait={wait}&agent=i{number}");
    get(&path, &node_token(number))
}

async fn claim(connection: &mut Connection, number: usize) -> anyhow::Result<String> {
    let answer = connection.call(&poll(number, 30)).await?;
    job_id(answer.body).context("the poll got no job")
}

async fn complete(connection: &mut Connection, number: usize, job: &str) -> anyhow::Result<()> {
    let path = format!("/api/jobs/{job}/complete?agent=i{number}");
    let request = post(&path, &node_token(number), br#"{"exitCode":0}"#);
    let status = connection.call(&request).await?.status;
    anyhow::ensure!(status == 200, "an end got status {status}");
    Ok(())
}

/// Milliseconds from sending the end of the first batch to the claim by the second one's poll.
async fn batch_to_claim(server: &Server) -> anyhow::Result<f64> {
    let body = json!({"preset": "stamp", "nodes": [node(0), node(1)], "plan": {"batch": 1}});
    server.post("/api/runs", &body).await?;
    let mut first = Connection::open(&server.address).await?;
    let mut second = Connection::open(&server.address).await?;
    let job = claim(&mut first, 0).await?;
    second.send(&poll(1, 30)).await?;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let start = Instant::now();
    complete(&mut first, 0, &job).await?;
    let next = job_id(second.answer().await?.body).context("no job of the next batch")?;
    let took = start.elapsed().as_secs_f64() * 1_000.0;
    complete(&mut second, 1, &next).await?;
    Ok(took)
}

/// Milliseconds from sending a job to its claim by a waiting poll.
async fn queued_to_claim(server: &Server) -> anyhow::Result<f64> {
    let mut agent = Connection::open(&server.address).await?;
    agent.send(&poll(1, 30)).await?;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let start = Instant::now();
    server.queue("stamp", &node(1)).await?;
    let job = job_id(agent.answer().await?.body).context("no job")?;
    let took = start.elapsed().as_secs_f64() * 1_000.0;
    complete(&mut agent, 1, &job).await?;
    Ok(took)
}
