//! The frame of every page: head, navigation, and the modules it needs.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use crate::auth::{Role, User};
use crate::clock;

/// One page, before it is drawn.
pub(super) struct Page<'p> {
    title: &'p str,
    user: Option<&'p User>,
    here: &'p str,
    module: Option<&'static str>,
    styles: Vec<&'static str>,
    icon: &'p str,
    live: Option<String>,
    /// The stream that begins before the page's modules: its address and the job.
    early: Option<(String, &'p str)>,
    refresh_seconds: Option<u32>,
    without_script: Option<String>,
    body: Markup,
}

impl<'p> Page<'p> {
    /// A page without a user.
    pub(super) fn new(title: &'p str, body: Markup) -> Self {
        Self {
            title,
            user: None,
            here: "",
            module: None,
            styles: Vec::new(),
            icon: "favicon.svg",
            live: None,
            early: None,
            refresh_seconds: None,
            without_script: None,
            body,
        }
    }

    /// With the navigation of this person.
    pub(super) fn for_user(self, user: Option<&'p User>) -> Self {
        Self { user, ..self }
    }

    /// Under this entry of the navigation.
    pub(super) fn under(self, here: &'p str) -> Self {
        Self { here, ..self }
    }

    /// With a module of its own.
    pub(super) fn with_module(self, module: &'static str) -> Self {
        Self {
            module: Some(module),
            ..self
        }
    }

    /// With a stylesheet of its own.
    pub(super) fn with_style(mut self, style: &'static str) -> Self {
        self.styles.push(style);
        self
    }

    /// With an icon of its own in the tab.
    pub(super) fn with_icon(self, icon: &'p str) -> Self {
        Self { icon, ..self }
    }

    /// Fetches the page's regions again when this event stream reports a change.
    pub(super) fn live(self, events: String) -> Self {
        Self {
            live: Some(events),
            ..self.with_module("live.js")
        }
    }

    /// Opens a job's stream before the page's modules are loaded.
    pub(super) fn with_early_stream(self, events: String, job: &'p str) -> Self {
        Self {
            early: Some((events, job)),
            ..self
        }
    }

    /// Reloads after some seconds, for browsers without JavaScript.
    pub(super) fn refreshed_every(self, seconds: u32) -> Self {
        Self {
            refresh_seconds: Some(seconds),
            ..self
        }
    }

    /// The address to which browsers without JavaScript are redirected.
    pub(super) fn without_script(self, address: String) -> Self {
        Self {
            without_script: Some(address),
            ..self
        }
    }
}

/// The whole page.
pub(super) fn draw(page: &Page<'_>) -> Markup {
    let style = assets::url("app.css");
    html! {
        (DOCTYPE)
        html lang="en" data-now=(clock::now().as_millis()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="theme-color" media="(prefers-color-scheme: light)" content="#ffffff";
                meta name="theme-color" media="(prefers-color-scheme: dark)" content="#1c1b18";
                // The header's `no-referrer` would have browsers post forms with `Origin: null`,
                // which proves nothing.
                meta name="referrer" content="same-origin";
                title { (page.title) " · HyprBox Jobs" }
                link rel="icon" type="image/svg+xml" href=(assets::url(page.icon));
                link rel="stylesheet" href=(style);
                @for style in &page.styles { link rel="stylesheet" href=(assets::url(style)); }
                script src=(assets::url("theme.js")) {}
                @if let (Some((events, job)), Some(user)) = (&page.early, page.user) {
                    script async fetchpriority="high" src=(assets::url("early.js")) data-name=(format!("{} {events}", user.id)) data-job=(job) {}
                }
                script type="module" src=(assets::url("page.js")) {}
                @if let Some(module) = page.module {
                    @for part in assets::parts_of(module) {
                        link rel="modulepreload" href=(assets::url(part));
                    }
                    script type="module" src=(assets::url(module)) {}
                }
                @if let Some(seconds) = page.refresh_seconds {
                    meta http-equiv="refresh" content=(seconds);
                }
                @if let Some(address) = &page.without_script {
                    noscript { meta http-equiv="refresh" content=(format!("0; url={address}")); }
                }
            }
            body data-live=[page.live.as_deref()] data-user=[page.user.map(|user| user.id.as_str())] {
                a.skip href="#main" { "Skip to the content" }
                (header(page))
                p #connection-lost .connection-lost role="status" hidden { "Connection to the server lost. Reconnecting…" }
                main #main tabindex="-1" { (page.body) }
                footer {
                    a href="/docs/api" { "API" }
                    button #show-keys .quiet type="button" hidden aria-haspopup="dialog" { "Keys " kbd { "?" } }
                }
            }
        }
    }
}

fn header(page: &Page<'_>) -> Markup {
    html! {
        header.top {
            a.brand href="/" {
                // Drawn here, so that its colours are the theme's: a box whose edges are a prompt.
                svg.mark viewBox="0 0 32 32" aria-hidden="true" {
                    path d="M1.5 16 8.75 3.4h14.5L30.5 16l-7.25 12.6H8.75z" {}
                    path d="M10.5 8 16 16l-5.5 8M16 16h9" {}
                }
                span { "HyprBox" }
            }
            @if let Some(user) = page.user {
                nav aria-label="Main" {
                    @if user.role >= Role::Viewer {
                        (entry(page, "/", "Overview"))
                        (entry(page, "/jobs", "Jobs"))
                        (entry(page, "/runs", "Runs"))
                        (entry(page, "/schedules", "Schedules"))
                        (entry(page, "/drift", "Drift"))
                        (entry(page, "/nodes", "Nodes"))
                        (entry(page, "/presets", "Presets"))
                    }
                    @if user.role == Role::Admin {
                        (entry(page, "/channels", "Channels"))
                        (entry(page, "/users", "Users"))
                        (entry(page, "/audit", "Audit"))
                    }
                }
                // Shown by scripts, which open it.
                @if user.role >= Role::Viewer {
                    button #find .quiet type="button" hidden aria-haspopup="dialog" { "Go to…" kbd { "Ctrl K" } }
                }
                div.who {
                    a.me href="/account" title=(format!("{} · {}", user.email, user.role)) { bdi { (user.name) } }
                    form method="post" action="/logout" { button.quiet { "Sign out" } }
                }
            }
            button #theme .quiet.icon type="button" hidden aria-label="Colours: as the system" {}
        }
    }
}

fn entry(page: &Page<'_>, address: &str, words: &str) -> Markup {
    let current = (page.here == address).then_some("page");
    html! { a href=(address) aria-current=[current] { (words) } }
}
