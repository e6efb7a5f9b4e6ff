//! `/channels/{id}`: a channel's settings, rules and last messages.

use maud::{Markup, html};

use super::rules::RuleValues;
use super::settings::{ChannelValues, label_of};
use super::{deliveries, list, rules};
use crate::auth::User;
use crate::dashboard::form::{self, Faults};
use crate::dashboard::layout::{self, Page};
use crate::dashboard::{Site, parts, words};
use crate::http::ApiError;
use crate::notify::{ChannelTest, ChannelView};

/// Messages on a page.
const DELIVERIES: u64 = 20;

/// What a page shows besides the channel.
#[derive(Default)]
pub(super) struct ChannelPage<'p> {
    /// The result of the test button.
    pub(super) test: Option<&'p ChannelTest>,
    /// A webhook's secret that was just made.
    pub(super) made_secret: Option<&'p str>,
    /// The typed settings, and what is wrong with them.
    pub(super) settings: Option<(&'p ChannelValues, &'p ApiError)>,
    /// The typed rule, and what is wrong with it.
    pub(super) rule: Option<(&'p RuleValues, &'p ApiError)>,
    /// The list of messages continues after this one.
    pub(super) before: Option<String>,
    /// The id of the rule that the form changes; without it the form adds one.
    pub(super) edited: Option<String>,
}

impl ChannelPage<'_> {
    /// The page.
    pub(super) async fn draw(
        self,
        site: &Site,
        user: &User,
        id: String,
    ) -> Result<Markup, ApiError> {
        let channel = site.notifications.channel(id.clone()).await?;
        let mut own = site.notifications.rules().await?;
        own.retain(|rule| rule.channel_id == channel.id);
        let schedules = site.schedules.names().await?;
        let is_continued = self.before.is_some();
        let sent = site
            .notifications
            .deliveries(id, self.before, DELIVERIES)
            .await?;
        let (rule, rule_error) = self.rule.unzip();
        // A rule that was removed meanwhile can only be added again.
        let edited = self.edited.as_deref();
        let edited = edited.and_then(|id| own.iter().find(|rule| rule.id == id));
        let body = html! {
            p.crumbs { a href="/channels" { "Channels" } }
            div.head {
                h1 { bdi { (words::visible(&channel.name)) } span.dim { " " (label_of(channel.kind)) } }
                (actions(&channel))
            }
            div.banner {
                (list::state(&channel))
                @match (&channel.paused_because, channel.paused) {
                    (Some(why), _) => { (words::visible(&words::sentence(why))) " Messages are kept for three days." }
                    (None, true) => { "By a person. Messages are kept for three days." }
                    (None, false) => { "Messages are sent when a rule applies." }
                }
            }
            @if let Some(test) = self.test { (result(test)) }
            @if let Some(secret) = self.made_secret { (secret_once(secret)) }
            section aria-labelledby="rules-h" {
                h2 #rules-h { "Rules" }
                (rules::section(&channel.id, &own, &schedules, rule, rule_error, edited))
            }
            section #deliveries aria-labelledby="deliveries-h" {
                h2 #deliveries-h { "Last messages" }
                (deliveries::section(&channel.id, &sent, is_continued))
            }
            section aria-labelledby="settings-h" {
                h2 #settings-h { "Settings" }
                (settings_form(&channel, self.settings))
            }
        };
        let page = Page::new(&channel.name, body)
            .for_user(Some(user))
            .under("/channels")
            .with_style("lists.css")
            .with_style("schedules.css");
        Ok(layout::draw(&page))
    }
}

fn actions(channel: &ChannelView) -> Markup {
    let action = |name: &str| format!("/channels/{}/{name}", channel.id);
    let ask = format!(
        "Delete {}? Its rules and its messages are deleted as well.",
        channel.name
    );
    html! {
        div.actions {
            (form::button(&action("test"), "", "Send a test", None))
            @if channel.paused { (form::button(&action("resume"), "primary", "Resume", None)) }
            @else { (form::button(&action("pause"), "", "Pause", None)) }
            (form::button(&action("delete"), "danger", "Delete", Some(&ask)))
        }
    }
}

/// What the other side said to a test message.
fn result(test: &ChannelTest) -> Markup {
    let (state, words) = match test.ok {
        true => ("succeeded", "The test message was accepted"),
        false => ("failed", "The test message was not accepted"),
    };
    html! {
        div #test-result .banner role="status" {
            span.state data-state=(state) { (words) }
            @if let Some(status) = test.status { " Status " (status) "." }
            @if !test.answer.is_empty() { pre.code tabindex="0" { (words::visible(&test.answer)) } }
        }
    }
}

fn secret_once(secret: &str) -> Markup {
    html! {
        div.banner role="status" {
            p { strong { "The secret of this webhook is shown only now. " } "The receiver verifies each message's signature with it." }
            (parts::copyable(secret, "the secret"))
        }
    }
}

fn settings_form(channel: &ChannelView, again: Option<(&ChannelValues, &ApiError)>) -> Markup {
    let current = ChannelValues::of_channel(channel);
    let (values, error) = match again {
        Some((typed, error)) => (typed, Some(error)),
        None => (&current, None),
    };
    let faults = Faults::of(error);
    let paths = values.paths();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    html! {
        details.card.add open[error.is_some()] {
            summary { "Change the settings" }
            (faults.summary(&paths))
            form method="post" action=(format!("/channels/{}", channel.id)) {
                (values.draw(&faults))
                button.primary { "Save" }
            }
        }
    }
}
