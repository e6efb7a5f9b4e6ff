//! A run on a terminal: a line per node, kept up to date. If there are more nodes than lines, the
//! ones that need attention are shown.

use std::time::Duration;

use super::reading::Reading;
use super::words;
use crate::cli::canvas::{Canvas, Line, Room};
use crate::cli::error::CliError;
use crate::cli::progress::elapsed;
use crate::cli::safe;
use crate::cli::screen::{Paint, Screen};
use crate::clock;
use crate::nodes::NodeView;
use crate::runs::RunJobView;
use crate::store::job::JobStatus;

/// The run's lines on the terminal.
pub(super) struct Board {
    screen: Screen,
    canvas: Canvas,
}

impl Board {
    /// `None` if standard output can't be drawn on.
    pub(super) fn open(screen: Screen) -> Option<Self> {
        let canvas = Canvas::open(screen)?;
        Some(Self { screen, canvas })
    }

    /// Draws the run as it is now.
    pub(super) fn draw(&mut self, reading: &Reading) -> Result<(), CliError> {
        let lines = render(reading, &self.screen, Canvas::room());
        self.canvas.draw(&lines)
    }

    /// Removes the lines, so that something else can be printed.
    pub(super) fn clear(&mut self) -> Result<(), CliError> {
        self.canvas.clear()
    }
}

fn render(reading: &Reading, screen: &Screen, room: Room) -> Vec<Line> {
    let Room { columns, lines } = room;
    let run = &reading.run;
    let line = |text: &str, paint: Paint| {
        Line::new(&safe::line(text), columns, |text| {
            paint.of(text, screen.colors)
        })
    };
    let head = format!(
        "{} {}: {}",
        run.preset,
        words::status(run),
        words::counts(&run.counts)
    );
    let mut drawn = vec![line(&head, words::paint(run.status))];
    let rows = chosen(&run.jobs, lines - 1);
    let widest = |text: &dyn Fn(&RunJobView) -> usize| rows.iter().map(|job| text(job)).max();
    let width = widest(&|job| job.node_id.len()).unwrap_or(0);
    for job in &rows {
        let text = format!(
            "{:width$}  {:9}  {:>7}  {}",
            job.node_id,
            job.status.to_string(),
            time(job),
            detail(job, &reading.nodes)
        );
        drawn.push(line(text.trim_end(), Paint::of_status(job.status)));
    }
    let hidden = run.jobs.len() - rows.len();
    if hidden > 0 {
        drawn.push(line(
            &format!("and {}", words::nodes(hidden as u64)),
            Paint::Plain,
        ));
    }
    drawn
}

/// The jobs to show in at most so many lines, in the order of the run. If there are too many, the
/// last line is left for their number.
fn chosen(jobs: &[RunJobView], lines: usize) -> Vec<&RunJobView> {
    if jobs.len() <= lines {
        return jobs.iter().collect();
    }
    let mut places: Vec<usize> = (0..jobs.len()).collect();
    places.sort_by_key(|place| importance(&jobs[*place]));
    places.truncate(lines.saturating_sub(1));
    places.sort_unstable();
    places.into_iter().map(|place| &jobs[place]).collect()
}

fn importance(job: &RunJobView) -> u8 {
    match job.status {
        JobStatus::Running => 0,
        JobStatus::Failed => 1,
        JobStatus::Queued if job.holds.is_empty() => 2,
        JobStatus::Queued => 3,
        JobStatus::Succeeded | JobStatus::Cancelled => 4,
    }
}

/// How long the job has run.
fn time(job: &RunJobView) -> String {
    let Some(start) = job.started_at else {
        return String::new();
    };
    let end = job.finished_at.unwrap_or_else(clock::now);
    let millis = u64::try_from(end.millis_since(start)).unwrap_or(0);
    elapsed(Duration::from_millis(millis))
}

/// The step of a job, and why the job waits or has failed.
fn detail(job: &RunJobView, nodes: &[NodeView]) -> String {
    let outcome = words::outcome(job);
    let state = job.status.to_string();
    let why = outcome.strip_prefix(&state).unwrap_or_default();
    let why = why.trim_matches([',', ' ', '(', ')']);
    let step = words::step(job).filter(|_| job.status != JobStatus::Succeeded);
    match step {
        Some(step) if why.is_empty() => step,
        Some(step) => format!("{why} in {step}"),
        None if job.status == JobStatus::Queued && why.is_empty() => words::waits_for(job, nodes),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(states: &[(JobStatus, usize)]) -> Vec<RunJobView> {
        let each = states.iter();
        let states = each.flat_map(|(status, count)| std::iter::repeat_n(*status, *count));
        let job = |(number, status)| RunJobView {
            id: format!("j{number}"),
            node_id: format!("n{number}"),
            batch: 0,
            status,
            holds: Vec::new(),
            exit_code: None,
            error_msg: None,
            confirm_by: None,
            step: None,
            started_at: None,
            finished_at: None,
        };
        states.enumerate().map(job).collect()
    }

    #[test]
    fn on_a_small_terminal_the_jobs_that_need_attention_are_shown_in_order() {
        let all = jobs(&[
            (JobStatus::Succeeded, 5),
            (JobStatus::Failed, 2),
            (JobStatus::Running, 2),
            (JobStatus::Queued, 5),
        ]);
        let shown = |lines| {
            let shown = chosen(&all, lines);
            shown
                .iter()
                .map(|job| job.node_id.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(14).len(), 14);
        assert_eq!(shown(6), ["n5", "n6", "n7", "n8", "n9"]);
        assert_eq!(shown(3), ["n7", "n8"]);
    }
}
