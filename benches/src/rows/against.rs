//! Claims and dispatch of this build of the server and of another one, in turn: what a change
//! costs. What the metrics cost shows against a build with `--cfg hyprbox_without_metrics`.

use anyhow::Context;

use super::dispatch::dispatch;
use super::held::Side;
use crate::row::{Figure, Row, Target};
use crate::sample::median;
use crate::stage::{Bench, Server};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let server = bench.against.clone().context("needs --against FILE")?;
    let other = Bench {
        server,
        ..bench.clone()
    };
    let benches = [bench, &other];
    let (claims, jobs) = (bench.size(5_000, 200), bench.size(1_000, 60));
    let claimed = claim_in_turn(benches, claims).await?;
    let dispatched = dispatch_in_turn(benches, jobs).await?;
    let figure = |what: &str, [this, other]: &[Vec<f64>; 2]| {
        Figure::new(what, median(this), "ms")
            .with_limit(median(other), "the other build")
            .with_target(Target::RatioAtMost(1.01))
    };
    let figures = vec![
        figure("claim, p50", &claimed),
        figure("queued → first instruction, p50", &dispatched),
    ];
    let ran =
        format!("{claims} durable claims and {jobs} jobs per build, each in turn with the other");
    Ok(Row::new("against", ran, figures))
}

async fn claim_in_turn(benches: [&Bench; 2], claims: usize) -> anyhow::Result<[Vec<f64>; 2]> {
    let mut sides = Vec::new();
    for bench in benches {
        sides.push(Side::start(bench, 0, claims).await?);
    }
    let mut times: [Vec<f64>; 2] = Default::default();
    for number in 0..claims {
        for turn in turns(number) {
            times[turn].push(sides[turn].claim(number).await?);
        }
    }
    Ok(times)
}

async fn dispatch_in_turn(benches: [&Bench; 2], jobs: usize) -> anyhow::Result<[Vec<f64>; 2]> {
    let (mut servers, mut agents) = (Vec::new(), Vec::new());
    for bench in benches {
        let server = Server::start(bench).await?;
        agents.push(server.start_agent(bench, "bench").await?);
        servers.push(server);
    }
    let mut times: [Vec<f64>; 2] = Default::default();
    for number in 0..jobs {
        for turn in turns(number) {
            times[turn].push(dispatch(&servers[turn]).await?);
        }
    }
    Ok(times)
}

/// Each goes first as often as the other.
fn turns(number: usize) -> [usize; 2] {
    let first = number % 2;
    [first, 1 - first]
}
