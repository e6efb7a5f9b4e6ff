//! Durable claims over HTTP by eight callers, with a history. Compared with a raw loop whose
//! commits have as many claims as the server's commits had, and with one whose commits have a claim
//! of each caller.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use crate::limit;
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::seed::{self, Seed, node, node_token};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, get, job_id};

/// Concurrent callers.
const CALLERS: usize = 8;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let (nodes, history) = (bench.size(10_000, 2_000), bench.size(100_000, 10_000));
    let server = Server::start(bench).await?;
    let database = server.database();
    let folder = server.stop().await?;
    let seeded = Seed::open(&database)?;
    seeded.nodes(nodes)?;
    seeded.history(history)?;
    seeded.queue(nodes)?;
    seeded.queue(nodes)?;
    drop(seeded);
    let copied = folder.path().join("raw.db");
    seed::copy(&database, &copied)?;
    let server = Server::start_in(bench, folder).await?;
    let nobody = Arc::new(vec![String::new(); nodes]);
    // Look tokens and nodes up before timing starts, since an agent polls many times.
    round(&server, &nobody, 0).await?;
    let names: Vec<String> = (0..nodes).map(node).collect();
    let (mut claimed, mut rates, mut times) = (nobody, vec![], vec![]);
    let (mut groups, mut raw, mut raw_of_all) = (vec![], vec![], vec![]);
    let mut distinct = HashSet::new();
    for _ in 0..2 {
        let (start, commits) = (Instant::now(), limit::claims::commits(&database)?);
        let (now, took) = round(&server, &claimed, 1).await?;
        rates.push(nodes as f64 / start.elapsed().as_secs_f64());
        times.extend(took);
        distinct.extend(now.iter().cloned());
        claimed = Arc::new(now);
        let commits = limit::claims::commits(&database)?.wrapping_sub(commits);
        anyhow::ensure!(commits > 0, "the claims made no commit");
        let group = (nodes as f64 / f64::from(commits)).max(1.0);
        groups.push(group);
        // Each loop takes half of the copy's jobs.
        let (half, other) = names.split_at(nodes / 2);
        raw.push(limit::claims::claims_per_second(&copied, half, group)?);
        raw_of_all.push(limit::claims::claims_per_second(
            &copied,
            other,
            CALLERS as f64,
        )?);
    }
    anyhow::ensure!(
        distinct.len() == 2 * nodes && !distinct.contains(""),
        "a claim got no job, or a job was claimed twice"
    );
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let figures = vec![
        Figure::new("claims, durable", mean(&rates), "claims/s")
            .with_limit(
                mean(&raw),
                &format!(
                    "raw rusqlite, {:.1} claims per commit, as the server",
                    mean(&groups)
                ),
            )
            .with_target(Target::RatioAtLeast(0.6)),
        Figure::new("the same", mean(&rates), "claims/s").with_limit(
            mean(&raw_of_all),
            &format!("raw rusqlite, {CALLERS} claims per commit"),
        ),
        Figure::new("one claim, p50", quantile(&times, 0.5), "ms"),
        Figure::new("one claim, p99", quantile(&times, 0.99), "ms"),
        Figure::new("one claim, slowest", quantile(&times, 1.0), "ms"),
    ];
    let ran = format!(
        "{} claims by {CALLERS} callers for {nodes} nodes with two jobs each, over {history} finished jobs; alternating with the \
         claim's UPDATE and the script's SELECT in a loop over a copy of the same database",
        2 * nodes
    );
    Ok(Row::new("claims", ran, figures))
}

/// Polls once for each node, with the job that it runs. Returns the job that each node claimed, and
/// the milliseconds of each call.
async fn round(
    server: &Server,
    before: &Arc<Vec<String>>,
    capacity: u8,
) -> anyhow::Result<(Vec<String>, Vec<f64>)> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (address, before) = (server.address.clone(), Arc::clone(before));
        callers.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let (mut claimed, mut times) = (Vec::new(), Vec::new());
            for (number, running) in before.iter().enumerate().skip(caller).step_by(CALLERS) {
                let node = node(number);
                let path = format!(
                    "/api/jobs/pending?nodeId={node}&wait=0&capacity={capacity}&agent=i{number}&running={running}"
                );
                let request = get(&path, &node_token(number));
                let start = Instant::now();
                let answer = connection.call(&request).await?;
                times.push(start.elapsed().as_secs_f64() * 1_000.0);
                anyhow::ensure!(answer.status == 200, "a poll got status {}", answer.status);
                claimed.push((number, job_id(answer.body).unwrap_or_default()));
            }
            Ok((claimed, times))
        });
    }
    let (mut claimed, mut times) = (vec![String::new(); before.len()], Vec::new());
    while let Some(ended) = callers.join_next().await {
        let (ids, took) = ended.context("a caller panicked")??;
        for (number, id) in ids {
            claimed[number] = id;
        }
        times.extend(took);
    }
    Ok((claimed, times))
}
