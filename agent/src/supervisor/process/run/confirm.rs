//! What happens after the steps of a script that needs a confirmation: the wait, and the undo.
//!
//! This process needs neither agent nor server nor network for it. If it dies meanwhile, the next
//! supervisor of the job undoes what is left to undo; see [`Run::undo_after_interruption`].

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant, SystemTime};

use hyprbox_protocol::{ConfirmWait, FailureReason, Secrets, Stream};
use nix::sys::wait::WaitStatus;

use super::{DATA, Interrupted, Phase, Request, Run, marks_of};
use crate::clock;
use crate::host;
use crate::rfc3339::rfc3339;
use crate::spool::SpoolWriter;
use crate::state::job_dir::{
    CONFIRMED, EndedBy, Exit, JobDir, Spec, UNDO_BECAUSE, UNDO_DIR, UNDO_STEPS,
};
use crate::state::replace_file;
use crate::supervisor::process::bash::start_bash;
use crate::supervisor::process::exit_without_start;
use crate::trusted_dir;

/// The longest that the undo of one step may take.
const UNDO_LIMIT: Duration = Duration::from_secs(300);
/// Names the folder of a job that can be undone.
const DIR_VARIABLE: &str = "HYPRBOX_UNDO_DIR";
/// The number of the step that the script must undo, instead of running its steps.
const STEP_VARIABLE: &str = "HYPRBOX_UNDO";

/// A step that has begun.
struct BegunStep {
    number: String,
    name: String,
}

impl Run {
    /// Takes over the job of a supervisor that has died.
    pub(in super::super) fn resume(job: &JobDir, spec: &Spec) -> io::Result<Self> {
        let mut run = Self::prepare(job, spec, &Secrets::default())?;
        run.spool = SpoolWriter::resume(job.path(), spec.spool_max)?;
        run.marks = marks_of(&job.file("script"));
        run.phase = Phase::Undoing;
        // Known since the steps ran.
        run.pid_written = true;
        Ok(run)
    }

    /// The environment of the script. Creates the folder for what an undo needs.
    pub(super) fn script_env(&self, spec: &Spec) -> io::Result<BTreeMap<String, String>> {
        let mut env = spec.env.clone();
        env.remove(STEP_VARIABLE);
        env.remove(DIR_VARIABLE);
        if self.marks.confirm_seconds.is_some() {
            let dir = self.job.file(UNDO_DIR);
            DirBuilder::new().mode(0o700).create(&dir)?;
            env.insert(DIR_VARIABLE.to_owned(), dir.display().to_string());
        }
        Ok(env)
    }

    /// Waits for a confirmation if the script needs one, and undoes its steps if none comes or the
    /// script has failed. A script that changed nothing needs none.
    pub(super) fn settle(&mut self, spec: &Spec, mut exit: Exit) -> Result<Exit, Interrupted> {
        let seconds = self.marks.confirm_seconds;
        let Some(seconds) = seconds.filter(|_| !begun_steps(&self.job).is_empty()) else {
            return Ok(exit);
        };
        let succeeded = exit.exit_code == Some(0) && exit.error_msg.is_none();
        let why = if matches!(exit.ended_by, EndedBy::Cancel | EndedBy::Stop) {
            "cancelled"
        } else if !succeeded {
            "failed"
        } else {
            match self.wait_for_request(seconds)? {
                Some(Request::Confirm) => {
                    self.print(Stream::Stdout, "==> confirmed\n");
                    self.add_totals(&mut exit);
                    return Ok(exit);
                }
                Some(Request::End(by)) => {
                    exit.ended_by = by;
                    exit.error_msg = super::end::error_msg(by, None, spec);
                    "cancelled"
                }
                None => {
                    exit.error_msg = Some(FailureReason::NOT_CONFIRMED.to_owned());
                    "not confirmed"
                }
            }
        };
        self.undo(spec, exit, why)
    }

    /// Waits until somebody confirms or ends the job; `None` if nobody does in time.
    fn wait_for_request(&mut self, seconds: u64) -> Result<Option<Request>, Interrupted> {
        self.phase = Phase::Waiting;
        let wait = Duration::from_secs(seconds);
        let until = Instant::now() + wait;
        let now = clock::system_now().duration_since(SystemTime::UNIX_EPOCH);
        let confirm_by = rfc3339(now.unwrap_or_default() + wait);
        // The time of day, such as 12:34:56.
        let time = confirm_by.get(11..19).unwrap_or(&confirm_by);
        let line = format!("==> waits for confirmation until {time}Z\n");
        let record = ConfirmWait {
            confirm_by,
            seconds,
        };
        // The agent reads this once it reads the line. If the disk is full, it does not report it.
        let _ = self.job.write_confirm_wait(&record);
        self.print(Stream::Stdout, &line);
        self.wake_agent(DATA);
        // What the undo needs must survive a power loss.
        if let Ok(dir) = File::open(self.job.path()) {
            let _ = nix::unistd::syncfs(&dir);
        }
        loop {
            if self.request.is_some() {
                return Ok(self.request);
            }
            if self.at_shutdown {
                return Err(Interrupted);
            }
            let now = Instant::now();
            if now >= until {
                let confirmed = self.job.is_confirmed();
                return Ok(confirmed.then_some(Request::Confirm));
            }
            if self.wake_at.is_some_and(|at| at <= now) {
                self.wake_agent(DATA);
            }
            let next = self.wake_at.map_or(until, |at| at.min(until));
            self.wait(Some(next.saturating_duration_since(now)));
        }
    }

    /// Handles messages to a job that waits or is being undone. An undo always runs to its end.
    pub(super) fn receive_request(&mut self, messages: &[u8]) {
        if self.phase != Phase::Waiting || self.request.is_some() {
            return;
        }
        self.request = messages.iter().find_map(|message| match *message {
            CONFIRMED => Some(Request::Confirm),
            other => EndedBy::from_request(other).map(Request::End),
        });
    }

    /// Undoes the steps of a job whose supervisor has died: because the machine restarted, or
    /// because somebody killed it.
    pub(in super::super) fn undo_after_interruption(
        &mut self,
        spec: &Spec,
    ) -> Result<Exit, Interrupted> {
        let ended_by = self.job.read("cancel").unwrap_or(EndedBy::Itself);
        let exit = if let Some(exit) = self.job.read(UNDO_BECAUSE) {
            exit
        } else if self.job.confirm_wait().is_some() {
            let error = match ended_by {
                EndedBy::Itself => Some(FailureReason::NOT_CONFIRMED.to_owned()),
                by @ (EndedBy::Cancel | EndedBy::Timeout | EndedBy::Stop) => {
                    super::end::error_msg(by, None, spec)
                }
            };
            Exit {
                exit_code: Some(0),
                ..exit_without_start(ended_by, error)
            }
        } else {
            let error = if spec.boot_id == host::boot_id() {
                "the job's supervisor was killed"
            } else {
                FailureReason::NODE_RESTARTED
            };
            exit_without_start(EndedBy::Itself, Some(error.to_owned()))
        };
        self.undo(spec, exit, "interrupted")
    }

    /// Undoes all steps that have begun, last first. `exit` is how the job ends if that works.
    fn undo(&mut self, spec: &Spec, mut exit: Exit, why: &str) -> Result<Exit, Interrupted> {
        self.phase = Phase::Undoing;
        if let Ok(text) = serde_json::to_vec(&exit) {
            // If the disk is full, only the reason is lost with this process.
            let _ = replace_file(&self.job.file(UNDO_BECAUSE), &text);
        }
        self.print(Stream::Stdout, &format!("==> {why}: undo\n"));
        self.wake_agent(DATA);
        let mut failed = None;
        for step in begun_steps(&self.job).into_iter().rev() {
            let undone = self.undo_step(spec, &step.number);
            if self.at_shutdown {
                return Err(Interrupted);
            }
            if !undone {
                let line = format!("==> undo failed: {}\n", step.name);
                self.print(Stream::Stderr, &line);
                failed.get_or_insert(step.name);
            }
        }
        if let Some(step) = failed {
            exit.error_msg = Some(FailureReason::undo_failed(&step));
        }
        self.add_totals(&mut exit);
        Ok(exit)
    }

    /// Starts the script again to undo one step, and returns whether that worked.
    fn undo_step(&mut self, spec: &Spec, number: &str) -> bool {
        let script = self.job.file("script");
        let mut env = spec.env.clone();
        let dir = self.job.file(UNDO_DIR).display().to_string();
        env.insert(DIR_VARIABLE.to_owned(), dir);
        env.insert(STEP_VARIABLE.to_owned(), number.to_owned());
        self.bash_end = None;
        self.childless = false;
        self.over = false;
        self.kill_at = None;
        self.ended_by = EndedBy::Itself;
        let started = self
            .prepare_bash(&script, env)
            .and_then(|bash| start_bash(&bash));
        match started {
            Ok(pid) => self.bash = pid,
            Err(e) => {
                self.print(Stream::Stderr, &format!("can't start /bin/bash: {e}\n"));
                return false;
            }
        }
        self.follow_bash(UNDO_LIMIT);
        for stream in Stream::ALL {
            self.finish_mask(stream);
        }
        self.report_leftovers();
        self.ended_by == EndedBy::Itself && matches!(self.bash_end, Some(WaitStatus::Exited(_, 0)))
    }
}

/// The steps that the script has recorded, in their order.
fn begun_steps(job: &JobDir) -> Vec<BegunStep> {
    let text = trusted_dir::read(&job.file(UNDO_STEPS)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let step = |line: &str| {
        let (number, name) = line.split_once(' ')?;
        Some(BegunStep {
            number: number.to_owned(),
            name: name.to_owned(),
        })
    };
    text.lines().filter_map(step).collect()
}
