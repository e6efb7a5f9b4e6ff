//! The preview before queueing: the script that would be frozen, and its changes since the last run
//! on the same node.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Site, compare, parts, words};
use crate::auth::User;
use crate::http::{ApiError, FieldErrors};
use crate::jobs::{JobView, Scope, unified_diff};

/// The job that would be queued.
pub(super) struct Preview {
    script: String,
    /// The values used, with secrets hidden.
    params: Value,
    last: Option<LastRun>,
}

/// The last run of the same preset on the same node, and the unified diff from its script to this
/// one.
struct LastRun {
    job: JobView,
    diff: String,
}

impl Preview {
    /// Renders the preset. Reports all faults of the params at once, as queueing does.
    pub(super) async fn make(
        site: &Site,
        user: &User,
        preset: &str,
        params: Map<String, Value>,
        faults: FieldErrors,
        node: &str,
    ) -> Result<Self, ApiError> {
        let rendered = site
            .jobs
            .render(preset.to_owned(), params.into(), faults)
            .await?;
        let params = Value::Object(rendered.values.shown());
        let script = rendered.script.text;
        let last = compare::last_run(site, user, Scope::Mine, (node, preset), None).await?;
        let last = match last {
            Some(job) => {
                let old = site.jobs.script(job.id.clone()).await?;
                let now = script.clone();
                let diff = site
                    .jobs
                    .compare(move || unified_diff(("last", &old), ("now", &now)))
                    .await?;
                Some(LastRun { job, diff })
            }
            None => None,
        };
        Ok(Self {
            script,
            params,
            last,
        })
    }

    pub(super) fn draw(&self) -> Markup {
        html! {
            section.card aria-labelledby="preview-h" {
                h2 #preview-h tabindex="-1" { "The script that would be queued" }
                @if let Some(last) = &self.last { (last.draw(&self.params)) }
                pre.code.tall tabindex="0" { (words::visible(&self.script)) }
            }
        }
    }
}

impl LastRun {
    fn draw(&self, params: &Value) -> Markup {
        let has_new_params = self.job.params != *params;
        let address = parts::job_address(&self.job.id, Scope::Mine);
        html! {
            @if self.diff.is_empty() && !has_new_params {
                p { "Identical to your " a href=(address) { "last run" } " there (" (parts::job_state(&self.job)) ")." }
            } @else {
                p { "Changes since your " a href=(address) { "last run" } " there (" (parts::job_state(&self.job)) "):" }
                @if has_new_params { (compare::params(&self.job.params, params)) }
                (compare::script(&self.diff))
                h3 { "Full script" }
            }
        }
    }
}
