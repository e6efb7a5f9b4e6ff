//! `/presets/{name}/versions`: who saved what, and what changed.

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};

use super::form::Form;
use super::layout::{self, Page};
use super::{Site, compare, words};
use crate::auth::{Admin, Role, User, Viewer};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{Condition, unified_diff};

/// Versions on one page.
const PAGE: u64 = 30;

/// All versions.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(name): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let before = query.parse("before", 1..=u64::MAX, "the number of a version")?;
    let mut found = site
        .jobs
        .preset_versions(name.clone(), before, PAGE + 1)
        .await?;
    let has_more = found.len() as u64 > PAGE;
    found.truncate(PAGE as usize);
    let presets = site.jobs.presets().await?;
    let in_use = presets.saved_version(&name);
    let may_change = user.role == Role::Admin && site.jobs.saves_presets();
    let ask = format!("Delete {name}? Its versions stay.");
    let body = html! {
        (crumbs(&name))
        div.head {
            h1 { "Versions of " (name) }
            @if let (Some(version), true) = (in_use, may_change) {
                form.inline method="post" action=(format!("/presets/{name}/delete")) data-ask=(ask) {
                    input type="hidden" name="base" value=(version);
                    button.danger { "Delete" }
                }
            }
        }
        @if in_use.is_none() { p.banner { "This preset is not in use: it was deleted, or this server takes presets only from files." } }
        table.stacks {
            thead { tr { th { "Version" } th { "Saved" } th { "By" } th { "SHA-256" } } }
            tbody { @for version in &found {
                tr {
                    td { a href=(format!("/presets/{name}/versions/{}", version.version)) { (version.version) }
                        @if in_use == Some(version.version) { " " span.dim { "in use" } } }
                    td { (words::moment(version.created_at)) }
                    td { bdi { (version.created_by_email) } }
                    td { code { (version.sha256.get(..12).unwrap_or_default()) } }
                }
            } }
        }
        @if let (Some(last), true) = (found.last(), has_more) {
            p { a href=(format!("/presets/{name}/versions?before={}", last.version)) { "Older versions" } }
        }
    };
    Ok(draw(&format!("Versions of {name}"), body, &user))
}

/// One version, and its changes since the one before.
pub(super) async fn show_one(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path((name, number)): Path<(String, String)>,
) -> Result<Markup, ApiError> {
    let number: u64 = number.parse().unwrap_or(0);
    let mut found = site
        .jobs
        .preset_versions(name.clone(), number.checked_add(1), 2)
        .await?
        .into_iter();
    let version = found.next().filter(|found| found.version == number);
    let version = version.ok_or(crate::jobs::PresetError::NotSaved)?;
    let diff = match found.next() {
        None => None,
        Some(before) => {
            let (old, new) = (before.source, version.source.clone());
            let work = move || unified_diff(("before", &old), ("this", &new));
            Some((before.version, site.jobs.compare(work).await?))
        }
    };
    let in_use = site.jobs.presets().await?.saved_version(&name);
    let may_change = user.role == Role::Admin && site.jobs.saves_presets();
    let title = format!("Version {number} of {name}");
    let body = html! {
        (crumbs(&name))
        div.head {
            h1 { (title) }
            @if may_change && in_use != Some(number) {
                a.button href=(format!("/presets/{name}/edit?version={number}")) { "Edit this version" }
            }
        }
        p.dim { "Saved " (words::moment(version.created_at)) " by " bdi { (version.created_by_email) } " · SHA-256 " code { (version.sha256) } }
        @if let Some((before, diff)) = &diff {
            h2 { "Changes since version " (before) }
            (compare::script(diff))
        }
        h2 { "Text" }
        pre.code.tall tabindex="0" { (words::visible(&version.source)) }
    };
    Ok(draw(&title, body, &user))
}

/// Deletes the preset, if the version is still in use that the person saw.
pub(super) async fn delete(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(name): Path<String>,
    form: Form,
) -> Result<Redirect, ApiError> {
    let base = form.0.get("base").and_then(|text| text.parse().ok());
    let condition = Condition::Versions(base.into_iter().collect());
    site.jobs
        .delete_preset(&user, name.clone(), Some(condition))
        .await?;
    Ok(Redirect::to(&format!("/presets/{name}/versions")))
}

fn crumbs(name: &str) -> Markup {
    html! {
        p.crumbs { a href="/presets" { "Presets" } " / " a href=(format!("/presets/{name}")) { (name) } }
    }
}

fn draw(title: &str, body: Markup, user: &User) -> Markup {
    layout::draw(
        &Page::new(title, body)
            .for_user(Some(user))
            .under("/presets"),
    )
}
