//! The endpoints for channels, rules and deliveries.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    AddChannel, AddRule, ChannelChange, ChannelList, ChannelTest, ChannelView, DeliveryPage,
    DeliveryView, Notifications, RuleChange, RuleList, RuleView,
};
use crate::auth::Admin;
use crate::http::{ApiError, JsonBody, Path, Query};

/// Longest cursor, in bytes.
const CURSOR_MAX: usize = 64;

/// Makes a channel. A webhook's secret that the server makes is in this answer only.
#[utoipa::path(post, path = "/api/channels", tag = "notifications", operation_id = "add_channel", request_body = AddChannel,
    responses((status = 201, body = ChannelView), (status = 409, description = "There are 100 channels already")),
    security(("bearer" = []), ("cookie" = [])))]
async fn add_channel(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    JsonBody(request): JsonBody<AddChannel>,
) -> Result<Response, ApiError> {
    let made = notifications.add_channel(&user, request).await?;
    let location = format!("/api/channels/{}", made.id);
    let answer = (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        axum::Json(made),
    );
    Ok(answer.into_response())
}

/// Lists all channels.
#[utoipa::path(get, path = "/api/channels", tag = "notifications", operation_id = "list_channels",
    responses((status = 200, body = ChannelList)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list_channels(
    State(notifications): State<Notifications>,
    Admin(_): Admin,
) -> Result<axum::Json<ChannelList>, ApiError> {
    let channels = notifications.channels().await?;
    Ok(axum::Json(ChannelList { channels }))
}

/// Shows a channel.
#[utoipa::path(get, path = "/api/channels/{id}", tag = "notifications", operation_id = "show_channel", params(("id" = String, Path)),
    responses((status = 200, body = ChannelView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn show_channel(
    State(notifications): State<Notifications>,
    Admin(_): Admin,
    Path(id): Path<String>,
) -> Result<axum::Json<ChannelView>, ApiError> {
    Ok(axum::Json(notifications.channel(id).await?))
}

/// Changes, pauses or resumes a channel.
#[utoipa::path(patch, path = "/api/channels/{id}", tag = "notifications", operation_id = "change_channel", params(("id" = String, Path)),
    request_body = ChannelChange,
    responses((status = 200, body = ChannelView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn change_channel(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<ChannelChange>,
) -> Result<axum::Json<ChannelView>, ApiError> {
    let changed = notifications.change_channel(&user, id, change).await?;
    Ok(axum::Json(changed))
}

/// Deletes a channel with its rules and deliveries.
#[utoipa::path(delete, path = "/api/channels/{id}", tag = "notifications", operation_id = "remove_channel", params(("id" = String, Path)),
    responses((status = 204)),
    security(("bearer" = []), ("cookie" = [])))]
async fn remove_channel(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    notifications.remove_channel(&user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test message now, also while the channel is paused.
#[utoipa::path(post, path = "/api/channels/{id}/test", tag = "notifications", operation_id = "test_channel", params(("id" = String, Path)),
    responses((status = 200, body = ChannelTest)),
    security(("bearer" = []), ("cookie" = [])))]
async fn test_channel(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<axum::Json<ChannelTest>, ApiError> {
    Ok(axum::Json(notifications.test_channel(&user, id).await?))
}

/// Lists a channel's deliveries.
#[utoipa::path(get, path = "/api/channels/{id}/deliveries", tag = "notifications", operation_id = "list_deliveries",
    params(("id" = String, Path),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = DeliveryPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list_deliveries(
    State(notifications): State<Notifications>,
    Admin(_): Admin,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<DeliveryPage>, ApiError> {
    let limit = query.parse("limit", 1..=200, "1 to 200")?.unwrap_or(50);
    let cursor = query.get("cursor");
    let is_id =
        |text: &str| text.len() <= CURSOR_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !cursor.is_none_or(is_id) {
        return Err(query.wrong("cursor", "the nextCursor of an earlier page of this list"));
    }
    let before = cursor.map(str::to_owned);
    let page = notifications.deliveries(id, before, limit).await?;
    Ok(axum::Json(page))
}

/// Sends a delivery again, also one that was delivered or given up.
#[utoipa::path(post, path = "/api/deliveries/{id}/resend", tag = "notifications", operation_id = "resend_delivery", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn resend_delivery(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<axum::Json<DeliveryView>, ApiError> {
    Ok(axum::Json(notifications.resend(&user, id).await?))
}

/// Makes a rule.
#[utoipa::path(post, path = "/api/rules", tag = "notifications", operation_id = "add_rule", request_body = AddRule,
    responses((status = 201, body = RuleView), (status = 404, description = "The channel does not exist"),
        (status = 409, description = "There are 200 rules already")),
    security(("bearer" = []), ("cookie" = [])))]
async fn add_rule(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    JsonBody(request): JsonBody<AddRule>,
) -> Result<(StatusCode, axum::Json<RuleView>), ApiError> {
    let made = notifications.add_rule(&user, request).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// Lists all rules.
#[utoipa::path(get, path = "/api/rules", tag = "notifications", operation_id = "list_rules",
    responses((status = 200, body = RuleList)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list_rules(
    State(notifications): State<Notifications>,
    Admin(_): Admin,
) -> Result<axum::Json<RuleList>, ApiError> {
    let rules = notifications.rules().await?;
    Ok(axum::Json(RuleList { rules }))
}

/// Changes a rule.
#[utoipa::path(patch, path = "/api/rules/{id}", tag = "notifications", operation_id = "change_rule", params(("id" = String, Path)),
    request_body = RuleChange,
    responses((status = 200, body = RuleView), (status = 404, description = "The rule or its new channel does not exist")),
    security(("bearer" = []), ("cookie" = [])))]
async fn change_rule(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<RuleChange>,
) -> Result<axum::Json<RuleView>, ApiError> {
    Ok(axum::Json(
        notifications.change_rule(&user, id, change).await?,
    ))
}

/// Deletes a rule.
#[utoipa::path(delete, path = "/api/rules/{id}", tag = "notifications", operation_id = "remove_rule", params(("id" = String, Path)),
    responses((status = 204)),
    security(("bearer" = []), ("cookie" = [])))]
async fn remove_rule(
    State(notifications): State<Notifications>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    notifications.remove_rule(&user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn routes() -> OpenApiRouter<Notifications> {
    OpenApiRouter::new()
        .routes(routes!(add_channel, list_channels))
        .routes(routes!(show_channel, change_channel, remove_channel))
        .routes(routes!(test_channel))
        .routes(routes!(list_deliveries))
        .routes(routes!(resend_delivery))
        .routes(routes!(add_rule, list_rules))
        .routes(routes!(change_rule, remove_rule))
}
