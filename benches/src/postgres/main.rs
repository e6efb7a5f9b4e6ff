//! `tests/with-postgres cargo run --release -p hyprbox-bench --bin hyprbox-bench-postgres`, after
//! `cargo build --release --features postgres`: three servers over PostgreSQL beside one over
//! SQLite, each figure beside its limit from the same run. `--quick` takes less of everything; rows
//! can be named (`claims`, `output`, `tail`, `idle`), `--rounds N` says how often claims are made.
//! What it makes is gone with the cluster.
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

/// What is asked for on the command line.
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
                    let rounds = arguments.next().context("--rounds wants a number")?;
                    options.rounds = Some(rounds.parse().context("--rounds wants a number")?);
                }
                row if Self::ROWS.contains(&row) => options.rows.push(row.to_owned()),
                other => {
                    anyhow::bail!("{other}: rows are {}", Self::ROWS.join(", "));
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
    // reqwest wants a provider even for plain http.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let sql = Sql::from_environment()
        .context("run it with tests/with-postgres")?
        .fresh("bench")
        .await?;
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
