//! The cost of a long history: the same calls with few and with many finished jobs.

use std::time::Instant;

use anyhow::Context;

use crate::row::{Figure, Row, Target};
use crate::sample::median;
use crate::seed::{Seed, node, node_token};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, get, job_id};

/// Finished jobs of the smaller history.
const FEW: usize = 1_000;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let (many, samples) = (bench.size(1_000_000, 50_000), bench.size(400, 60));
    let mut few = Side::start(bench, FEW, samples).await?;
    let mut much = Side::start(bench, many, samples).await?;
    let mut times: [[Vec<f64>; 2]; 3] = Default::default();
    for sample in 0..samples {
        // Alternate, so that other load on the machine slows both.
        for (index, side) in [&mut few, &mut much].into_iter().enumerate() {
            times[0][index].push(side.claim(sample).await?);
            times[1][index].push(side.list().await?);
            times[2][index].push(side.detail(sample).await?);
        }
    }
    let figure = |what: &str, [few, much]: &[Vec<f64>; 2]| {
        Figure::new(format!("{what} over {many} jobs, p50"), median(much), "ms")
            .with_limit(median(few), &format!("over {FEW} jobs"))
            .with_target(Target::RatioAtMost(1.5))
    };
    let figures = vec![
        figure("claim", &times[0]),
        figure("list of 50", &times[1]),
        figure("detail", &times[2]),
    ];
    let ran = format!(
        "{samples} calls of each kind, alternating with the same calls to a server with {FEW} finished jobs; claims are durable"
    );
    Ok(Row::new("history", ran, figures))
}

struct Side {
    server: Server,
    connection: Connection,
    history: usize,
}

impl Side {
    async fn start(bench: &Bench, history: usize, claims: usize) -> anyhow::Result<Self> {
        let server = Server::start(bench).await?;
        let database = server.database();
        let folder = server.stop().await?;
        let seed = Seed::open(&database)?;
        seed.nodes(claims)?;
        seed.history(history)?;
        seed.queue(claims)?;
        drop(seed);
        let server = Server::start_in(bench, folder).await?;
        Ok(Self {
            connection: Connection::open(&server.address).await?,
            server,
            history,
        })
    }

    async fn timed(&mut self, request: &[u8]) -> anyhow::Result<(f64, Vec<u8>)> {
        let start = Instant::now();
        let answer = self.connection.call(request).await?;
        let ms = start.elapsed().as_secs_f64() * 1_000.0;
        anyhow::ensure!(answer.status == 200, "a call got status {}", answer.status);
        Ok((ms, answer.body.to_vec()))
    }

    async fn claim(&mut self, number: usize) -> anyhow::Result<f64> {
        let path = |capacity: u8| {
            format!(
                "/api/jobs/pending?nodeId={}&wait=0&agent=i&capacity={capacity}",
                node(number)
            )
        };
        // The first call looks the token up; later calls of an agent find it in the cache.
        self.timed(&get(&path(0), &node_token(number))).await?;
        let (ms, body) = self.timed(&get(&path(1), &node_token(number))).await?;
        job_id(&body).context("nothing was claimed")?;
        Ok(ms)
    }

    async fn list(&mut self) -> anyhow::Result<f64> {
        let request = get("/api/jobs?status=SUCCEEDED", &self.server.token);
        Ok(self.timed(&request).await?.0)
    }

    async fn detail(&mut self, sample: usize) -> anyhow::Result<f64> {
        let id = Seed::past_id(1 + sample * 7_919 % self.history);
        let request = get(&format!("/api/jobs/{id}"), &self.server.token);
        Ok(self.timed(&request).await?.0)
    }
}
