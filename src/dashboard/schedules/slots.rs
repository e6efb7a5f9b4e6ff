//! Due times of the past: as a strip, and as a table.

use maud::{Markup, html};

use super::when;
use crate::auth::User;
use crate::dashboard::{Site, parts, runs, words};
use crate::jobs::Scope;
use crate::schedules::ScheduleView;
use crate::store::past_slot::PastSlot;
use crate::store::run::RunStatus;
use crate::store::schedule::SlotOutcome;

/// How many slots a strip shows.
pub(super) const STRIP: u64 = 30;
/// The height of a mark in units of the picture.
const TALL: i64 = 24;
/// The width of a mark in a list, and of the mark with its gap.
const SMALL: (i64, i64) = (6, 8);

/// The state of a slot in the stylesheet, and its word.
pub(super) fn words_of(slot: &PastSlot) -> (&'static str, &'static str) {
    let run = slot.run.as_ref().map(|run| run.status);
    match (slot.slot.outcome, run) {
        (SlotOutcome::Missed, _) => ("missed", "Missed"),
        (SlotOutcome::Skipped, _) => ("passed", "Skipped"),
        // The run is no longer kept.
        (SlotOutcome::Ran, None) => ("ran", "Ran"),
        (SlotOutcome::Ran, Some(RunStatus::Running)) => ("running", "Running"),
        (SlotOutcome::Ran, Some(RunStatus::Paused)) => ("queued", "Run paused"),
        (SlotOutcome::Ran, Some(RunStatus::Succeeded)) => ("succeeded", "Succeeded"),
        (SlotOutcome::Ran, Some(RunStatus::Failed)) => ("failed", "Failed"),
        (SlotOutcome::Ran, Some(RunStatus::Cancelled)) => ("cancelled", "Cancelled"),
    }
}

/// A slot's state: icon, word and colour.
pub(super) fn state(slot: &PastSlot) -> Markup {
    let (state, word) = words_of(slot);
    html! { span.state data-state=(state) { (word) } }
}

/// The address of the slot's run, if it is kept and this user may read it.
pub(super) fn address(site: &Site, user: &User, slot: &PastSlot) -> Option<String> {
    let run = slot.run.as_ref()?;
    let is_own = run.created_by == user.id;
    let scope = match site.jobs.reads_all(user) {
        true => parts::scope_of_job(user, Scope::All, &run.created_by),
        false => Scope::Mine,
    };
    (is_own || scope == Scope::All).then(|| runs::address(&run.id, scope))
}

/// What happened and when: `Missed, 2026-12-01 03:00: the server was down`.
fn name(slot: &PastSlot, zone: &str) -> String {
    let (_, word) = words_of(slot);
    let at = when::plain(slot.slot.due_at, zone);
    match &slot.slot.detail {
        Some(why) => format!("{word}, {at}: {}", words::visible(why)),
        None => format!("{word}, {at}"),
    }
}

/// The shape of a slot's mark: states differ by more than their colour.
fn mark(state: &str, (x, width): (i64, i64)) -> Markup {
    let (middle, low) = (x + width / 2, TALL - 6);
    let cross = |top: i64| format!("M{} {top}l{} {}m0 -{}l-{} {}", middle - 2, 4, 4, 4, 4, 4);
    html! {
        @match state {
            // A hollow box.
            "missed" => { rect.open x=(x + 1) y="1" width=(width - 2) height=(TALL - 2) rx="1" {} }
            // A line at the bottom.
            "passed" => { rect.full x=(x) y=(TALL - 3) width=(width) height="3" {} }
            "failed" => {
                rect.full x=(x) y="7" width=(width) height=(TALL - 7) rx="1" {}
                path.cross d=(cross(0)) {}
            }
            "cancelled" => { rect.open x=(x + 1) y=(low) width=(width - 2) height="5" {} }
            "running" | "queued" => { rect.full x=(x) y=(TALL / 2) width=(width) height=(TALL / 2) rx="1" {} }
            _ => { rect.full x=(x) y="0" width=(width) height=(TALL) rx="1" {} }
        }
    }
}

/// The last slots as a small picture, the newest on the right. Each mark has a name.
pub(super) fn small_strip(slots: &[PastSlot], schedule: &ScheduleView) -> Markup {
    let (wide, pitch) = SMALL;
    let count = i64::try_from(slots.len()).unwrap_or(0);
    html! {
        @if count > 0 {
            svg.slots viewBox=(format!("0 0 {} {TALL}", count * pitch)) width=(count * pitch) height=(TALL) role="img" aria-label=(summary(slots)) {
                @for (index, slot) in (0..).zip(slots.iter().rev()) {
                    g data-state=(words_of(slot).0) {
                        title { (name(slot, &schedule.time_zone)) }
                        // The whole column shows the title.
                        rect.column x=(index * pitch) y="0" width=(pitch) height=(TALL) {}
                        (mark(words_of(slot).0, (index * pitch, wide)))
                    }
                }
            }
        }
    }
}

/// `Last 3 due times: 2 succeeded, 1 missed`.
fn summary(slots: &[PastSlot]) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for slot in slots {
        let (_, word) = words_of(slot);
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(word, count)| format!("{count} {}", word.to_lowercase()))
        .collect();
    let all = words::count(slots.len() as u64, "due time", "due times");
    format!("Last {all}: {}", counts.join(", "))
}

/// The last slots, each a link to its run or a named mark, the newest on the right.
pub(super) fn strip(site: &Site, user: &User, slots: &[PastSlot], zone: &str) -> Markup {
    html! {
        ol.bars.slots aria-label=(summary(slots)) { @for slot in slots.iter().rev() {
            @let (state, name) = (words_of(slot).0, name(slot, zone));
            @let picture = html! {
                svg viewBox=(format!("0 0 24 {TALL}")) aria-hidden="true" { (mark(state, (7, 10))) }
            };
            li data-state=(state) {
                @match address(site, user, slot) {
                    Some(address) => { a href=(address) aria-label=(name) title=(name) { (picture) } }
                    None => { span role="img" aria-label=(name) title=(name) { (picture) } }
                }
            }
        } }
    }
}

/// The slots as a table.
pub(super) fn table(site: &Site, user: &User, slots: &[PastSlot], zone: &str) -> Markup {
    html! {
        table.past {
            thead { tr {
                th scope="col" { "Due, " (zone) } th scope="col" { "State" } th scope="col" { "Run" } th scope="col" { "Note" }
            } }
            tbody { @for slot in slots {
                tr {
                    td.main { time datetime=(slot.slot.due_at.to_string()) title=(words::plain_time(slot.slot.due_at)) { (when::plain(slot.slot.due_at, zone)) } }
                    td data-label="State" { (state(slot)) }
                    td data-label="Run" {
                        @match (address(site, user, slot), &slot.slot.run_id) {
                            (Some(address), _) => { a href=(address) { "Open the run" } }
                            (None, Some(_)) if slot.run.is_none() => { span.dim { "no longer kept" } }
                            (None, Some(_)) => { span.dim { "another person's" } }
                            (None, None) => { span.dim { "–" } }
                        }
                    }
                    td data-label="Note" { bdi { (words::visible(slot.slot.detail.as_deref().unwrap_or_default())) } }
                }
            } }
        }
    }
}
