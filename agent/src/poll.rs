//! The loop that claims jobs and hears of cancels. One poll is open at a time, and one job runs at
//! a time.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use hyprbox_protocol::{ClaimedJob, CompleteRequest, PendingAnswer, to_hex};
use ring::digest::{SHA256, digest};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::backoff::{Backoff, LONGEST};
use crate::client::{Client, PollRequest};
use crate::config::Config;
use crate::health;
use crate::heartbeat::Reported;
use crate::host;
use crate::job::context::Context;
use crate::job::script_env::script_env;
use crate::job::{self, Left};
use crate::poll_limit::PollLimit;
use crate::state::job_dir::{self, Accepted, JobDir, Spec};
use crate::state::{State, StateError};
use crate::supervisor::handle::{self, Noted, Supervisor};
use crate::trouble::Caller;

/// How long an idle poll stays open at the server.
const IDLE_WAIT_SECONDS: u64 = 30;
/// The longest that a poll for cancels stays open, however long the lease.
const BUSY_WAIT_SECONDS: u64 = 20;
/// A job that ends sooner than this needs no poll for its cancel.
const FIRST_CANCEL_POLL: Duration = Duration::from_millis(300);
/// Between two looks at a state folder that can't be used.
const STATE_RETRY: Duration = Duration::from_secs(5);

/// Polls for ever. The state folder may become usable only later; `reported` says so.
pub(crate) async fn work(
    config: &Config,
    client: Arc<Client>,
    opened: Result<State, StateError>,
    reported: &Reported,
) {
    let mut opened = opened;
    let mut told = String::new();
    let mut backoff = Backoff::default();
    let mut state = loop {
        let error = match opened {
            Ok(state) => break state,
            Err(e) => e.to_string(),
        };
        reported.change(|report| report.problem = Some(error.clone()));
        if told != error {
            tracing::error!("{error}; no jobs are taken until this is mended");
            told = error;
        }
        // Without an instance id nothing can be claimed; the poll is made to find a bad token.
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
    client.set_process(state.process());
    loop {
        reported.change(|report| {
            report.instance = Some(state.instance().to_owned());
            report.process = Some(state.process().to_owned());
            report.problem = None;
        });
        let ctx = Arc::new(Context::new(Arc::clone(&client), &state));
        let poller = Poller {
            config,
            reported,
            state,
            ctx,
            jobs: JoinSet::new(),
            running: BTreeMap::new(),
            boot_id: host::boot_id(),
            recovered: false,
            ahead: None,
            unhealthy: None,
            is_second: false,
            backoff: Backoff::default(),
            early_answers: 0,
            poll_at: Instant::now(),
            limit: PollLimit::default(),
        };
        state = poller.run().await;
        renew(&mut state).await;
    }
}

/// Makes the state folder an instance of its own, however long that takes.
async fn renew(state: &mut State) {
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
    reported: &'a Reported,
    state: State,
    ctx: Arc<Context>,
    jobs: JoinSet<(String, Left)>,
    /// Jobs whose end is not acknowledged; without a folder where they could not even be written
    /// down.
    running: BTreeMap<String, Option<JobDir>>,
    /// This boot of the machine.
    boot_id: String,
    /// True once the jobs of earlier agents are taken up.
    recovered: bool,
    /// The supervisor of the next job.
    ahead: Option<Child>,
    /// What is wrong with the state folder now.
    unhealthy: Option<String>,
    /// The server knows another live process of this instance.
    is_second: bool,
    backoff: Backoff,
    /// How many answers in a row came at once and brought nothing.
    early_answers: u32,
    /// No poll begins before.
    poll_at: Instant,
    /// How long the path lets polls stay open.
    limit: PollLimit,
}

impl Poller<'_> {
    /// Polls until this process must become an instance of its own.
    async fn run(mut self) -> State {
        self.look_at_state();
        loop {
            self.ctx.reap();
            if self.is_second && self.jobs.is_empty() {
                if let Some(mut child) = self.ahead.take() {
                    // Its input closes first, so that it ends at once.
                    let _ended = child.wait();
                }
                return self.state;
            }
            self.start_ahead();
            let idle = self.jobs.is_empty();
            let capacity = u8::from(idle && self.unhealthy.is_none());
            let wait_seconds = self.limit.apply(self.wait_seconds(idle), Instant::now());
            let running: Vec<String> = self.running.keys().cloned().collect();
            let client = Arc::clone(&self.ctx.client);
            let instance = self.ctx.instance.clone();
            let poll_at = self.poll_at;
            let poll = async {
                // The timer counts whole milliseconds: a pause of nothing would be one.
                if poll_at > Instant::now() {
                    tokio::time::sleep_until(poll_at).await;
                }
                let asked_at = Instant::now();
                let request = PollRequest {
                    instance: Some(&instance),
                    wait_seconds,
                    capacity,
                    running: &running,
                };
                (asked_at, client.pending(&request).await)
            };
            tokio::select! {
                biased;
                // The poll that is open takes no job, so it is dropped for one that does.
                Some(ended) = self.jobs.join_next() => self.end(ended),
                // What can be seen without a poll, so that no job is claimed that can't run.
                () = trouble(self.config), if capacity > 0 => self.look_at_state(),
                (asked_at, answer) = poll => match answer {
                    Ok(answer) => {
                        self.ctx.client.trouble.ended(Caller::Poll);
                        self.limit.answered(asked_at.elapsed());
                        self.hear(answer, asked_at, wait_seconds, capacity);
                    }
                    Err(e) if self.limit.failed(&e, wait_seconds, asked_at.elapsed(), Instant::now()) => {
                        tracing::debug!("[jobrunner] a poll was cut: {e}");
                    }
                    Err(e) => {
                        self.ctx.client.trouble.failed(Caller::Poll, &e);
                        self.early_answers = 0;
                        let cap = if idle { LONGEST } else { self.ctx.life_every() };
                        let wait = self.backoff.next(cap).max(e.retry_after().unwrap_or_default().min(cap));
                        tokio::select! {
                            () = self.ctx.client.pause(wait) => self.poll_at = Instant::now(),
                            Some(ended) = self.jobs.join_next() => self.end(ended),
                        }
                    }
                }
            }
        }
    }

    /// How long the next poll may stay open.
    fn wait_seconds(&self, idle: bool) -> u64 {
        if !idle {
            // Life is shown by each poll, so a running job's polls are shorter than a third of its
            // lease.
            let life = self.ctx.life_every().as_secs();
            return life.saturating_sub(1).min(BUSY_WAIT_SECONDS);
        }
        if self.unhealthy.is_some() {
            return STATE_RETRY.as_secs();
        }
        IDLE_WAIT_SECONDS
    }

    /// Looks whether jobs can be written down, and takes up those that went on without an agent,
    /// once after its start.
    fn look_at_state(&mut self) {
        if let Some(problem) = health::problem(&self.config.state_dir) {
            return self.note_health(Some(problem));
        }
        let health = self.state.probe().and_then(|()| {
            if self.recovered {
                return Ok(());
            }
            let starts = self.state.starts();
            starts.restore(&self.ctx.ends, &self.boot_id)?;
            for dir in job_dir::recover(&self.state.jobs())? {
                tracing::info!("[jobrunner] job {}: found again", dir.id());
                self.follow(dir, None);
            }
            self.recovered = true;
            Ok(())
        });
        self.note_health(health.err().map(|e| e.to_string()));
    }

    /// Sees that the next job's folder and supervisor are there already. Without them that job only
    /// starts a little later.
    fn start_ahead(&mut self) {
        if self.unhealthy.is_some() || !self.jobs.is_empty() {
            return;
        }
        // Not on a thread of its own, whose memory an agent that waits would keep: only where no
        // job has left a folder.
        self.ctx.folders.make_ahead();
        // A job's supervisor mostly takes the next one, too. One that was killed leaves no zombie.
        if let Some(child) = &mut self.ahead
            && matches!(child.try_wait(), Ok(None))
        {
            return;
        }
        match handle::start_ahead(&self.state.jobs()) {
            Ok(child) => self.ahead = Some(child),
            Err(e) => tracing::debug!("no supervisor can be started ahead of its job: {e}"),
        }
    }

    /// Notes that a job is done with, and begins the next one where the server gave it along.
    fn end(&mut self, ended: Result<(String, Left), JoinError>) {
        self.poll_at = Instant::now();
        let Ok((id, left)) = ended else { return };
        self.running.remove(&id);
        if left.supervisor.is_some() {
            self.ahead = left.supervisor;
        }
        if let Some((job, asked_at)) = left.next {
            self.take(&job, asked_at, 0);
            self.pace(true, asked_at, 0);
        }
    }

    fn follow(&mut self, dir: JobDir, supervisor: Option<Supervisor>) {
        let id = dir.id().to_owned();
        self.running.insert(id.clone(), Some(dir.clone()));
        let ctx = Arc::clone(&self.ctx);
        // While there is one, no poll takes another.
        let is_only_one = supervisor.is_some() && self.jobs.is_empty();
        self.jobs.spawn(async move {
            let left = job::follow(ctx, dir, supervisor, is_only_one).await;
            (id, left)
        });
    }

    fn hear(&mut self, answer: PendingAnswer, asked_at: Instant, wait_seconds: u64, capacity: u8) {
        self.backoff.reset();
        self.ctx.set_lease(answer.lease_seconds);
        self.is_second |= answer.new_instance;
        let mut news = false;
        for id in &answer.cancel {
            if let Some(Some(dir)) = self.running.get(id) {
                news |= job::cancel(dir);
            }
        }
        if let Some(job) = answer.job {
            news = true;
            if capacity == 0 {
                tracing::warn!("[jobrunner] job {} came unasked and is left alone", job.id);
            } else {
                self.take(&job, asked_at, wait_seconds);
            }
        } else if self.jobs.is_empty() {
            self.look_at_state();
        }
        self.pace(news, asked_at, wait_seconds);
    }

    /// Takes a job that was asked for by a call that could stay open so long.
    fn take(&mut self, job: &ClaimedJob, asked_at: Instant, wait_seconds: u64) {
        if self.running.contains_key(&job.id) {
            tracing::warn!("[jobrunner] job {} came unasked and is left alone", job.id);
        } else if asked_at.elapsed() >= Duration::from_secs(wait_seconds) + self.ctx.lease() {
            tracing::warn!(
                "[jobrunner] job {} came after its lease and is left alone",
                job.id
            );
        } else {
            self.begin(job);
        }
    }

    /// When the next poll may begin. A server that answers at once without news (because a cancel
    /// stays listed, or as it doesn't know `wait`) is asked ever less often, down to once a second.
    fn pace(&mut self, news: bool, asked_at: Instant, wait_seconds: u64) {
        let now = Instant::now();
        let in_time = now.duration_since(asked_at) >= Duration::from_secs(wait_seconds.clamp(1, 2));
        self.early_answers = if news || in_time {
            0
        } else {
            self.early_answers + 1
        };
        self.poll_at = now + early_pause(self.early_answers);
        if !self.jobs.is_empty() {
            if news {
                self.poll_at = self.poll_at.max(now + FIRST_CANCEL_POLL);
            }
            self.poll_at = self.poll_at.min(now + self.ctx.life_every().mul_f64(0.8));
        }
    }

    fn note_health(&mut self, now: Option<String>) {
        match (&now, &self.unhealthy) {
            (Some(error), known) if known.as_ref() != Some(error) => {
                tracing::error!("{error}; no jobs are taken until this is mended");
            }
            (None, Some(_)) => tracing::info!("jobs can run again and are taken"),
            _ => {}
        }
        self.reported
            .change(|report| report.problem.clone_from(&now));
        self.unhealthy = now;
    }

    /// Writes a claimed job down and starts it.
    fn begin(&mut self, job: &ClaimedJob) {
        if !job_dir::is_job_id(&job.id) {
            tracing::error!("[jobrunner] a job with an id that is none: {:?}", job.id);
            return;
        }
        if let Some(end) = self.ctx.ends.find(&job.id) {
            tracing::warn!(
                "[jobrunner] job {} has ended here before: its end is told again, and its script does not start",
                job.id
            );
            return self.tell(job.id.clone(), end);
        }
        if !is_whole(job) {
            let error = "the script that arrived is not the one that was queued: its SHA-256 is not the job's scriptSha256; it was not started";
            return self.refuse(job.id.clone(), error.to_owned());
        }
        let spec = Spec {
            id: job.id.clone(),
            preset: job.preset.clone(),
            timeout_seconds: job.timeout_seconds,
            env: script_env(self.config, &job.id),
            boot_id: self.boot_id.clone(),
        };
        // First, as the disk takes its time: it is not in the way of what follows.
        let noted = self.note_start(&spec);
        let made = self.ctx.folders.take();
        let started = match job_dir::accept(&self.state.jobs(), job, &spec, made) {
            Ok(Accepted::New(dir)) => {
                Supervisor::start(&dir, &job.secrets, self.ahead.take(), noted)
                    .map(|supervisor| (dir, supervisor))
                    .map_err(|e| format!("the job's supervisor can't be started: {e}"))
            }
            Ok(Accepted::StartedBefore) => {
                tracing::warn!(
                    "[jobrunner] job {} has started before and never does again",
                    job.id
                );
                return;
            }
            Err(e) => {
                let text = e.to_string();
                self.note_health(Some(text.clone()));
                Err(text)
            }
        };
        match started {
            Ok((dir, supervisor)) => {
                tracing::info!("[jobrunner] job {}: {} started", job.id, job.preset);
                self.follow(dir, Some(supervisor));
            }
            Err(error) => {
                if let Err(e) = self.state.starts().forget(&job.id) {
                    tracing::debug!(
                        "[jobrunner] job {}: its start is not forgotten: {e}",
                        job.id
                    );
                }
                self.refuse(job.id.clone(), error);
            }
        }
    }

    /// Notes the start of a job for the supervisor that waits for it; where it can't be, or none
    /// waits, the supervisor does.
    fn note_start(&self, spec: &Spec) -> Option<Noted> {
        self.ahead.as_ref()?;
        let journal = self.state.starts().note(&spec.id, &spec.boot_id).ok()?;
        Some(Noted::sync(journal))
    }

    /// Tells the server that a job's script never ran.
    fn refuse(&mut self, id: String, error: String) {
        tracing::error!("[jobrunner] job {id}: {error}");
        let end = CompleteRequest {
            error_msg: Some(error),
            stdout_bytes: Some(0),
            stderr_bytes: Some(0),
            ..CompleteRequest::default()
        };
        self.tell(id, end);
    }

    /// Tells the server how a job ended that has no folder here.
    fn tell(&mut self, id: String, end: CompleteRequest) {
        self.running.insert(id.clone(), None);
        let ctx = Arc::clone(&self.ctx);
        self.jobs.spawn(async move {
            job::complete(&ctx, &id, &end).await;
            (id, Left::default())
        });
    }
}

/// Whether the script is the one that the job's digest names; a server that sends no digest is
/// believed.
fn is_whole(job: &ClaimedJob) -> bool {
    job.script_sha256.is_empty()
        || job.script_sha256 == to_hex(digest(&SHA256, job.script.as_bytes()))
}

/// Done once a job could not run here any more.
async fn trouble(config: &Config) {
    loop {
        tokio::time::sleep(STATE_RETRY).await;
        if health::problem(&config.state_dir).is_some() {
            return;
        }
    }
}

/// The pause after so many answers in a row that came at once and brought nothing.
fn early_pause(answers: u32) -> Duration {
    match answers {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(50 << n.min(7)).min(Duration::from_secs(1)),
    }
}
