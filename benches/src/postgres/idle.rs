//! The cost of idle agents, each in a long poll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::fleet::Fleet;

/// How long the processor time is measured.
const WINDOW: Duration = Duration::from_secs(10);

pub(crate) async fn row(what: &str, fleet: &Arc<Fleet>, agents: usize) -> anyhow::Result<()> {
    let pid = fleet.servers[0].id().context("the server has ended")?;
    let before = resident_kib(pid)?;
    let mut tasks = tokio::task::JoinSet::new();
    for agent in 0..agents {
        let node = format!("idle-{agent}");
        let token = fleet.node(&node).await?;
        let fleet = Arc::clone(fleet);
        tasks.spawn(async move {
            let path = format!("/api/jobs/pending?nodeId={node}&agent=one&wait=60&running=");
            loop {
                let call = fleet.call(0, "GET", &path, &token);
                if call.send().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (start, ticks) = (Instant::now(), cpu_ticks(pid)?);
    tokio::time::sleep(WINDOW).await;
    let used = (cpu_ticks(pid)? - ticks) as f64 / 100.0 / start.elapsed().as_secs_f64();
    let each = (resident_kib(pid)?.saturating_sub(before)) as f64 / agents as f64;
    println!(
        "{agents} waiting agents, {what}: {:.1} % of one processor, {each:.0} KiB each",
        used * 100.0
    );
    Ok(())
}

fn cpu_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no process name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
