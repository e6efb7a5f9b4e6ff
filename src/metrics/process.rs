//! The server's process, with the names that Prometheus' own libraries use.

use std::fmt::Error;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::clock::{self, Timestamp};

/// Reads the process's figures at each scrape. Figures that the system does not provide are left
/// out.
#[derive(Debug)]
pub(super) struct ProcessFigures {
    started_at: Timestamp,
}

impl ProcessFigures {
    /// Counts from now as the start of the process.
    pub(super) fn starting_now() -> Self {
        Self {
            started_at: clock::now(),
        }
    }
}

impl Collector for ProcessFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            let about = "Processor time that the server has used";
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor(
                "cpu",
                about,
                Some(&Unit::Seconds),
                kind,
            )?)?;
        }
        let mut gauge = |name: &str, about: &str, unit: Option<&Unit>, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let metric = ConstGauge::new(value);
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor(name, about, unit, kind)?)
        };
        let started_at = self.started_at.as_millis() as f64 / 1_000.0;
        let about = "When the server started";
        gauge("start_time", about, Some(&Unit::Seconds), Some(started_at))?;
        gauge("open_fds", "Open files and connections", None, open_files())?;
        let about = "The most files and connections that may be open";
        gauge("max_fds", about, None, open_files_max())?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| number_after(&status, name);
        let bytes = |name: &str| field(name).map(|kib| kib * 1_024.0);
        let about = "Memory in RAM";
        gauge(
            "resident_memory",
            about,
            Some(&Unit::Bytes),
            bytes("VmRSS:"),
        )?;
        let about = "Reserved addresses";
        gauge(
            "virtual_memory",
            about,
            Some(&Unit::Bytes),
            bytes("VmSize:"),
        )?;
        gauge("threads", "Threads", None, field("Threads:"))
    }
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(us as f64 / 1e6)
}

fn open_files() -> Option<f64> {
    // The directory itself is open while it is read.
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(files.saturating_sub(1) as f64)
}

fn open_files_max() -> Option<f64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft as f64)
}

fn number_after(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
