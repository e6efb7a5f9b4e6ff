//! `hyprbox jobs watch`: the jobs that wait and run, kept up to date by the server's events. On a
//! terminal they are a table, elsewhere a line per change.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::answers::WatchedJob;
use super::args::{ScopeArg, WatchJobs};
use super::canvas::{Canvas, Line, Room};
use super::client::Client;
use super::connection::{self, StreamEvent};
use super::error::{CliError, exit};
use super::interrupts::Interrupts;
use super::newest::Newest;
use super::outcome;
use super::safe;
use super::screen::{Paint, Screen, end_of, print_note};
use super::short_id;
use super::table::{Cell, Table};
use super::times;
use crate::jobs::{DoneEvent, JobView};
use crate::store::job::JobStatus;

/// Jobs that have ended and are still shown, or known so that their end is not printed twice.
const ENDED_MAX: usize = 200;
/// How often a terminal is drawn while events arrive.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Runs until Ctrl-C.
pub(super) async fn run(client: Client, screen: Screen, wanted: WatchJobs) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::new(false)?;
    let node = match wanted.node {
        Some(node) => Some(short_id::node(&client, &node).await?),
        None => None,
    };
    let mut filter = Vec::new();
    filter.extend(node.clone().map(|node| ("nodeId", node)));
    filter.extend(wanted.preset.clone().map(|preset| ("preset", preset)));
    let newest =
        Newest::<WatchedJob>::read(&client, "jobs", &filter, &wanted.scope, ENDED_MAX as u32)
            .await?;
    let mut jobs = Watched {
        node,
        preset: wanted.preset,
        jobs: newest.entries,
    };
    let mut view = match Canvas::open(screen) {
        Some(canvas) => View::Table(canvas),
        None => View::Lines,
    };
    if let View::Lines = view {
        jobs.print_unfinished(&screen)?;
    }
    let path = match wanted.scope.scope {
        ScopeArg::Mine => "/api/events".to_owned(),
        ScopeArg::All => "/api/events?scope=all".to_owned(),
    };
    // The server has just answered: if it is gone now, it will come back.
    let mut events = connection::open(Arc::new(client), path, true);
    let mut draw_at = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = interrupts.next() => return Ok(exit::INTERRUPTED),
            event = events.recv() => match event {
                Some(StreamEvent::Event(event)) if event.name == "job" => {
                    let Some(changed) = jobs.apply(&event.data) else { continue };
                    match &view {
                        View::Table(_) => {
                            draw_at.get_or_insert(Instant::now() + DRAW_EVERY);
                        }
                        View::Lines => print(&screen, &changed, &event.data)?,
                    }
                }
                Some(StreamEvent::Event(_)) => {}
                Some(StreamEvent::Disconnected(why)) => {
                    view.note(&format!("Connection lost ({why}); reconnecting."))?;
                }
                Some(StreamEvent::Reconnected) => view.note("Reconnected.")?,
                Some(StreamEvent::Failed(error)) => return Err(error),
                None => return Err(CliError::failed("the server's events have ended")),
            },
            () = at(draw_at) => {
                draw_at = None;
                view.draw(&screen, &jobs)?;
            }
            _ = tick.tick() => {
                screen.check_reader()?;
                view.draw(&screen, &jobs)?;
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

enum View {
    Table(Canvas),
    Lines,
}

impl View {
    fn draw(&mut self, screen: &Screen, jobs: &Watched) -> Result<(), CliError> {
        match self {
            Self::Table(canvas) => canvas.draw(&jobs.render(screen, Canvas::room())),
            Self::Lines => Ok(()),
        }
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        if let Self::Table(canvas) = self {
            canvas.clear()?;
        }
        print_note(text);
        Ok(())
    }
}

/// The jobs that are known, newest first.
struct Watched {
    node: Option<String>,
    preset: Option<String>,
    jobs: Vec<WatchedJob>,
}

impl Watched {
    /// Applies an event. Returns the job if the event changes what is shown of it.
    fn apply(&mut self, data: &str) -> Option<WatchedJob> {
        let new: WatchedJob = serde_json::from_str(data).ok()?;
        let differs = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_some_and(|wanted| wanted != value)
        };
        if differs(&self.node, &new.job.node_id) || differs(&self.preset, &new.job.preset) {
            return None;
        }
        // Newest first: an id begins with its time.
        let place = self
            .jobs
            .binary_search_by(|known| new.job.id.cmp(&known.job.id));
        match place {
            Ok(place) => {
                let before = std::mem::replace(&mut self.jobs[place], new.clone());
                (words(&before) != words(&new)).then_some(new)
            }
            Err(place) => {
                self.jobs.insert(place, new.clone());
                self.forget_ended();
                Some(new)
            }
        }
    }

    fn forget_ended(&mut self) {
        let mut ended = 0;
        self.jobs.retain(|known| {
            ended += usize::from(known.job.status.is_terminal());
            !known.job.status.is_terminal() || ended <= ENDED_MAX
        });
    }

    /// A line for each job that waits or runs, the oldest first.
    fn print_unfinished(&self, screen: &Screen) -> Result<(), CliError> {
        let unfinished = self.jobs.iter().rev();
        for known in unfinished.filter(|known| !known.job.status.is_terminal()) {
            let data = serde_json::to_string(&known.job)
                .map_err(|error| CliError::failed(error.to_string()))?;
            print(screen, known, &data)?;
        }
        Ok(())
    }

    fn render(&self, screen: &Screen, room: Room) -> Vec<Line> {
        let of = |status: JobStatus| {
            let jobs = self.jobs.iter();
            jobs.filter(move |known| known.job.status == status)
        };
        let (running, queued) = (of(JobStatus::Running), of(JobStatus::Queued));
        let head = match (running.clone().count(), queued.clone().count()) {
            (0, 0) => "Nothing runs or waits. Ctrl-C ends the watch.".to_owned(),
            (running, queued) => {
                format!("{running} running, {queued} queued. Ctrl-C ends the watch.")
            }
        };
        let mut table = Table::new(&["ID", "PRESET", "NODE", "STATUS", "TIME", "DETAIL"])
            .optional(&["TIME", "DETAIL"]);
        let ended = self.jobs.iter();
        let ended = ended.filter(|known| known.job.status.is_terminal());
        // The one that starts next is the first of those that wait.
        let waiting: Vec<&WatchedJob> = queued.collect();
        let rows = running.chain(waiting.into_iter().rev()).chain(ended);
        for known in rows.take(room.lines.saturating_sub(2)) {
            table.row(row(known));
        }
        let mut lines = vec![Line::new(&head, room.columns, |text| {
            Paint::Bold.of(text, screen.colors)
        })];
        if self.jobs.is_empty() {
            return lines;
        }
        let plain = table.lines(false, Some(room.columns));
        let painted = table.lines(screen.colors, Some(room.columns));
        let table = plain.iter().zip(painted);
        lines.extend(table.map(|(text, painted)| Line::fitting(text, painted)));
        lines
    }
}

fn row(known: &WatchedJob) -> [Cell; 6] {
    let job = &known.job;
    let since = job.started_at.unwrap_or(job.created_at);
    let never_ran = job.status.is_terminal() && job.started_at.is_none();
    let time = match never_ran {
        true => String::new(),
        false => times::took(Some(since), job.finished_at),
    };
    [
        end_of(&job.id).into(),
        job.preset.as_str().into(),
        job.node_id.as_str().into(),
        outcome::status(job),
        time.into(),
        detail(known).into(),
    ]
}

/// The step of a job, what it waits for, or why it has failed.
fn detail(known: &WatchedJob) -> String {
    let job = &known.job;
    match (job.status, &known.step) {
        (JobStatus::Queued, _) => job
            .holds
            .first()
            .map_or_else(String::new, |hold| hold.detail.clone()),
        (JobStatus::Running, Some(step)) => step.describe(),
        (JobStatus::Running, None) => String::new(),
        (JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled, _) => {
            DoneEvent::of(job).reason()
        }
    }
}

/// What is shown of a job.
fn words(known: &WatchedJob) -> String {
    let JobView {
        preset, node_id, ..
    } = &known.job;
    let detail = detail(known);
    let gap = if detail.is_empty() { "" } else { ", " };
    let status = outcome::status_words(&known.job);
    format!("{preset} on {node_id}: {status}{gap}{detail}")
}

fn print(screen: &Screen, known: &WatchedJob, data: &str) -> Result<(), CliError> {
    if screen.json {
        let job: Value = serde_json::from_str(data).unwrap_or_default();
        return screen.json_line(&json!({"type": "job", "job": job}));
    }
    let line = safe::line(&format!("{} {}", known.job.id, words(known)));
    screen.data(&format!("{line}\n"))
}
