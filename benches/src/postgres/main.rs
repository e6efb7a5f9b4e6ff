//! Compares three servers over PostgreSQL with one over SQLite. After
//! `cargo build --release --features postgres`, run
//! `export HYPRBOX_TEST_POSTGRES_OPTIONS='-c fsync=on'` and
//! `tests/with-postgres cargo run --release -p hyprbox-bench --bin hyprbox-bench-postgres`.
//! `--quick` uses smaller sizes, `--rounds N` sets the rounds of claims, and arguments select rows
//! (`claims`, `output`, `tail`, `idle`). The data is deleted with the cluster.
#![allow(clippy::print_stdout, reason = "this program prints a table")]

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

/// Returns the sample at a quantile.
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

/// The parsed command line.
struct Options {
    quick: bool,
    rounds: Option<usize>,
    rows: Vec<String>,
}

impl Options {
    const ROWS: [&str; 4] = ["claims", "output", "tail", "idle"];

    fn from_arguments() -> anyhow::Result<Self> {
        let mut options = Self {
            quick: false,
            rounds: None,
            rows: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--rounds" => {
                    let rounds = arguments.next().context("--rounds needs a number")?;
                    options.rounds = Some(rounds.parse().context("--rounds needs a number")?);
                }
                row if Self::ROWS.contains(&row) => options.rows.push(row.to_owned()),
                other => {
                    anyhow::bail!(
                        "unknown argument {other}: rows are {}",
                        Self::ROWS.join(", ")
                    );
                }
            }
        }
        Ok(options)
    }

    fn has(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|named| named == row)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::from_arguments()?;
    let quick = options.quick;
    // reqwest needs a provider even for plain http.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let cluster = Sql::from_environment().context("run it with tests/with-postgres")?;
    anyhow::ensure!(
        cluster.run("SHOW fsync").await?.trim() == "on",
        "the cluster does not sync its commits; set HYPRBOX_TEST_POSTGRES_OPTIONS='-c fsync=on'"
    );
    let sql = cluster.fresh("bench").await?;
    let three = Arc::new(Fleet::over_postgres(&sql, 3).await?);
    let one = Arc::new(Fleet::over_sqlite().await?);

    if options.has("claims") {
        let (rounds, jobs) = if quick { (1, 1_000) } else { (3, 5_000) };
        let rounds = options.rounds.unwrap_or(rounds);
        claims::rows(&three, &one, &sql, rounds, jobs).await?;
    }
    if options.has("output") {
        let length = Duration::from_secs(if quick { 3 } else { 10 });
        output::row("three servers over PostgreSQL", &three, length).await?;
        output::row("one server over SQLite", &one, length).await?;
    }
    if options.has("tail") {
        tail::rows(&three, if quick { 60 } else { 400 }).await?;
    }
    if options.has("idle") {
        let agents = if quick { 100 } else { 1_000 };
        idle::row("a server over PostgreSQL", &three, agents).await?;
        idle::row("the server over SQLite", &one, agents).await?;
    }
    Ok(())
}
