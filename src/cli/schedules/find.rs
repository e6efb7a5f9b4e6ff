//! Finds a schedule by what a person calls it.

use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::pick::{self, Named};
use crate::schedules::ScheduleView;

impl Named for ScheduleView {
    const WHAT: &'static str = "schedule";
    const LIST: &'static str = "hyprbox schedules list";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn description(&self) -> String {
        format!("{}, {}", self.name, self.cron)
    }
}

/// All schedules, oldest first.
pub(super) async fn all(client: &Client) -> Result<Vec<ScheduleView>, CliError> {
    let schedules = client.list::<ScheduleView>("/api/schedules", "schedules");
    Ok(schedules.await?.value)
}

/// The schedule that a person means.
pub(in crate::cli) async fn find(client: &Client, given: &str) -> Result<ScheduleView, CliError> {
    pick::pick(given, all(client).await?)
}

/// The same for a command that changes the schedule.
pub(super) async fn named(client: &Client, given: &str) -> Result<ScheduleView, CliError> {
    pick::pick_to_change(given, all(client).await?)
}
