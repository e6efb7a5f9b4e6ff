//! `/channels`: where notifications go.

use axum::extract::State;
use maud::{Markup, html};

use super::rules::event_words;
use super::settings::{KINDS, label_of};
use crate::auth::{Admin, Role, User};
use crate::dashboard::layout::{self, Page};
use crate::dashboard::{Site, words};
use crate::http::ApiError;
use crate::notify::{ChannelView, RuleView};

/// The page.
pub(in crate::dashboard) async fn show(
    State(site): State<Site>,
    Admin(user): Admin,
) -> Result<Markup, ApiError> {
    let channels = site.notifications.channels().await?;
    let rules = site.notifications.rules().await?;
    let body = html! {
        h1 { "Channels" }
        @if channels.is_empty() {
            p.prose {
                "A channel is where this server sends messages, for example when a backup fails at night. Its rules choose "
                "which. Messages are kept and tried again for three days if the receiver is down."
            }
        } @else {
            table.channels {
                thead { tr { th scope="col" { "Channel" } th scope="col" { "State" } th scope="col" { "Sends when" } th scope="col" { "Messages" } } }
                tbody { @for channel in &channels { (row(channel, &rules)) } }
            }
        }
        section aria-labelledby="add-h" {
            h2 #add-h { "Add a channel" }
            ul.cards { @for (kind, label, about) in KINDS {
                li.card { h3 { a href=(format!("/channels/new?kind={}", kind.as_str())) { (label) } } p.dim { (about) } }
            } }
        }
    };
    let page = Page::new("Channels", body)
        .for_user(Some(&user))
        .under("/channels")
        .with_style("lists.css")
        .with_style("schedules.css");
    Ok(layout::draw(&page))
}

/// Whether messages go out.
pub(super) fn state(channel: &ChannelView) -> Markup {
    html! {
        @match channel.paused {
            true => { span.state data-state="paused" { "Paused" } }
            false => { span.state data-state="online" { "Active" } }
        }
    }
}

fn row(channel: &ChannelView, rules: &[RuleView]) -> Markup {
    let own = rules.iter().filter(|rule| rule.channel_id == channel.id);
    let mut events: Vec<&str> = own
        .flat_map(|rule| &rule.on)
        .map(|event| event_words(event.as_str()))
        .collect();
    events.sort_unstable();
    events.dedup();
    html! {
        tr {
            td.main {
                a href=(format!("/channels/{}", channel.id)) { bdi { (words::visible(&channel.name)) } }
                div.dim { (label_of(channel.kind)) }
            }
            td data-label="State" {
                (state(channel))
                @if let Some(why) = &channel.paused_because { div.dim { (words::visible(&words::sentence(why))) } }
            }
            td data-label="Sends when" {
                @for event in &events { div { (event) } }
                @if events.is_empty() { span.dim { "never: it has no rule" } }
            }
            td data-label="Messages" {
                @if channel.pending_deliveries > 0 { div { (channel.pending_deliveries) " waiting" } }
                @if channel.failed_deliveries > 0 { div { span.state data-state="failed" { (channel.failed_deliveries) " given up" } } }
                @if channel.pending_deliveries + channel.failed_deliveries == 0 { span.dim { "all delivered" } }
            }
        }
    }
}

/// The mark on an ADMIN's overview: messages that nobody has received.
pub(in crate::dashboard) async fn given_up(site: &Site, user: &User) -> Result<Markup, ApiError> {
    let count = match user.role {
        Role::Admin => site.notifications.failed_deliveries().await?,
        Role::Pending | Role::Viewer | Role::Operator => 0,
    };
    Ok(html! {
        @if count > 0 {
            p.alert {
                strong { (words::count(count, "notification was", "notifications were")) " given up. " }
                "The receiver did not accept it for three days. " a href="/channels" { "Open the channels" }
            }
        }
    })
}
