//! `/schedules/new` and `/schedules/{id}/edit`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::{FormPage, Target, chooser};
use super::values::ScheduleValues;
use crate::auth::{Operator, User};
use crate::dashboard::form::{Form, RestorableForm};
use crate::dashboard::run_form::RunFields;
use crate::dashboard::{Site, param, saved_form};
use crate::http::{ApiError, Path, Query};
use crate::jobs::JobError;
use crate::presets::CatalogEntry;
use crate::schedules::upcoming_times;

/// The form for a new schedule of `?preset=`.
pub(in crate::dashboard) async fn show_new(
    State(site): State<Site>,
    Operator(user): Operator,
    query: Query,
) -> Result<Response, ApiError> {
    let Some(name) = query.get("preset").filter(|name| !name.is_empty()) else {
        let page = chooser(&site, &user, Target::New, None).await?;
        return Ok(page.into_response());
    };
    let presets = site.jobs.presets().await?;
    let entry = presets
        .get(name)
        .ok_or_else(|| JobError::no_preset(&presets, name))?;
    let node = query.get("node").unwrap_or_default().to_owned();
    let values = ScheduleValues::fresh(&entry.preset, RunFields::default().or_node(node));
    let page = FormPage {
        target: Target::New,
        entry,
        values: &values,
        error: None,
        times: None,
    };
    Ok(page.draw(&site, &user).await?.into_response())
}

/// Adds the schedule, or shows the form again.
pub(in crate::dashboard) async fn submit_new(
    State(site): State<Site>,
    Operator(user): Operator,
    query: Query,
    form: RestorableForm,
) -> Result<Response, ApiError> {
    let named = query.get("preset").map(str::to_owned);
    submit(&site, &user, Target::New, named, form).await
}

/// The form for a schedule.
pub(in crate::dashboard) async fn show_edit(
    State(site): State<Site>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let schedule = site.schedules.one(id).await?;
    let target = Target::Edit(&schedule);
    let presets = site.jobs.presets().await?;
    let name = query.get("preset").filter(|name| !name.is_empty());
    let name = name.unwrap_or(&schedule.preset);
    let Some(entry) = presets.get(name) else {
        let page = chooser(&site, &user, target, Some(name)).await?;
        return Ok(page.into_response());
    };
    let values = ScheduleValues::of_schedule(&entry.preset, &schedule);
    let page = FormPage {
        target,
        entry,
        values: &values,
        error: None,
        times: None,
    };
    Ok(page.draw(&site, &user).await?.into_response())
}

/// Saves the schedule, or shows the form again.
pub(in crate::dashboard) async fn submit_edit(
    State(site): State<Site>,
    Operator(user): Operator,
    Path(id): Path<String>,
    form: RestorableForm,
) -> Result<Response, ApiError> {
    let schedule = site.schedules.one(id).await?;
    submit(&site, &user, Target::Edit(&schedule), None, form).await
}

async fn submit(
    site: &Site,
    user: &User,
    target: Target<'_>,
    named: Option<String>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let presets = site.jobs.presets().await?;
    let name = form.filled("preset").or(named).unwrap_or_default();
    let Some(entry) = presets.get(&name) else {
        let page = chooser(site, user, target, Some(&name)).await?;
        return Ok((StatusCode::BAD_REQUEST, page).into_response());
    };
    let wish = form.0.get("do").unwrap_or("save");
    let values = match wish {
        "schedule" => ScheduleValues::of_queue_form(&entry.preset, &form),
        _ => ScheduleValues::typed(&entry.preset, &form),
    };
    let mut page = FormPage {
        target,
        entry,
        values: &values,
        error: None,
        times: None,
    };
    let notice = saved_form::restored_notice();
    if is_restored {
        page.error = Some(&notice);
        return Ok(page.draw(site, user).await?.into_response());
    }
    match wish {
        "schedule" | "preset" => return Ok(page.draw(site, user).await?.into_response()),
        "preview" => {
            return Ok(match upcoming_times(&values.cron, &values.time_zone) {
                Ok(times) => {
                    page.times = Some(&times);
                    page.draw(site, user).await?.into_response()
                }
                Err(error) => {
                    page.error = Some(&error);
                    (error.status, page.draw(site, user).await?).into_response()
                }
            });
        }
        _ => {}
    }
    match save(site, user, target, entry, &values, &form).await {
        Ok(id) => Ok(Redirect::to(&format!("/schedules/{id}")).into_response()),
        Err(error) if is_for_the_form(&error) => {
            page.error = Some(&error);
            Ok((error.status, page.draw(site, user).await?).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Whether the form can show the error. A 403 may also be about a stored secret.
fn is_for_the_form(error: &ApiError) -> bool {
    matches!(
        error.status,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN
    ) || error.code == "node_not_found"
}

/// Adds or changes the schedule; its id.
async fn save(
    site: &Site,
    user: &User,
    target: Target<'_>,
    entry: &CatalogEntry,
    values: &ScheduleValues,
    form: &Form,
) -> Result<String, ApiError> {
    let preset = &entry.preset;
    let params = param::json(preset.params.iter(), form);
    let body = values.body(&preset.name, params)?;
    let saved = match target {
        Target::New => site.schedules.create(user, read(&body)?, body).await?,
        Target::Edit(schedule) => {
            let id = schedule.id.clone();
            site.schedules.change(user, id, read(&body)?, body).await?
        }
    };
    Ok(saved.id)
}

/// The body as the API reads it.
fn read<T: for<'d> Deserialize<'d>>(body: &Map<String, Value>) -> Result<T, ApiError> {
    serde_json::from_value(Value::Object(body.clone()))
        .map_err(|error| ApiError::bad_request("bad_input", error.to_string()))
}
