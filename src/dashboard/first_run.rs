//! The first steps on a new server: add a node, run the report, write a preset. What is there ticks
//! them. Also the button that runs the report, for the pages of a node that has just connected.

use maud::{Markup, html};

use super::form::Input;
use super::{Site, parts};
use crate::auth::{Role, User};
use crate::http::ApiError;
use crate::nodes::NodeStatus;
use crate::presets::Origin;
use crate::store::job::{JobFilter, JobStatus};

/// The preset to begin with: it changes nothing on the machine.
const REPORT: &str = "system-report";
/// Pause after each section of the report in milliseconds, so that there is something to watch.
const PACE_MS: u32 = 250;
/// A server with this many jobs is not new.
const ENOUGH_JOBS: u64 = 25;

/// A preset to begin with.
const HELLO: &str = "name: hello\ntitle: Say hello\ntargets: [any]\nparams:\n  who: { type: string, default: world }\n\
    steps:\n  - name: Say it\n    run: echo \"hello, $who\"\n";

/// How far the first steps are.
pub(super) struct FirstSteps {
    node: FirstNode,
    has_report: bool,
    has_preset: bool,
    /// Whether presets can be written in the browser.
    saves_presets: bool,
    /// Empty if there is none.
    latest_job: String,
}

/// The node to begin with.
enum FirstNode {
    Missing,
    /// Its agent has never connected.
    Added(String),
    Offline(String),
    Online(String),
}

impl FirstSteps {
    /// `None` if they are done, or not for this person.
    pub(super) async fn load(site: &Site, user: &User) -> Result<Option<Self>, ApiError> {
        if user.role != Role::Admin {
            return Ok(None);
        }
        let jobs = site
            .jobs
            .page(JobFilter::default(), ENOUGH_JOBS)
            .await?
            .jobs;
        if jobs.len() as u64 >= ENOUGH_JOBS {
            return Ok(None);
        }
        let presets = site.jobs.presets().await?;
        let steps = Self {
            node: first_node(site).await?,
            has_report: jobs
                .iter()
                .any(|job| job.preset == REPORT && job.status == JobStatus::Succeeded),
            has_preset: presets
                .entries()
                .any(|entry| entry.origin != Origin::BuiltIn),
            saves_presets: site.jobs.saves_presets(),
            latest_job: jobs.first().map(|job| job.id.clone()).unwrap_or_default(),
        };
        let is_done = steps.has_node() && steps.has_report && steps.has_preset;
        Ok((!is_done).then_some(steps))
    }

    fn has_node(&self) -> bool {
        matches!(self.node, FirstNode::Offline(_) | FirstNode::Online(_))
    }

    pub(super) fn draw(&self) -> Markup {
        html! {
            section.card.first aria-labelledby="first-h" {
                h2 #first-h { "First steps" }
                ol.ticks {
                    (tick(self.has_node(), "Add a node", &self.node_step()))
                    (tick(self.has_report, "Run the report", &self.report_step()))
                    (tick(self.has_preset, "Write a preset", &self.preset_step()))
                }
            }
        }
    }

    fn node_step(&self) -> Markup {
        match &self.node {
            FirstNode::Missing => add_form(),
            FirstNode::Added(id) => html! {
                p { span.id { (id) } " is added, and its agent has not connected yet. "
                    a href=(format!("/nodes/{id}")) { "Connect it" } }
            },
            FirstNode::Offline(_) | FirstNode::Online(_) => html! {},
        }
    }

    fn report_step(&self) -> Markup {
        match &self.node {
            FirstNode::Online(id) => report_button(id, &self.latest_job),
            FirstNode::Offline(id) => html! {
                p { a href=(format!("/nodes/{id}")) { span.id { (id) } } " is offline." }
            },
            FirstNode::Missing | FirstNode::Added(_) => html! {
                p.dim { "Once a node is connected. The report changes nothing on the machine." }
            },
        }
    }

    fn preset_step(&self) -> Markup {
        html! {
            p.dim { "Your own script in named steps of bash, with a form for its params." }
            @if self.has_report && self.saves_presets {
                div.actions {
                    a.button.primary href="/presets/-/new" { "Write one" }
                    a.button href="/presets/-/import" { "Import a script" }
                }
            } @else if self.has_report {
                p { "For example, save this as " code { "hello.yaml" } " in the folder that " code { "HYPRBOX_PRESETS_DIR" } " names:" }
                (parts::copyable(HELLO, "the preset"))
            }
        }
    }
}

/// The node that is furthest: online, or seen, or added.
async fn first_node(site: &Site) -> Result<FirstNode, ApiError> {
    let presence = &site.jobs.nodes.presence;
    let nodes = site.jobs.search_nodes("").await?;
    let mut best = FirstNode::Missing;
    for node in nodes {
        match (presence.status_of(&node.id), &best) {
            ((NodeStatus::Online, _), _) => return Ok(FirstNode::Online(node.id)),
            ((_, Some(_)), FirstNode::Missing | FirstNode::Added(_)) => {
                best = FirstNode::Offline(node.id);
            }
            ((_, None), FirstNode::Missing) => best = FirstNode::Added(node.id),
            _ => {}
        }
    }
    Ok(best)
}

fn tick(is_done: bool, title: &str, content: &Markup) -> Markup {
    let (state, word) = match is_done {
        true => ("succeeded", "Done: "),
        false => ("offline", "To do: "),
    };
    html! {
        li data-done[is_done] {
            h3 { span.state data-state=(state) { span.unseen { (word) } } (title) }
            @if !is_done { (content) }
        }
    }
}

fn add_form() -> Markup {
    let input = Input {
        name: "id",
        label: "Name of the machine",
        hint: Some("Lower-case letters, digits and dashes, like attic-pi"),
        autocomplete: "off",
        pattern: Some("[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?"),
        max_length: Some(63),
        ..Input::default()
    };
    html! {
        form method="post" action="/nodes" {
            (input.draw())
            button.primary { "Add" }
        }
    }
}

/// The large button that runs the report on a node. A second press while `latest_job` is the latest
/// one queues nothing more.
pub(super) fn report_button(node_id: &str, latest_job: &str) -> Markup {
    html! {
        form.report method="post" action=(format!("/presets/{REPORT}")) {
            input type="hidden" name="node" value=(node_id);
            input type="hidden" name="p.pace" value=(PACE_MS);
            input type="hidden" name="key" value=(format!("report-{node_id}-{latest_job}"));
            button.primary.large { "Run the report on " (node_id) }
            p.dim { "Shows system, load, memory, disks and network. It changes nothing." }
        }
    }
}
