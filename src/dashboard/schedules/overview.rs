//! What the overview shows of schedules, and how a run names the schedule that made it.

use maud::{Markup, html};

use super::{slots, when};
use crate::auth::User;
use crate::clock::Timestamp;
use crate::dashboard::{Site, words};
use crate::http::ApiError;
use crate::schedules::{ScheduleBoard, ScheduleError, ScheduleView};
use crate::store::past_slot::SlotTrouble;
use crate::store::schedule::SlotOutcome;

/// Schedules shown of each kind.
const SHOWN: u64 = 5;

/// What is due next, and what went wrong lately.
pub(in crate::dashboard) struct Overview(ScheduleBoard);

impl Overview {
    /// Reads what is due next, and what went wrong since `since`.
    pub(in crate::dashboard) async fn load(
        site: &Site,
        since: Timestamp,
    ) -> Result<Self, ApiError> {
        Ok(Self(site.schedules.board(since, SHOWN).await?))
    }

    /// The section; nothing on a server without schedules.
    pub(in crate::dashboard) fn draw(&self, site: &Site, user: &User) -> Markup {
        let ScheduleBoard { upcoming, troubles } = &self.0;
        html! {
            div #due data-region data-shows="jobs" {
                @if !upcoming.is_empty() || !troubles.is_empty() {
                    section aria-labelledby="due-h" {
                        div.head { h2 #due-h { "Schedules" } a href="/schedules" { "All schedules" } }
                        @if !troubles.is_empty() {
                            ul.rows.troubles aria-label="What went wrong in the last 24 hours" {
                                @for (schedule, trouble) in troubles { (trouble_row(site, user, schedule, trouble)) }
                            }
                        }
                        @if !upcoming.is_empty() {
                            ul.rows.due aria-label="Due next" {
                                @for schedule in upcoming { (due_row(schedule)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn name(schedule: &ScheduleView) -> Markup {
    html! {
        a.row href=(format!("/schedules/{}", schedule.id)) { bdi { (words::visible(&schedule.name)) } }
    }
}

fn due_row(schedule: &ScheduleView) -> Markup {
    html! {
        li {
            div.what { (name(schedule)) span.dim { " " bdi { (schedule.preset) } } }
            div.when { (when::next(schedule)) }
        }
    }
}

fn trouble_row(site: &Site, user: &User, schedule: &ScheduleView, trouble: &SlotTrouble) -> Markup {
    let last = &trouble.last;
    let due = &last.slot;
    let count = |one: &str| words::count(trouble.count, one, &format!("{one}s"));
    let words = match trouble.outcome {
        SlotOutcome::Missed => format!("{} missed", count("due time")),
        SlotOutcome::Skipped => format!("{} skipped", count("due time")),
        SlotOutcome::Ran => format!("{} failed", count("run")),
    };
    html! {
        li {
            (slots::state(last))
            div.what {
                (name(schedule))
                div.dim {
                    @match slots::address(site, user, last) {
                        Some(address) => { a href=(address) { (words) } }
                        None => { (words) }
                    }
                    @if let Some(why) = &due.detail { ": " (words::visible(why)) }
                }
            }
            div.when { "due " (when::spoken(due.due_at, &schedule.time_zone)) }
        }
    }
}

/// The schedule that made a run, as a link.
pub(in crate::dashboard) async fn link_of_run(site: &Site, id: &str) -> Result<Markup, ApiError> {
    match site.schedules.one(id.to_owned()).await {
        Ok(schedule) => Ok(html! {
            a href=(format!("/schedules/{id}")) { bdi { (words::visible(&schedule.name)) } }
        }),
        Err(ScheduleError::NotFound) => Ok(html! { "one that was deleted" }),
        Err(error) => Err(error.into()),
    }
}
