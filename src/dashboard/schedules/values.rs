//! The values that a person has typed into a schedule's form, and the request for them.

use serde_json::{Map, Value, json};

use crate::dashboard::form::Form;
use crate::dashboard::param;
use crate::dashboard::preset_values::{expiry_of, timeout_of};
use crate::dashboard::run_form::RunFields;
use crate::http::{ApiError, FieldErrors};
use crate::jobs::secret_name;
use crate::presets::{Param, ParamKind, Preset};
use crate::schedules::{Missed, Overlap, ScheduleView};

/// The typed values.
#[derive(Debug, Default)]
pub(super) struct ScheduleValues {
    pub(super) name: String,
    /// One per param, in the preset's order; for a secret the name of a stored one.
    pub(super) params: Vec<String>,
    pub(super) run: RunFields,
    pub(super) cron: String,
    pub(super) time_zone: String,
    /// Nobody has chosen the time zone yet: the browser's own one is a better guess than UTC.
    pub(super) guesses_zone: bool,
    /// `apply` or `check`.
    pub(super) kind: String,
    pub(super) overlap: String,
    pub(super) missed: String,
    pub(super) expiry: String,
    pub(super) timeout: String,
    pub(super) ping_url: String,
}

impl ScheduleValues {
    /// Those of an empty form, with these nodes.
    pub(super) fn fresh(preset: &Preset, run: RunFields) -> Self {
        Self {
            params: preset.params.iter().map(param::default_text).collect(),
            run,
            time_zone: "UTC".to_owned(),
            guesses_zone: true,
            kind: "apply".to_owned(),
            overlap: "skip".to_owned(),
            missed: "once".to_owned(),
            ..Self::default()
        }
    }

    /// Those of a submitted form.
    pub(super) fn typed(preset: &Preset, form: &Form) -> Self {
        let text = |name: &str| form.text(name).trim().to_owned();
        // The fields of a preset that was just chosen are not in the form yet.
        let typed = |param: &Param| match param.kind {
            ParamKind::Secret => param::stored_secret(param, form).unwrap_or_default(),
            ParamKind::Int { .. }
            | ParamKind::Port
            | ParamKind::Bool
            | ParamKind::Enum { .. }
            | ParamKind::String { .. } => {
                param::typed(param, form).unwrap_or_else(|| param::default_text(param))
            }
        };
        Self {
            name: text("name"),
            params: preset.params.iter().map(typed).collect(),
            run: RunFields::typed(form),
            cron: text("cron"),
            time_zone: text("time_zone"),
            guesses_zone: false,
            kind: text("kind"),
            overlap: text("overlap"),
            missed: text("missed"),
            expiry: text("expiry"),
            timeout: text("timeout"),
            ping_url: text("ping_url"),
        }
    }

    /// Those of a preset's form, in which a person chose to schedule the job.
    pub(super) fn of_queue_form(preset: &Preset, form: &Form) -> Self {
        let text = |name: &str| form.text(name).trim().to_owned();
        let typed = Self::typed(preset, form);
        Self {
            expiry: text("expiry"),
            timeout: text("timeout"),
            params: typed.params,
            ..Self::fresh(preset, typed.run.or_node(text("node")))
        }
    }

    /// Those of a schedule.
    pub(super) fn of_schedule(preset: &Preset, schedule: &ScheduleView) -> Self {
        let params = preset.params.iter().map(|param| {
            let value = schedule.params.get(&param.name);
            match value.and_then(secret_name) {
                Some(secret) => secret.to_owned(),
                None if value.is_none() => param::default_text(param),
                None => param::text_of(param, value),
            }
        });
        let overlap = match schedule.overlap {
            Overlap::Skip => "skip",
            Overlap::Queue => "queue",
            Overlap::Cancel => "cancel",
        };
        let missed = match schedule.missed {
            Missed::Skip => "skip",
            Missed::Once => "once",
        };
        let number = |number: Option<i64>| number.map_or(String::new(), |n| n.to_string());
        Self {
            name: schedule.name.clone(),
            params: params.collect(),
            run: RunFields::of_schedule(schedule),
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
            guesses_zone: false,
            kind: schedule.kind.as_str().to_owned(),
            overlap: overlap.to_owned(),
            missed: missed.to_owned(),
            expiry: schedule
                .expires_in_seconds
                .map_or(String::new(), in_one_unit),
            timeout: number(schedule.timeout_seconds),
            ping_url: schedule.ping_url.clone().unwrap_or_default(),
        }
    }

    /// The body of `POST` and `PATCH /api/schedules`. A field that was emptied is `null`, which
    /// removes it from a schedule.
    ///
    /// # Errors
    /// What can't be put into a body.
    pub(super) fn body(
        &self,
        preset: &str,
        params: Map<String, Value>,
    ) -> Result<Map<String, Value>, ApiError> {
        let mut faults = FieldErrors::default();
        let mut keep = |read: Result<Option<i64>, ApiError>| {
            read.unwrap_or_else(|error| {
                faults.extend(error.fields);
                None
            })
        };
        let timeout = keep(timeout_of(&self.timeout));
        let expiry = keep(expiry_of(&self.expiry));
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let body = json!({
            "name": self.name, "preset": preset, "params": params, "cron": self.cron,
            "timeZone": self.time_zone, "kind": some(&self.kind), "overlap": some(&self.overlap), "missed": some(&self.missed),
            "expiresInSeconds": expiry, "timeoutSeconds": timeout, "pingUrl": some(&self.ping_url),
        });
        let Value::Object(mut body) = body else {
            return Ok(Map::new());
        };
        self.run.fill(&mut body, &mut faults);
        faults.into_result()?;
        Ok(body)
    }
}

/// A time as the form takes it, in the largest unit that divides it: `6h`.
fn in_one_unit(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let unit = units.iter().find(|(_, length)| seconds % length == 0);
    let (name, length) = unit.unwrap_or(&("s", 1));
    format!("{}{name}", seconds / length)
}
