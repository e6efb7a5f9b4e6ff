//! Makes, changes and deletes rules.

use serde::Deserialize;

use super::settings::{Setting, Texts};
use super::{Notifications, NotifyError, RuleView};
use crate::audit::{self, Entry};
use crate::auth::User;
use crate::http::FieldErrors;
use crate::nodes::Selector;
use crate::outbox::{EventKind, Rule};
use crate::presets::{ONE_OFF, Snapshot};
use crate::store::{StoreError, Tx, channel, rule, schedule, server_state};

/// The most rules. Each is read whenever a job ends.
const RULES_MAX: u64 = 200;
/// The most events that a list may name, including repeated ones.
const EVENTS_MAX: usize = 100;
/// A week.
const AFTER_MAX_SECONDS: u64 = 604_800;

/// The body of `POST /api/rules`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddRule {
    /// The channel's id.
    pub channel_id: String,
    /// At least one event.
    #[schema(min_items = 1)]
    pub on: Vec<EventKind>,
    /// Only these presets, at most 100.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub presets: Setting<Texts>,
    /// Only nodes that this selector matches; for a run, if it matches any of its nodes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub selector: Setting<String>,
    /// Only these schedules, by id, at most 100.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub schedules: Setting<Texts>,
    /// With `node_offline`: seconds after the last sign of life, 1 to 604,800; 300 by default.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 604_800)]
    pub after_seconds: Setting<u64>,
}

/// The body of `PATCH /api/rules/:id`: the fields to change. `null` removes an optional one.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleChange {
    #[serde(default)]
    pub channel_id: Option<String>,
    #[serde(default)]
    pub on: Option<Vec<EventKind>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub presets: Setting<Texts>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub selector: Setting<String>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub schedules: Setting<Texts>,
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub after_seconds: Setting<u64>,
}

impl From<AddRule> for RuleChange {
    fn from(request: AddRule) -> Self {
        Self {
            channel_id: Some(request.channel_id),
            on: Some(request.on),
            presets: request.presets,
            selector: request.selector,
            schedules: request.schedules,
            after_seconds: request.after_seconds,
        }
    }
}

/// The value of an optional field after a change.
fn changed<T>(before: Option<T>, change: Setting<T>) -> Option<T> {
    match change {
        Setting::Absent => before,
        Setting::Null => None,
        Setting::Given(value) => Some(value),
    }
}

fn changed_list(
    name: &str,
    before: Option<Vec<String>>,
    change: Setting<Texts>,
    faults: &mut FieldErrors,
) -> Option<Vec<String>> {
    let change = match change {
        Setting::Given(texts) => {
            let fits = !texts.kept.is_empty() && !texts.has_more;
            faults.check(fits, name, "must name 1 to 100");
            let mut names: Vec<String> = Vec::new();
            for text in texts.kept {
                if !names.contains(&text) {
                    names.push(text);
                }
            }
            Setting::Given(names)
        }
        Setting::Absent => Setting::Absent,
        Setting::Null => Setting::Null,
    };
    changed(before, change)
}

/// Applies a change to a rule, and checks what is there now.
fn apply(
    tx: &mut dyn Tx,
    rule: &mut Rule,
    change: RuleChange,
    presets: &Snapshot,
) -> Result<(), NotifyError> {
    let mut faults = FieldErrors::default();
    if let Some(mut events) = change.on {
        let fits = (1..=EVENTS_MAX).contains(&events.len());
        faults.check(fits, "on", "must name at least one event, each once");
        events.truncate(EVENTS_MAX);
        events.sort_unstable();
        events.dedup();
        rule.events = events;
    }
    let was_given = matches!(change.presets, Setting::Given(_));
    rule.presets = changed_list("presets", rule.presets.take(), change.presets, &mut faults);
    for name in rule.presets.iter().flatten().filter(|_| was_given) {
        if presets.get(name).is_none() && name != ONE_OFF {
            faults.add("presets", format!("names {name:?}, which does not exist"));
        }
    }
    rule.selector = changed(rule.selector.take(), change.selector);
    if let Some(Err(error)) = rule.selector.as_deref().map(Selector::parse) {
        faults.add("selector", error.to_string());
    }
    let was_given = matches!(change.schedules, Setting::Given(_));
    let schedules = rule.schedules.take();
    rule.schedules = changed_list("schedules", schedules, change.schedules, &mut faults);
    for id in rule.schedules.iter().flatten().filter(|_| was_given) {
        if schedule::find(tx, id)?.is_none() {
            faults.add("schedules", format!("names {id:?}, which does not exist"));
        }
    }
    let sets_after = matches!(change.after_seconds, Setting::Given(_));
    rule.after_seconds = changed(rule.after_seconds, change.after_seconds);
    let is_about_nodes = rule.events.contains(&EventKind::NodeOffline);
    if let Some(after) = rule.after_seconds {
        let fits = (1..=AFTER_MAX_SECONDS).contains(&after);
        faults.check(fits, "afterSeconds", "must be 1 to 604800");
        let is_used = is_about_nodes || !sets_after;
        faults.check(is_used, "afterSeconds", "needs the event node_offline");
    }
    rule.after_seconds = rule.after_seconds.filter(|_| is_about_nodes);
    faults.into_faults().map_err(NotifyError::Fields)?;
    if let Some(id) = change.channel_id {
        channel::find(tx, &id)?.ok_or(NotifyError::ChannelNotFound)?;
        rule.channel_id = id;
    }
    Ok(())
}

fn record(
    tx: &mut dyn Tx,
    user: &User,
    action: &'static str,
    rule: &Rule,
) -> Result<(), StoreError> {
    let events: Vec<&str> = rule.events.iter().map(|event| event.as_str()).collect();
    let detail = format!(
        "rule {}: {} to channel {}",
        rule.id,
        events.join(", "),
        rule.channel_id
    );
    audit::record(tx, Entry::by(&user.email, action).saying(&detail))
}

impl Notifications {
    /// All rules, oldest first.
    pub async fn rules(&self) -> Result<Vec<RuleView>, NotifyError> {
        let stored = self
            .store
            .read(|tx| Ok::<_, NotifyError>(rule::list(tx)?))
            .await?;
        let rules = stored.into_iter().map(Rule::from);
        Ok(rules.map(RuleView::from).collect())
    }

    /// Makes a rule.
    pub async fn add_rule(&self, user: &User, request: AddRule) -> Result<RuleView, NotifyError> {
        let presets = self.presets().await?;
        let (user, outbox) = (user.clone(), self.outbox.clone());
        let work = move |tx: &mut dyn Tx| {
            tx.lock("rules")?;
            if rule::count(tx)? >= RULES_MAX {
                return Err(NotifyError::TooMany(RULES_MAX, "rules"));
            }
            let mut rule = Rule {
                id: uuid::Uuid::now_v7().to_string(),
                channel_id: String::new(),
                events: Vec::new(),
                presets: None,
                selector: None,
                schedules: None,
                after_seconds: None,
                created_at: server_state::now(tx)?,
            };
            apply(tx, &mut rule, request.into(), &presets)?;
            rule::insert(tx, &rule.stored())?;
            record(tx, &user, "rule.add", &rule)?;
            outbox.wake_watch(tx);
            Ok(RuleView::from(rule))
        };
        self.store.write(work).await
    }

    /// Changes a rule.
    pub async fn change_rule(
        &self,
        user: &User,
        id: String,
        change: RuleChange,
    ) -> Result<RuleView, NotifyError> {
        let presets = self.presets().await?;
        let (user, outbox) = (user.clone(), self.outbox.clone());
        let work = move |tx: &mut dyn Tx| {
            let stored = rule::find_locked(tx, &id)?.ok_or(NotifyError::RuleNotFound)?;
            let mut rule = Rule::from(stored);
            apply(tx, &mut rule, change, &presets)?;
            rule::update(tx, &rule.stored())?;
            record(tx, &user, "rule.change", &rule)?;
            outbox.wake_watch(tx);
            Ok(RuleView::from(rule))
        };
        self.store.write(work).await
    }

    /// Deletes a rule.
    pub async fn remove_rule(&self, user: &User, id: String) -> Result<(), NotifyError> {
        let (user, outbox) = (user.clone(), self.outbox.clone());
        let work = move |tx: &mut dyn Tx| {
            let stored = rule::find_locked(tx, &id)?.ok_or(NotifyError::RuleNotFound)?;
            rule::delete(tx, &id)?;
            outbox.wake_watch(tx);
            Ok(record(tx, &user, "rule.remove", &Rule::from(stored))?)
        };
        self.store.write(work).await
    }
}
