//! Jobs as rows: what ran where, what came of it, and how long it took beside what is usual.

use std::collections::HashSet;
use std::sync::Arc;

use maud::{Markup, html};
use serde_json::Value;

use super::{Site, history, parts, words};
use crate::auth::User;
use crate::clock;
use crate::http::ApiError;
use crate::jobs::{JobView, RowFacts, Scope};
use crate::presets::{Preset, Snapshot};
use crate::store::job::{HoldKind, JobStatus};

/// Params in a row.
const PARAMS_MAX: usize = 3;
/// Characters of a param's value in a row.
const VALUE_MAX: usize = 24;

/// Jobs with all that their rows show.
pub(super) struct JobRows<'r> {
    user: &'r User,
    scope: Scope,
    jobs: &'r [JobView],
    facts: RowFacts,
    paused: HashSet<String>,
    presets: Arc<Snapshot>,
}

impl<'r> JobRows<'r> {
    /// Reads what the rows of these jobs show.
    pub(super) async fn read(
        site: &Site,
        user: &'r User,
        scope: Scope,
        jobs: &'r [JobView],
    ) -> Result<Self, ApiError> {
        Ok(Self {
            user,
            scope,
            jobs,
            facts: site
                .jobs
                .row_facts(jobs, history::owner(user, scope))
                .await?,
            paused: site.jobs.paused_nodes().await?,
            presets: site.jobs.presets().await?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// A table; the text `none` if there are no jobs. A list of one node's jobs does not name it.
    pub(super) fn table(&self, names_node: bool, none: &str) -> Markup {
        html! {
            @if self.jobs.is_empty() { p.none { (none) } }
            @else {
                table.jobs.rows {
                    thead { tr {
                        th scope="col" { "State" } th scope="col" { "Job" }
                        @if names_node { th scope="col" { "Node" } }
                        th scope="col" { "By" } th scope="col" { "Queued" } th.num scope="col" { "Took" }
                    } }
                    tbody { @for job in self.jobs { (self.row(job, names_node)) } }
                }
            }
        }
    }

    fn row(&self, job: &JobView, names_node: bool) -> Markup {
        html! {
            tr {
                td { (parts::job_state(job)) (self.reason_line(job)) }
                td.main { (self.link(job)) (self.about(job)) }
                @if names_node { td data-label="Node" { a href=(format!("/nodes/{}", job.node_id)) { (job.node_id) } } }
                td data-label="By" { bdi { (job.created_by_email) } }
                td data-label="Queued" { (words::since(job.created_at)) }
                td.num data-label="Took" { (self.took(job)) }
            }
        }
    }

    /// A list of few jobs without columns. RUNNING ones show how far they are.
    pub(super) fn short_list(&self) -> Markup {
        html! {
            @if !self.jobs.is_empty() { ul.jobs.rows { @for job in self.jobs {
                li {
                    (parts::job_state(job))
                    div.what {
                        (self.link(job)) span.dim { " on " (job.node_id) }
                        (self.reason_line(job))
                    }
                    div.when {
                        @match job.status {
                            JobStatus::Running => { (self.progress(job)) }
                            JobStatus::Queued => { span.dim { "queued " (words::since(job.created_at)) } }
                            _ => { span.dim { (words::since(job.finished_at.unwrap_or(job.created_at))) } }
                        }
                    }
                }
            } } }
        }
    }

    /// The link of the whole row.
    fn link(&self, job: &JobView) -> Markup {
        let scope = parts::scope_of_job(self.user, self.scope, &job.created_by);
        let title = self.title(job);
        let (_, state) = parts::state_words(job.status, job.cancel_requested_at.is_some());
        let reason = self.reason(job).map(|reason| format!(": {reason}"));
        let name = format!(
            "{} on {}, {}{}, queued {}",
            words::visible(&title),
            job.node_id,
            state.to_lowercase(),
            words::visible(reason.as_deref().unwrap_or_default()),
            words::plain_time(job.created_at)
        );
        html! {
            a.row href=(parts::job_address(&job.id, scope)) aria-label=(name) { bdi { (words::visible(&title)) } }
        }
    }

    fn preset(&self, job: &JobView) -> Option<&Preset> {
        self.presets.get(&job.preset).map(|entry| &entry.preset)
    }

    fn title(&self, job: &JobView) -> String {
        let preset = self.preset(job);
        preset.map_or_else(
            || words::preset(&job.preset).to_owned(),
            |preset| preset.title.clone(),
        )
    }

    /// The preset's name, and the params that say more than the preset.
    fn about(&self, job: &JobView) -> Markup {
        html! {
            div.dim {
                bdi { (words::visible(words::preset(&job.preset))) }
                @for param in chosen_params(&job.params, self.preset(job)) { " · " bdi { (words::visible(&param)) } }
            }
        }
    }

    /// What came of the job, or what it waits for.
    fn reason(&self, job: &JobView) -> Option<String> {
        let step = self.facts.step(job);
        match job.status {
            JobStatus::Failed => {
                let why = failure(job);
                Some(match step {
                    Some((_, step)) => format!("{why} in {step}"),
                    None => why,
                })
            }
            JobStatus::Running => step.map(|(number, name)| format!("step {number}: {name}")),
            JobStatus::Cancelled => Some(match (&job.error_msg, job.started_at) {
                (Some(why), _) => why.clone(),
                (None, None) => "before it started".to_owned(),
                (None, Some(_)) => return None,
            }),
            JobStatus::Queued => match job.holds.first() {
                Some(hold) if hold.kind == HoldKind::NotBefore => {
                    let at = job.not_before.unwrap_or(job.created_at);
                    Some(format!("held: not before {}", words::plain_time(at)))
                }
                Some(hold) => Some(format!("held: {}", hold.detail)),
                None => self
                    .paused
                    .contains(&job.node_id)
                    .then(|| "node paused".to_owned()),
            },
            JobStatus::Succeeded => None,
        }
    }

    fn reason_line(&self, job: &JobView) -> Markup {
        html! {
            @if let Some(reason) = self.reason(job) { div.reason.dim { bdi { (words::visible(&reason)) } } }
        }
    }

    /// How long it took, with a bar: the middle is what is usual.
    fn took(&self, job: &JobView) -> Markup {
        let took = job.started_at.map(|start| {
            let end = job.finished_at.unwrap_or_else(clock::now);
            end.millis_since(start).max(0)
        });
        let median = self.facts.median_ms(job).filter(|median| *median > 0);
        html! {
            (parts::took(job))
            @if let (Some(took), Some(median)) = (took, median) {
                @let width = (took.saturating_mul(50) / median).clamp(1, 100);
                @let than = history::against(took, median);
                @let label = match than {
                    Some(than) => format!("{than} than the median of {}", words::span(median)).replace(" as long than", " as long as"),
                    None => format!("as long as the median of {}", words::span(median)),
                };
                svg.took viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(label) {
                    title { (label) }
                    rect.all width="100" height="4" {}
                    rect.part data-long[took > 2 * median] width=(width) height="4" {}
                    rect.median x="49.5" width="1" height="4" {}
                }
            }
        }
    }

    /// How far a RUNNING job is, by what is usual.
    fn progress(&self, job: &JobView) -> Markup {
        let Some(start) = job.started_at else {
            return html! {};
        };
        let median = self.facts.median_ms(job).filter(|median| *median > 0);
        let took = clock::now().millis_since(start).max(0);
        html! {
            span.dim {
                (words::running_since(start))
                @if let Some(median) = median { " of about " (words::span(median)) }
            }
            @if let Some(median) = median {
                progress max=(median) value=(took.min(median)) data-at=(start.as_millis()) data-position="0" aria-label="Time, by the median of earlier jobs" {}
            }
        }
    }
}

/// Why a job failed, in a few words.
fn failure(job: &JobView) -> String {
    match (&job.error_msg, job.exit_code, &job.signal) {
        (Some(why), _, _) => why.clone(),
        (None, Some(code), _) => format!("exit {code}"),
        (None, None, Some(signal)) => format!("killed by {signal}"),
        (None, None, None) => "unknown reason".to_owned(),
    }
}

/// The first params that differ from the preset's defaults, such as `release=v2.4.1`.
pub(super) fn chosen_params(params: &Value, preset: Option<&Preset>) -> Vec<String> {
    let default_of = |name: &str| {
        let param = preset.and_then(|preset| preset.param(name))?;
        param.default.as_ref().map(ToString::to_string)
    };
    let text_of = |value: &Value| {
        let text = value.as_str();
        text.map_or_else(|| value.to_string(), str::to_owned)
    };
    let given = params.as_object().into_iter().flatten();
    let given = given.map(|(name, value)| (name, text_of(value)));
    given
        .filter(|(name, text)| text != "***" && default_of(name).as_ref() != Some(text))
        .take(PARAMS_MAX)
        .map(|(name, text)| {
            let line = text.lines().next().unwrap_or_default();
            let mut short: String = line.chars().take(VALUE_MAX).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            format!("{name}={short}")
        })
        .collect()
}
