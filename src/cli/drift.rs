//! `hyprbox drift`: which nodes are still as the presets have left them.

use serde_json::{Value, json};

use super::args::Drift;
use super::client::Client;
use super::error::{CliError, exit};
use super::interrupts::Interrupts;
use super::plan::{CHECK_FAILED, WOULD_RUN, end_of};
use super::screen::{Paint, Screen, print_note};
use super::table::{Cell, Table};
use super::{safe, times};
use crate::jobs::{DriftState, DriftStepState};
use crate::runs::{DriftChecks, DriftPage, DriftView};
use crate::store::job::JobStatus;

/// Matches every node.
const EVERY_NODE: &str = "node";

/// Lists what has drifted and what has not; with `--check` after new checks.
pub(super) async fn run(client: Client, screen: Screen, drift: Drift) -> Result<u8, CliError> {
    let has_failed = drift.check && !check(&client, &drift).await?;
    let rows = read_all(&client, &drift).await?;
    show(&screen, &rows)?;
    let has_drifted = rows.iter().any(|row| row.state == DriftState::Drifted);
    Ok(match (has_failed, has_drifted) {
        (true, _) => CHECK_FAILED,
        (false, true) => WOULD_RUN,
        (false, false) => 0,
    })
}

/// Queues checks and waits for their end. Returns whether all have succeeded.
async fn check(client: &Client, drift: &Drift) -> Result<bool, CliError> {
    let selector = drift.on.as_deref().unwrap_or(EVERY_NODE);
    let body = json!({"selector": selector, "preset": drift.preset});
    let checks: DriftChecks = client.post("/api/drift/check", &body).await?.value;
    for left_out in &checks.left_out {
        let (preset, because) = (safe::line(&left_out.preset), safe::line(&left_out.because));
        print_note(&format!("Can't check {preset}: {because}"));
    }
    let mut is_fine = checks.left_out.is_empty();
    for run in &checks.runs {
        let nodes = super::runs::nodes(run.node_count);
        print_note(&format!(
            "Run {}: checks {} on {nodes}",
            run.id,
            safe::line(&run.preset)
        ));
    }
    let mut interrupts = Interrupts::new(false)?;
    let ends = async {
        for run in &checks.runs {
            for job in end_of(client, &run.id).await?.jobs {
                if job.status != JobStatus::Succeeded {
                    is_fine = false;
                    let node = safe::line(&job.node_id);
                    print_note(&format!(
                        "{node}: the check did not get through; see: hyprbox jobs log {}",
                        job.id
                    ));
                }
            }
        }
        Ok::<_, CliError>(())
    };
    tokio::select! {
        ended = ends => ended?,
        () = interrupts.next() => {
            let hint = "`hyprbox drift` shows what they have found";
            return Err(CliError::new(exit::INTERRUPTED, "interrupted; the checks go on").hint(hint));
        }
    }
    Ok(is_fine)
}

async fn read_all(client: &Client, drift: &Drift) -> Result<Vec<DriftView>, CliError> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", "200");
        let more = [
            ("preset", drift.preset.as_ref()),
            ("selector", drift.on.as_ref()),
            ("cursor", cursor.as_ref()),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let path = format!("/api/drift?{}", query.finish());
        let page = client.get::<DriftPage>(&path).await?.value;
        rows.extend(page.drift);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(rows),
        }
    }
}

fn show(screen: &Screen, rows: &[DriftView]) -> Result<(), CliError> {
    let json: Value = json!({"drift": rows, "nextCursor": null});
    let names: Vec<String> = rows
        .iter()
        .map(|row| format!("{}/{}", row.node_id, row.preset))
        .collect();
    if screen.is_done_with(&json, names.iter())? {
        return Ok(());
    }
    if rows.is_empty() {
        print_note("No preset was applied there with success yet.");
        return Ok(());
    }
    let mut table = Table::new(&["NODE", "PRESET", "STATE", "CHECKED", "APPLIED", "WOULD RUN"])
        .optional(&["APPLIED", "CHECKED"]);
    for row in rows {
        let (state, paint) = match row.state {
            DriftState::Ok => ("ok", Paint::Green),
            DriftState::Drifted => ("drifted", Paint::Red),
            DriftState::Unknown => ("unknown", Paint::Dim),
        };
        let steps = row.steps.iter();
        let would_run = steps.filter(|step| step.state == DriftStepState::WouldRun);
        let names: Vec<&str> = would_run.map(|step| step.name.as_str()).collect();
        table.row([
            row.node_id.as_str().into(),
            row.preset.as_str().into(),
            Cell::painted(state, paint),
            row.checked_at.map_or(String::new(), times::ago).into(),
            times::ago(row.applied_at).into(),
            names.join(", ").into(),
        ]);
    }
    screen.table(&table)
}
