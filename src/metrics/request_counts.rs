//! Requests by route, method and status. The labels are bounded: a route is a template such as
//! `/api/jobs/{id}`, never a path.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::grow_only_map::GrowOnlyMap;

/// The most combinations of route, method and status. The server has about 150 routes, and each
/// answers with few of the statuses.
const COMBINATIONS_MAX: usize = 1_024;
/// The route of requests that no route matches, the method of those with an unusual method, and
/// all labels of combinations over the limit.
const OTHER: &str = "other";

/// Counts requests without a lock.
#[derive(Debug)]
pub(super) struct RequestCounts {
    counts: GrowOnlyMap<Combination, AtomicU64>,
    uncounted: AtomicU64,
}

#[derive(Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Combination {
    route: Box<str>,
    method: &'static str,
    status: u16,
}

impl Default for RequestCounts {
    fn default() -> Self {
        Self {
            counts: GrowOnlyMap::with_capacity(COMBINATIONS_MAX),
            uncounted: AtomicU64::new(0),
        }
    }
}

impl RequestCounts {
    /// Counts an answered request. `route`: its template, if one matched.
    pub(super) fn count(&self, route: Option<&str>, method: &Method, status: StatusCode) {
        let (route, method, status) = (route.unwrap_or(OTHER), label_of(method), u16::from(status));
        let count = self.counts.find_or_add(
            &(route, method, status),
            |known| known.status == status && known.method == method && *known.route == *route,
            || {
                let combination = Combination {
                    route: route.into(),
                    method,
                    status,
                };
                (combination, AtomicU64::new(0))
            },
        );
        count
            .unwrap_or(&self.uncounted)
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// The method if it is one of HTTP's usual ones.
fn label_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

impl Collector for RequestCounts {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "http_requests",
            "Answered requests since the start, by the template of the route",
            None,
            MetricType::Counter,
        )?;
        let mut encode = |route: &str, method: &str, status: &str, count: &AtomicU64| {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            let labels = [("route", route), ("method", method), ("status", status)];
            count.encode(family.encode_family(&labels)?)
        };
        let mut counts: Vec<(&Combination, &AtomicU64)> = self.counts.entries().collect();
        counts.sort_unstable_by_key(|(combination, _)| *combination);
        for (combination, count) in counts {
            let status = combination.status.to_string();
            encode(&combination.route, combination.method, &status, count)?;
        }
        if self.uncounted.load(Ordering::Relaxed) > 0 {
            encode(OTHER, OTHER, OTHER, &self.uncounted)?;
        }
        Ok(())
    }
}
