//! A run where nothing can be drawn: a line per change, or with `--json` an object per change.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::reading::Reading;
use super::words;
use crate::cli::error::CliError;
use crate::cli::safe;
use crate::cli::screen::Screen;
use crate::runs::RunJobView;
use crate::store::job::JobStatus;
use crate::store::run::RunStatus;

/// Prints what has changed since the last reading.
pub(super) struct Changes {
    screen: Screen,
    status: Option<RunStatus>,
    /// Each job's state in words, by its id.
    jobs: HashMap<String, String>,
}

impl Changes {
    pub(super) fn new(screen: Screen) -> Self {
        Self {
            screen,
            status: None,
            jobs: HashMap::new(),
        }
    }

    pub(super) fn print(&mut self, reading: &Reading) -> Result<(), CliError> {
        let Reading { run, json, .. } = reading;
        for (place, job) in run.jobs.iter().enumerate() {
            let words = state(job);
            let before = self.jobs.insert(job.id.clone(), words.clone());
            // At first all jobs are queued, which changes nothing.
            let is_new = before.is_none() && job.status == JobStatus::Queued;
            if is_new || before.as_ref() == Some(&words) {
                continue;
            }
            if self.screen.json {
                let job = &json["jobs"][place];
                self.screen.json_line(&json!({"type": "job", "job": job}))?;
            } else {
                self.line(&format!("{}: {words}", job.node_id))?;
            }
        }
        let before = self.status.replace(run.status);
        if before == Some(run.status) || before.is_none() && run.status == RunStatus::Running {
            return Ok(());
        }
        if self.screen.json {
            let mut shown = json.clone();
            if let Value::Object(fields) = &mut shown {
                fields.remove("jobs");
            }
            return self.screen.json_line(&json!({"type": "run", "run": shown}));
        }
        // The summary has the end.
        if run.status.is_final() {
            return Ok(());
        }
        self.line(&format!("Run {}: {}", run.id, run.status))
    }

    fn line(&self, text: &str) -> Result<(), CliError> {
        self.screen.data(&format!("{}\n", safe::line(text)))
    }
}

/// `RUNNING, step 2 of 5: Set the SSH port`
fn state(job: &RunJobView) -> String {
    let outcome = words::outcome(job);
    match words::step(job) {
        Some(step) if job.status == JobStatus::Running => format!("{outcome}, {step}"),
        Some(step) if job.status == JobStatus::Failed => format!("{outcome} in {step}"),
        _ => outcome,
    }
}
