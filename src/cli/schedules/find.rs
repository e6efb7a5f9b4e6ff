//! Finds a schedule by what a person calls it.

use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::queue::no_such;
use crate::cli::screen::print_note;
use crate::schedules::ScheduleView;

/// A shorter text is not a part of an id.
const LEAST: usize = 4;

/// All schedules, oldest first.
pub(super) async fn all(client: &Client) -> Result<Vec<ScheduleView>, CliError> {
    let schedules = client.list::<ScheduleView>("/api/schedules", "schedules");
    Ok(schedules.await?.value)
}

/// The schedule with this id or name, or with an id of which `given` is the first or last part.
pub(super) async fn find(client: &Client, given: &str) -> Result<ScheduleView, CliError> {
    let schedules = all(client).await?;
    let is_part = |id: &str| given.len() >= LEAST && (id.starts_with(given) || id.ends_with(given));
    let ways: [&dyn Fn(&ScheduleView) -> bool; 3] = [
        &|schedule| schedule.id == given,
        &|schedule| schedule.name == given,
        &|schedule| is_part(&schedule.id),
    ];
    for way in ways {
        let found: Vec<&ScheduleView> = schedules.iter().filter(|one| way(one)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok((*one).clone()),
            several => {
                let text = format!("{given} stands for several schedules; use an id:");
                let add = |error: CliError, one: &&ScheduleView| {
                    error.hint(format!("{}  {}, {}", one.id, one.name, one.cron))
                };
                return Err(several.iter().fold(CliError::usage(text), add));
            }
        }
    }
    let names = schedules.iter().map(|schedule| schedule.name.as_str());
    Err(no_such("schedule", given, names, "hyprbox schedules list"))
}

/// The same for a command that changes the schedule: who gives part of an id learns which schedule
/// is meant.
pub(super) async fn named(client: &Client, given: &str) -> Result<ScheduleView, CliError> {
    let schedule = find(client, given).await?;
    if schedule.name != given && schedule.id != given {
        print_note(&format!("The schedule {}: {}", schedule.id, schedule.name));
    }
    Ok(schedule)
}
