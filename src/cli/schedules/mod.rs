//! `hyprbox schedules …`

mod edit;
mod find;
mod lists;
mod sign;

use reqwest::Method;
use serde_json::{Value, json};

pub(super) use self::find::find;
use self::find::named;
use super::answers::{DueTimes, RunAnswer};
use super::args::{NextTimes, OneSchedule, SchedulesCommand, Sure, Watch};
use super::ask;
use super::client::{Client, segment};
use super::error::CliError;
use super::interrupts::Interrupts;
use super::queue::{confirm_risk, fetch_preset};
use super::runs;
use super::screen::{Screen, print_note};
use crate::schedules::ScheduleView;

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: SchedulesCommand,
) -> Result<u8, CliError> {
    match command {
        SchedulesCommand::List { output } => lists::list(&client, screen.formatted(output)).await,
        SchedulesCommand::Show { schedule, output } => {
            let schedule = find(&client, &schedule.given).await?;
            lists::show(&client, screen.formatted(output), &schedule.id).await
        }
        SchedulesCommand::Add(args) => edit::add(&client, screen, *args).await,
        SchedulesCommand::Edit(args) => edit::edit(&client, screen, *args).await,
        SchedulesCommand::Pause { schedule } => pause(&client, screen, &schedule, true).await,
        SchedulesCommand::Resume { schedule } => pause(&client, screen, &schedule, false).await,
        SchedulesCommand::Run {
            schedule,
            watch,
            sure,
        } => run_now(client, screen, &schedule, &watch, &sure).await,
        SchedulesCommand::Next(args) => next(&client, screen, args).await,
        SchedulesCommand::Slots {
            schedule,
            limit,
            output,
        } => {
            let schedule = find(&client, &schedule.given).await?;
            lists::slots(&client, screen.formatted(output), &schedule, limit).await
        }
        SchedulesCommand::Sign(args) => sign::run(&client, &screen, &args).await,
        SchedulesCommand::Remove { schedule, sure } => {
            let schedule = named(&client, &schedule.given).await?;
            let question = format!("Remove the schedule {}?", schedule.name);
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            client.delete(&path(&schedule, "")).await?;
            print_note(&format!("Removed {}. Its runs are kept.", schedule.name));
            Ok(0)
        }
    }
}

/// A path of the API below a schedule.
fn path(schedule: &ScheduleView, more: &str) -> String {
    format!("/api/schedules/{}{more}", segment(&schedule.id))
}

async fn pause(
    client: &Client,
    screen: Screen,
    schedule: &OneSchedule,
    paused: bool,
) -> Result<u8, CliError> {
    let schedule = named(client, &schedule.given).await?;
    let body = json!({"paused": paused});
    let changed = client
        .call::<ScheduleView>(Method::PATCH, &path(&schedule, ""), Some(&body))
        .await?;
    if screen.json {
        screen.value(&changed.json)?;
        return Ok(0);
    }
    let name = &schedule.name;
    print_note(&match paused {
        true => format!(
            "Paused {name}: its due times are skipped. `hyprbox schedules resume {}` resumes it.",
            schedule.id
        ),
        false => format!("Resumed {name}. {}", lists::next_words(&changed.value)),
    });
    Ok(0)
}

async fn run_now(
    client: Client,
    screen: Screen,
    schedule: &OneSchedule,
    watch: &Watch,
    sure: &Sure,
) -> Result<u8, CliError> {
    let schedule = named(&client, &schedule.given).await?;
    let preset = fetch_preset(&client, &schedule.preset).await?;
    let on = lists::target(&schedule);
    confirm_risk(&preset, &on, &screen, sure)?;
    let interrupts = Interrupts::new(watch.cancel_on_interrupt)?;
    let queued = client
        .post::<RunAnswer>(&path(&schedule, "/run"), &Value::Null)
        .await?;
    runs::finish(client, screen, queued, watch, interrupts).await
}

async fn next(client: &Client, screen: Screen, args: NextTimes) -> Result<u8, CliError> {
    let screen = screen.formatted(args.output);
    let times = match (args.schedule, args.cron, args.time_zone) {
        (Some(given), ..) => {
            let schedule = find(client, &given).await?;
            if schedule.paused && !screen.json {
                print_note(&format!(
                    "{} is paused: these due times are skipped.",
                    schedule.name
                ));
            }
            json!({"cron": schedule.cron, "timeZone": schedule.time_zone})
        }
        (None, Some(cron), Some(zone)) => json!({"cron": cron, "timeZone": zone}),
        _ => return lists::next_of_all(client, screen).await,
    };
    let times = client
        .post::<DueTimes>("/api/schedules/preview", &times)
        .await?;
    lists::due_times(screen, &times)
}
