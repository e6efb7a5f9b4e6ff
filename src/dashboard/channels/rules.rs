//! The rules of a channel: which events are sent to it.

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::form::{self, Faults, Form};
use crate::dashboard::words;
use crate::http::ApiError;
use crate::notify::RuleView;
use crate::outbox::EventKind;
use crate::schedules::ScheduleName;

/// The events, with what has happened.
const EVENTS: [(EventKind, &str); 12] = [
    (EventKind::JobFailed, "A job failed"),
    (EventKind::JobRecovered, "A job succeeded again"),
    (EventKind::JobLost, "A job's agent disappeared"),
    (EventKind::RunFailed, "A run failed"),
    (EventKind::RunFinished, "A run succeeded or was cancelled"),
    (
        EventKind::ScheduleMissed,
        "A due time of a schedule made no run",
    ),
    (EventKind::NodeOffline, "A node is offline"),
    (EventKind::NodeOnline, "A node is back online"),
    (
        EventKind::DriftFound,
        "A check found a node that has drifted",
    ),
    (EventKind::WaitsForSignature, "A job waits for a signature"),
    (EventKind::BackupFailed, "A backup failed"),
    (EventKind::HistoryAltered, "The history was altered by hand"),
];

/// What the first channel gets unless its maker chooses otherwise: failed, recovered, lost, missed.
/// A schedule's failure is that of a run.
pub(super) const PROPOSED: [EventKind; 5] = [
    EventKind::JobFailed,
    EventKind::RunFailed,
    EventKind::JobRecovered,
    EventKind::JobLost,
    EventKind::ScheduleMissed,
];

/// An event in words; its name if it is unknown.
pub(super) fn event_words(name: &str) -> &str {
    let known = EVENTS.iter().find(|(event, _)| event.as_str() == name);
    known.map_or(name, |(_, words)| words)
}

/// The typed values of a rule's form.
#[derive(Default)]
pub(super) struct RuleValues {
    pub(super) on: Vec<String>,
    presets: String,
    selector: String,
    schedules: Vec<String>,
    after: String,
}

impl RuleValues {
    pub(super) fn typed(form: &Form) -> Self {
        let text = |name: &str| form.text(name).trim().to_owned();
        let all = |name: &str| form.0.all(name).map(str::to_owned).collect();
        Self {
            on: all("on"),
            presets: text("presets"),
            selector: text("selector"),
            schedules: all("schedules"),
            after: text("after"),
        }
    }

    /// The values of a rule.
    fn of_rule(rule: &RuleView) -> Self {
        let after = rule.after_seconds.map(|after| after.to_string());
        Self {
            on: rule
                .on
                .iter()
                .map(|event| event.as_str().to_owned())
                .collect(),
            presets: rule
                .presets
                .iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            selector: rule.selector.clone().unwrap_or_default(),
            schedules: rule.schedules.clone().unwrap_or_default(),
            after: after.unwrap_or_default(),
        }
    }

    /// The body of a change of a rule: what is empty is removed.
    pub(super) fn change(&self, channel_id: &str) -> Result<Value, ApiError> {
        let mut body = self.body(channel_id)?;
        for name in ["presets", "selector", "schedules", "afterSeconds"] {
            if body.get(name).is_none() {
                body[name] = Value::Null;
            }
        }
        Ok(body)
    }

    /// The body of a new rule.
    pub(super) fn body(&self, channel_id: &str) -> Result<Value, ApiError> {
        let presets = self.presets.split(|c: char| c.is_whitespace() || c == ',');
        let presets: Vec<&str> = presets.filter(|name| !name.is_empty()).collect();
        let after = match self.after.as_str() {
            "" => None,
            text => Some(text.parse::<u64>().map_err(|_| {
                let rule = "must be 1 to 604800";
                ApiError::bad_request("bad_input", format!("afterSeconds: {rule}"))
                    .with_field("afterSeconds", rule)
            })?),
        };
        let mut body = json!({"channelId": channel_id, "on": self.on});
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("presets", (!presets.is_empty()).then(|| presets.into()));
        set(
            "schedules",
            (!self.schedules.is_empty()).then(|| self.schedules.clone().into()),
        );
        set(
            "selector",
            (!self.selector.is_empty()).then(|| self.selector.as_str().into()),
        );
        set("afterSeconds", after.map(Value::from));
        Ok(body)
    }
}

/// The checkboxes of the events.
pub(super) fn event_boxes(legend: &str, chosen: &[String], fault: Option<&str>) -> Markup {
    html! {
        fieldset.choices aria-describedby="f-on-fault" {
            legend { (legend) }
            @for (event, words) in EVENTS {
                @let name = event.as_str();
                label { input type="checkbox" name="on" value=(name) checked[chosen.iter().any(|known| known == name)]; " " (words) }
            }
            p.fault #f-on-fault { @if let Some(fault) = fault { (words::sentence(fault)) } }
        }
    }
}

/// The rules, and the form that adds one or changes the rule `edited`.
pub(super) fn section(
    channel_id: &str,
    rules: &[RuleView],
    schedules: &[ScheduleName],
    typed: Option<&RuleValues>,
    error: Option<&ApiError>,
    edited: Option<&RuleView>,
) -> Markup {
    html! {
        @if rules.is_empty() { p.none { "No rule yet: nothing is sent to this channel." } }
        @else {
            table.rules {
                thead { tr { th scope="col" { "When" } th scope="col" { "Only for" } th scope="col" { "Change" } } }
                tbody { @for rule in rules { (row(channel_id, rule, schedules)) } }
            }
        }
        (rule_form(channel_id, schedules, typed, error, edited, rules.is_empty()))
    }
}

fn row(channel_id: &str, rule: &RuleView, schedules: &[ScheduleName]) -> Markup {
    let name_of = |id: &String| {
        let known = schedules.iter().find(|schedule| schedule.id == *id);
        known.map_or("a schedule that was deleted", |schedule| {
            schedule.name.as_str()
        })
    };
    let action = format!("/channels/{channel_id}/rules/{}/remove", rule.id);
    html! {
        tr {
            td.main { @for event in &rule.on { div {
                (event_words(event.as_str()))
                @if let (EventKind::NodeOffline, Some(after)) = (event, rule.after_seconds) {
                    span.dim { " for " (words::span(i64::try_from(after).unwrap_or(0) * 1_000)) }
                }
            } } }
            td data-label="Only for" {
                @if let Some(presets) = &rule.presets { div { "presets " (presets.join(", ")) } }
                @if let Some(selector) = &rule.selector { div { "nodes " code { (words::visible(selector)) } } }
                @for id in rule.schedules.iter().flatten() { div { "schedule " bdi { (words::visible(name_of(id))) } } }
                @if rule.presets.is_none() && rule.selector.is_none() && rule.schedules.is_none() { span.dim { "everything" } }
            }
            td { div.actions {
                a.button href=(format!("/channels/{channel_id}?rule={}#rule", rule.id)) { "Edit" }
                (form::button(&action, "danger", "Remove", Some("Remove this rule?")))
            } }
        }
    }
}

fn rule_form(
    channel_id: &str,
    schedules: &[ScheduleName],
    typed: Option<&RuleValues>,
    error: Option<&ApiError>,
    edited: Option<&RuleView>,
    is_first: bool,
) -> Markup {
    let faults = Faults::of(error);
    let known: RuleValues;
    let typed = match (typed, edited) {
        (Some(typed), _) => typed,
        (None, Some(rule)) => {
            known = RuleValues::of_rule(rule);
            &known
        }
        (None, None) => {
            let proposed = PROPOSED.iter().filter(|_| is_first);
            known = RuleValues {
                on: proposed.map(|event| event.as_str().to_owned()).collect(),
                ..RuleValues::default()
            };
            &known
        }
    };
    let chosen = &typed.on;
    let (title, button) = match edited {
        Some(_) => ("Change the rule", "Save the rule"),
        None => ("Add a rule", "Add the rule"),
    };
    let action = match edited {
        Some(rule) => format!("/channels/{channel_id}/rules/{}", rule.id),
        None => format!("/channels/{channel_id}/rules"),
    };
    html! {
        details #rule .card.add open[error.is_some() || is_first || edited.is_some()] {
            summary { (title) }
            (faults.summary(&["on", "presets", "selector", "schedules", "afterSeconds"]))
            form method="post" action=(action) {
                (event_boxes("Send a message when", chosen, faults.at("on")))
                (faults.optional_input("presets", "Presets (optional)", &typed.presets, "Only these, such as restic-backup", "presets"))
                (faults.optional_input("selector", "Selector (optional)", &typed.selector, "Only nodes with these labels, such as role=db", "selector"))
                @if !schedules.is_empty() {
                    fieldset.choices aria-describedby="f-schedules-fault" {
                        legend { "Only these schedules (optional)" }
                        @for schedule in schedules {
                            label { input type="checkbox" name="schedules" value=(schedule.id) checked[typed.schedules.contains(&schedule.id)]; " " bdi { (words::visible(&schedule.name)) } }
                        }
                        p.fault #f-schedules-fault { @if let Some(fault) = faults.at("schedules") { (words::sentence(fault)) } }
                    }
                }
                (faults.optional_input("after", "Offline for (optional)", &typed.after, "Seconds after a node's last sign of life. Default: 300", "afterSeconds"))
                @if edited.is_some() {
                    div.actions { button.primary { (button) } a.button href=(format!("/channels/{channel_id}")) { "Cancel" } }
                } @else { button.primary { (button) } }
            }
        }
    }
}
