//! Who may change a schedule, and the audit entries about schedules.

use super::ScheduleError;
use crate::audit;
use crate::auth::{Role, User};
use crate::store::schedule::{self, Schedule};
use crate::store::{StoreError, Tx};

/// The schedule, locked until the transaction ends, if the user may change and run it.
pub(super) fn find_to_change(
    tx: &mut dyn Tx,
    user: &User,
    id: &str,
) -> Result<Schedule, ScheduleError> {
    let schedule = schedule::find_locked(tx, id)?.ok_or(ScheduleError::NotFound)?;
    check_owner(user, &schedule)?;
    Ok(schedule)
}

/// Refuses a user who is neither the schedule's maker nor an ADMIN.
pub(super) fn check_owner(user: &User, schedule: &Schedule) -> Result<(), ScheduleError> {
    if schedule.created_by == user.id || user.role == Role::Admin {
        return Ok(());
    }
    Err(ScheduleError::NotYours(schedule.created_by_email.clone()))
}

/// Writes an audit entry about a schedule, whose id begins the detail.
pub(super) fn record(
    tx: &mut dyn Tx,
    actor: &str,
    action: &'static str,
    id: &str,
    detail: &str,
) -> Result<(), StoreError> {
    let detail = format!("schedule {id}: {detail}");
    audit::record(tx, audit::Entry::by(actor, action).saying(&detail))
}
