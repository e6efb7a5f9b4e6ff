//! The loop that claims jobs and receives cancels. One poll is open at a time, and one job runs at
//! a time.

mod limit;
mod start;
mod undo;

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use hyprbox_protocol::PendingAnswer;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::backoff::{Backoff, LONGEST};
use crate::client::{Client, PollRequest};
use crate::config::Config;
use crate::health;
use crate::heartbeat::SharedReport;
use crate::host;
use crate::job::context::Context;
use crate::job::{self, Handover};
use crate::job_trust::JobTrust;
use crate::state::job_dir::{self, JobDir};
use crate::state::{PROBE_BYTES, State, StateError};
use crate::supervisor::handle::{self, Supervisor};
use crate::trouble::Caller;
use limit::PollLimit;

/// How long an idle poll stays open at the server.
const IDLE_WAIT_SECONDS: u64 = 30;
/// The longest that a poll for cancels stays open, however long the lease.
const BUSY_WAIT_SECONDS: u64 = 20;
/// The first poll of a running job begins this late: a job that ends sooner needs none.
const FIRST_CANCEL_POLL: Duration = Duration::from_millis(300);
/// Pause between two checks of a state folder that can't be used.
const STATE_RETRY: Duration = Duration::from_secs(5);

/// Polls until it is dropped. If the state folder can't be used yet, the heartbeat reports why, and
/// polling begins once it can be.
pub(crate) async fn work(
    config: &Config,
    client: Arc<Client>,
    opened: Result<State, StateError>,
    (shared_report, mut trust): (&SharedReport, JobTrust),
) {
    let mut opened = opened;
    let mut logged = String::new();
    let mut backoff = Backoff::default();
    let mut state = loop {
        let error = match opened {
            Ok(state) => break state,
            Err(e) => e.to_string(),
        };
        shared_report.change(|report| report.problem = Some(error.clone()));
        if logged != error {
            tracing::error!("{error}; no jobs are taken until this is fixed");
            logged = error;
        }
        // Without an instance id no job can be claimed, but the poll shows whether the token works.
        let poll = PollRequest {
            instance: None,
            wait_seconds: 0,
            capacity: 0,
            running: &[],
        };
        match client.pending(&poll).await {
            Ok(_) => {
                client.trouble.ended(Caller::Poll);
                backoff.reset();
                tokio::time::sleep(STATE_RETRY).await;
            }
            Err(e) => {
                client.trouble.failed(Caller::Poll, &e);
                client.pause(backoff.next(LONGEST)).await;
            }
        }
        opened = State::open(&config.state_dir);
    };
    let mut undoing = undo::undo_interrupted(&state);
    client.set_process(state.process());
    if shared_report.get().requires_signatures {
        // So that no job is claimed that the server does not hold back for a signature yet.
        shared_report.arrived().await;
    }
    loop {
        shared_report.change(|report| {
            report.instance = Some(state.instance().to_owned());
            report.process = Some(state.process().to_owned());
            report.problem = None;
        });
        let ctx = Arc::new(Context::new(Arc::clone(&client), &state));
        for child in undoing.drain(..) {
            ctx.reap_later(child);
        }
        let poller = Poller {
            config,
            shared_report,
            state,
            ctx,
            trust: &mut trust,
            jobs: JoinSet::new(),
            running: BTreeMap::new(),
            boot_id: host::boot_id(),
            recovered: false,
            found: Vec::new(),
            ahead: None,
            problem: None,
            room_bytes: 0,
            handed_back: None,
            is_second: false,
            backoff: Backoff::default(),
            is_failing: false,
            early_answers: 0,
            poll_at: Instant::now(),
            limit: PollLimit::default(),
        };
        state = poller.run().await;
        become_new_instance(&mut state).await;
    }
}

/// Gives the state folder a new instance id. Tries again until that works.
async fn become_new_instance(state: &mut State) {
    tracing::warn!(
        "[jobrunner] another machine uses a copy of this state folder: starting as a new agent instance"
    );
    while let Err(error) = state.renew_instance() {
        tracing::error!("{error}; no jobs are taken until this is fixed");
        tokio::time::sleep(STATE_RETRY).await;
    }
}

struct Poller<'a> {
    config: &'a Config,
    shared_report: &'a SharedReport,
    state: State,
    ctx: Arc<Context>,
    trust: &'a mut JobTrust,
    jobs: JoinSet<(String, Handover)>,
    /// Jobs whose completion is not acknowledged; `None` if a job's files could not be written.
    running: BTreeMap<String, Option<JobDir>>,
    /// This boot of the machine.
    boot_id: String,
    /// Whether the jobs of earlier agents have been found again.
    recovered: bool,
    /// Those of them that are not followed yet: only the server knows whether this state folder is
    /// the copy of another agent's, whose jobs they are.
    found: Vec<JobDir>,
    /// The supervisor of the next job, started ahead of it.
    ahead: Option<Child>,
    /// Why no job can run now.
    problem: Option<String>,
    /// How much room the script needs for which there was none.
    room_bytes: usize,
    /// The job that could not be written down, or looked up among those that have run. It did not
    /// start; the server sends it again.
    handed_back: Option<String>,
    /// Whether the server knows another live process of this instance.
    is_second: bool,
    backoff: Backoff,
    /// Whether the last poll failed.
    is_failing: bool,
    /// How many answers in a row came at once and without news.
    early_answers: u32,
    /// The next poll begins no earlier.
    poll_at: Instant,
    /// How long something on the path lets polls stay open.
    limit: PollLimit,
}

impl Poller<'_> {
    /// Polls until this process needs an instance id of its own.
    async fn run(mut self) -> State {
        self.check_health();
        loop {
            self.ctx.reap();
            if self.is_second && self.jobs.is_empty() {
                if let Some(mut child) = self.ahead.take() {
                    // `wait` closes its input, so that it ends at once.
                    let _status = child.wait();
                }
                return self.state;
            }
            self.start_ahead();
            self.trust.report(self.shared_report);
            if self.problem.is_none() {
                self.trust.observe_time();
            }
            let idle = self.jobs.is_empty() && self.found.is_empty();
            if idle && self.problem.is_none() {
                // So that no job is claimed that can't run: the last job may have filled the disk.
                self.set_problem(health::problem(&self.config.state_dir));
            }
            let capacity = u8::from(idle && self.problem.is_none());
            let wait_seconds = self.limit.apply(self.wait_seconds(idle), Instant::now());
            let running: Vec<String> = self.running.keys().cloned().collect();
            let client = Arc::clone(&self.ctx.client);
            let instance = self.ctx.instance.clone();
            let poll_at = self.poll_at;
            let poll = async {
                // The timer rounds up to milliseconds, so a pause of zero would take one.
                if poll_at > Instant::now() {
                    tokio::time::sleep_until(poll_at).await;
                }
                let called_at = Instant::now();
                let request = PollRequest {
                    instance: Some(&instance),
                    wait_seconds,
                    capacity,
                    running: &running,
                };
                (called_at, client.pending(&request).await)
            };
            tokio::select! {
                biased;
                // The open poll asks for no job, so a new one replaces it.
                Some(result) = self.jobs.join_next() => self.finish(result),
                // The same, while the poll is open.
                () = until_unhealthy(self.config), if capacity > 0 => self.check_health(),
                (called_at, answer) = poll => match answer {
                    Ok(answer) => {
                        self.ctx.client.trouble.ended(Caller::Poll);
                        self.limit.answered(called_at.elapsed());
                        self.receive(answer, called_at, wait_seconds, capacity);
                    }
                    Err(e) if self.limit.failed(&e, wait_seconds, called_at.elapsed(), Instant::now()) => {
                        tracing::debug!("[jobrunner] a poll was cut off: {e}");
                    }
                    Err(e) => {
                        self.ctx.client.trouble.failed(Caller::Poll, &e);
                        self.is_failing = true;
                        self.early_answers = 0;
                        let cap = if idle { LONGEST } else { self.ctx.sign_of_life_every() };
                        let wait = self.backoff.next(cap).max(e.retry_after().unwrap_or_default().min(cap));
                        tokio::select! {
                            () = self.ctx.client.pause(wait) => self.poll_at = Instant::now(),
                            Some(result) = self.jobs.join_next() => self.finish(result),
                        }
                    }
                }
            }
        }
    }

    /// How long the next poll may stay open.
    fn wait_seconds(&self, idle: bool) -> u64 {
        if self.is_failing || !self.found.is_empty() {
            // The answer itself is what matters.
            return 0;
        }
        if !idle {
            // Each poll is a sign of life, so a running job's polls are shorter than a third of its
            // lease.
            let life = self.ctx.sign_of_life_every().as_secs();
            return life.saturating_sub(1).min(BUSY_WAIT_SECONDS);
        }
        if self.problem.is_some() {
            return STATE_RETRY.as_secs();
        }
        IDLE_WAIT_SECONDS
    }

    /// Checks that jobs can run. The first time that they can, finds the jobs that earlier agents
    /// left running.
    fn check_health(&mut self) {
        if let Some(problem) = health::problem(&self.config.state_dir) {
            return self.set_problem(Some(problem));
        }
        let health = self
            .state
            .probe(PROBE_BYTES + self.room_bytes)
            .and_then(|()| match &self.handed_back {
                Some(id) => self.has_run(id).map(drop),
                None => Ok(()),
            })
            .and_then(|()| {
                if self.recovered {
                    return Ok(());
                }
                let log = self.state.start_log();
                log.restore(&self.ctx.completions, &self.ctx.run_memory, &self.boot_id)?;
                for dir in job_dir::recover(&self.state.jobs())? {
                    tracing::info!("[jobrunner] job {}: found again", dir.id());
                    self.running.insert(dir.id().to_owned(), Some(dir.clone()));
                    self.found.push(dir);
                }
                self.recovered = true;
                Ok(())
            });
        if health.is_ok() {
            self.room_bytes = 0;
        }
        self.set_problem(health.err().map(|e| e.to_string()));
    }

    /// Prepares the next job's directory and supervisor. Without them that job only starts a little
    /// later.
    fn start_ahead(&mut self) {
        if self.problem.is_some() || !self.jobs.is_empty() {
            return;
        }
        // Not on another thread, because an idle agent would keep that thread's memory.
        self.ctx.dir_pool.prepare();
        // Mostly the last job's supervisor also takes the next one. `try_wait` reaps a dead one.
        if let Some(child) = &mut self.ahead
            && matches!(child.try_wait(), Ok(None))
        {
            return;
        }
        match handle::start_ahead(&self.state.jobs()) {
            Ok(child) => self.ahead = Some(child),
            Err(e) => tracing::debug!("the next job's supervisor can't be started: {e}"),
        }
    }

    /// Removes a job that is done, and starts the next one if the server sent it.
    fn finish(&mut self, result: Result<(String, Handover), JoinError>) {
        self.poll_at = Instant::now();
        let Ok((id, handover)) = result else { return };
        self.running.remove(&id);
        if handover.supervisor.is_some() {
            self.ahead = handover.supervisor;
        }
        if let Some((job, called_at)) = handover.next {
            self.take_job(&job, called_at, 0);
            self.schedule_poll(true, called_at, 0);
        }
    }

    fn follow(&mut self, dir: JobDir, supervisor: Option<Supervisor>) {
        let id = dir.id().to_owned();
        self.running.insert(id.clone(), Some(dir.clone()));
        let ctx = Arc::clone(&self.ctx);
        // While the agent has a job, no poll asks for another.
        let is_only_one = supervisor.is_some() && self.jobs.is_empty();
        self.jobs.spawn(async move {
            let handover = job::follow(ctx, dir, supervisor, is_only_one).await;
            (id, handover)
        });
    }

    fn receive(
        &mut self,
        answer: PendingAnswer,
        called_at: Instant,
        wait_seconds: u64,
        capacity: u8,
    ) {
        self.backoff.reset();
        self.is_failing = false;
        self.ctx.set_lease(answer.lease_seconds);
        self.is_second |= answer.new_instance;
        let mut news = false;
        if !self.is_second && !answer.unproven {
            for dir in std::mem::take(&mut self.found) {
                news = true;
                self.follow(dir, None);
            }
        }
        for id in &answer.cancel {
            if let Some(Some(dir)) = self.running.get(id) {
                news |= job::cancel(dir);
            } else if self.handed_back.take_if(|job| job == id).is_some() {
                self.complete_cancelled(id.clone());
                news = true;
            }
        }
        for id in &answer.confirm {
            if let Some(Some(dir)) = self.running.get(id) {
                news |= job::confirm(dir);
            }
        }
        if let Some(job) = answer.job {
            news = true;
            if answer.cancel.contains(&job.id) && !self.running.contains_key(&job.id) {
                self.complete_cancelled(job.id);
            } else if capacity == 0 {
                tracing::warn!(
                    "[jobrunner] job {} was not requested and is ignored",
                    job.id
                );
            } else {
                self.take_job(&job, called_at, wait_seconds);
            }
        } else if self.jobs.is_empty() {
            self.check_health();
        }
        self.schedule_poll(news, called_at, wait_seconds);
    }

    /// Sets when the next poll begins. If a server answers at once without news, because a cancel
    /// stays listed or because it ignores `wait`, polls become rarer, down to one a second.
    fn schedule_poll(&mut self, news: bool, called_at: Instant, wait_seconds: u64) {
        let now = Instant::now();
        let has_waited =
            now.duration_since(called_at) >= Duration::from_secs(wait_seconds.clamp(1, 2));
        self.early_answers = if news || has_waited {
            0
        } else {
            self.early_answers + 1
        };
        self.poll_at = now + early_pause(self.early_answers);
        if !self.jobs.is_empty() {
            if news {
                self.poll_at = self.poll_at.max(now + FIRST_CANCEL_POLL);
            }
            self.poll_at = self
                .poll_at
                .min(now + self.ctx.sign_of_life_every().mul_f64(0.8));
        }
    }

    /// Records and reports why no job can run, or that jobs can run.
    fn set_problem(&mut self, now: Option<String>) {
        match (&now, &self.problem) {
            (Some(error), before) if before.as_ref() != Some(error) => {
                tracing::error!("{error}; no jobs are taken until this is fixed");
            }
            (None, Some(_)) => tracing::info!("jobs can run again and are taken"),
            _ => {}
        }
        self.shared_report
            .change(|report| report.problem.clone_from(&now));
        self.problem = now;
    }
}

/// Waits until a job could no longer run here.
async fn until_unhealthy(config: &Config) {
    loop {
        tokio::time::sleep(STATE_RETRY).await;
        if health::problem(&config.state_dir).is_some() {
            return;
        }
    }
}

/// The pause after this many answers in a row that came at once and without news.
fn early_pause(answers: u32) -> Duration {
    match answers {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(50 << n.min(7)).min(Duration::from_secs(1)),
    }
}
