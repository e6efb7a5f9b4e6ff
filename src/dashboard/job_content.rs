//! What a job's page shows, read from the services.

use maud::Markup;

use super::{Site, history, job_runs, words};
use crate::auth::User;
use crate::clock::Timestamp;
use crate::http::ApiError;
use crate::jobs::{ErrorLine, ExpectedTimes, JobError, JobView, RunStep, Scope, Step};
use crate::nodes::NodeView;
use crate::presets::{script_steps, undo_steps};
use crate::store::job::{Job, JobStatus};

/// The data that the page shows.
pub(super) struct Content {
    pub(super) user: User,
    pub(super) scope: Scope,
    pub(super) job: JobView,
    /// The last step that was announced.
    pub(super) step: Option<RunStep>,
    /// The steps that have begun.
    pub(super) steps: Vec<Step>,
    /// The names of the script's steps.
    pub(super) step_names: Vec<String>,
    /// The numbers of the steps that the script can undo.
    pub(super) undo_steps: Vec<u32>,
    pub(super) script_began_at: Option<Timestamp>,
    /// How long the job usually takes, if it runs.
    pub(super) expected: Option<ExpectedTimes>,
    /// If the job has failed: the last line of stderr.
    pub(super) last_error: Option<ErrorLine>,
    pub(super) other_runs: job_runs::OtherRuns,
    /// The last runs on this node as bars.
    pub(super) history: Markup,
    pub(super) last_output: Option<Timestamp>,
    pub(super) pid: Option<u64>,
    /// The script is still running although the job has ended.
    pub(super) still_running: bool,
    pub(super) node: Option<NodeView>,
    pub(super) script: String,
    /// Whose signatures there are, and the command that verifies each.
    pub(super) verify_commands: Vec<(&'static str, String)>,
    pub(super) title: String,
    pub(super) is_plain: bool,
}

impl Content {
    /// How many steps the script has announced in all; 0 before the first.
    pub(super) fn step_count(&self) -> usize {
        self.step
            .as_ref()
            .map_or(0, |step| usize::try_from(step.count).unwrap_or(0))
    }
}

/// Reads what the page shows.
pub(super) async fn gather(
    site: &Site,
    user: User,
    scope: Scope,
    job: Job,
    is_plain: bool,
) -> Result<Content, ApiError> {
    let node = match site.jobs.one_node(job.node_id.clone()).await {
        Ok(node) => Some(node),
        Err(JobError::NodeNotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let script = site.jobs.script(job.id.clone()).await?;
    let verify_commands = site
        .jobs
        .all_signatures(job.id.clone())
        .await?
        .verify_commands();
    let presets = site.jobs.presets().await?;
    let entry = presets.get(&job.preset);
    let title = entry.map_or_else(
        || words::preset(&job.preset).to_owned(),
        |entry| entry.preset.title.clone(),
    );
    let id = || job.id.clone();
    let steps = site.jobs.steps(id()).await?;
    let last_error = if job.status == JobStatus::Failed {
        site.jobs.last_error_line(id()).await?
    } else {
        None
    };
    let step = job.step.as_deref().and_then(RunStep::parse);
    let (still_running, last_output, pid) = (job.still_running, job.last_output_at, job.pid);
    let script_began_at = job.script_began_at;
    let job = JobView::from(job);
    let expected = if job.status == JobStatus::Running {
        site.jobs.expected_times(&job).await?
    } else {
        None
    };
    Ok(Content {
        other_runs: job_runs::find(site, &user, scope, &job).await?,
        history: history::of_job(site, &user, scope, &job).await?,
        step,
        steps,
        step_names: script_steps(&script),
        undo_steps: undo_steps(&script),
        script_began_at,
        expected,
        last_error,
        is_plain,
        user,
        scope,
        last_output,
        pid,
        still_running,
        title,
        job,
        node,
        script,
        verify_commands,
    })
}
