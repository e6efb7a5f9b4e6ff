//! The endpoints for schedules.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    ScheduleChange, ScheduleError, ScheduleList, ScheduleRequest, ScheduleView, Schedules,
    SlotPage, SlotView, upcoming_times,
};
use crate::auth::{Operator, Viewer};
use crate::clock::Timestamp;
use crate::http::{ApiError, JsonBody, JsonWithValue, Path, Query};
use crate::jobs::RunView;
use crate::store::{Tx, schedule};

/// The body of `POST /api/schedules/preview`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct PreviewRequest {
    /// The cron expression.
    cron: String,
    /// The IANA name of the time zone.
    time_zone: String,
}

/// The next due times of an expression.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Preview {
    /// The next five.
    times: Vec<PreviewTime>,
}

/// A due time in UTC and by the clock of its zone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PreviewTime {
    /// RFC 3339, UTC.
    utc: Timestamp,
    /// RFC 3339 with the offset of the zone.
    local: String,
}

/// Makes a schedule.
#[utoipa::path(post, path = "/api/schedules", tag = "schedules", operation_id = "add_schedule", request_body = ScheduleRequest,
    responses((status = 201, body = ScheduleView),
        (status = 403, description = "The role is not enough, or a stored secret is not for this preset"),
        (status = 404, description = "The preset does not exist, or fields.nodes names every node that does not")),
    security(("bearer" = []), ("cookie" = [])))]
async fn add(
    State(schedules): State<Schedules>,
    Operator(user): Operator,
    JsonWithValue(request, body): JsonWithValue<ScheduleRequest>,
) -> Result<Response, ApiError> {
    let made = schedules.create(&user, request, object(body)?).await?;
    let location = format!("/api/schedules/{}", made.id);
    Ok((StatusCode::CREATED, at(&location), axum::Json(made)).into_response())
}

fn at(location: &str) -> HeaderMap {
    let value = HeaderValue::from_str(location).ok();
    value
        .into_iter()
        .map(|value| (header::LOCATION, value))
        .collect()
}

fn object(body: Option<Value>) -> Result<Map<String, Value>, ApiError> {
    match body {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(ApiError::bad_request(
            "bad_input",
            "The body has too many values: name each node once",
        )),
    }
}

/// Lists all schedules.
#[utoipa::path(get, path = "/api/schedules", tag = "schedules", operation_id = "list_schedules",
    responses((status = 200, body = ScheduleList)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(schedules): State<Schedules>,
    Viewer(_): Viewer,
) -> Result<axum::Json<ScheduleList>, ApiError> {
    let schedules = schedules.list().await?;
    Ok(axum::Json(ScheduleList { schedules }))
}

/// Shows a schedule.
#[utoipa::path(get, path = "/api/schedules/{id}", tag = "schedules", operation_id = "show_schedule", params(("id" = String, Path)),
    responses((status = 200, body = ScheduleView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn show(
    State(schedules): State<Schedules>,
    Viewer(_): Viewer,
    Path(id): Path<String>,
) -> Result<axum::Json<ScheduleView>, ApiError> {
    Ok(axum::Json(schedules.one(id).await?))
}

/// Changes, pauses or resumes a schedule.
#[utoipa::path(patch, path = "/api/schedules/{id}", tag = "schedules", operation_id = "change_schedule", params(("id" = String, Path)),
    request_body = ScheduleChange,
    responses((status = 200, body = ScheduleView),
        (status = 403, description = "Only its maker or an ADMIN may change it; any OPERATOR may resume one that the server has paused")),
    security(("bearer" = []), ("cookie" = [])))]
async fn change(
    State(schedules): State<Schedules>,
    Operator(user): Operator,
    Path(id): Path<String>,
    JsonWithValue(change, body): JsonWithValue<ScheduleChange>,
) -> Result<axum::Json<ScheduleView>, ApiError> {
    let body = object(body)?;
    Ok(axum::Json(schedules.change(&user, id, change, body).await?))
}

/// Deletes a schedule. Its runs stay.
#[utoipa::path(delete, path = "/api/schedules/{id}", tag = "schedules", operation_id = "remove_schedule", params(("id" = String, Path)),
    responses((status = 204), (status = 403, description = "Only its maker or an ADMIN may delete it")),
    security(("bearer" = []), ("cookie" = [])))]
async fn remove(
    State(schedules): State<Schedules>,
    Operator(user): Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    schedules.delete(&user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Queues a run of a schedule now, also while it is paused.
#[utoipa::path(post, path = "/api/schedules/{id}/run", tag = "schedules", operation_id = "run_schedule", params(("id" = String, Path)),
    responses((status = 201, body = RunView),
        (status = 403, description = "Only its maker or an ADMIN may run it")),
    security(("bearer" = []), ("cookie" = [])))]
async fn run(
    State(schedules): State<Schedules>,
    Operator(user): Operator,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let made = schedules.run_now(&user, id).await?;
    let location = format!("/api/runs/{}", made.id);
    Ok((StatusCode::CREATED, at(&location), axum::Json(made)).into_response())
}

/// Lists the due times of a schedule, and what became of each.
#[utoipa::path(get, path = "/api/schedules/{id}/slots", tag = "schedules", operation_id = "list_slots",
    params(("id" = String, Path),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = SlotPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn slots(
    State(schedules): State<Schedules>,
    Viewer(_): Viewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<SlotPage>, ApiError> {
    let limit = query.parse("limit", 1..=200, "1 to 200")?.unwrap_or(50);
    let cursor = query.parse(
        "cursor",
        0..=i64::MAX,
        "the nextCursor of an earlier page of this list",
    )?;
    let before = cursor.map(Timestamp::from_millis);
    Ok(axum::Json(schedules.slots(id, before, limit).await?))
}

/// Shows the next five due times of an expression.
#[utoipa::path(post, path = "/api/schedules/preview", tag = "schedules", operation_id = "preview_schedule", request_body = PreviewRequest,
    responses((status = 200, body = Preview)),
    security(("bearer" = []), ("cookie" = [])))]
async fn preview(
    Viewer(_): Viewer,
    JsonBody(request): JsonBody<PreviewRequest>,
) -> Result<axum::Json<Preview>, ApiError> {
    let times = upcoming_times(&request.cron, &request.time_zone)?;
    let times = times.into_iter().map(|time| PreviewTime {
        utc: time.at,
        local: time.local,
    });
    Ok(axum::Json(Preview {
        times: times.collect(),
    }))
}

impl Schedules {
    /// All schedules, oldest first.
    pub async fn list(&self) -> Result<Vec<ScheduleView>, ScheduleError> {
        let read = |tx: &mut dyn Tx| {
            let mut views = Vec::new();
            for schedule in schedule::list(tx)? {
                views.extend(ScheduleView::read(tx, schedule)?);
            }
            Ok(views)
        };
        self.store.read(read).await
    }

    /// One schedule.
    pub async fn one(&self, id: String) -> Result<ScheduleView, ScheduleError> {
        let read = move |tx: &mut dyn Tx| {
            let schedule = schedule::find(tx, &id)?.ok_or(ScheduleError::NotFound)?;
            ScheduleView::read(tx, schedule)?.ok_or(ScheduleError::NotFound)
        };
        self.store.read(read).await
    }

    /// A page of a schedule's slots before `before`, newest first.
    pub async fn slots(
        &self,
        id: String,
        before: Option<Timestamp>,
        limit: u64,
    ) -> Result<SlotPage, ScheduleError> {
        let read = move |tx: &mut dyn Tx| {
            schedule::find(tx, &id)?.ok_or(ScheduleError::NotFound)?;
            // One more than requested shows whether there is a next page.
            Ok::<_, ScheduleError>(schedule::slots(tx, &id, before, limit + 1)?)
        };
        let mut found = self.store.read(read).await?;
        let has_more = found.len() as u64 > limit;
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = found.last().map(|slot| slot.due_at.as_millis().to_string());
        Ok(SlotPage {
            slots: found.into_iter().map(SlotView::from).collect(),
            next_cursor: last.filter(|_| has_more),
        })
    }
}

pub(super) fn routes() -> OpenApiRouter<Schedules> {
    OpenApiRouter::new()
        .routes(routes!(add, list))
        .routes(routes!(preview))
        .routes(routes!(show, change, remove))
        .routes(routes!(run))
        .routes(routes!(slots))
}
