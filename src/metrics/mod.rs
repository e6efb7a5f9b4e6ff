//! Metrics for `/metrics`. Labels have few values: never the id of a job or a user, nor a path.

mod grow_only_map;
mod histogram;
mod preset_counts;
mod process;
mod request_counts;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hyprbox_protocol::Refusal;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

pub use histogram::Histogram;

use self::preset_counts::{Outcome, PresetCounts};
use self::process::ProcessFigures;
use self::request_counts::RequestCounts;
use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::job::{Job, JobStatus};

/// From a claim by a waiting poll to the night that a job waits for its node, in seconds.
const QUEUE_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0,
    43_200.0,
];

/// Whether anything is counted. The benchmark compares with a build that counts nothing.
const COUNTS: bool = cfg!(not(hyprbox_without_metrics));

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    database: &'static str,
}

/// Labels of a gauge that is left out until it has a value.
type NoLabels = [(&'static str, &'static str); 0];

/// The metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    process: Registry,
    requests: Arc<RequestCounts>,
    presets: Arc<PresetCounts>,
    refused: Family<ByReason, Counter>,
    queue_seconds: Histogram,
    log_bytes: Counter,
    viewers: Gauge,
    jobs: Family<ByStatus, Gauge>,
    oldest_claimable: Gauge<f64, AtomicU64>,
    nodes: Family<ByStatus, Gauge>,
    nodes_paused: Gauge,
    nodes_with_problem: Gauge,
    agents_behind: Gauge,
    database_bytes: Gauge,
    backups: Family<ByOutcome, Counter>,
    backup_last: Family<NoLabels, Gauge>,
    backup_size: Family<NoLabels, Gauge>,
}

/// What a page shows of the database and the nodes at the time of the scrape.
#[derive(Debug)]
pub struct Snapshot {
    /// Jobs that have not ended.
    pub jobs: Vec<(JobStatus, u64)>,
    /// For how long the oldest job has waited that an agent could claim; zero if there is none.
    pub oldest_claimable: Duration,
    /// ONLINE nodes, and all nodes.
    pub nodes: (usize, usize),
    pub nodes_paused: u64,
    /// Nodes that report that they can't run jobs.
    pub nodes_with_problem: u64,
    /// Nodes whose agent is older than this server.
    pub agents_behind: u64,
    pub database_bytes: u64,
}

impl Metrics {
    /// Metrics of a server that uses this store.
    pub fn new(store: &Store) -> Self {
        let inner = Inner {
            registry: Registry::with_prefix("hyprbox"),
            process: Registry::with_prefix("process"),
            requests: Arc::default(),
            presets: Arc::default(),
            refused: Family::default(),
            queue_seconds: Histogram::new(QUEUE_BOUNDS),
            log_bytes: Counter::default(),
            viewers: Gauge::<i64, AtomicI64>::default(),
            jobs: Family::default(),
            oldest_claimable: Gauge::default(),
            nodes: Family::default(),
            nodes_paused: Gauge::default(),
            nodes_with_problem: Gauge::default(),
            agents_behind: Gauge::default(),
            database_bytes: Gauge::default(),
            backups: Family::default(),
            backup_last: Family::default(),
            backup_size: Family::default(),
        };
        Self(Arc::new(
            inner.with_jobs().with_nodes().with_operations(store),
        ))
    }
}

impl Inner {
    fn with_jobs(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(Arc::clone(&self.presets)));
        registry.register(
            "jobs_refused",
            "Jobs that were refused since the start because of their signature, by reason",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "job_queue",
            "Time from queue to claim",
            Unit::Seconds,
            self.queue_seconds.clone(),
        );
        registry.register_with_unit(
            "log",
            "Output that arrived since the start",
            Unit::Bytes,
            self.log_bytes.clone(),
        );
        registry.register("sse_clients", "Open live tails", self.viewers.clone());
        registry.register("jobs", "Jobs in the database, by status", self.jobs.clone());
        registry.register_with_unit(
            "oldest_claimable_job_age",
            "Time since the oldest job was queued that an agent could claim; 0 if there is none",
            Unit::Seconds,
            self.oldest_claimable.clone(),
        );
        self
    }

    fn with_nodes(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("nodes", "Nodes, by status", self.nodes.clone());
        registry.register(
            "nodes_paused",
            "Nodes whose agents get no jobs, because somebody paused them",
            self.nodes_paused.clone(),
        );
        registry.register(
            "nodes_with_problem",
            "Nodes whose agent reports that they can't run jobs",
            self.nodes_with_problem.clone(),
        );
        registry.register(
            "agents_behind",
            "Nodes whose agent is older than this server",
            self.agents_behind.clone(),
        );
        self
    }

    fn with_operations(mut self, store: &Store) -> Self {
        let build = Family::<Build, Gauge>::default();
        let labels = Build {
            version: env!("CARGO_PKG_VERSION"),
            database: if store.is_shared() {
                "postgres"
            } else {
                "sqlite"
            },
        };
        build.get_or_create(&labels).set(1);
        let registry = &mut self.registry;
        registry.register(
            "build_info",
            "The server's version and kind of database",
            build,
        );
        registry.register_collector(Box::new(Arc::clone(&self.requests)));
        registry.register_with_unit(
            "database_size",
            "Size of the database",
            Unit::Bytes,
            self.database_bytes.clone(),
        );
        registry.register_with_unit(
            "database_write_duration",
            "Time from the request of a write to its durable commit",
            Unit::Seconds,
            store.write_latency(),
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
        let process = Box::new(ProcessFigures::starting_now());
        self.process.register_collector(process);
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

/// Middleware: counts each answer by the route that matched the request.
pub async fn count_requests(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    if !COUNTS {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    metrics.answered(route, &method, response.status());
    response
}

impl Metrics {
    /// Counts an answered request. `route`: its template, if one matched.
    pub fn answered(&self, route: Option<&str>, method: &Method, status: StatusCode) {
        if COUNTS {
            self.0.requests.count(route, method, status);
        }
    }

    /// Counts queued jobs.
    pub fn queued(&self, preset: &str, jobs: u64) {
        if COUNTS {
            self.0.presets.count_queued(preset, jobs);
        }
    }

    /// Records the waiting time of a claimed job.
    pub fn claimed(&self, created_at: Timestamp, started_at: Option<Timestamp>) {
        if let Some(started_at) = started_at {
            let waited = between(created_at, started_at);
            self.0.queue_seconds.observe(waited);
        }
    }

    /// Counts an ended job and records its duration.
    pub fn finished(&self, job: &Job) {
        let outcome = match job.status {
            JobStatus::Succeeded => Outcome::Succeeded,
            JobStatus::Failed => Outcome::Failed,
            JobStatus::Cancelled => Outcome::Cancelled,
            // A cancel was requested, but the job has not ended.
            JobStatus::Queued | JobStatus::Running => return,
        };
        if !COUNTS {
            return;
        }
        let duration = match (job.started_at, job.finished_at) {
            (Some(started_at), Some(finished_at)) => Some(between(started_at, finished_at)),
            _ => None,
        };
        let presets = &self.0.presets;
        presets.count_finished(&job.preset, outcome, duration);
    }

    /// Counts a job that was refused because of its signature.
    pub fn refused(&self, reason: Refusal) {
        let reason = reason.as_str();
        self.0.refused.get_or_create(&ByReason { reason }).inc();
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

    /// Shows that backups are scheduled: both counters begin at zero, so that an alert sees the
    /// first failure.
    pub fn expect_backups(&self) {
        for outcome in ["succeeded", "failed"] {
            let backups = self.0.backups.get_or_create(&ByOutcome { outcome });
            backups.inc_by(0);
        }
    }

    /// Counts a scheduled backup that was taken.
    pub fn backup_succeeded(&self, at: Timestamp, bytes: u64) {
        self.set_last_backup(at);
        self.0.backup_size.get_or_create(&[]).set(signed(bytes));
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

    /// Returns the page, with the gauges set to the snapshot.
    pub fn page(&self, snapshot: &Snapshot) -> String {
        let inner = &self.0;
        for (status, count) in &snapshot.jobs {
            let status = status.as_str();
            let jobs = inner.jobs.get_or_create(&ByStatus { status });
            jobs.set(signed(*count));
        }
        let oldest_claimable = snapshot.oldest_claimable.as_secs_f64();
        inner.oldest_claimable.set(oldest_claimable);
        let (online, nodes) = snapshot.nodes;
        for (status, count) in [("ONLINE", online), ("OFFLINE", nodes - online)] {
            let nodes = inner.nodes.get_or_create(&ByStatus { status });
            nodes.set(signed(count as u64));
        }
        for (gauge, value) in [
            (&inner.nodes_paused, snapshot.nodes_paused),
            (&inner.nodes_with_problem, snapshot.nodes_with_problem),
            (&inner.agents_behind, snapshot.agents_behind),
            (&inner.database_bytes, snapshot.database_bytes),
        ] {
            gauge.set(signed(value));
        }
        let mut page = String::new();
        let written = text::encode(&mut page, &inner.registry)
            .and_then(|()| text::encode(&mut page, &inner.process));
        match written {
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

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(end.millis_since(start)).unwrap_or(0))
}
