//! The form of a schedule.

use std::sync::Arc;

use maud::{Markup, html};

use super::values::ScheduleValues;
use super::when;
use crate::auth::{Role, User};
use crate::dashboard::form::{Faults, Input, around, described_by};
use crate::dashboard::layout::{self, Page};
use crate::dashboard::run_form::RunFields;
use crate::dashboard::{Site, param, presets, secrets, words};
use crate::http::ApiError;
use crate::presets::{CatalogEntry, ParamKind};
use crate::schedules::{DueTime, ScheduleView, time_zones};

const KINDS: [(&str, &str); 2] = [
    ("apply", "Applies the preset"),
    ("check", "Only checks what would run, and changes nothing"),
];
const OVERLAPS: [(&str, &str); 3] = [
    ("skip", "Skip the due time"),
    (
        "queue",
        "Queue one run, which begins when the last one ends",
    ),
    ("cancel", "Cancel the last run"),
];
const MISSED: [(&str, &str); 2] = [
    ("once", "Run once, as soon as the server is up"),
    ("skip", "Wait for the next due time"),
];

/// The schedule that the form makes or changes.
#[derive(Clone, Copy)]
pub(super) enum Target<'s> {
    New,
    Edit(&'s ScheduleView),
}

impl Target<'_> {
    pub(super) fn address(self) -> String {
        match self {
            Self::New => "/schedules/new".to_owned(),
            Self::Edit(schedule) => format!("/schedules/{}/edit", schedule.id),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::New => "New schedule",
            Self::Edit(_) => "Edit the schedule",
        }
    }

    fn crumbs(self) -> Markup {
        html! {
            p.crumbs {
                a href="/schedules" { "Schedules" }
                @if let Self::Edit(schedule) = self {
                    " / " a href=(format!("/schedules/{}", schedule.id)) { bdi { (words::visible(&schedule.name)) } }
                }
            }
        }
    }
}

/// A page that asks for the preset first: its params are fields of the form.
pub(super) async fn chooser(
    site: &Site,
    user: &User,
    target: Target<'_>,
    gone: Option<&str>,
) -> Result<Markup, ApiError> {
    let found = site.jobs.presets().await?;
    let body = html! {
        (target.crumbs())
        h1 { (target.title()) }
        @if let Some(gone) = gone {
            div.alert role="alert" { p { "The preset " (gone) " no longer exists. Choose another one." } }
        }
        form.card.schedule action=(target.address()) {
            (around("f-preset", "Preset", Some("What the schedule runs"), None, preset_select(found.entries(), "")))
            div.actions { button.primary { "Continue" } }
        }
    };
    Ok(draw(user, target, body))
}

fn preset_select<'p>(entries: impl Iterator<Item = &'p Arc<CatalogEntry>>, chosen: &str) -> Markup {
    html! {
        select #f-preset name="preset" required aria-describedby=(described_by("f-preset")) {
            @if chosen.is_empty() { option value="" { "Choose…" } }
            @for entry in entries {
                @let preset = &entry.preset;
                option value=(preset.name) selected[preset.name == chosen] { (preset.name) ": " (words::visible(&preset.title)) }
            }
        }
    }
}

fn draw(user: &User, target: Target<'_>, body: Markup) -> Markup {
    let page = Page::new(target.title(), body)
        .for_user(Some(user))
        .under("/schedules")
        .with_style("schedules.css")
        .with_module("schedule.js");
    layout::draw(&page)
}

/// What the form shows.
pub(super) struct FormPage<'f> {
    pub(super) target: Target<'f>,
    pub(super) entry: &'f CatalogEntry,
    pub(super) values: &'f ScheduleValues,
    pub(super) error: Option<&'f ApiError>,
    pub(super) times: Option<&'f [DueTime]>,
}

impl FormPage<'_> {
    /// The page.
    pub(super) async fn draw(&self, site: &Site, user: &User) -> Result<Markup, ApiError> {
        let secrets = secrets::names_for(site, user, self.entry).await?;
        let nodes = site.jobs.all_nodes(None).await?;
        let found = site.jobs.presets().await?;
        let preset = &self.entry.preset;
        let faults = Faults::of(self.error);
        let paths: Vec<String> = preset
            .params
            .iter()
            .map(|param| format!("params.{}", param.name))
            .collect();
        let mut shown = vec![
            "name",
            "cron",
            "timeZone",
            "expiresInSeconds",
            "timeoutSeconds",
            "pingUrl",
        ];
        shown.extend(RunFields::FAULTS);
        shown.extend(paths.iter().map(String::as_str));
        let has_more = ["expiresInSeconds", "timeoutSeconds", "pingUrl"]
            .iter()
            .any(|path| faults.at(path).is_some())
            || ![
                &self.values.expiry,
                &self.values.timeout,
                &self.values.ping_url,
            ]
            .iter()
            .all(|text| text.is_empty());
        let zones = time_zones();
        let body = html! {
            (self.target.crumbs())
            h1 { (self.target.title()) }
            form #schedule .card.schedule method="post" action=(self.target.address()) {
                (faults.summary(&shown))
                // Enter uses the form's first button.
                button hidden name="do" value="save" {}
                (self.name(&faults))
                div.pick.preset-pick {
                    (around("f-preset", "Preset", None, None, preset_select(found.entries(), &preset.name)))
                    button name="do" value="preset" formnovalidate { "Show its params" }
                }
                p.dim { "For " (presets::targets(preset)) ". The preset is rendered at each due time." }
                @for ((param, path), value) in preset.params.iter().zip(&paths).zip(&self.values.params) {
                    @if param.kind == ParamKind::Secret {
                        (param::draw_stored(param, value, &secrets, faults.at(path), user.role == Role::Admin))
                    } @else { (param::draw(param, Some(value), faults.at(path))) }
                }
                (select("kind", "What each run does", &KINDS, &self.values.kind))
                h2 { "Where" }
                (self.values.run.draw(preset, &nodes, &faults))
                h2 { "When" }
                (self.times(&faults, &zones))
                (select("overlap", "If the last run has not ended", &OVERLAPS, &self.values.overlap))
                (select("missed", "After the server was down at a due time", &MISSED, &self.values.missed))
                details open[has_more] {
                    summary { "More" }
                    (self.more(&faults))
                }
                div.actions {
                    button.primary name="do" value="save" { @match self.target { Target::New => { "Add the schedule" } Target::Edit(_) => { "Save" } } }
                    a.button href=(self.back()) { "Cancel" }
                }
            }
        };
        Ok(draw(user, self.target, body))
    }

    fn back(&self) -> String {
        match self.target {
            Target::New => "/schedules".to_owned(),
            Target::Edit(schedule) => format!("/schedules/{}", schedule.id),
        }
    }

    fn name(&self, faults: &Faults<'_>) -> Markup {
        Input {
            name: "name",
            label: "Name",
            value: &self.values.name,
            hint: Some("Such as: nightly backup"),
            fault: faults.at("name"),
            autocomplete: "off",
            max_length: Some(255),
            ..Input::default()
        }
        .draw()
    }

    /// The expression, its zone, and the next due times.
    fn times(&self, faults: &Faults<'_>, zones: &[String]) -> Markup {
        let values = self.values;
        let fault = faults.at("timeZone");
        let zone = html! {
            input #f-time_zone name="time_zone" value=(values.time_zone) list="time-zones" required autocomplete="off" autocapitalize="none"
                spellcheck="false" maxlength="100" data-guess[values.guesses_zone] aria-invalid=[fault.map(|_| "true")] aria-describedby=(described_by("f-time_zone"));
            datalist #time-zones { @for zone in zones { option value=(zone) {} } }
        };
        let cron = Input {
            name: "cron",
            label: "Cron expression",
            value: &values.cron,
            hint: Some(
                "Minute, hour, day of the month, month, day of the week, such as 30 2 * * mon-fri; or @hourly, @daily, @weekly, @monthly, @yearly",
            ),
            fault: faults.at("cron"),
            autocomplete: "off",
            max_length: Some(1_000),
            ..Input::default()
        };
        html! {
            (cron.draw())
            (around("f-time_zone", "Time zone", Some("An IANA name, such as Europe/Berlin"), fault, zone))
            div.actions { button #preview-times name="do" value="preview" formnovalidate { "Preview" } }
            div #times aria-live="polite" {
                @if let Some(times) = self.times {
                    h3 #times-h tabindex="-1" { "The next due times" }
                    (when::table(times, &values.time_zone))
                }
            }
        }
    }

    fn more(&self, faults: &Faults<'_>) -> Markup {
        let values = self.values;
        let limit = format!(
            "In seconds. The preset's default is {}",
            words::span(i64::from(self.entry.preset.timeout_seconds) * 1_000)
        );
        html! {
            (faults.optional_input("timeout", "Time limit (optional)", &values.timeout, &limit, "timeoutSeconds"))
            (faults.optional_input("expiry", "Expires after (optional)", &values.expiry, "Such as 6h. A job is cancelled if its node's agent has not started it by then", "expiresInSeconds"))
            (faults.optional_input("ping_url", "Ping address (optional)", &values.ping_url, "Called at the start, success and failure of each run, such as https://hc-ping.com/your-uuid", "pingUrl"))
        }
    }
}

fn select(name: &str, label: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    let id = format!("f-{name}");
    let control = html! {
        select id=(id) name=(name) aria-describedby=(described_by(&id)) {
            @for (value, words) in options { option value=(value) selected[*value == chosen] { (words) } }
        }
    };
    around(&id, label, None, None, control)
}
