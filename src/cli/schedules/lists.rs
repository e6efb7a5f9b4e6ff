//! What `hyprbox schedules` prints.

use super::find;
use super::path;
use crate::cli::answers::DueTimes;
use crate::cli::client::{Answer, Client, segment};
use crate::cli::error::CliError;
use crate::cli::runs::Target;
use crate::cli::screen::{Paint, Screen, print_note};
use crate::cli::table::{Cell, Table, facts};
use crate::cli::times;
use crate::runs::IfOffline;
use crate::schedules::{Missed, Overlap, ScheduleView, SlotPage, SlotView, StandingView};
use crate::store::schedule::SlotOutcome;

const NONE: &str = "No schedules. `hyprbox schedules add` adds one.";
/// Entries of one answer of the API.
const PAGE: u32 = 200;

pub(super) async fn list(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let schedules = client
        .list::<ScheduleView>("/api/schedules", "schedules")
        .await?;
    let ids = schedules.value.iter().map(|schedule| &schedule.id);
    if screen.is_done_with(&schedules.json, ids)? {
        return Ok(0);
    }
    if schedules.value.is_empty() {
        print_note(NONE);
        return Ok(0);
    }
    let mut table = Table::new(&["ID", "NAME", "PRESET", "CRON", "TIME ZONE", "NEXT", "LAST"])
        .optional(&["TIME ZONE", "PRESET", "CRON", "LAST"]);
    for schedule in &schedules.value {
        table.row([
            screen.id(&schedule.id).into(),
            schedule.name.as_str().into(),
            schedule.preset.as_str().into(),
            schedule.cron.as_str().into(),
            schedule.time_zone.as_str().into(),
            next_cell(schedule),
            last_cell(schedule.last_slot.as_ref()),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

fn next_cell(schedule: &ScheduleView) -> Cell {
    match schedule.next_due_at {
        _ if schedule.paused => Cell::painted("paused", Paint::Yellow),
        Some(at) => times::until(at).into(),
        None => "never".into(),
    }
}

fn last_cell(slot: Option<&SlotView>) -> Cell {
    let Some(slot) = slot else {
        return "".into();
    };
    let words = format!("{}, {}", outcome(slot.outcome), times::ago(slot.due_at));
    Cell::painted(words, paint(slot.outcome))
}

fn outcome(outcome: SlotOutcome) -> &'static str {
    match outcome {
        SlotOutcome::Ran => "ran",
        SlotOutcome::Skipped => "skipped",
        SlotOutcome::Missed => "missed",
    }
}

fn paint(outcome: SlotOutcome) -> Paint {
    match outcome {
        SlotOutcome::Ran => Paint::Green,
        SlotOutcome::Skipped => Paint::Yellow,
        SlotOutcome::Missed => Paint::Red,
    }
}

/// The nodes of a schedule in words.
pub(super) fn target(schedule: &ScheduleView) -> String {
    match (&schedule.selector, &schedule.nodes) {
        (Some(selector), _) => Target::Selector(selector.clone()).to_string(),
        (None, nodes) => Target::Nodes(nodes.clone().unwrap_or_default()).to_string(),
    }
}

/// When a schedule is due next, as a sentence.
pub(super) fn next_words(schedule: &ScheduleView) -> String {
    match (schedule.paused, schedule.next_due_at) {
        (true, _) => "It is paused: its due times are skipped.".to_owned(),
        (false, Some(at)) => format!("Next due time: {at} ({}).", times::until(at)),
        (false, None) => "It is never due.".to_owned(),
    }
}

pub(super) async fn show(client: &Client, screen: Screen, id: &str) -> Result<u8, CliError> {
    let answer = client
        .get::<ScheduleView>(&format!("/api/schedules/{}", segment(id)))
        .await?;
    let schedule = answer.value;
    if screen.is_done_with(&answer.json, [&schedule.id])? {
        return Ok(0);
    }
    let on = match &schedule.nodes {
        Some(nodes) => nodes.join(", "),
        None => target(&schedule),
    };
    let next = schedule
        .next_due_at
        .map(|at| format!("{at} ({})", times::until(at)));
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("id", schedule.id.as_str().into()),
        ("name", schedule.name.as_str().into()),
        ("preset", schedule.preset.as_str().into()),
        ("on", on.into()),
        ("cron", schedule.cron.as_str().into()),
        ("time zone", schedule.time_zone.as_str().into()),
        ("next", next.unwrap_or_default().into()),
        ("last", last_cell(schedule.last_slot.as_ref())),
        ("paused", paused(&schedule)),
        ("maker", schedule.created_by_email.as_str().into()),
        ("made", times::moment(Some(schedule.created_at)).into()),
        ("overlap", overlap(schedule.overlap).into()),
        ("missed", missed(schedule.missed).into()),
    ];
    let seconds = |seconds: i64| format!("{seconds} s");
    let more = [
        ("timeout", schedule.timeout_seconds.map(seconds)),
        ("expires", schedule.expires_in_seconds.map(seconds)),
        (
            "offline",
            (schedule.if_offline == IfOffline::Skip).then(|| "skipped".to_owned()),
        ),
        ("ping", schedule.ping_url.clone()),
        ("signed", schedule.standing.as_ref().map(signed)),
    ];
    for (name, text) in more {
        pairs.extend(text.map(|text| (name, text.into())));
    }
    let params = schedule.params.as_object().cloned().unwrap_or_default();
    let params: Vec<(String, String)> = params
        .iter()
        .map(|(name, value)| (format!("param {name}"), param(value)))
        .collect();
    pairs.extend(
        params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().into())),
    );
    screen.data(&facts(&pairs, screen.colors))?;
    Ok(0)
}

/// What a person has signed in advance.
fn signed(standing: &StandingView) -> String {
    format!(
        "by {} {}, from {} until {}, at most {} jobs a day on {}",
        standing.signed_by.fingerprint,
        standing.signed_by.comment,
        standing.from,
        standing.until,
        standing.max_per_day,
        standing.nodes.join(", ")
    )
}

/// A param as `-p` takes it.
fn param(value: &serde_json::Value) -> String {
    match (crate::jobs::secret_name(value), value.as_str()) {
        (Some(name), _) => format!("secret:{name}"),
        (None, Some(text)) => text.to_owned(),
        (None, None) => value.to_string(),
    }
}

fn paused(schedule: &ScheduleView) -> Cell {
    match (&schedule.paused_because, schedule.paused) {
        (Some(why), _) => Cell::painted(format!("by the server: {why}"), Paint::Red),
        (None, true) => Cell::painted("yes", Paint::Yellow),
        (None, false) => "no".into(),
    }
}

fn overlap(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Skip => "skip",
        Overlap::Queue => "queue",
        Overlap::Cancel => "cancel",
    }
}

fn missed(missed: Missed) -> &'static str {
    match missed {
        Missed::Skip => "skip",
        Missed::Once => "once",
    }
}

/// The next due time of each schedule, the earliest first.
pub(super) async fn next_of_all(client: &Client, screen: Screen) -> Result<u8, CliError> {
    let mut schedules = find::all(client).await?;
    schedules.sort_by_key(|schedule| (schedule.paused, schedule.next_due_at));
    let json = serde_json::json!({"schedules": schedules});
    if screen.is_done_with(&json, schedules.iter().map(|schedule| &schedule.id))? {
        return Ok(0);
    }
    if schedules.is_empty() {
        print_note(NONE);
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "NEXT", "DUE AT", "PRESET", "ON"])
        .optional(&["ON", "PRESET", "DUE AT"]);
    for schedule in &schedules {
        let at = schedule.next_due_at.map(|at| at.to_string());
        table.row([
            schedule.name.as_str().into(),
            next_cell(schedule),
            at.unwrap_or_default().into(),
            schedule.preset.as_str().into(),
            target(schedule).into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

/// Due times in UTC and by the schedule's clock.
pub(super) fn due_times(screen: Screen, due: &Answer<DueTimes>) -> Result<u8, CliError> {
    let times = &due.value.times;
    if screen.is_done_with(&due.json, times.iter().map(|time| time.utc.to_string()))? {
        return Ok(0);
    }
    let mut table = Table::new(&["LOCAL TIME", "UTC", "NEXT"]).optional(&["NEXT", "UTC"]);
    for time in times {
        table.row([
            time.local.as_str().into(),
            time.utc.to_string().into(),
            times::until(time.utc).into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}

/// Due times that have passed, newest first.
pub(super) async fn slots(
    client: &Client,
    screen: Screen,
    schedule: &ScheduleView,
    limit: u32,
) -> Result<u8, CliError> {
    let mut slots = Vec::new();
    let mut cursor = String::new();
    loop {
        let rest = limit.saturating_sub(u32::try_from(slots.len()).unwrap_or(u32::MAX));
        let query = format!("/slots?limit={}{cursor}", rest.min(PAGE));
        let page = client.get::<SlotPage>(&path(schedule, &query)).await?.value;
        slots.extend(page.slots);
        match page.next_cursor {
            Some(next) if rest > PAGE => cursor = format!("&cursor={}", segment(&next)),
            _ => break,
        }
    }
    let times = slots.iter().map(|slot| slot.due_at.to_string());
    if screen.is_done_with(&serde_json::json!({"slots": slots}), times)? {
        return Ok(0);
    }
    if slots.is_empty() {
        print_note(&format!("None yet. {}", next_words(schedule)));
        return Ok(0);
    }
    let mut table = Table::new(&["DUE AT", "OUTCOME", "DETAIL", "RUN"]).optional(&["RUN"]);
    for slot in &slots {
        table.row([
            slot.due_at.to_string().into(),
            Cell::painted(outcome(slot.outcome), paint(slot.outcome)),
            slot.detail.as_deref().unwrap_or_default().into(),
            screen.id(slot.run_id.as_deref().unwrap_or_default()).into(),
        ]);
    }
    screen.table(&table)?;
    Ok(0)
}
