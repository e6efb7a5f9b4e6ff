//! The cost of held jobs: the same claims with none and with many of them in the nodes' queues.

use std::time::Instant;

use crate::row::{Figure, Row, Target};
use crate::sample::median;
use crate::seed::{Seed, node, node_token};
use crate::stage::{Bench, Server};
use crate::wire::{Connection, get, job_id};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let (held, claims) = (bench.size(1_000_000, 50_000), bench.size(1_000, 100));
    let mut without = Side::start(bench, 0, claims).await?;
    let mut with = Side::start(bench, held, claims).await?;
    let mut times: [Vec<f64>; 2] = Default::default();
    for number in 0..claims {
        // Alternate, so that other load on the machine slows both.
        times[0].push(without.claim(number).await?);
        times[1].push(with.claim(number).await?);
    }
    let [without, with] = &times;
    let figures = vec![
        Figure::new(
            format!("claim with {held} held jobs, p50"),
            median(with),
            "ms",
        )
        .with_limit(median(without), "without held jobs")
        .with_target(Target::RatioAtMost(1.1)),
    ];
    let ran = format!(
        "{claims} durable claims, alternating with the same claims on a server without held jobs; the held jobs are in the queues of the same nodes"
    );
    Ok(Row::new("held", ran, figures))
}

/// A server with one job per node that can be claimed.
pub(super) struct Side {
    _server: Server,
    connection: Connection,
}

impl Side {
    pub(super) async fn start(bench: &Bench, held: usize, claims: usize) -> anyhow::Result<Self> {
        let server = Server::start(bench).await?;
        let database = server.database();
        let folder = server.stop().await?;
        let seed = Seed::open(&database)?;
        seed.nodes(claims)?;
        seed.held(held, claims)?;
        seed.queue(claims)?;
        drop(seed);
        let server = Server::start_in(bench, folder).await?;
        let connection = Connection::open(&server.address).await?;
        Ok(Self {
            _server: server,
            connection,
        })
    }

    /// Milliseconds of a claim of the node's only job that is not held.
    pub(super) async fn claim(&mut self, number: usize) -> anyhow::Result<f64> {
        let node = node(number);
        let request = |capacity: u8| {
            let path =
                format!("/api/jobs/pending?nodeId={node}&wait=0&agent=i&capacity={capacity}");
            get(&path, &node_token(number))
        };
        // The first call looks the token up; later calls of an agent find it in the cache.
        self.connection.call(&request(0)).await?;
        let start = Instant::now();
        let answer = self.connection.call(&request(1)).await?;
        let took = start.elapsed().as_secs_f64() * 1_000.0;
        anyhow::ensure!(answer.status == 200, "a poll got status {}", answer.status);
        let claimed = job_id(answer.body);
        anyhow::ensure!(
            claimed.is_some_and(|id| id.starts_with("029")),
            "{node} got no job, or one that is held"
        );
        Ok(took)
    }
}
