//! Which runs a user may see or change. The rules are those for jobs.

use super::{RunError, Runs};
use crate::auth::User;
use crate::jobs::{RunView, Scope, find_visible_run, record_run};
use crate::store::Tx;
use crate::store::run::Run;

impl Runs {
    /// The run, if the user may see it, with the result of `read` from the same transaction.
    /// Reading it under `scope=all` is recorded in the audit log.
    pub(super) async fn read_visible<T: Send + 'static>(
        &self,
        user: &User,
        scope: Scope,
        id: String,
        read: impl FnOnce(&mut dyn Tx, Run) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        let (viewer, run_id) = (user.clone(), id.clone());
        let found = self
            .store
            .read(move |tx| {
                let run = find(tx, &viewer, scope, &run_id)?;
                read(tx, run)
            })
            .await?;
        if scope == Scope::All {
            let actor = user.email.clone();
            self.store
                .write(move |tx| record_run(tx, &actor, "run.look", &id, "scope=all"))
                .await?;
        }
        Ok(found)
    }

    /// The run without its jobs, if the user may see it.
    pub async fn one(&self, user: &User, scope: Scope, id: String) -> Result<RunView, RunError> {
        self.read_visible(user, scope, id, |tx, run| Ok(RunView::read(tx, run)?))
            .await
    }
}

/// The run, if the user may see it in this scope.
pub(super) fn find(tx: &mut dyn Tx, user: &User, scope: Scope, id: &str) -> Result<Run, RunError> {
    find_visible_run(tx, user, scope, id)?.ok_or(RunError::NotFound)
}
