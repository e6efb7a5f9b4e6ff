//! Which runs a user may see, and the audit entries about runs.

use crate::audit;
use crate::auth::User;
use crate::jobs::access::Scope;
use crate::store::run::{self, Run};
use crate::store::{StoreError, Tx};

/// The run, if it exists and the user may see it in this scope.
pub fn find_visible_run(
    tx: &mut dyn Tx,
    user: &User,
    scope: Scope,
    id: &str,
) -> Result<Option<Run>, StoreError> {
    let run = run::find(tx, id)?;
    Ok(run.filter(|run| scope == Scope::All || run.created_by == user.id))
}

/// Writes an audit entry about a run, whose id begins the detail.
pub fn record_run(
    tx: &mut dyn Tx,
    actor: &str,
    action: &'static str,
    id: &str,
    detail: &str,
) -> Result<(), StoreError> {
    let detail = format!("run {id}: {detail}");
    audit::record(tx, audit::Entry::by(actor, action).saying(&detail))
}
