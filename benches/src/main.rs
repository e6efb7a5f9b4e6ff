//! `cargo run --release -p hyprbox-bench`: measures the built server and agent as a user runs them, each figure beside the
//! machine's own limit, measured in the same run. Prints a table; `--quick` takes fewer samples.
#![allow(
    clippy::print_stdout,
    reason = "a table on standard output is what this program is for"
)]

mod limit;
mod row;
mod rows;
mod stage;

use anyhow::Context;
use row::Row;
use stage::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let samples = if quick { 40 } else { 300 };
    // reqwest wants a provider even for plain http.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut table = rows::sizes()?;
    table.push(rows::cold_start(if quick { 5 } else { 20 }).await?);
    table.push(rows::supervision(samples)?);
    let stage = Stage::set()
        .await
        .context("the server and its agent could not be started")?;
    table.extend(rows::idle(&stage).await?);
    table.extend(rows::dispatch(&stage, samples).await?);
    table.push(rows::throughput(&stage, samples).await?);
    table.extend(rows::flood(&stage).await?);
    stage.strike().await?;
    println!("{}", Row::heading());
    for row in &table {
        println!("{row}");
    }
    Ok(())
}
