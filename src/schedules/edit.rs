//! Makes, changes and deletes schedules.

use serde_json::{Map, Value};

use super::access::{check_owner, find_to_change, record};
use super::due_times::DueTimes;
use super::request::{merge, stored_form};
use super::{ScheduleChange, ScheduleError, ScheduleRequest, ScheduleView, Schedules};
use crate::auth::User;
use crate::http::FieldErrors;
use crate::jobs::{JobError, refuse_literal_secrets};
use crate::store::schedule::{self, Schedule};
use crate::store::{Tx, server_state, stored_secret};

/// A request that can be stored.
struct CheckedRequest {
    request: ScheduleRequest,
    /// Its stored form.
    json: String,
    due_times: DueTimes,
    zone: String,
}

impl Schedules {
    /// Makes a schedule.
    pub async fn create(
        &self,
        user: &User,
        request: ScheduleRequest,
        body: Map<String, Value>,
    ) -> Result<ScheduleView, ScheduleError> {
        let is_paused = request.paused.unwrap_or(false);
        let checked = self.check_request(request, body).await?;
        let user = user.clone();
        let work = move |tx: &mut dyn Tx| {
            stored_secret::lock(tx)?;
            let now = server_state::now(tx)?;
            let schedule = Schedule {
                id: uuid::Uuid::now_v7().to_string(),
                request: checked.json,
                cron: checked.request.cron,
                time_zone: checked.zone,
                is_paused,
                paused_because: None,
                next_due_at: checked.due_times.next(now),
                created_by: user.id,
                created_by_email: user.email,
                created_at: now,
            };
            schedule::insert(tx, &schedule, &checked.request.preset)?;
            let actor = schedule.created_by_email.clone();
            record(
                tx,
                &actor,
                "schedule.add",
                &schedule.id,
                &checked.request.name,
            )?;
            ScheduleView::read(tx, schedule)?.ok_or(ScheduleError::NotFound)
        };
        self.store.write(work).await
    }

    /// Changes a schedule. A schedule that the server has paused can be resumed by any OPERATOR,
    /// who becomes its maker.
    pub async fn change(
        &self,
        user: &User,
        id: String,
        change: ScheduleChange,
        body: Map<String, Value>,
    ) -> Result<ScheduleView, ScheduleError> {
        // Each further round follows another person's change.
        loop {
            let changed = self.change_once(user, &id, change.paused, body.clone());
            if let Some(changed) = changed.await? {
                return Ok(changed);
            }
        }
    }

    /// `None` if the schedule's request was changed while this change was checked.
    async fn change_once(
        &self,
        user: &User,
        id: &str,
        paused: Option<bool>,
        body: Map<String, Value>,
    ) -> Result<Option<ScheduleView>, ScheduleError> {
        let find_id = id.to_owned();
        let before = self
            .store
            .read(move |tx| Ok::<_, ScheduleError>(schedule::find(tx, &find_id)?))
            .await?
            .ok_or(ScheduleError::NotFound)?;
        // A pause needs no preset that can be rendered.
        let only_pause = body.keys().all(|field| field == "paused");
        let resumes_only = only_pause && paused == Some(false);
        if !(resumes_only && before.paused_because.is_some()) {
            check_owner(user, &before)?;
        }
        let checked = if only_pause {
            None
        } else {
            let merged = merge(&before.request, body);
            let request = serde_json::from_value(Value::Object(merged.clone()))
                .map_err(|error| ScheduleError::Malformed(error.to_string()))?;
            Some(self.check_request(request, merged).await?)
        };
        let (user, id) = (user.clone(), id.to_owned());
        let work = move |tx: &mut dyn Tx| {
            stored_secret::lock(tx)?;
            let mut schedule = match resumes_only {
                true => schedule::find_locked(tx, &id)?.ok_or(ScheduleError::NotFound)?,
                false => find_to_change(tx, &user, &id)?,
            };
            if schedule.paused_because.is_none() {
                check_owner(&user, &schedule)?;
            }
            let mut preset = None;
            if let Some(checked) = checked {
                if schedule.request != before.request {
                    return Ok(None);
                }
                preset = Some(checked.request.preset);
                schedule.request = checked.json;
                let times = (checked.request.cron, checked.zone);
                if times != (schedule.cron.clone(), schedule.time_zone.clone()) {
                    (schedule.cron, schedule.time_zone) = times;
                    schedule.next_due_at = checked.due_times.next(server_state::now(tx)?);
                }
            }
            if let Some(is_paused) = paused {
                schedule.is_paused = is_paused;
                if schedule.paused_because.take().is_some() && !is_paused {
                    schedule.created_by.clone_from(&user.id);
                    schedule.created_by_email.clone_from(&user.email);
                }
            }
            schedule::update(tx, &schedule, preset.as_deref())?;
            let action = match paused {
                Some(true) if only_pause => "schedule.pause",
                Some(false) if only_pause => "schedule.resume",
                _ => "schedule.change",
            };
            let name = name_of(&schedule);
            record(tx, &user.email, action, &id, &name)?;
            let view = ScheduleView::read(tx, schedule)?;
            view.map(Some).ok_or(ScheduleError::NotFound)
        };
        self.store.write(work).await
    }

    /// Deletes a schedule. Its runs stay.
    pub async fn delete(&self, user: &User, id: String) -> Result<(), ScheduleError> {
        let user = user.clone();
        let work = move |tx: &mut dyn Tx| {
            let schedule = find_to_change(tx, &user, &id)?;
            schedule::delete(tx, &id)?;
            let name = name_of(&schedule);
            record(tx, &user.email, "schedule.remove", &id, &name)?;
            Ok(())
        };
        self.store.write(work).await
    }

    /// Checks a request in full: its own fields, its params against today's preset, its secrets and
    /// its nodes. A selector may match nothing.
    async fn check_request(
        &self,
        request: ScheduleRequest,
        body: Map<String, Value>,
    ) -> Result<CheckedRequest, ScheduleError> {
        let mut faults = FieldErrors::default();
        let due_times = request.check(&mut faults);
        let params = request.params.clone().unwrap_or_default().kept;
        let presets = self.presets().await?;
        if let Some(entry) = presets.get(&request.preset) {
            refuse_literal_secrets(&entry.preset, &params, &mut faults);
        }
        self.check_run(&request.run(), faults).await?;
        let Some(due_times) = due_times else {
            return Err(JobError::Fields(FieldErrors::default()).into());
        };
        Ok(CheckedRequest {
            json: stored_form(body),
            zone: due_times.zone_name(),
            due_times,
            request,
        })
    }
}

/// The name, for the audit log.
fn name_of(schedule: &Schedule) -> String {
    let request = ScheduleRequest::stored(&schedule.request);
    request.map(|request| request.name).unwrap_or_default()
}
