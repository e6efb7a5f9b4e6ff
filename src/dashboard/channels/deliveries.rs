//! The last messages of a channel, and their attempts.

use maud::{Markup, html};

use super::rules::event_words;
use crate::dashboard::{form, words};
use crate::notify::{AttemptView, DeliveryPage, DeliveryView};
use crate::store::delivery::DeliveryState;

/// The table.
pub(super) fn section(channel_id: &str, page: &DeliveryPage, is_continued: bool) -> Markup {
    let here = format!("/channels/{channel_id}");
    html! {
        @if page.deliveries.is_empty() { p.none { "No message yet." } }
        @else {
            table.deliveries {
                thead { tr { th scope="col" { "Event" } th scope="col" { "State" } th scope="col" { "Happened" } th scope="col" { "Attempts" } th scope="col" { "Again" } } }
                tbody { @for delivery in &page.deliveries { (row(channel_id, delivery)) } }
            }
        }
        @if is_continued || page.next_cursor.is_some() {
            nav.pager aria-label="Messages" {
                @if is_continued { a.button href=(here) { "Newest" } }
                @if let Some(cursor) = &page.next_cursor { a.button rel="next" href=(format!("{here}?before={cursor}")) { "Older" } }
            }
        }
    }
}

fn row(channel_id: &str, delivery: &DeliveryView) -> Markup {
    let (state, word) = match delivery.state {
        DeliveryState::Pending => ("queued", "Waiting"),
        DeliveryState::Delivered => ("succeeded", "Delivered"),
        DeliveryState::Failed => ("failed", "Given up"),
    };
    let again = format!("/channels/{channel_id}/deliveries/{}/resend", delivery.id);
    let count = words::count(delivery.attempts.len() as u64, "attempt", "attempts");
    html! {
        tr {
            td.main { (event_words(&delivery.event)) }
            td data-label="State" {
                span.state data-state=(state) { (word) }
                @if let Some(at) = delivery.next_attempt_at { div.dim { "next attempt " (words::ahead_of(at)) } }
            }
            td data-label="Happened" { (words::since(delivery.created_at)) }
            td data-label="Attempts" {
                @if delivery.attempts.is_empty() { span.dim { "none yet" } }
                @else {
                    details {
                        summary { (count) @if let Some(last) = delivery.attempts.last() { ", last: " (outcome(last)) } }
                        ol.attempts { @for attempt in &delivery.attempts { (attempt_item(attempt)) } }
                    }
                }
            }
            td { (form::button(&again, "", "Send again", None)) }
        }
    }
}

fn outcome(attempt: &AttemptView) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(_)) => "no answer".to_owned(),
        (None, None) => "delivered".to_owned(),
    }
}

fn attempt_item(attempt: &AttemptView) -> Markup {
    html! {
        li {
            (words::moment(attempt.at)) ": "
            @match &attempt.error {
                Some(error) => { (words::visible(error)) }
                None => { "accepted" }
            }
            @if let Some(answer) = attempt.answer.as_deref().filter(|answer| !answer.is_empty()) {
                pre.code tabindex="0" { (words::visible(answer)) }
            }
        }
    }
}
