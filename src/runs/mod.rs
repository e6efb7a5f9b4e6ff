//! Runs: one preset queued for several nodes at once, in batches. What happens to a run when its
//! jobs end is in `src/jobs/run`.

mod access;
mod control;
mod create;
mod drift;
mod dry_run;
mod error;
mod exec;
mod list;
mod origin;
mod request;
mod retry;
mod routes;

use axum::extract::FromRef;
use utoipa_axum::router::OpenApiRouter;

pub use control::RunAction;
pub use control::cancel_run;
pub use create::{CreateOutcome, NO_MATCH, PreparedRun};
pub use drift::{AgainGroup, AgainTarget, DriftCheckRequest, DriftChecks, DriftPage, DriftView};
pub use dry_run::{DryRun, DryRunNode};
pub use error::RunError;
pub use exec::ExecRequest;
pub use list::{RunDetail, RunJobView, RunPage};
pub use origin::{RunOrigin, cover_waiting_jobs};
pub use request::{IfOffline, NODES_MAX, NodeIds, RunRequest};
pub use retry::RetryRequest;

use crate::jobs::Jobs;

/// Everything that the server does with runs. Cheap to clone.
#[derive(Clone)]
pub struct Runs(Jobs);

impl FromRef<Runs> for Jobs {
    fn from_ref(runs: &Runs) -> Self {
        runs.0.clone()
    }
}

impl Runs {
    /// Runs over these jobs.
    pub fn new(jobs: Jobs) -> Self {
        Self(jobs)
    }

    /// The endpoints for runs.
    pub fn routes(&self) -> OpenApiRouter {
        routes::routes()
            .merge(drift::routes())
            .with_state(self.clone())
    }
}

impl std::ops::Deref for Runs {
    type Target = Jobs;

    fn deref(&self) -> &Jobs {
        &self.0
    }
}
