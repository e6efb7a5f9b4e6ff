//! `/secrets`: stored secrets. An OPERATOR reads their names, an ADMIN changes them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{self, Faults, Form, Input, RestorableForm, around, described_by};
use super::layout::{self, Page};
use super::{Site, saved_form, words};
use crate::auth::{Admin, Operator, Role, User};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{AllowedPreset, JobError, SetSecretRequest, StoredSecretDetail, secret_name};
use crate::presets::schema::{MAX_TEXT_CHARS, MIN_SECRET_CHARS};
use crate::presets::{CatalogEntry, ParamKind, Preset, Snapshot};
use crate::schedules::ScheduleName;

/// The typed values, without the secret itself.
#[derive(Default)]
struct Typed {
    name: String,
    presets: Vec<String>,
}

/// The page; with `?name=` the form replaces that secret.
pub(super) async fn show(
    State(site): State<Site>,
    Operator(user): Operator,
    query: Query,
) -> Result<Markup, ApiError> {
    let secrets = site.jobs.stored_secret_details().await?;
    let name = query.get("name").unwrap_or_default();
    let known = secrets.iter().find(|secret| secret.name == name);
    let typed = known.map(|secret| Typed {
        name: secret.name.clone(),
        presets: secret
            .presets
            .iter()
            .map(|preset| preset.name.clone())
            .collect(),
    });
    let is_open = typed.is_some();
    page(&site, &user, &typed.unwrap_or_default(), is_open, None).await
}

/// Stores or replaces a secret.
pub(super) async fn submit(
    State(site): State<Site>,
    Admin(admin): Admin,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let typed = Typed {
        name: form.text("name").trim().to_owned(),
        presets: form.0.all("presets").map(str::to_owned).collect(),
    };
    if is_restored {
        let notice = saved_form::restored_notice();
        let page = page(&site, &admin, &typed, true, Some(&notice)).await?;
        return Ok(page.into_response());
    }
    match site
        .jobs
        .set_secret(&admin, typed.name.clone(), request(&typed, &form))
        .await
    {
        Ok(_) => Ok(Redirect::to("/secrets").into_response()),
        Err(error) => {
            let error = ApiError::from(error);
            if error.status != StatusCode::BAD_REQUEST {
                return Err(error);
            }
            let page = page(&site, &admin, &typed, true, Some(&error)).await?;
            Ok((error.status, page).into_response())
        }
    }
}

fn request(typed: &Typed, form: &Form) -> SetSecretRequest {
    SetSecretRequest {
        value: form.text("secret"),
        presets: typed.presets.clone(),
    }
}

/// Removes a secret, or shows which schedules name it.
pub(super) async fn remove(
    State(site): State<Site>,
    Admin(admin): Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    match site.jobs.remove_secret(&admin, name).await {
        // Somebody else was quicker.
        Ok(()) | Err(JobError::SecretNotFound) => Ok(Redirect::to("/secrets").into_response()),
        Err(error) => {
            let error = ApiError::from(error);
            if error.status != StatusCode::CONFLICT {
                return Err(error);
            }
            let page = page(&site, &admin, &Typed::default(), false, Some(&error)).await?;
            Ok((error.status, page).into_response())
        }
    }
}

/// The names of the stored secrets that this preset may use, for those who may queue it.
pub(super) async fn names_for(
    site: &Site,
    user: &User,
    entry: &CatalogEntry,
) -> Result<Vec<String>, ApiError> {
    if user.role < Role::Operator || !takes_secrets(&entry.preset) {
        return Ok(Vec::new());
    }
    let secrets = site.jobs.stored_secret_details().await?;
    let usable = secrets.into_iter().filter(|secret| secret.is_for(entry));
    Ok(usable.map(|secret| secret.name).collect())
}

fn takes_secrets(preset: &Preset) -> bool {
    let mut params = preset.params.iter();
    params.any(|param| param.kind == ParamKind::Secret)
}

async fn page(
    site: &Site,
    user: &User,
    typed: &Typed,
    is_open: bool,
    error: Option<&ApiError>,
) -> Result<Markup, ApiError> {
    let secrets = site.jobs.stored_secret_details().await?;
    let schedules = site.schedules.names().await?;
    let presets = site.jobs.presets().await?;
    let is_admin = user.role == Role::Admin;
    let body = html! {
        p.crumbs { a href="/schedules" { "Schedules" } }
        h1 { "Stored secrets" }
        p.prose.dim {
            "Passwords and tokens for jobs that nobody is there to type them for. A value is sealed with the server's key "
            "file, masked in the output and never shown again."
        }
        @if is_admin { (set_form(&presets, typed, is_open, error)) }
        @if secrets.is_empty() {
            p.none {
                "No secret is stored. "
                @if !is_admin { "An ADMIN can store one. " }
                "A secret param of a schedule needs one."
            }
        } @else {
            table.stored {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "Presets that may use it" } th scope="col" { "Schedules" } th scope="col" { "Set" }
                    @if is_admin { th scope="col" { "Change" } }
                } }
                tbody { @for secret in &secrets { (row(secret, &presets, &schedules, is_admin)) } }
            }
        }
    };
    let page = Page::new("Stored secrets", body)
        .for_user(Some(user))
        .under("/schedules")
        .with_style("schedules.css");
    Ok(layout::draw(&page))
}

fn set_form(presets: &Snapshot, typed: &Typed, is_open: bool, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let name = Input {
        name: "name",
        label: "Name",
        value: &typed.name,
        hint: Some("Of a-z, 0-9 and hyphens, such as restic. A secret of this name is replaced"),
        fault: faults.at("name"),
        autocomplete: "off",
        max_length: Some(63),
        ..Input::default()
    };
    let fault = faults.at("value");
    let value = html! {
        textarea #f-secret .secret name="secret" rows="1" required autocomplete="off" autocapitalize="none" spellcheck="false" data-min=(MIN_SECRET_CHARS)
            data-max=(MAX_TEXT_CHARS) aria-invalid=[fault.map(|_| "true")] aria-describedby=(described_by("f-secret")) {}
    };
    // A secret is of use only to presets with a secret param; those that have the right keep it.
    let listed = presets
        .entries()
        .filter(|entry| takes_secrets(&entry.preset) || typed.presets.contains(&entry.preset.name));
    let is_conflict = error.is_some_and(|error| error.status == StatusCode::CONFLICT);
    html! {
        @if is_conflict { (faults.summary(&[])) }
        details.card.add open[is_open] {
            summary { "Store or replace a secret" }
            @if !is_conflict { (faults.summary(&["name", "value", "presets"])) }
            form method="post" action="/secrets" {
                (name.draw())
                (around("f-secret", "Value", Some("Not shown again"), fault, value))
                fieldset.choices aria-describedby="f-presets-fault" {
                    legend { "Presets that may use it" }
                    @for entry in listed {
                        @let allowed = AllowedPreset::of(entry);
                        label {
                            input type="checkbox" name="presets" value=(allowed.name) checked[typed.presets.contains(&allowed.name)];
                            span { (allowed.name) span.dim { " · " (origin(&allowed)) } }
                        }
                    }
                    p.fault #f-presets-fault { @if let Some(fault) = faults.at("presets") { (words::sentence(fault)) } }
                }
                button.primary { "Store" }
            }
        }
    }
}

fn origin(preset: &AllowedPreset) -> &'static str {
    match preset.origin.as_str() {
        "built-in" => "built-in",
        "folder" => "from the presets folder",
        _ => "saved in the app",
    }
}

fn row(
    secret: &StoredSecretDetail,
    presets: &Snapshot,
    schedules: &[ScheduleName],
    is_admin: bool,
) -> Markup {
    let names_it = |schedule: &&ScheduleName| {
        let mut values = schedule.params.values();
        values.any(|value| secret_name(value) == Some(secret.name.as_str()))
    };
    let users: Vec<&ScheduleName> = schedules.iter().filter(names_it).collect();
    let ask = format!(
        "Remove {}? Jobs that are already queued keep its value.",
        secret.name
    );
    html! {
        tr {
            td.main { span.id { (secret.name) } }
            td data-label="Presets" { @for allowed in &secret.presets {
                div {
                    bdi { (allowed.name) } span.dim { " · " (origin(allowed)) }
                    @if let Some(entry) = presets.get(&allowed.name) {
                        @if !secret.is_for(entry) { span.dim { "; the preset in use has another origin and may not use it" } }
                    } @else { span.dim { "; it no longer exists" } }
                }
            } }
            td data-label="Schedules" {
                @for schedule in &users {
                    div { a href=(format!("/schedules/{}", schedule.id)) { bdi { (words::visible(&schedule.name)) } } }
                }
                @if users.is_empty() { span.dim { "none" } }
            }
            td data-label="Set" { (words::since(secret.changed_at)) div.dim { "by " bdi { (secret.changed_by_email) } } }
            @if is_admin {
                td { div.actions {
                    a.button href=(format!("/secrets?name={}", secret.name)) aria-label=(format!("Replace {}", secret.name)) { "Replace" }
                    (form::button(&format!("/secrets/{}/remove", secret.name), "danger", "Remove", Some(&ask)))
                } }
            }
        }
    }
}
