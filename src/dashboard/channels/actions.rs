//! The handlers of channels, rules and deliveries.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::one::ChannelPage;
use super::rules::{self, RuleValues};
use super::settings::{ChannelValues, KINDS, label_of};
use crate::auth::{Admin, User};
use crate::dashboard::form::{Faults, Form, RestorableForm};
use crate::dashboard::layout::{self, Page};
use crate::dashboard::{Site, saved_form};
use crate::http::{ApiError, Path, Query};
use crate::notify::ChannelView;
use crate::store::channel::ChannelKind;

/// A body as the API reads it.
fn read<T: for<'d> Deserialize<'d>>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request("bad_input", error.to_string()))
}

/// The status of a page that shows a form again. A form that was restored after a sign-in has no
/// fault yet.
fn status_of(error: &ApiError, is_restored: bool) -> StatusCode {
    match is_restored {
        true => StatusCode::OK,
        false => error.status,
    }
}

/// Whether a form can show the error.
fn is_for_the_form(error: &ApiError) -> bool {
    matches!(error.status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT)
}

fn kind_of(query: &Query) -> Result<ChannelKind, ApiError> {
    let name = query.get("kind").unwrap_or_default();
    let known = KINDS.iter().find(|(kind, _, _)| kind.as_str() == name);
    known
        .map(|(kind, _, _)| *kind)
        .ok_or_else(|| query.wrong("kind", "email, ntfy, gotify, slack, discord or webhook"))
}

/// The form for a new channel of `?kind=`.
pub(in crate::dashboard) async fn show_new(
    State(site): State<Site>,
    Admin(user): Admin,
    query: Query,
) -> Result<Markup, ApiError> {
    let values = ChannelValues::fresh(kind_of(&query)?);
    // The first channel gets what most people want to know.
    let proposed = match site.notifications.channels().await?.is_empty() {
        true => &rules::PROPOSED[..],
        false => &[],
    };
    let on: Vec<String> = proposed
        .iter()
        .map(|event| event.as_str().to_owned())
        .collect();
    Ok(new_page(&user, &values, &on, None))
}

fn new_page(
    user: &User,
    values: &ChannelValues,
    on: &[String],
    error: Option<&ApiError>,
) -> Markup {
    let faults = Faults::of(error);
    let paths = values.paths();
    let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    paths.push("on");
    let title = format!("New channel: {}", label_of(values.kind));
    let body = html! {
        p.crumbs { a href="/channels" { "Channels" } }
        h1 { (title) }
        form.card.schedule method="post" action=(format!("/channels/new?kind={}", values.kind.as_str())) {
            (faults.summary(&paths))
            (values.draw(&faults))
            (rules::event_boxes("Send a message when", on, faults.at("on")))
            p.hint { "These become the channel's first rule. Rules for single presets, nodes or schedules are added on its page." }
            div.actions { button.primary { "Add the channel" } a.button href="/channels" { "Cancel" } }
        }
    };
    let page = Page::new(&title, body)
        .for_user(Some(user))
        .under("/channels")
        .with_style("schedules.css");
    layout::draw(&page)
}

/// Adds the channel with its first rule.
pub(in crate::dashboard) async fn submit_new(
    State(site): State<Site>,
    Admin(user): Admin,
    query: Query,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let values = ChannelValues::fresh(kind_of(&query)?).typed(&form);
    let rule = RuleValues::typed(&form);
    if is_restored {
        let notice = saved_form::restored_notice();
        return Ok(new_page(&user, &values, &rule.on, Some(&notice)).into_response());
    }
    let made = match add(&site, &user, &values, &form).await {
        Ok(made) => made,
        Err(error) if is_for_the_form(&error) => {
            let page = new_page(&user, &values, &rule.on, Some(&error));
            return Ok((error.status, page).into_response());
        }
        Err(error) => return Err(error),
    };
    if !rule.on.is_empty() {
        let body = json!({"channelId": made.id, "on": rule.on});
        site.notifications.add_rule(&user, read(body)?).await?;
    }
    // Only this answer has the secret that the server has made.
    match made.settings["secret"]
        .as_str()
        .filter(|secret| secret.starts_with("whsec_"))
    {
        Some(secret) => {
            let page = ChannelPage {
                made_secret: Some(secret),
                ..ChannelPage::default()
            };
            Ok(page
                .draw(&site, &user, made.id.clone())
                .await?
                .into_response())
        }
        None => Ok(Redirect::to(&format!("/channels/{}", made.id)).into_response()),
    }
}

async fn add(
    site: &Site,
    user: &User,
    values: &ChannelValues,
    form: &Form,
) -> Result<ChannelView, ApiError> {
    let request = read(values.body(form)?)?;
    Ok(site.notifications.add_channel(user, request).await?)
}

/// The page of a channel; with `?before=` it continues the list of messages.
pub(in crate::dashboard) async fn show_one(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let page = ChannelPage {
        before: query.get("before").map(str::to_owned),
        edited: query.get("rule").map(str::to_owned),
        ..ChannelPage::default()
    };
    page.draw(&site, &user, id).await
}

/// Saves the settings.
pub(in crate::dashboard) async fn change(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let channel = site.notifications.channel(id.clone()).await?;
    let values = ChannelValues::of_channel(&channel).typed(&form);
    let saved = match is_restored {
        true => Err(saved_form::restored_notice()),
        false => save(&site, &user, id.clone(), &values, &form).await,
    };
    match saved {
        Ok(changed) => {
            // A webhook whose secret was removed has got another one.
            let made = changed.settings["secret"].as_str();
            let page = ChannelPage {
                made_secret: made.filter(|secret| secret.starts_with("whsec_")),
                ..ChannelPage::default()
            };
            if page.made_secret.is_some() {
                return Ok(page.draw(&site, &user, id).await?.into_response());
            }
            Ok(Redirect::to(&format!("/channels/{id}")).into_response())
        }
        Err(error) if is_for_the_form(&error) => {
            let page = ChannelPage {
                settings: Some((&values, &error)),
                ..ChannelPage::default()
            };
            let page = page.draw(&site, &user, id).await?;
            Ok((status_of(&error, is_restored), page).into_response())
        }
        Err(error) => Err(error),
    }
}

async fn save(
    site: &Site,
    user: &User,
    id: String,
    values: &ChannelValues,
    form: &Form,
) -> Result<ChannelView, ApiError> {
    let change = json!({"name": values.name, "settings": values.settings(form)?});
    let changed = site.notifications.change_channel(user, id, read(change)?);
    Ok(changed.await?)
}

/// Tests, pauses, resumes or deletes the channel.
pub(in crate::dashboard) async fn act(
    State(site): State<Site>,
    Admin(user): Admin,
    Path((id, action)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let notifications = &site.notifications;
    match action.as_str() {
        "test" => {
            let test = notifications.test_channel(&user, id.clone()).await?;
            let page = ChannelPage {
                test: Some(&test),
                ..ChannelPage::default()
            };
            return Ok(page.draw(&site, &user, id).await?.into_response());
        }
        "pause" | "resume" => {
            let change = read(json!({"paused": action == "pause"}))?;
            notifications
                .change_channel(&user, id.clone(), change)
                .await?;
        }
        "delete" => {
            notifications.remove_channel(&user, id).await?;
            return Ok(Redirect::to("/channels").into_response());
        }
        _ => return Err(ApiError::not_found("not_found", "Page not found")),
    }
    Ok(Redirect::to(&format!("/channels/{id}")).into_response())
}

/// Adds a rule.
pub(in crate::dashboard) async fn add_rule(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let typed = RuleValues::typed(&form);
    let added = match is_restored {
        true => Err(saved_form::restored_notice()),
        false => add_typed_rule(&site, &user, &id, &typed).await,
    };
    after_rule(&site, &user, id, (&typed, added), None, is_restored).await
}

async fn add_typed_rule(
    site: &Site,
    user: &User,
    channel_id: &str,
    typed: &RuleValues,
) -> Result<(), ApiError> {
    let request = read(typed.body(channel_id)?)?;
    site.notifications.add_rule(user, request).await?;
    Ok(())
}

/// Changes a rule.
pub(in crate::dashboard) async fn change_rule(
    State(site): State<Site>,
    Admin(user): Admin,
    Path((id, rule)): Path<(String, String)>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let typed = RuleValues::typed(&form);
    let changed = match is_restored {
        true => Err(saved_form::restored_notice()),
        false => change_typed_rule(&site, &user, &id, rule.clone(), &typed).await,
    };
    let result = (&typed, changed);
    after_rule(&site, &user, id, result, Some(rule), is_restored).await
}

async fn change_typed_rule(
    site: &Site,
    user: &User,
    channel_id: &str,
    rule: String,
    typed: &RuleValues,
) -> Result<(), ApiError> {
    let change = read(typed.change(channel_id)?)?;
    site.notifications.change_rule(user, rule, change).await?;
    Ok(())
}

/// The answer to a form of a rule.
async fn after_rule(
    site: &Site,
    user: &User,
    id: String,
    (typed, result): (&RuleValues, Result<(), ApiError>),
    edited: Option<String>,
    is_restored: bool,
) -> Result<Response, ApiError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/channels/{id}")).into_response()),
        Err(error) if is_for_the_form(&error) => {
            let page = ChannelPage {
                rule: Some((typed, &error)),
                edited,
                ..ChannelPage::default()
            };
            let page = page.draw(site, user, id).await?;
            Ok((status_of(&error, is_restored), page).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Removes a rule.
pub(in crate::dashboard) async fn remove_rule(
    State(site): State<Site>,
    Admin(user): Admin,
    Path((id, rule)): Path<(String, String)>,
) -> Result<Redirect, ApiError> {
    site.notifications.remove_rule(&user, rule).await?;
    Ok(Redirect::to(&format!("/channels/{id}")))
}

/// Sends a message again.
pub(in crate::dashboard) async fn resend(
    State(site): State<Site>,
    Admin(user): Admin,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<Redirect, ApiError> {
    site.notifications.resend(&user, delivery).await?;
    Ok(Redirect::to(&format!("/channels/{id}#deliveries")))
}
