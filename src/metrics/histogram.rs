//! A histogram of durations without a lock: the library's histogram locks a mutex for each
//! observation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Durations, counted by upper bounds. Clones count together.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Upper bounds in seconds, ascending.
    bounds: &'static [f64],
    /// One per bound, and one for longer durations.
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these upper bounds in seconds, ascending.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(Counts {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }))
    }

    /// Counts a duration.
    pub(crate) fn observe(&self, duration: Duration) {
        if !super::COUNTS {
            return;
        }
        let seconds = duration.as_secs_f64();
        let bucket = self.0.bounds.partition_point(|bound| *bound < seconds);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self
            .0
            .buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // The sum of the buckets, so that both agree although observations go on.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.0.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::Histogram;

    #[test]
    fn a_duration_counts_up_to_and_including_its_bound() {
        let histogram = Histogram::new(&[0.5, 1.0]);
        for ms in [500, 501, 1_000, 2_500] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut registry = Registry::default();
        registry.register("time", "Time", histogram);
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("a String");
        let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "time_sum 4.501",
            "time_count 4",
            "time_bucket{le=\"0.5\"} 1",
            "time_bucket{le=\"1.0\"} 3",
            "time_bucket{le=\"+Inf\"} 4",
        ];
        assert_eq!(samples, expected);
    }
}
