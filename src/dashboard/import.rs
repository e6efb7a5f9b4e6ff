//! `/presets/-/import`: a shell script becomes the text of a preset.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::editor::{self, Draft, Shown};
use super::form::{Faults, Input, RestorableForm, around, described_by};
use super::layout::{self, Page};
use super::{Site, parts, saved_form};
use crate::auth::{Operator, Role, User};
use crate::http::ApiError;
use crate::presets::check::Imported;

/// The form.
pub(super) async fn show(Operator(user): Operator) -> Markup {
    page(&user, "", "", None)
}

/// Shows the preset, to be edited and saved.
pub(super) async fn submit(
    State(site): State<Site>,
    Operator(user): Operator,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let (name, script) = (form.text("name").trim().to_owned(), form.text("script"));
    if is_restored {
        let notice = saved_form::restored_notice();
        return Ok(page(&user, &name, &script, Some(&notice)).into_response());
    }
    let wanted = Some(name.clone()).filter(|name| !name.is_empty());
    let imported = match site.jobs.import_script(wanted, script.clone()).await {
        Ok(imported) => imported,
        Err(error) => {
            let error = ApiError::from(error);
            if error.status != StatusCode::BAD_REQUEST {
                return Err(error);
            }
            let page = page(&user, &name, &script, Some(&error));
            return Ok((error.status, page).into_response());
        }
    };
    if user.role < Role::Admin || !site.jobs.saves_presets() {
        return Ok(read_only(&user, &imported).into_response());
    }
    let draft = Draft {
        name: None,
        base: 0,
        source: imported.source.clone(),
    };
    let shown = Shown::with_notice(notice(&imported));
    let page = editor::page(&site, &user, &draft, shown).await?;
    Ok(page.into_response())
}

/// The findings, at the lines of the script.
fn notice(imported: &Imported) -> Markup {
    html! {
        section.card #imported {
            h2 { "The script as a preset" }
            @if imported.findings.is_empty() {
                p { "The linter finds nothing in the script that would do something else as a step of a preset." }
            } @else {
                p { "These lines of the script would do something else as a step of a preset, or deserve a look:" }
                (editor::list(&imported.findings))
            }
            p.dim { "Nothing is saved yet." }
        }
    }
}

/// For people who can't save it here.
fn read_only(user: &User, imported: &Imported) -> Markup {
    let body = html! {
        p.crumbs { a href="/presets" { "Presets" } " / " a href="/presets/-/import" { "Import" } }
        h1 { "Imported script" }
        (notice(imported))
        p { "An ADMIN can save this preset, or put it into the presets folder:" }
        (parts::copyable(&imported.source, "the preset"))
    };
    draw("Imported script", body, user)
}

fn draw(title: &str, body: Markup, user: &User) -> Markup {
    let page = Page::new(title, body)
        .for_user(Some(user))
        .under("/presets")
        .with_style("editor.css");
    layout::draw(&page)
}

fn page(user: &User, name: &str, script: &str, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let name = Input {
        name: "name",
        label: "Name (optional)",
        value: name,
        hint: Some("a-z, 0-9 and -, such as nightly-backup"),
        fault: faults.at("name"),
        autocomplete: "off",
        is_optional: true,
        pattern: Some("[a-z0-9\\-]{1,100}"),
        max_length: Some(100),
        ..Input::default()
    };
    let fault = faults.at("script");
    let control = html! {
        textarea #f-script .script name="script" rows="20" required wrap="off" autocapitalize="none" autocomplete="off" spellcheck="false"
            aria-invalid=[fault.map(|_| "true")] aria-describedby=(described_by("f-script")) { "\n" (script) }
    };
    let body = html! {
        p.crumbs { a href="/presets" { "Presets" } }
        h1 { "Import a shell script" }
        p.prose {
            "The preset gets one step with the script as it is, and params for " code { "$1" } " and " code { "${NAME:?}" }
            ". You see which lines would do something else under " code { "set -euo pipefail" } ", which every step runs with. Nothing is saved yet."
        }
        form.card method="post" action="/presets/-/import" {
            (faults.summary(&["name", "script"]))
            (name.draw())
            (around("f-script", "Script", None, fault, control))
            div.actions { button.primary { "Import" } }
        }
    };
    draw("Import a shell script", body, user)
}
