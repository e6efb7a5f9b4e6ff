//! Runs a schedule by hand, also while it is paused.

use super::access::{check_owner, record};
use super::request::ScheduleRequest;
use super::{ScheduleError, Schedules};
use crate::auth::User;
use crate::jobs::RunView;
use crate::runs::{CreateOutcome, RunOrigin};
use crate::store::{Tx, schedule};

impl Schedules {
    /// Queues a run now. It makes no slot.
    pub async fn run_now(&self, user: &User, id: String) -> Result<RunView, ScheduleError> {
        let find_id = id.clone();
        let schedule = self
            .store
            .read(move |tx| Ok::<_, ScheduleError>(schedule::find(tx, &find_id)?))
            .await?
            .ok_or(ScheduleError::NotFound)?;
        check_owner(user, &schedule)?;
        let request = ScheduleRequest::stored(&schedule.request)
            .map_err(|error| ScheduleError::Malformed(error.to_string()))?;
        let origin = RunOrigin {
            schedule_id: Some(id.clone()),
            ..RunOrigin::default()
        };
        let prepared = self.prepare_run(user, request.run(), origin).await?;
        let (actor, advance) = (user.email.clone(), self.run_advance());
        let write = move |tx: &mut dyn Tx| {
            let made = prepared.insert(tx, &advance)?;
            record(tx, &actor, "schedule.run", &id, &request.name)?;
            Ok::<_, ScheduleError>((made, prepared))
        };
        let (made, prepared) = self.store.write(write).await?;
        self.report_queued(&prepared);
        let (CreateOutcome::New(run) | CreateOutcome::Existing(run)) = made;
        Ok(run)
    }
}
