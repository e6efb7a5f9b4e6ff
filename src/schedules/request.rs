//! The body of `POST /api/schedules`, and its checks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cron::Cron;
use super::due_times::{DueTimes, find_zone};
use crate::http::{FieldErrors, NamedValues};
use crate::jobs::PlanRequest;
use crate::runs::{IfOffline, NodeIds, RunRequest};
use crate::store::job::JobKind;
use crate::store::{StoreError, Tx, schedule};

/// Longest name, in characters.
const NAME_MAX: usize = 255;
/// Longest address of a ping, in bytes.
const URL_MAX: usize = 2_048;

// The fields of a run are repeated here. With `flatten`, serde would report neither unknown fields
// nor the path of a wrong value, and the API names both.
/// The body of `POST /api/schedules`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRequest {
    /// What people call it: 1 to 255 characters.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// The preset's name. It is rendered at each due time.
    pub preset: String,
    /// Params by name, each as JSON of its type. A secret is `{"secret": "name"}`, the name of a
    /// stored secret.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<NamedValues>,
    /// 1 to 5,000 ids of nodes, in the order in which they go. Either this or `selector`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, min_items = 1)]
    pub nodes: Option<NodeIds>,
    /// A selector. It is evaluated at each due time.
    #[serde(default)]
    pub selector: Option<String>,
    /// Only `apply` so far.
    #[serde(default)]
    pub kind: Option<JobKind>,
    /// How the nodes are divided into batches, and when a run stops.
    #[serde(default)]
    pub plan: Option<PlanRequest>,
    /// What happens to the job of a node that is OFFLINE when its batch is released.
    #[serde(default)]
    pub if_offline: Option<IfOffline>,
    /// Minute, hour, day of the month, month and day of the week, such as `30 2 * * mon-fri`; or
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    pub cron: String,
    /// The IANA name of the time zone in which the expression is read.
    pub time_zone: String,
    /// What happens at a due time if the last run has not ended: `skip` by default.
    #[serde(default)]
    pub overlap: Option<Overlap>,
    /// What happens after the server was down over due times: `once` by default.
    #[serde(default)]
    pub missed: Option<Missed>,
    /// Seconds, 60 to 31,622,400: a job is cancelled if no agent claims it within this time after
    /// the release of its batch.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 31_622_400)]
    pub expires_in_seconds: Option<i64>,
    /// 1 to 604,800; the preset's timeout if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    pub timeout_seconds: Option<i64>,
    /// Whether due times are skipped.
    #[serde(default)]
    pub paused: Option<bool>,
    /// An address to call when a run begins (with `/start` after its path), succeeds (as it is) and
    /// fails (`/fail`).
    #[serde(default)]
    pub ping_url: Option<String>,
}

/// The body of `PATCH /api/schedules/:id`: the fields to change. `null` removes an optional one.
/// `nodes` replaces a selector, and `selector` the nodes.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleChange {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub preset: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<NamedValues>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub nodes: Option<NodeIds>,
    #[serde(default)]
    pub selector: Option<String>,
    #[serde(default)]
    pub kind: Option<JobKind>,
    #[serde(default)]
    pub plan: Option<PlanRequest>,
    #[serde(default)]
    pub if_offline: Option<IfOffline>,
    #[serde(default)]
    pub cron: Option<String>,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub overlap: Option<Overlap>,
    #[serde(default)]
    pub missed: Option<Missed>,
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
    #[serde(default)]
    pub timeout_seconds: Option<i64>,
    #[serde(default)]
    pub paused: Option<bool>,
    #[serde(default)]
    pub ping_url: Option<String>,
}

/// What happens at a due time if the schedule's last run has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The due time is skipped.
    #[default]
    Skip,
    /// One run waits for the end of the last one; further due times are skipped.
    Queue,
    /// The last run is cancelled.
    Cancel,
}

/// What happens after the server was down over due times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Nothing runs until the next due time.
    Skip,
    /// One run is queued at once.
    #[default]
    Once,
}

impl ScheduleRequest {
    /// Reads what a person asked for from its stored form.
    pub(super) fn stored(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// The due times. Adds every fault of the schedule's own fields to `faults`.
    pub(super) fn check(&self, faults: &mut FieldErrors) -> Option<DueTimes> {
        let length = self.name.chars().count();
        let is_plain = !self.name.chars().any(char::is_control);
        faults.check(
            (1..=NAME_MAX).contains(&length) && is_plain && !self.name.trim().is_empty(),
            "name",
            "must have 1 to 255 printable characters",
        );
        if let Some(url) = &self.ping_url {
            let is_web = |url: reqwest::Url| matches!(url.scheme(), "http" | "https");
            let fits = url.len() <= URL_MAX && reqwest::Url::parse(url).is_ok_and(is_web);
            faults.check(
                fits,
                "pingUrl",
                "must be an address that begins with https:// or http://",
            );
        }
        let cron = Cron::parse(&self.cron).map_err(|rule| faults.add("cron", rule));
        let zone = find_zone(&self.time_zone).map_err(|rule| faults.add("timeZone", rule));
        Some(DueTimes::new(cron.ok()?, zone.ok()?))
    }

    /// What a due time queues.
    pub(super) fn run(&self) -> RunRequest {
        RunRequest {
            preset: self.preset.clone(),
            params: self.params.clone(),
            nodes: self.nodes.clone(),
            selector: self.selector.clone(),
            kind: self.kind,
            plan: self.plan.clone(),
            if_offline: self.if_offline,
            not_before: None,
            expires_in_seconds: self.expires_in_seconds,
            timeout_seconds: self.timeout_seconds,
        }
    }
}

/// The ping address of a schedule; `None` if it has none.
pub(crate) fn ping_url_of(tx: &mut dyn Tx, id: &str) -> Result<Option<String>, StoreError> {
    let request = schedule::find(tx, id)?.map(|schedule| schedule.request);
    let request = request.and_then(|json| ScheduleRequest::stored(&json).ok());
    Ok(request.and_then(|request| request.ping_url))
}

/// The stored form of a request's body: a schedule's pause is a column of its own.
pub(super) fn stored_form(mut body: Map<String, Value>) -> String {
    body.remove("paused");
    body.retain(|_, value| !value.is_null());
    Value::Object(body).to_string()
}

/// A stored request with the fields of a change in place of its own.
pub(super) fn merge(stored: &str, change: Map<String, Value>) -> Map<String, Value> {
    let mut body: Map<String, Value> = serde_json::from_str(stored).unwrap_or_default();
    for (one, other) in [("nodes", "selector"), ("selector", "nodes")] {
        let is_set = |name| {
            change
                .get(name)
                .is_some_and(|value: &Value| !value.is_null())
        };
        if is_set(one) && !is_set(other) {
            body.remove(other);
        }
    }
    body.extend(change);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_change_replaces_fields_and_null_removes_them() {
        let stored = r#"{"name":"a","nodes":["x"],"timeoutSeconds":5}"#;
        let change = json!({"selector": "role=web", "timeoutSeconds": null, "paused": true});
        let merged = stored_form(merge(stored, object(change)));
        assert_eq!(merged, r#"{"name":"a","selector":"role=web"}"#);
    }

    #[test]
    fn a_change_of_both_is_kept_to_be_refused() {
        let change = json!({"selector": "role=web", "nodes": ["y"]});
        let merged = merge(r#"{"nodes":["x"]}"#, object(change));
        assert_eq!(merged.len(), 2);
    }
}
