//! `/presets`: all presets, and the files that are invalid.

use std::sync::Arc;

use axum::extract::State;
use maud::{Markup, html};

use super::layout::{self, Page};
use super::{Site, history, local, words};
use crate::auth::{Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::History;
use crate::presets::{CatalogEntry, FileError, Origin, Preset, Risk, Snapshot};
use crate::store::job::PastFilter;

/// The page; `?q=` searches, `?node=` is passed on to the form.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let presets = site.jobs.presets().await?;
    let sought = query.get("q").unwrap_or_default().trim();
    let found: Vec<_> = presets
        .entries()
        .filter(|entry| matches(&entry.preset, sought))
        .collect();
    let owner = (!site.jobs.reads_all(&user)).then(|| user.id.clone());
    let of_preset = |entry: &&Arc<CatalogEntry>| PastFilter {
        preset: Some(entry.preset.name.clone()),
        created_by: owner.clone(),
        ..PastFilter::default()
    };
    let histories = site
        .jobs
        .histories(found.iter().map(of_preset).collect())
        .await?;
    let cards = html! {
        @if found.is_empty() { p.none { "No preset matches." } }
        ul.cards { @for (entry, history) in found.iter().zip(&histories) { (card(entry, history, query.get("node"))) } }
    };
    let body = body(
        &presets,
        (&user, site.jobs.saves_presets()),
        (sought, query.get("node")),
        &cards,
    );
    let page = Page::new("Presets", body)
        .for_user(Some(&user))
        .under("/presets")
        .with_style("history.css");
    Ok(layout::draw(&page))
}

/// How presets come to be.
fn actions(user: &User, saves: bool) -> Markup {
    html! {
        div.actions {
            @if user.role == Role::Admin && saves { a.button href="/presets/-/new" { "New" } }
            @if user.role >= Role::Operator { a.button href="/presets/-/import" { "Import" } }
            @if user.role == Role::Admin { a.button href="/exec" { "Run a script" } }
        }
    }
}

fn body(
    presets: &Snapshot,
    (user, saves): (&User, bool),
    (sought, node): (&str, Option<&str>),
    cards: &Markup,
) -> Markup {
    html! {
        div.head {
            h1 { "Presets" }
            (actions(user, saves))
            form.search role="search" action="/presets" {
                @if let Some(node) = node { input type="hidden" name="node" value=(node); }
                label.unseen for="q" { "Search presets" }
                input #q type="search" name="q" value=(sought) placeholder="Search";
                button { "Search" }
            }
        }
        (broken(presets.errors()))
        (cards)
    }
}

fn matches(preset: &Preset, sought: &str) -> bool {
    let sought = sought.to_lowercase();
    let texts = [&preset.name, &preset.title, &preset.description];
    let has = |text: &String| text.to_lowercase().contains(&sought);
    texts.into_iter().any(has) || preset.targets.iter().any(has)
}

fn broken(errors: &[FileError]) -> Markup {
    html! {
        @if !errors.is_empty() {
            div.alert role="alert" {
                p { "Some presets are invalid. The last valid versions of files stay in use." }
                ul { @for error in errors {
                    li {
                        code { bdi { (words::visible(&error.file)) } @if let Some(line) = error.line { ":" (line) } }
                        " " (words::visible(&error.message))
                    }
                } }
            }
        }
    }
}

fn card(entry: &CatalogEntry, history: &History, node: Option<&str>) -> Markup {
    let preset = &entry.preset;
    let address = match node {
        Some(node) => format!(
            "/presets/{}?{}",
            preset.name,
            local::query(&[("node", node)])
        ),
        None => format!("/presets/{}", preset.name),
    };
    let about = preset
        .description
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .trim();
    html! {
        li.card {
            div.head { a.strong href=(address) { bdi { (words::visible(&preset.title)) } } (risk(preset.risk)) }
            p.dim { code { (preset.name) } " · " (targets(preset)) @if let Some(origin) = origin(entry) { " · " (origin) }
                @if preset.confirm_seconds.is_some() { " · to be confirmed" } }
            @if !about.is_empty() { p.about { (words::prose(about)) } }
            (history::spark(history))
        }
    }
}

pub(super) fn risk(risk: Risk) -> Markup {
    let (name, word) = match risk {
        Risk::Low => ("low", "Low risk"),
        Risk::Medium => ("medium", "Medium risk"),
        Risk::High => ("high", "High risk"),
    };
    html! { span.risk data-risk=(name) { (word) } }
}

/// The systems that the preset targets.
pub(super) fn targets(preset: &Preset) -> String {
    if preset.targets_any() {
        "any Linux".to_owned()
    } else {
        preset.targets.join(", ")
    }
}

/// Where the preset comes from, and what it hides; `None` for a built-in one.
pub(super) fn origin(entry: &CatalogEntry) -> Option<String> {
    let from = match (entry.origin, &entry.saved) {
        (Origin::BuiltIn, _) => return None,
        (Origin::Folder | Origin::Override, _) => "from the presets folder".to_owned(),
        (Origin::App, None) => "saved here".to_owned(),
        (Origin::App, Some(saved)) => format!("saved here, version {}", saved.version),
    };
    let hidden: Vec<&str> = entry
        .hides
        .iter()
        .map(|hidden| match hidden {
            Origin::BuiltIn => "the built-in one",
            Origin::App => "the one saved here",
            Origin::Folder | Origin::Override => "the one in the presets folder",
        })
        .collect();
    Some(match hidden.is_empty() {
        true => from,
        false => format!("{from}, hides {}", hidden.join(" and ")),
    })
}
