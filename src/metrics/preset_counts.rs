//! Jobs by preset. People save as many presets as they like, so only some have a label of their
//! own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::grow_only_map::GrowOnlyMap;
use super::histogram::Histogram;

/// How many presets have a label of their own: the first ones since the start.
const PRESETS_MAX: usize = 64;
/// The label of all others. It can't be a preset's name.
const OTHERS: &str = "_other";
/// From the second that a small script takes to a backup of the night, in seconds.
const DURATION_BOUNDS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0,
    14_400.0,
];

/// How a job ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
}

impl Outcome {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Succeeded, "succeeded"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
    ];
}

/// The counts of one preset.
#[derive(Debug)]
struct Counts {
    queued: AtomicU64,
    finished: [AtomicU64; 3],
    duration: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            queued: AtomicU64::new(0),
            finished: Default::default(),
            duration: Histogram::new(DURATION_BOUNDS),
        }
    }
}

/// Counts jobs by preset without a lock.
#[derive(Debug)]
pub(super) struct PresetCounts {
    presets: GrowOnlyMap<String, Counts>,
    others: Counts,
}

impl Default for PresetCounts {
    fn default() -> Self {
        Self {
            presets: GrowOnlyMap::with_capacity(PRESETS_MAX),
            others: Counts::default(),
        }
    }
}

impl PresetCounts {
    pub(super) fn count_queued(&self, preset: &str, jobs: u64) {
        self.of(preset).queued.fetch_add(jobs, Ordering::Relaxed);
    }

    /// `duration`: from the claim to the end, if the job was claimed.
    pub(super) fn count_finished(
        &self,
        preset: &str,
        outcome: Outcome,
        duration: Option<Duration>,
    ) {
        let counts = self.of(preset);
        counts.finished[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(duration) = duration {
            counts.duration.observe(duration);
        }
    }

    fn of(&self, preset: &str) -> &Counts {
        let counts = self.presets.find_or_add(
            &preset,
            |known| known == preset,
            || (preset.to_owned(), Counts::default()),
        );
        counts.unwrap_or(&self.others)
    }
}

impl Collector for PresetCounts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut presets: Vec<(&str, &Counts)> = self
            .presets
            .entries()
            .map(|(preset, counts)| (preset.as_str(), counts))
            .collect();
        presets.sort_unstable_by_key(|(preset, _)| *preset);
        presets.push((OTHERS, &self.others));
        let mut family = encoder.encode_descriptor(
            "jobs_queued",
            "Jobs queued since the start, by preset",
            None,
            MetricType::Counter,
        )?;
        for (preset, counts) in &presets {
            let count = ConstCounter::new(counts.queued.load(Ordering::Relaxed));
            count.encode(family.encode_family(&[("preset", *preset)])?)?;
        }
        let mut family = encoder.encode_descriptor(
            "jobs_finished",
            "Jobs that ended since the start, by preset and outcome",
            None,
            MetricType::Counter,
        )?;
        for (preset, counts) in &presets {
            for (index, (_, outcome)) in Outcome::ALL.iter().enumerate() {
                let count = ConstCounter::new(counts.finished[index].load(Ordering::Relaxed));
                let labels = [("preset", *preset), ("outcome", *outcome)];
                count.encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "job_duration",
            "Time from claim to end, by preset",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (preset, counts) in &presets {
            let labels = [("preset", *preset)];
            counts.duration.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
