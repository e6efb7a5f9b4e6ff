//! `/presets/{name}/edit` and `/presets/-/new`: a preset as text, with the linter's findings, its
//! changes and a test. One file, because every answer is the same page.
//!
//! Without JavaScript it is a form. `editor.js` adds colours, and asks for the findings as one
//! types.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::form::{Faults, Form, RestorableForm};
use super::layout::{self, Page};
use super::{Site, compare, param, saved_form, words};
use crate::auth::{Admin, User};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{Condition, PresetError, unified_diff};
use crate::presets::check::{Finding, Severity};
use crate::presets::{Origin, Param, Preset, name_in};

/// The text of a new preset.
const TEMPLATE: &str = "\
name: my-preset
title: What it does, in one line
targets: [any]                # IDs of /etc/os-release, such as debian, or any
risk: medium                  # low, medium or high
timeout: 10m
params:
  whom: { type: string, default: world, maxLength: 40 }
steps:
  - name: Greet
    run: |
      echo \"hello, $whom\"
";

/// The text that a person edits.
pub(super) struct Draft {
    /// `None`: a new preset, whose name is in its text.
    pub(super) name: Option<String>,
    /// The version that it began with; 0 if none is saved.
    pub(super) base: u64,
    pub(super) source: String,
}

/// What a page shows besides the text.
#[derive(Default)]
pub(super) struct Shown<'s> {
    notice: Option<Markup>,
    error: Option<&'s ApiError>,
    findings: Option<Vec<Finding>>,
    /// What the diff compares with, and the diff.
    changes: Option<(String, String)>,
    /// The rendered script.
    script: Option<String>,
    /// The typed values of the test.
    values: Option<&'s Form>,
}

impl Shown<'_> {
    pub(super) fn with_notice(notice: Markup) -> Self {
        Self {
            notice: Some(notice),
            ..Self::default()
        }
    }
}

impl Draft {
    /// The preset's name, also if it is only in its text.
    fn name(&self) -> String {
        let in_text = || name_in(&self.source).unwrap_or_default();
        self.name.clone().unwrap_or_else(in_text)
    }

    fn address(&self) -> String {
        match &self.name {
            Some(name) => format!("/presets/{name}/edit"),
            None => "/presets/-/new".to_owned(),
        }
    }

    fn typed(name: Option<String>, form: &Form) -> Self {
        Self {
            name,
            base: form
                .0
                .get("base")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
            source: form.text("source"),
        }
    }

    /// The preset as it is: the one saved here, or a copy of the one in use.
    async fn of(site: &Site, name: String, wanted: Option<u64>) -> Result<Self, ApiError> {
        let presets = site.jobs.presets().await?;
        let base = presets.saved_version(&name).unwrap_or(0);
        let number = wanted.unwrap_or(base);
        let source = if number > 0 {
            site.jobs.preset_version(name.clone(), number).await?.source
        } else {
            let entry = presets.get(&name).cloned();
            let entry = entry.ok_or_else(|| crate::jobs::JobError::no_preset(&presets, &name))?;
            entry.source.clone()
        };
        Ok(Self {
            name: Some(name),
            base,
            source,
        })
    }
}

/// The text of a new preset.
pub(super) async fn show_new(
    State(site): State<Site>,
    Admin(user): Admin,
) -> Result<Markup, ApiError> {
    refuse_files(&site)?;
    let draft = Draft {
        name: None,
        base: 0,
        source: TEMPLATE.to_owned(),
    };
    page(&site, &user, &draft, Shown::default()).await
}

/// The text of a preset; with `?version=` that of an earlier version.
pub(super) async fn show(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(name): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    refuse_files(&site)?;
    let wanted = query.parse("version", 1..=u64::MAX, "the number of a version")?;
    let draft = Draft::of(&site, name, wanted).await?;
    page(&site, &user, &draft, Shown::default()).await
}

fn refuse_files(site: &Site) -> Result<(), ApiError> {
    if site.jobs.saves_presets() {
        return Ok(());
    }
    Err(PresetError::FilesOnly.into())
}

/// Saves, checks, compares or renders the text of a new preset.
pub(super) async fn submit_new(
    State(site): State<Site>,
    Admin(user): Admin,
    form: RestorableForm,
) -> Result<Response, ApiError> {
    answer(&site, &user, None, form).await
}

/// Saves, checks, compares or renders the text of a preset.
pub(super) async fn submit(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(name): Path<String>,
    form: RestorableForm,
) -> Result<Response, ApiError> {
    answer(&site, &user, Some(name), form).await
}

async fn answer(
    site: &Site,
    user: &User,
    name: Option<String>,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let draft = Draft::typed(name, &form);
    let mut shown = Shown {
        values: Some(&form),
        ..Shown::default()
    };
    if is_restored {
        let notice = saved_form::restored_notice();
        shown.error = Some(&notice);
        return Ok(page(site, user, &draft, shown).await?.into_response());
    }
    match form.0.get("do") {
        Some("save") => return save(site, user, draft, shown).await,
        Some("changes") => shown.changes = Some(changes(site, &draft).await?),
        Some("render") => match render(site, &draft, &form).await {
            Ok(script) => shown.script = Some(script),
            Err(error) => return refused(site, user, &draft, shown, error).await,
        },
        _ => {}
    }
    Ok(page(site, user, &draft, shown).await?.into_response())
}

async fn save(
    site: &Site,
    user: &User,
    mut draft: Draft,
    mut shown: Shown<'_>,
) -> Result<Response, ApiError> {
    let condition = match draft.base {
        0 => Condition::Absent,
        base => Condition::Versions(vec![base]),
    };
    let source = draft.source.clone();
    let saved = site
        .jobs
        .save_preset(user, draft.name(), source, Some(condition));
    match saved.await {
        Ok(saved) => {
            let (name, version) = (saved.name, saved.version.version);
            let address = format!("/presets/{name}?saved={version}");
            Ok(Redirect::to(&address).into_response())
        }
        Err(PresetError::Changed(words)) => {
            let (name, theirs) = (draft.name(), latest(site, &draft.name()).await?);
            let (version, their_source) = theirs;
            shown.notice = Some(html! {
                div.alert role="alert" {
                    p { (words::visible(&words)) "." }
                    p { "Your text is below, and nothing was saved. Compare it, add what is missing, and save it over version " (version) "." }
                }
            });
            let diff = difference(site, their_source, draft.source.clone()).await?;
            shown.changes = Some((
                format!("Your text, compared with version {version} of {name}"),
                diff,
            ));
            draft.base = version;
            let page = page(site, user, &draft, shown).await?;
            Ok((StatusCode::PRECONDITION_FAILED, page).into_response())
        }
        Err(error) => refused(site, user, &draft, shown, error).await,
    }
}

/// The page again with what is wrong with the text.
async fn refused(
    site: &Site,
    user: &User,
    draft: &Draft,
    mut shown: Shown<'_>,
    error: PresetError,
) -> Result<Response, ApiError> {
    if let PresetError::Faulty(findings) = &error {
        shown.findings = Some(findings.clone());
    }
    let error = ApiError::from(error);
    if error.status != StatusCode::BAD_REQUEST {
        return Err(error);
    }
    shown.error = Some(&error);
    // The summary and the list of findings say the same.
    let page = page(site, user, draft, shown).await?;
    Ok((StatusCode::BAD_REQUEST, page).into_response())
}

/// The version in use and its text; 0 and nothing if the preset was deleted.
async fn latest(site: &Site, name: &str) -> Result<(u64, String), ApiError> {
    let version = site.jobs.presets().await?.saved_version(name).unwrap_or(0);
    if version == 0 {
        return Ok((0, String::new()));
    }
    let found = site.jobs.preset_version(name.to_owned(), version).await?;
    Ok((version, found.source))
}

async fn changes(site: &Site, draft: &Draft) -> Result<(String, String), ApiError> {
    let name = draft.name();
    let (what, before) = match draft.base {
        0 => {
            let presets = site.jobs.presets().await?;
            match presets.get(&name) {
                Some(entry) => (
                    format!("the preset {name} that is in use"),
                    entry.source.clone(),
                ),
                None => ("nothing: no preset has this name".to_owned(), String::new()),
            }
        }
        base => {
            let version = site.jobs.preset_version(name, base).await?;
            (format!("version {base}"), version.source)
        }
    };
    let diff = difference(site, before, draft.source.clone()).await?;
    Ok((format!("Compared with {what}"), diff))
}

async fn difference(site: &Site, before: String, after: String) -> Result<String, ApiError> {
    let work = move || unified_diff(("saved", &before), ("typed", &after));
    Ok(site.jobs.compare(work).await?)
}

async fn render(site: &Site, draft: &Draft, form: &Form) -> Result<String, PresetError> {
    let params = params_of(draft).unwrap_or_default();
    let values = param::json(params.iter(), form);
    let source = draft.source.clone();
    let script = site.jobs.render_source(draft.name(), source, values.into());
    Ok(script.await?.text)
}

/// The params of a text without faults.
fn params_of(draft: &Draft) -> Option<Vec<Param>> {
    let preset = Preset::parse(&draft.name(), &draft.source);
    preset.ok().map(|preset| preset.params)
}

/// The page.
pub(super) async fn page(
    site: &Site,
    user: &User,
    draft: &Draft,
    mut shown: Shown<'_>,
) -> Result<Markup, ApiError> {
    let name = draft.name();
    if shown.findings.is_none() {
        // A text that is too long or a busy linter only leaves the findings out.
        let found = site.jobs.check_preset(name.clone(), draft.source.clone());
        shown.findings = found.await.ok();
    }
    let presets = site.jobs.presets().await?;
    let hides = presets
        .get(&name)
        .filter(|entry| entry.origin != Origin::App);
    let title = match &draft.name {
        Some(name) => format!("Edit {name}"),
        None => "New preset".to_owned(),
    };
    let body = html! {
        p.crumbs {
            a href="/presets" { "Presets" }
            @if let Some(name) = &draft.name { " / " a href=(format!("/presets/{name}")) { (name) } }
        }
        div.head {
            h1 { (title) }
            @if draft.base > 0 { a.button href=(format!("/presets/{name}/versions")) { "Versions" } }
        }
        @if let (Some(entry), Some(_)) = (hides, &draft.name) { (what_it_hides(entry.origin)) }
        form #editor method="post" action=(draft.address()) data-name=[draft.name.as_deref()] {
            div #faults { @if let Some(notice) = &shown.notice { (notice) } (faults(shown.error)) }
            input type="hidden" name="base" value=(draft.base);
            div.field {
                label.unseen for="f-source" { "The preset, as YAML" }
                div #editor-box .editor {
                    textarea #f-source name="source" rows="24" wrap="off" autocapitalize="none" autocomplete="off" spellcheck="false"
                        aria-describedby="findings" { "\n" (draft.source) }
                }
            }
            (findings(shown.findings.as_deref()))
            div.actions {
                button.primary name="do" value="save" formnovalidate { (save_words(draft)) }
                button name="do" value="changes" formnovalidate { "Show changes" }
                button #check-again name="do" value="check" formnovalidate { "Check" }
            }
            div #changes { @if let Some((words, diff)) = &shown.changes {
                section.card aria-labelledby="changes-h" { h2 #changes-h tabindex="-1" { (words::visible(words)) } (compare::script(diff)) }
            } }
            (test(draft, &shown))
        }
    };
    let page = Page::new(&title, body)
        .for_user(Some(user))
        .under("/presets")
        .with_style("editor.css")
        .with_module("editor.js");
    Ok(layout::draw(&page))
}

fn save_words(draft: &Draft) -> String {
    match draft.base {
        0 => "Save".to_owned(),
        base => format!("Save over version {base}"),
    }
}

fn what_it_hides(origin: Origin) -> Markup {
    html! {
        p.banner {
            @match origin {
                Origin::Folder | Origin::Override => { "A file in the presets folder has this name and stays in use: what is saved here takes effect once that file is removed." }
                Origin::BuiltIn | Origin::App => { "This is a copy of the built-in preset. Saved here, it is used instead." }
            }
        }
    }
}

fn faults(error: Option<&ApiError>) -> Markup {
    // The lines are in the list of findings.
    let is_listed = error.is_some_and(|error| error.code == "preset_invalid");
    if is_listed {
        return html! { div.alert role="alert" { p { "The preset has errors, so nothing was saved or rendered. See the findings below it." } } };
    }
    Faults::of(error).summary(&[])
}

/// The findings of the linter, by line.
pub(super) fn findings(found: Option<&[Finding]>) -> Markup {
    html! {
        div #findings aria-live="polite" {
            @match found {
                None => { p.dim { "Not checked." } }
                Some([]) => { p.dim { "The linter finds no problems." } }
                Some(found) => { (list(found)) }
            }
        }
    }
}

/// Findings, by line.
pub(super) fn list(found: &[Finding]) -> Markup {
    html! { ol.findings { @for finding in found { (one(finding)) } } }
}

fn one(finding: &Finding) -> Markup {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    html! {
        li data-severity=(severity) data-line=(finding.line) data-column=(finding.column) {
            b { "Line " (finding.line) } " " span.severity { (severity) } " " (words::visible(&finding.message)) " " code { (finding.rule) }
        }
    }
}

/// Fields for the params, and the script that they lead to.
fn test(draft: &Draft, shown: &Shown<'_>) -> Markup {
    let params = params_of(draft);
    let faults = Faults::of(shown.error);
    let value = |it: &Param| {
        let typed = shown.values.and_then(|form| param::typed(it, form));
        typed.unwrap_or_else(|| param::default_text(it))
    };
    html! {
        div #test { section.card aria-labelledby="test-h" {
            h2 #test-h { "Test" }
            p.dim { "Shows the script that a job would run. Nothing is saved or queued." }
            @match &params {
                None => { p.none { "Fix the errors first." } }
                Some(params) => {
                    @for it in params {
                        (param::draw(it, Some(&value(it)), faults.at(&format!("params.{}", it.name))))
                    }
                    div.actions { button name="do" value="render" formnovalidate { "Show the script" } }
                }
            }
            @if let Some(script) = &shown.script { h3 #script-h tabindex="-1" { "The script" } pre.code.tall tabindex="0" { (words::visible(script)) } }
        } }
    }
}
