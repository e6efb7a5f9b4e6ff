//! 64 callers claim the jobs of one node. Checks that each job is claimed once, and measures the
//! rate.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::fleet::Fleet;
use crate::median;
use crate::sql::Sql;

const PULLERS: usize = 64;
/// As many as the writing connections of three servers.
const CONNECTIONS: usize = 36;

/// The claim of `src/store/sql/job_claim.sql` for PostgreSQL.
const CLAIM: &str = "UPDATE jobs SET status = 'RUNNING', started_at = now(), claimed_by = 'bench'
WHERE id = (SELECT id FROM jobs WHERE held = 0 AND node_id = 'bench' AND status = 'QUEUED'
            AND (expires_at IS NULL OR expires_at > clock_timestamp())
            ORDER BY queue_no, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
  AND status = 'QUEUED'
RETURNING id;
";

pub(crate) async fn rows(
    three: &Arc<Fleet>,
    one: &Arc<Fleet>,
    sql: &Sql,
    rounds: usize,
    jobs: usize,
) -> anyhow::Result<()> {
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), CLAIM)?;
    let tokens = [three.node("bench").await?, one.node("bench").await?];
    let (mut postgres, mut sqlite, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        postgres.push(pull(three, &tokens[0], jobs).await?);
        sqlite.push(pull(one, &tokens[1], jobs).await?);
        // The same rows again, for pgbench.
        sql.run("UPDATE jobs SET status = 'QUEUED', started_at = NULL, claimed_by = NULL; VACUUM ANALYZE jobs")
            .await?;
        bare.push(
            sql.pgbench(script.path(), CONNECTIONS, jobs / CONNECTIONS)
                .await?,
        );
        sql.run("UPDATE jobs SET status = 'SUCCEEDED', finished_at = now(); VACUUM ANALYZE jobs")
            .await?;
    }
    let (postgres, sqlite, bare) = (median(&postgres), median(&sqlite), median(&bare));
    println!(
        "{PULLERS} callers, {jobs} jobs of one node, each claimed once (medians of {rounds}):"
    );
    println!("  three servers over PostgreSQL {postgres:.0} claims/s");
    println!(
        "  one server over SQLite        {sqlite:.0} claims/s; PostgreSQL reaches {:.2} of this",
        postgres / sqlite
    );
    println!(
        "  pgbench, the same UPDATE over {CONNECTIONS} connections {bare:.0}/s; over HTTP {:.2} of this",
        postgres / bare
    );
    Ok(())
}

/// Returns the claims per second.
async fn pull(fleet: &Arc<Fleet>, token: &str, jobs: usize) -> anyhow::Result<f64> {
    fleet.queue_many("bench", jobs).await?;
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for puller in 0..PULLERS {
        let (fleet, token) = (Arc::clone(fleet), token.to_owned());
        tasks.spawn(async move {
            let mut mine: Vec<String> = Vec::new();
            while let Some(id) = fleet.claim(puller, "bench", &token).await? {
                mine.push(id);
            }
            anyhow::Ok(mine)
        });
    }
    let mut claimed = Vec::new();
    while let Some(mine) = tasks.join_next().await {
        claimed.extend(mine??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let distinct: HashSet<&String> = claimed.iter().collect();
    anyhow::ensure!(
        claimed.len() == jobs && distinct.len() == jobs,
        "{} claims of {} jobs, {jobs} were queued",
        claimed.len(),
        distinct.len()
    );
    Ok(jobs as f64 / seconds)
}
