//! A thousand schedules that are due at the same moment while others write, and the server's
//! processor while none of them is due.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::runs::writes_meanwhile;
use crate::process;
use crate::row::{Figure, Row, Target};
use crate::sample::quantile;
use crate::stage::{Bench, Server};

const SCHEDULES: usize = 1_000;
/// How long the runs may take before the row gives up.
const GIVE_UP: Duration = Duration::from_secs(120);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Row> {
    let seconds = bench.size(30, 10);
    let server = Server::start(bench).await?;
    server.add_node("bench").await?;
    for number in 0..SCHEDULES {
        let body = json!({"name": format!("s{number}"), "preset": "stamp", "nodes": ["bench"],
            "cron": "0 3 1 1 *", "timeZone": "Europe/Berlin"});
        server.post("/api/schedules", &body).await?;
    }
    let server = Server::start_in(bench, server.stop().await?).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = process::cpu_seconds(server.pid)?;
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let idle = (process::cpu_seconds(server.pid)? - before) / seconds as f64 * 100.0;
    let (took, writes) = make_all_due(&server).await?;
    let figures = vec![
        Figure::new("due → the last of 1,000 runs", took, "s").with_target(Target::AtMost(5.0)),
        Figure::new("other writes meanwhile, p99", quantile(&writes, 0.99), "ms")
            .with_target(Target::AtMost(50.0)),
        Figure::new("idle server's processor", idle, "% of a core")
            .with_target(Target::AtMost(0.1)),
    ];
    let ran = format!(
        "{SCHEDULES} schedules of a preset on one node, idle for {seconds} s, then all due at the same moment, with one other \
         caller that adds nodes all the while ({} writes)",
        writes.len()
    );
    Ok(Row::new("schedules", ran, figures))
}

/// Seconds until every schedule has a run, and the milliseconds of another caller's writes
/// meanwhile.
async fn make_all_due(server: &Server) -> anyhow::Result<(f64, Vec<f64>)> {
    let database = rusqlite::Connection::open(server.database())?;
    database.busy_timeout(Duration::from_secs(10))?;
    writes_meanwhile(server, async {
        let start = Instant::now();
        let now = "UPDATE schedules SET next_due_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
        let changed = database.execute(now, [])?;
        anyhow::ensure!(changed == SCHEDULES, "{changed} schedules");
        loop {
            let runs: i64 = database.query_row(
                "SELECT count(*) FROM schedule_slots WHERE outcome = 'ran'",
                [],
                |row| row.get(0),
            )?;
            if runs == SCHEDULES as i64 {
                return Ok(start.elapsed().as_secs_f64());
            }
            anyhow::ensure!(start.elapsed() < GIVE_UP, "{runs} runs in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .context("1,000 schedules")
}
