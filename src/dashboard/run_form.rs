//! The part of a preset's form that queues a run: several nodes or a selector, the batches, and the
//! nodes that match, which are shown before anything is queued.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::form::{Faults, Form, Input, around, described_by, toggle};
use super::node_picker::{LISTED_MAX, node_words};
use super::{Site, words};
use crate::auth::User;
use crate::http::{ApiError, FieldErrors, NamedValues};
use crate::jobs::{BatchSize, ClaimTimes, Idempotency, PlanRequest};
use crate::nodes::{NodeStatus, NodeView};
use crate::presets::{Preset, Risk};
use crate::runs::{CreateOutcome, DryRun, IfOffline, RunRequest};
use crate::schedules::ScheduleView;

/// Rows of the table of nodes that match.
const SHOWN_MAX: usize = 200;
const WHOLE_NUMBER: &str = "must be a whole number";

/// The typed values.
#[derive(Debug, Default)]
pub(super) struct RunFields {
    selector: String,
    nodes: Vec<String>,
    canary: String,
    batch: String,
    pause: String,
    failures: String,
    skips_offline: bool,
    /// The digest of the nodes that were shown.
    shown: String,
}

impl RunFields {
    /// The faults that are shown at their fields.
    pub(super) const FAULTS: [&str; 6] = [
        "selector",
        "nodes",
        "plan.canary",
        "plan.batch",
        "plan.pauseSeconds",
        "plan.maxFailures",
    ];

    /// The values of a submitted form.
    pub(super) fn typed(form: &Form) -> Self {
        let text = |name: &str| form.text(name).trim().to_owned();
        let split = |value: &str| -> Vec<String> {
            let names = value.split(|c: char| c.is_whitespace() || c == ',');
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Self {
            selector: text("selector"),
            nodes: form.0.all("nodes").flat_map(split).collect(),
            canary: text("canary"),
            batch: text("batch"),
            pause: text("pause"),
            failures: text("failures"),
            skips_offline: form.0.get("offline") == Some("skip"),
            shown: text("shown"),
        }
    }

    /// The values of a schedule.
    pub(super) fn of_schedule(schedule: &ScheduleView) -> Self {
        let plan = &schedule.plan;
        // Defaults are not typed in.
        let count = |count: u64| match count {
            0 => String::new(),
            count => count.to_string(),
        };
        Self {
            selector: schedule.selector.clone().unwrap_or_default(),
            nodes: schedule.nodes.clone().unwrap_or_default(),
            canary: count(plan.canary),
            batch: match plan.batch {
                BatchSize::Percent(100) => String::new(),
                BatchSize::Percent(percent) => format!("{percent}%"),
                BatchSize::Nodes(nodes) => nodes.to_string(),
            },
            pause: count(plan.pause_seconds),
            failures: count(plan.max_failures),
            skips_offline: schedule.if_offline == IfOffline::Skip,
            shown: String::new(),
        }
    }

    /// With this node, if no nodes are chosen yet.
    pub(super) fn or_node(mut self, node: String) -> Self {
        if self.selector.is_empty() && self.nodes.is_empty() && !node.is_empty() {
            self.nodes.push(node);
        }
        self
    }

    /// Adds the nodes and the plan to the body of a schedule.
    pub(super) fn fill(&self, body: &mut Map<String, Value>, faults: &mut FieldErrors) {
        let mut count = |field: &str, text: &str| match (text, text.parse::<i64>()) {
            ("", _) => Value::Null,
            (_, Ok(count)) => count.into(),
            (_, Err(_)) => {
                faults.add(field, WHOLE_NUMBER);
                Value::Null
            }
        };
        let plan = serde_json::json!({
            "canary": count("plan.canary", &self.canary),
            "pauseSeconds": count("plan.pauseSeconds", &self.pause),
            "maxFailures": count("plan.maxFailures", &self.failures),
            "batch": self.batch(),
        });
        let has_selector = !self.selector.is_empty();
        if has_selector {
            body.insert("selector".to_owned(), self.selector.as_str().into());
        }
        // Both are refused by the API, and so is neither.
        if !self.nodes.is_empty() || !has_selector {
            body.insert("nodes".to_owned(), self.nodes.clone().into());
        }
        body.insert("plan".to_owned(), plan);
        let offline = if self.skips_offline { "skip" } else { "wait" };
        body.insert("ifOffline".to_owned(), offline.into());
    }

    /// The size of a batch: a number, or a percentage as it was typed.
    fn batch(&self) -> Option<Value> {
        let text = self.batch.as_str();
        let number = text.parse::<u64>().map(Value::from);
        (!text.is_empty()).then(|| number.unwrap_or_else(|_| text.into()))
    }

    /// The request for these values.
    pub(super) fn request(
        &self,
        preset: &str,
        params: Map<String, Value>,
        timeout_seconds: Option<i64>,
        times: ClaimTimes,
    ) -> Result<RunRequest, ApiError> {
        let count = |field: &str, text: &str| match text {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|_| {
                ApiError::bad_request("bad_input", format!("{field}: {WHOLE_NUMBER}"))
                    .with_field(field, WHOLE_NUMBER)
            }),
        };
        let has_selector = !self.selector.is_empty();
        let has_nodes = !self.nodes.is_empty() || !has_selector;
        Ok(RunRequest {
            preset: preset.to_owned(),
            params: Some(NamedValues::from(params)),
            nodes: has_nodes.then(|| self.nodes.iter().cloned().collect()),
            selector: has_selector.then(|| self.selector.clone()),
            kind: None,
            plan: Some(PlanRequest {
                canary: count("plan.canary", &self.canary)?,
                batch: self.batch(),
                pause_seconds: count("plan.pauseSeconds", &self.pause)?,
                max_failures: count("plan.maxFailures", &self.failures)?,
            }),
            if_offline: self.skips_offline.then_some(IfOffline::Skip),
            not_before: times.not_before.map(|at| at.to_string()),
            expires_in_seconds: times.expires_in_seconds,
            timeout_seconds,
        })
    }

    /// Queues the run if its nodes are those that were shown; otherwise returns them, to be shown.
    pub(super) async fn submit(
        &self,
        site: &Site,
        user: &User,
        request: RunRequest,
        key: &str,
        may_queue: bool,
    ) -> Result<Submitted, ApiError> {
        let matched = site.runs.dry_run(request.clone()).await?;
        if !may_queue || digest(&matched) != self.shown {
            return Ok(Submitted::Matched(matched));
        }
        let params = request.params.as_ref().map(|params| &params.kept);
        let body = serde_json::json!({
            "run": request.preset, "params": params, "nodes": self.shown,
            "plan": [&self.canary, &self.batch, &self.pause, &self.failures],
            "offline": self.skips_offline, "notBefore": request.not_before,
            "expires": request.expires_in_seconds, "timeout": request.timeout_seconds,
        });
        let idempotency = (!key.is_empty()).then(|| Idempotency {
            key: key.to_owned(),
            body,
        });
        let made = site.runs.create(user, request, idempotency, None).await?;
        let (CreateOutcome::New(run) | CreateOutcome::Existing(run)) = made;
        Ok(Submitted::Queued(run.id))
    }

    /// The fields.
    pub(super) fn draw(&self, preset: &Preset, nodes: &[NodeView], faults: &Faults<'_>) -> Markup {
        let selector = Input {
            name: "selector",
            label: "Selector (optional)",
            value: &self.selector,
            hint: Some(
                "All nodes with these labels, such as role=web,zone in (a,b). Or choose nodes below",
            ),
            fault: faults.at("selector"),
            autocomplete: "off",
            is_optional: true,
            max_length: Some(2_000),
            ..Input::default()
        };
        let number = |name, label, value, hint, path: &str| {
            Input {
                name,
                label,
                value,
                hint: Some(hint),
                fault: faults.at(path),
                autocomplete: "off",
                is_optional: true,
                max_length: Some(12),
                ..Input::default()
            }
            .draw()
        };
        html! {
            input type="hidden" name="on" value="many";
            (selector.draw())
            (self.draw_nodes(preset, nodes, faults))
            (number("canary", "Canary", &self.canary, "How many nodes run the preset first, before all others. Default: 0", "plan.canary"))
            (number("batch", "Batch", &self.batch, "Nodes at a time: a number or a percentage such as 20%. Default: all", "plan.batch"))
            (number("pause", "Pause", &self.pause, "Seconds between two batches. Default: 0", "plan.pauseSeconds"))
            (number("failures", "Failures allowed", &self.failures, "The run stops after more failures than this. Default: 0", "plan.maxFailures"))
            (toggle("f-offline", "Skip nodes that are offline", Some("Otherwise their jobs wait for them"), None, html! {
                input #f-offline type="checkbox" name="offline" value="skip" checked[self.skips_offline];
            }))
        }
    }

    fn draw_nodes(&self, preset: &Preset, nodes: &[NodeView], faults: &Faults<'_>) -> Markup {
        let fault = faults.at("nodes");
        if nodes.len() <= LISTED_MAX {
            return html! {
                fieldset.choices aria-describedby="f-nodes-fault" {
                    legend { "Nodes" }
                    @for node in nodes {
                        label { input type="checkbox" name="nodes" value=(node.id) checked[self.nodes.contains(&node.id)]; " " (node_words(preset, node)) }
                    }
                    @if nodes.is_empty() { p.hint { "No nodes yet. An ADMIN can add one under Nodes." } }
                    p.fault #f-nodes-fault { @if let Some(fault) = fault { (words::sentence(fault)) } }
                }
            };
        }
        let control = html! {
            textarea #f-nodes name="nodes" rows="3" autocapitalize="none" spellcheck="false"
                aria-invalid=[fault.map(|_| "true")] aria-describedby=(described_by("f-nodes")) { (self.nodes.join("\n")) }
        };
        around(
            "f-nodes",
            "Nodes (optional)",
            Some("Ids of the nodes, in the order in which they run the preset"),
            fault,
            control,
        )
    }
}

/// The answer to a submitted form.
pub(super) enum Submitted {
    /// The run's id.
    Queued(String),
    /// The nodes must be shown first.
    Matched(DryRun),
}

/// Identifies the nodes and batches that were shown.
fn digest(matched: &DryRun) -> String {
    let mut text = matched.script_sha256.clone();
    for node in &matched.nodes {
        text.push_str(&format!(" {}/{}", node.id, node.batch));
    }
    hyprbox_protocol::to_hex(&crate::crypto::sha256(text)[..16])
}

/// The nodes that match, with the button that queues the run on them.
pub(super) fn matches(preset: &Preset, matched: &DryRun) -> Markup {
    let count = matched.nodes.len();
    let nodes = words::count(count as u64, "node", "nodes");
    let batches = matched.nodes.last().map_or(0, |node| node.batch + 1);
    let is_high = preset.risk == Risk::High;
    let ask = is_high.then(|| {
        format!(
            "{} is a high-risk preset. Queue it on {nodes}?",
            preset.name
        )
    });
    html! {
        h2 #matches-h tabindex="-1" { (nodes) " in " (words::count(batches, "batch", "batches")) }
        @if is_high { div.alert { p { "This is a high-risk preset, and nothing is queued yet. Check the nodes and the params." } } }
        input type="hidden" name="shown" value=(digest(matched));
        table.matched {
            thead { tr { th scope="col" { "Node" } th scope="col" { "Batch" } th scope="col" { "State" } th scope="col" { "Note" } } }
            tbody { @for node in matched.nodes.iter().take(SHOWN_MAX) {
                tr {
                    td.main { (node.id) }
                    td data-label="Batch" { (node.batch) }
                    td data-label="State" {
                        @match node.status {
                            NodeStatus::Online => { span.state data-state="online" { "Online" } }
                            NodeStatus::Offline => { span.state data-state="offline" { "Offline" } }
                        }
                    }
                    td data-label="Note" {
                        @if node.paused { "paused: its job waits " }
                        @if node.matches_targets == Some(false) { "not a target of this preset" }
                    }
                }
            } }
        }
        @if count > SHOWN_MAX { p.dim { "and " (count - SHOWN_MAX) " more" } }
        div.actions {
            button.primary name="do" value=(if is_high { "confirmed" } else { "queue" }) data-ask=[ask.as_ref()] { "Queue on " (nodes) }
        }
    }
}
