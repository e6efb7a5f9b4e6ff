//! The earlier runs of a job's preset, to compare the job with.

use maud::{Markup, html};

use super::{Site, parts, words};
use crate::auth::User;
use crate::http::ApiError;
use crate::jobs::{JobView, Scope};
use crate::store::job::{JobFilter, JobStatus};

/// How many earlier runs are offered.
const OFFERED: u64 = 12;

/// Earlier runs of the same preset that the user may see, newest first.
pub(super) struct OtherRuns {
    /// On any node.
    runs: Vec<JobView>,
    /// The last one that succeeded: on the same node or, if there is none, on any.
    last_good: Option<JobView>,
}

/// Finds the runs before a job.
pub(super) async fn find(
    site: &Site,
    user: &User,
    scope: Scope,
    job: &JobView,
) -> Result<OtherRuns, ApiError> {
    let any = JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        preset: Some(job.preset.clone()),
        before: Some(job.id.clone()),
        ..JobFilter::default()
    };
    let good = JobFilter {
        statuses: vec![JobStatus::Succeeded],
        ..any.clone()
    };
    let good_here = JobFilter {
        node_id: Some(job.node_id.clone()),
        ..good.clone()
    };
    let runs = site.jobs.page(any, OFFERED).await?.jobs;
    let mut last_good = None;
    // Without earlier runs there is no good one.
    if !runs.is_empty() {
        last_good = site.jobs.page(good_here, 1).await?.jobs.pop();
    }
    if last_good.is_none() && !runs.is_empty() {
        last_good = site.jobs.page(good, 1).await?.jobs.pop();
    }
    Ok(OtherRuns { runs, last_good })
}

impl OtherRuns {
    /// Links that compare the job with one of them.
    pub(super) fn draw(&self, job: &JobView, scope: Scope) -> Markup {
        let address = |with: &JobView| {
            let rest = parts::scope_query(scope).replace('?', "&");
            format!("/jobs/{}/compare?with={}{rest}", job.id, with.id)
        };
        html! {
            @if let Some(good) = &self.last_good {
                a.button href=(address(good)) { "Compare with the last good run" }
            }
            @if !self.runs.is_empty() {
                details.menu {
                    summary.button { "Compare with…" }
                    ul { @for run in &self.runs {
                        li { a href=(address(run)) {
                            (parts::job_state(run)) " "
                            span.id { (run.node_id) } " "
                            span.dim { (words::since(run.created_at)) @if run.started_at.is_some() { ", " (parts::took(run)) } }
                        } }
                    } }
                }
            }
        }
    }
}
