//! `tests/with-postgres cargo run --release -p hyprbox-bench --bin hyprbox-bench-postgres`, after `cargo build --release
//! --features postgres`: three servers over PostgreSQL beside one over SQLite, each figure beside its limit from the same run.
//! `--quick` takes less of everything. What it makes is gone with the cluster.
#![allow(
    clippy::print_stdout,
    reason = "a table on standard output is what this program is for"
)]

mod claims;
mod fleet;
mod idle;
mod output;
mod sql;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fleet::Fleet;
use sql::Sql;

/// Milliseconds at a quantile.
fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (q * last as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // reqwest wants a provider even for plain http.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let sql = Sql::from_environment()
        .context("run it with tests/with-postgres")?
        .fresh("bench")
        .await?;
    let three = Arc::new(Fleet::over_postgres(&sql, 3).await?);
    let one = Arc::new(Fleet::over_sqlite().await?);

    let (rounds, jobs) = if quick { (1, 1_000) } else { (3, 5_000) };
    claims::rows(&three, &one, &sql, rounds, jobs).await?;
    let length = Duration::from_secs(if quick { 3 } else { 10 });
    output::row("three servers over PostgreSQL", &three, length).await?;
    output::row("one server over SQLite", &one, length).await?;
    tail::rows(&three, if quick { 60 } else { 400 }).await?;
    let agents = if quick { 100 } else { 1_000 };
    idle::row("a server over PostgreSQL", &three, agents).await?;
    idle::row("the server over SQLite", &one, agents).await?;
    Ok(())
}
