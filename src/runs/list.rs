//! Lists of runs, and a run with its jobs.

use serde::{Deserialize, Serialize};

use super::access::find;
use super::{RunError, Runs};
use crate::auth::User;
use crate::clock::Timestamp;
use crate::jobs::{HoldFacts, HoldView, RunStep, RunView, Scope};
use crate::store::Tx;
use crate::store::job::JobStatus;
use crate::store::run::{self, Run, RunFilter, RunJob};

/// A page of runs.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPage {
    /// Newest first.
    pub runs: Vec<RunView>,
    /// Send it as `cursor` to get the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A run with its jobs.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: RunView,
    /// In the order of their batches; absent with `jobs=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<RunJobView>>,
}

/// A job of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunJobView {
    /// The job's id.
    pub id: String,
    /// The node's id.
    pub node_id: String,
    /// Counted from 0.
    pub batch: u64,
    /// The job's state.
    pub status: JobStatus,
    /// Why the job can't be claimed yet.
    pub holds: Vec<HoldView>,
    /// Bash's exit code.
    #[schema(required = true)]
    pub exit_code: Option<i64>,
    /// Why the job did not succeed, if the exit code does not show it.
    #[schema(required = true)]
    pub error_msg: Option<String>,
    /// The last step that has begun.
    #[schema(required = true)]
    pub step: Option<RunStep>,
    /// Until when the job waits for a confirmation, by the node's clock. Left out unless it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
    /// When the job was claimed.
    #[schema(required = true)]
    pub started_at: Option<Timestamp>,
    /// When the job reached a terminal state.
    #[schema(required = true)]
    pub finished_at: Option<Timestamp>,
}

impl From<RunJob> for RunJobView {
    fn from(job: RunJob) -> Self {
        let holds = HoldFacts {
            holds: job.holds,
            batch: Some(job.batch),
            not_before: job.not_before,
            run_paused_at: job.run_paused_at,
            created_at: job.created_at,
        };
        Self {
            holds: holds.views(),
            step: job.step.as_deref().and_then(RunStep::parse),
            id: job.id,
            node_id: job.node_id,
            batch: job.batch,
            status: job.status,
            exit_code: job.exit_code,
            error_msg: job.error_msg,
            confirm_by: job.confirm_by,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

impl Runs {
    /// A page of runs, newest first.
    pub async fn page(&self, filter: RunFilter, limit: u64) -> Result<RunPage, RunError> {
        self.store
            .read(move |tx| {
                // One more than requested shows whether there is a next page.
                let mut found = run::list(tx, &filter, limit + 1)?;
                let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
                let has_more = found.len() > wanted;
                found.truncate(wanted);
                let next_cursor = found.last().filter(|_| has_more).map(|run| run.id.clone());
                let views = found.into_iter().map(|run| RunView::read(tx, run));
                Ok(RunPage {
                    runs: views.collect::<Result<_, _>>()?,
                    next_cursor,
                })
            })
            .await
    }

    /// A run, with its jobs if requested.
    pub async fn detail(
        &self,
        user: &User,
        scope: Scope,
        id: String,
        with_jobs: bool,
    ) -> Result<RunDetail, RunError> {
        self.read_visible(user, scope, id, move |tx, run| {
            detail_of(tx, run, with_jobs)
        })
        .await
    }

    /// Like [`Runs::detail`] with the jobs, without an audit entry: for a page that is open.
    pub async fn peek(&self, user: &User, scope: Scope, id: String) -> Result<RunDetail, RunError> {
        let viewer = user.clone();
        self.store
            .read(move |tx| {
                let run = find(tx, &viewer, scope, &id)?;
                detail_of(tx, run, true)
            })
            .await
    }
}

fn detail_of(tx: &mut dyn Tx, run: Run, with_jobs: bool) -> Result<RunDetail, RunError> {
    let mut jobs = None;
    if with_jobs {
        let found = run::jobs(tx, &run.id)?.into_iter();
        jobs = Some(found.map(RunJobView::from).collect());
    }
    let run = RunView::read(tx, run)?;
    Ok(RunDetail { run, jobs })
}
