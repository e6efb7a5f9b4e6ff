//! The values that a person has typed into a preset's form.

use serde_json::Value;

use super::form::Form;
use super::run_form::RunFields;
use super::{Site, param, parts};
use crate::auth::User;
use crate::http::{ApiError, Query};
use crate::jobs::{EXPIRY_RANGE, find_visible};
use crate::presets::Preset;

/// The values of the form.
pub(super) struct FormValues {
    pub(super) node: String,
    /// The fields for several nodes, if the form has those.
    pub(super) run: Option<RunFields>,
    /// Matching nodes are shown to choose from.
    pub(super) shows_found: bool,
    /// A high-risk preset needs a confirmation before it is queued.
    pub(super) asks: bool,
    pub(super) timeout: String,
    /// A time before which the job must not start.
    pub(super) not_before: String,
    /// How long the job may wait, such as `36h`.
    pub(super) expiry: String,
    /// One per param, in the preset's order.
    pub(super) values: Vec<String>,
    /// The names of stored secrets, one per param as well.
    pub(super) stored: Vec<String>,
    /// The idempotency key: a form that is sent twice queues one job.
    pub(super) key: String,
}

impl FormValues {
    pub(super) fn fresh(preset: &Preset) -> Self {
        Self {
            node: String::new(),
            run: None,
            shows_found: false,
            asks: false,
            timeout: String::new(),
            not_before: String::new(),
            expiry: String::new(),
            values: preset.params.iter().map(param::default_text).collect(),
            stored: vec![String::new(); preset.params.len()],
            key: new_key(),
        }
    }

    pub(super) fn typed(preset: &Preset, form: &Form) -> Self {
        let key = form.text("key");
        let is_key =
            (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        let typed = |param| param::typed(param, form).unwrap_or_default();
        let stored = |param| param::stored_secret(param, form).unwrap_or_default();
        Self {
            node: form.text("node").trim().to_owned(),
            run: (form.0.get("on") == Some("many")).then(|| RunFields::typed(form)),
            shows_found: form.0.get("do") == Some("find"),
            asks: false,
            timeout: form.text("timeout").trim().to_owned(),
            not_before: form.text("not_before").trim().to_owned(),
            expiry: form.text("expiry").trim().to_owned(),
            values: preset.params.iter().map(typed).collect(),
            stored: preset.params.iter().map(stored).collect(),
            key: if is_key { key } else { String::new() },
        }
    }

    pub(super) fn not_before(&self) -> Option<&str> {
        Some(self.not_before.as_str()).filter(|text| !text.is_empty())
    }

    pub(super) fn has_times(&self) -> bool {
        !self.timeout.is_empty() || !self.not_before.is_empty() || !self.expiry.is_empty()
    }

    pub(super) async fn fill_from(
        &mut self,
        site: &Site,
        user: &User,
        preset: &Preset,
        query: &Query,
        id: &str,
    ) -> Result<(), ApiError> {
        let scope = parts::scope_of(site, user, query)?;
        let job = find_visible(&site.jobs, user, scope, id.to_owned(), "job.look").await?;
        let params: Value = serde_json::from_str(&job.params).unwrap_or_default();
        self.node = job.node_id;
        if job.timeout_seconds != u64::from(preset.timeout_seconds) {
            self.timeout = job.timeout_seconds.to_string();
        }
        for (value, param) in self.values.iter_mut().zip(&preset.params) {
            *value = param::text_of(param, params.get(&param.name));
        }
        Ok(())
    }
}

/// Seconds; `None` if the field was left empty.
pub(super) fn timeout_of(typed: &str) -> Result<Option<i64>, ApiError> {
    if typed.is_empty() {
        return Ok(None);
    }
    let seconds = typed.parse().map_err(|_| {
        ApiError::bad_request("bad_input", "timeoutSeconds: must be 1 to 604800")
            .with_field("timeoutSeconds", "must be 1 to 604800")
    });
    seconds.map(Some)
}

/// Seconds; `None` if the field was left empty.
pub(super) fn expiry_of(typed: &str) -> Result<Option<i64>, ApiError> {
    if typed.is_empty() {
        return Ok(None);
    }
    let seconds = EXPIRY_RANGE.parse(typed).map(|time| time.as_secs());
    let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
    seconds.map(Some).ok_or_else(|| {
        let rule = format!("must be {EXPIRY_RANGE}");
        ApiError::bad_request("bad_input", format!("expiresInSeconds: {rule}"))
            .with_field("expiresInSeconds", rule)
    })
}

pub(super) fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}
