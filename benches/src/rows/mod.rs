//! The rows of the table, one file each.

mod against;
mod claims;
mod cold_start;
mod dispatch;
mod end_to_end;
mod fleet;
mod flood;
mod held;
mod history;
mod idle;
mod live;
mod polls;
mod runs;
mod schedules;
mod sizes;
mod supervision;
mod throughput;

use crate::row::Row;
use crate::stage::Bench;

/// The names of the rows in the table's order.
pub(crate) const NAMES: [&str; 17] = [
    "dispatch",
    "end-to-end",
    "throughput",
    "claims",
    "polls",
    "runs",
    "schedules",
    "live",
    "flood",
    "fleet",
    "history",
    "held",
    "cold-start",
    "idle",
    "sizes",
    "supervision",
    "against",
];

/// Measures a row. A row that can't be measured contains the reason.
pub(crate) async fn measure(name: &str, bench: &Bench) -> Row {
    let measured = match name {
        "dispatch" => dispatch::measure(bench).await,
        "end-to-end" => end_to_end::measure(bench).await,
        "throughput" => throughput::measure(bench).await,
        "claims" => claims::measure(bench).await,
        "polls" => polls::measure(bench).await,
        "runs" => runs::measure(bench).await,
        "schedules" => schedules::measure(bench).await,
        "live" => live::measure(bench).await,
        "flood" => flood::measure(bench).await,
        "fleet" => fleet::measure(bench).await,
        "held" => held::measure(bench).await,
        "history" => history::measure(bench).await,
        "cold-start" => cold_start::measure(bench).await,
        "idle" => idle::measure(bench).await,
        "sizes" => sizes::measure(bench),
        "supervision" => supervision::measure(bench),
        "against" => against::measure(bench).await,
        _ => Err(anyhow::anyhow!("unknown row: see --list")),
    };
    measured.unwrap_or_else(|error| Row::skipped(name, format!("{error:#}")))
}
