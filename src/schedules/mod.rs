//! Schedules: each queues a run at the times of a cron expression, in a time zone.

mod access;
mod board;
mod cron;
mod due;
mod due_times;
mod edit;
mod error;
mod notices;
mod preview;
mod request;
mod routes;
mod run_now;
mod sign;
mod slot;
mod standing;
mod view;

use utoipa_axum::router::OpenApiRouter;

pub use board::{ScheduleBoard, ScheduleName, SchedulePage, ScheduleRow};
pub use due_times::{DueTime, time_zones};
pub use error::ScheduleError;
pub use preview::upcoming_times;
pub(crate) use request::ping_url_of;
pub use request::{Missed, Overlap, ScheduleChange, ScheduleRequest};
pub use sign::ScheduleScript;
pub use standing::StandingView;
pub use view::{ScheduleList, ScheduleView, SlotPage, SlotView};

use crate::runs::Runs;

/// Everything that the server does with schedules. Cheap to clone.
#[derive(Clone)]
pub struct Schedules(Runs);

impl Schedules {
    /// Schedules over these runs.
    pub fn new(runs: Runs) -> Self {
        Self(runs)
    }

    /// The endpoints for schedules.
    pub fn routes(&self) -> OpenApiRouter {
        routes::routes()
            .merge(sign::routes())
            .with_state(self.clone())
    }
}

impl std::ops::Deref for Schedules {
    type Target = Runs;

    fn deref(&self) -> &Runs {
        &self.0
    }
}
