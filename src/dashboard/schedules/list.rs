//! `/schedules`: what is due when, and what became of the last due times.

use axum::extract::State;
use maud::{Markup, html};

use super::{slots, when};
use crate::auth::{Role, User, Viewer};
use crate::dashboard::layout::{self, Page};
use crate::dashboard::{Site, local, parts, words};
use crate::http::{ApiError, Query};
use crate::schedules::{SchedulePage, ScheduleRow, ScheduleView};

/// Schedules on a page.
const PAGE: usize = 50;

/// The page.
pub(in crate::dashboard) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let typed = query.get("q").unwrap_or_default().trim();
    let after = query.get("after");
    let page = site
        .schedules
        .search(typed, after, PAGE, slots::STRIP)
        .await?;
    let drawn = Page::new("Schedules", body(&site, &user, &page, typed))
        .for_user(Some(&user))
        .under("/schedules")
        .with_style("lists.css")
        .with_style("schedules.css");
    Ok(layout::draw(
        &drawn.live(parts::events(scope(&site, &user))),
    ))
}

/// Whose runs the page may show.
pub(super) fn scope(site: &Site, user: &User) -> crate::jobs::Scope {
    match site.jobs.reads_all(user) {
        true => crate::jobs::Scope::All,
        false => crate::jobs::Scope::Mine,
    }
}

fn body(site: &Site, user: &User, page: &SchedulePage, typed: &str) -> Markup {
    let may_add = user.role >= Role::Operator;
    html! {
        div.head {
            h1 { "Schedules" }
            div.actions {
                @if may_add {
                    a.button href="/secrets" { "Stored secrets" }
                    @if page.all > 0 { a.button.primary href="/schedules/new" { "New schedule" } }
                }
            }
        }
        @if page.all == 0 { (empty(may_add)) }
        @else {
            form.filters action="/schedules" {
                label.unseen for="q" { "Search" }
                input #q type="search" name="q" value=(typed) maxlength="200" placeholder="Name, preset or selector" autocapitalize="none" spellcheck="false";
                button { "Search" }
                @if !typed.is_empty() { a.button.quiet href="/schedules" { "Clear" } }
            }
            div #schedules data-region data-shows="jobs" {
                @if page.rows.is_empty() { p.none { "No schedule matches." } }
                @else { (table(site, user, &page.rows)) }
            }
            @if let Some(after) = &page.next_after {
                @let pairs = [("q", typed), ("after", after.as_str())];
                nav.pager aria-label="Pages" { a.button rel="next" href=(format!("/schedules?{}", local::query(&pairs))) { "More" } }
            }
        }
    }
}

fn empty(may_add: bool) -> Markup {
    html! {
        div.card.prose {
            h2 { "Nothing is scheduled yet" }
            p {
                "A schedule queues a preset by itself, for example a backup every night at half past two. It takes the "
                "place of cron on each node: this page shows every due time, also those that were skipped or missed."
            }
            @if may_add { p { a.button.primary href="/schedules/new" { "New schedule" } } }
            @else { p.dim { "Making a schedule requires the role OPERATOR." } }
        }
    }
}

fn table(site: &Site, user: &User, rows: &[ScheduleRow]) -> Markup {
    html! {
        table.rows.schedules {
            thead { tr {
                th scope="col" { "Schedule" } th scope="col" { "Next" } th scope="col" { "Last" }
                th scope="col" { "Last " (slots::STRIP) " due times" }
            } }
            tbody { @for row in rows { (schedule_row(site, user, row)) } }
        }
    }
}

fn schedule_row(site: &Site, user: &User, row: &ScheduleRow) -> Markup {
    let schedule = &row.schedule;
    html! {
        tr {
            td.main {
                a.row href=(format!("/schedules/{}", schedule.id)) { bdi { (words::visible(&schedule.name)) } }
                div.dim { bdi { (schedule.preset) } " on " (place(schedule)) }
            }
            td data-label="Next" {
                @if schedule.paused {
                    span.state data-state="paused" { "Paused" }
                    div.dim { (paused_words(schedule)) }
                } @else {
                    div { (when::next(schedule)) }
                    div.dim { code { (schedule.cron) } }
                }
            }
            td data-label="Last" {
                @match row.slots.first() {
                    Some(slot) => {
                        @match slots::address(site, user, slot) {
                            Some(address) => { a href=(address) { (slots::state(slot)) } }
                            None => { (slots::state(slot)) }
                        }
                        div.dim { (words::since(slot.slot.due_at)) }
                    }
                    None => { span.dim { "not due yet" } }
                }
            }
            td.strip data-label="Due times" { (slots::small_strip(&row.slots, schedule)) }
        }
    }
}

/// Why a schedule is paused.
pub(super) fn paused_words(schedule: &ScheduleView) -> Markup {
    html! {
        @match &schedule.paused_because {
            Some(why) => { (words::visible(&words::sentence(why))) }
            None => { "By a person. Due times are skipped." }
        }
    }
}

/// The nodes of a schedule.
pub(super) fn place(schedule: &ScheduleView) -> Markup {
    html! {
        @match (&schedule.selector, schedule.nodes.as_deref()) {
            (Some(selector), _) => { code { (words::visible(selector)) } }
            (None, Some([node])) => { span.id { (node) } }
            (None, nodes) => { (words::count(nodes.unwrap_or_default().len() as u64, "node", "nodes")) }
        }
    }
}
