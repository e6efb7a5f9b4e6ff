//! Metrics for `/metrics`. Labels have few values: never the id of a job or a user.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::clock::Timestamp;
use crate::store::job::{Job, JobStatus};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    preset: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPreset {
    preset: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

/// Labels of a gauge that is left out until it has a value.
type NoLabels = [(&'static str, &'static str); 0];

/// The metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    queued: Family<ByPreset, Counter>,
    finished: Family<Outcome, Counter>,
    queue_seconds: Histogram,
    duration_seconds: Histogram,
    log_bytes: Counter,
    viewers: Gauge,
    jobs: Family<ByStatus, Gauge>,
    nodes: Family<ByStatus, Gauge>,
    nodes_with_problem: Gauge,
    backups: Family<ByOutcome, Counter>,
    backup_last: Family<NoLabels, Gauge>,
    backup_size: Family<NoLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.005, 3.0, 14));
        let inner = Inner {
            registry: Registry::with_prefix("hyprbox"),
            queued: Family::default(),
            finished: Family::default(),
            queue_seconds: seconds(),
            duration_seconds: seconds(),
            log_bytes: Counter::default(),
            viewers: Gauge::<i64, AtomicI64>::default(),
            jobs: Family::default(),
            nodes: Family::default(),
            nodes_with_problem: Gauge::<i64, AtomicI64>::default(),
            backups: Family::default(),
            backup_last: Family::default(),
            backup_size: Family::default(),
        };
        Self(Arc::new(inner.registered()))
    }
}

impl Inner {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "jobs_queued",
            "Jobs queued since the start, by preset",
            self.queued.clone(),
        );
        registry.register(
            "jobs_finished",
            "Jobs that ended since the start, by preset and outcome",
            self.finished.clone(),
        );
        registry.register_with_unit(
            "job_queue",
            "Time from queue to claim",
            Unit::Seconds,
            self.queue_seconds.clone(),
        );
        registry.register_with_unit(
            "job_duration",
            "Time from claim to end",
            Unit::Seconds,
            self.duration_seconds.clone(),
        );
        registry.register_with_unit(
            "log",
            "Output that arrived since the start",
            Unit::Bytes,
            self.log_bytes.clone(),
        );
        registry.register("sse_clients", "Open live tails", self.viewers.clone());
        registry.register("jobs", "Jobs in the database, by status", self.jobs.clone());
        registry.register("nodes", "Nodes, by status", self.nodes.clone());
        registry.register(
            "nodes_with_problem",
            "Nodes whose agent reports that they can't run jobs",
            self.nodes_with_problem.clone(),
        );
        registry.register(
            "backups",
            "Scheduled backups since the start, by outcome",
            self.backups.clone(),
        );
        registry.register_with_unit(
            "backup_last_success_timestamp",
            "When the newest backup was taken",
            Unit::Seconds,
            self.backup_last.clone(),
        );
        registry.register_with_unit(
            "backup_size",
            "Size of the newest backup that was taken since the start",
            Unit::Bytes,
            self.backup_size.clone(),
        );
        self
    }
}

/// An open live tail, counted until it is dropped.
pub struct Viewing(Gauge);

impl Drop for Viewing {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a queued job.
    pub fn queued(&self, preset: &str, jobs: u64) {
        self.0
            .queued
            .get_or_create(&ByPreset {
                preset: preset.to_owned(),
            })
            .inc_by(jobs);
    }

    /// Records the waiting time of a claimed job.
    pub fn claimed(&self, created_at: Timestamp, started_at: Option<Timestamp>) {
        if let Some(started_at) = started_at {
            self.0
                .queue_seconds
                .observe(seconds_between(created_at, started_at));
        }
    }

    /// Counts an ended job and records its duration.
    pub fn finished(&self, job: &Job) {
        let outcome = match job.status {
            JobStatus::Succeeded => "succeeded",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
            // A cancel was requested, but the job has not ended.
            JobStatus::Queued | JobStatus::Running => return,
        };
        self.0
            .finished
            .get_or_create(&Outcome {
                preset: job.preset.clone(),
                outcome,
            })
            .inc();
        if let (Some(started_at), Some(finished_at)) = (job.started_at, job.finished_at) {
            self.0
                .duration_seconds
                .observe(seconds_between(started_at, finished_at));
        }
    }

    /// Counts output that arrived.
    pub fn output(&self, bytes: u64) {
        self.0.log_bytes.inc_by(bytes);
    }

    /// Records the newest backup from before the start.
    pub fn set_last_backup(&self, at: Timestamp) {
        let seconds = at.as_millis() / 1_000;
        self.0.backup_last.get_or_create(&[]).set(seconds);
    }

    /// Counts a scheduled backup that was taken.
    pub fn backup_succeeded(&self, at: Timestamp, bytes: u64) {
        self.set_last_backup(at);
        let size = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.backup_size.get_or_create(&[]).set(size);
        let outcome = "succeeded";
        self.0.backups.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts a scheduled backup that failed.
    pub fn backup_failed(&self) {
        let outcome = "failed";
        self.0.backups.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts an open live tail until the returned guard is dropped.
    pub fn viewing(&self) -> Viewing {
        self.0.viewers.inc();
        Viewing(self.0.viewers.clone())
    }

    /// Returns the page, with the gauges set to the caller's counts.
    pub fn page(
        &self,
        jobs: &[(JobStatus, u64)],
        (online, nodes): (usize, usize),
        problems: u64,
    ) -> String {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (status, count) in jobs {
            self.0
                .jobs
                .get_or_create(&ByStatus {
                    status: status.as_str(),
                })
                .set(gauge(*count));
        }
        self.0
            .nodes
            .get_or_create(&ByStatus { status: "ONLINE" })
            .set(gauge(online as u64));
        self.0
            .nodes
            .get_or_create(&ByStatus { status: "OFFLINE" })
            .set(gauge((nodes - online) as u64));
        self.0.nodes_with_problem.set(gauge(problems));
        let mut page = String::new();
        match text::encode(&mut page, &self.0.registry) {
            Ok(()) => in_prometheus_text(&page),
            // Writing to a String does not fail.
            Err(_) => String::new(),
        }
    }
}

/// Converts OpenMetrics, which the library writes, to Prometheus's text format, which every reader
/// understands. There a counter and its sample have the same name, and there are no units and no
/// end mark.
fn in_prometheus_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            help = about.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|about| about.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take() {
                text += &format!("# HELP {name}{suffix} {words}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

fn seconds_between(start: Timestamp, end: Timestamp) -> f64 {
    end.millis_since(start).max(0) as f64 / 1_000.0
}
