//! An idle server and an idle agent.

use std::time::Duration;

use crate::process;
use crate::row::{Figure, Row, Target};
use crate::stage::{Bench, Server};

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let seconds = bench.size(30, 5);
    let server = Server::start(bench).await?;
    // Restarted, since the first minutes of a new server are not idle.
    let server = Server::start_in(bench, server.stop().await?).await?;
    let agent = server.start_agent(bench, "bench").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cpu = |pid| process::cpu_seconds(pid);
    // The supervisor that waits for the next job.
    let waiting = process::children(agent.pid);
    anyhow::ensure!(!waiting.is_empty(), "the agent has no waiting supervisor");
    let cpu_of_agents = || -> anyhow::Result<f64> {
        let all = waiting.iter().chain([&agent.pid]);
        all.map(|pid| cpu(*pid)).sum()
    };
    let before = [cpu(server.pid)?, cpu_of_agents()?];
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let percent = |after: f64, before: f64| (after - before) / seconds as f64 * 100.0;
    let mib = |pid| -> anyhow::Result<f64> { Ok(process::memory(pid)?.now as f64 / 1024.0) };
    let mut together = mib(agent.pid)?;
    for pid in &waiting {
        together += process::private_kib(*pid)? as f64 / 1024.0;
    }
    let figures = vec![
        Figure::new("server, RSS", mib(server.pid)?, "MiB").with_target(Target::AtMost(15.0)),
        Figure::new("agent with its waiting supervisor, RSS", together, "MiB")
            .with_target(Target::AtMost(5.0)),
        Figure::new("agent without the supervisor, RSS", mib(agent.pid)?, "MiB"),
        Figure::new(
            "server's processor",
            percent(cpu(server.pid)?, before[0]),
            "% of a core",
        )
        .with_target(Target::AtMost(0.1)),
        Figure::new(
            "agent's processor, with its supervisor's",
            percent(cpu_of_agents()?, before[1]),
            "% of a core",
        )
        .with_target(Target::AtMost(0.1)),
    ];
    let ran = format!(
        "one server with one node, the node's agent in a long poll with the supervisor for its next job, after one sign-in; for {seconds} s, \
         three seconds after the start. Agent and supervisor share the program's pages, so the sum is the agent's RSS and the \
         supervisor's private memory"
    );
    Ok(Row::new("idle", ran, figures))
}
