//! `hyprbox schedules sign`: shows what a schedule runs, asks, and signs it in advance, so that its
//! jobs need no signature each on nodes that require one.

use hyprbox_signing::StandingEnvelope;
use serde_json::json;

use super::find::named;
use super::path;
use crate::cli::args::{ScopeArg, Scoped, SignSchedule, SignWith};
use crate::cli::ask;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::person_key::PersonKey;
use crate::cli::screen::{Screen, print_note};
use crate::cli::sign::{self, Script, last_run, show_script};
use crate::clock;
use crate::presets::script_sha256;
use crate::schedules::{ScheduleScript, ScheduleView};

/// How long a signature counts without `--until`, in milliseconds.
const COUNTS_MS: i64 = 365 * 24 * 3_600 * 1_000;

pub(super) async fn run(
    client: &Client,
    screen: &Screen,
    args: &SignSchedule,
) -> Result<u8, CliError> {
    sign::require_person(screen, &args.sure)?;
    let schedule = named(client, &args.schedule.given).await?;
    let script = client
        .get::<ScheduleScript>(&path(&schedule, "/script"))
        .await?
        .value;
    let standing = standing(args, &schedule, &script)?;
    show(client, &schedule, &script, &standing, &args.with).await?;
    let question = "Sign this schedule?";
    ask::confirm(screen, &args.sure, question, "nothing was signed")?;
    let mut key = PersonKey::open(args.with.key.as_deref())?;
    let envelope = standing.to_json();
    let signature = key.sign(envelope.as_bytes())?;
    let body = json!({"envelope": envelope, "signature": signature, "comment": key.comment()});
    let signed = client
        .post::<ScheduleView>(&path(&schedule, "/signatures"), &body)
        .await?;
    print_note(&format!(
        "Signed with {} {}. Its waiting jobs run if this covers them.",
        key.public().fingerprint(),
        key.comment()
    ));
    if screen.json {
        screen.value(&signed.json)?;
    }
    Ok(0)
}

/// The envelope to sign. It names the SHA-256 of the script that is shown.
fn standing(
    args: &SignSchedule,
    schedule: &ScheduleView,
    script: &ScheduleScript,
) -> Result<StandingEnvelope, CliError> {
    let from = args.from.unwrap_or_else(clock::now);
    let until = args.until.unwrap_or_else(|| from.plus_millis(COUNTS_MS));
    if until <= from {
        return Err(CliError::usage("--until must be later than --from"));
    }
    Ok(StandingEnvelope {
        v: StandingEnvelope::VERSION,
        server: script.server.clone(),
        schedule: schedule.id.clone(),
        preset: schedule.preset.clone(),
        script_sha256: script_sha256(&script.script),
        nodes: script.nodes.clone(),
        from: from.to_string(),
        until: until.to_string(),
        max_per_day: args.max_per_day.unwrap_or(script.due_per_day.max(1)),
    })
}

async fn show(
    client: &Client,
    schedule: &ScheduleView,
    script: &ScheduleScript,
    standing: &StandingEnvelope,
    with: &SignWith,
) -> Result<(), CliError> {
    print_note(&format!(
        "{}: {} at {} ({}). The script, SHA-256 {}:\n",
        schedule.name, schedule.preset, schedule.cron, schedule.time_zone, standing.script_sha256
    ));
    let scope = Scoped {
        scope: ScopeArg::Mine,
    };
    let node = standing.nodes.first().map_or("", String::as_str);
    let before = last_run(client, &scope, node, &schedule.preset).await?;
    let about = Script {
        name: format!("schedule/{}", schedule.id),
        preset: &schedule.preset,
        params: &schedule.params,
        text: &script.script,
    };
    show_script(&about, node, before, with)?;
    print_note(&format!(
        "It may run from {} until {}, at most {} times a day (UTC) on each of these nodes:\n  {}",
        standing.from,
        standing.until,
        standing.max_per_day,
        standing.nodes.join(" ")
    ));
    Ok(())
}
