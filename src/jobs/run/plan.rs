//! A run's plan: how its nodes are divided into batches, and how many failures it tolerates.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::FieldErrors;

/// The longest pause between two batches, a day.
const PAUSE_MAX_SECONDS: i64 = 86_400;

/// The number of nodes in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// A number of nodes.
    Nodes(u64),
    /// This share of all nodes of the run, rounded up.
    Percent(u64),
}

impl BatchSize {
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => {
                let count = number.as_u64().filter(|count| *count >= 1)?;
                Some(Self::Nodes(count))
            }
            Value::String(text) => {
                let digits = text.strip_suffix('%')?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let percent = digits.parse().ok().filter(|_| is_number)?;
                (1..=100)
                    .contains(&percent)
                    .then_some(Self::Percent(percent))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The size in words: `5 nodes` or `20 % of all nodes`.
    pub fn words(self) -> String {
        match self {
            Self::Nodes(1) => "1 node".to_owned(),
            Self::Nodes(count) => format!("{count} nodes"),
            Self::Percent(100) => "all nodes".to_owned(),
            Self::Percent(percent) => format!("{percent} % of all nodes"),
        }
    }

    fn as_json(self) -> Value {
        match self {
            Self::Nodes(count) => count.into(),
            Self::Percent(percent) => format!("{percent}%").into(),
        }
    }

    /// The size of a batch in a run over `nodes` nodes.
    fn of(self, nodes: u64) -> u64 {
        match self {
            Self::Nodes(count) => count,
            Self::Percent(percent) => (nodes * percent).div_ceil(100).max(1),
        }
    }
}

/// The plan of a request for a run. Absent fields have their defaults.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRequest {
    /// Number of nodes that go first, as batch 0; default 0.
    #[schema(minimum = 0)]
    pub canary: Option<i64>,
    /// Nodes in each later batch: a number, or a percentage of all nodes, rounded up; default
    /// `"100%"`.
    #[schema(value_type = Option<BatchSizeSchema>)]
    pub batch: Option<Value>,
    /// Seconds to wait between two batches; default 0.
    #[schema(minimum = 0, maximum = 86_400)]
    pub pause_seconds: Option<i64>,
    /// The run stops after more failures than this; default 0. Does not apply to checks.
    #[schema(minimum = 0)]
    pub max_failures: Option<i64>,
}

/// A whole number of at least 1, or a percentage such as `"20%"`.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = BatchSize)]
#[expect(dead_code, reason = "describes BatchSize in the OpenAPI document")]
pub(super) enum BatchSizeSchema {
    /// A number of nodes.
    Nodes(BatchNodes),
    /// 1 % to 100 % of all nodes, rounded up.
    Percent(BatchPercent),
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(minimum = 1)]
pub(super) struct BatchNodes(u64);

#[derive(Serialize, utoipa::ToSchema)]
#[schema(pattern = "^(100|[1-9][0-9]?)%$")]
pub(super) struct BatchPercent(String);

/// How a run's nodes are divided into batches, and when the run stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Number of nodes that go first, as batch 0.
    pub canary: u64,
    /// Nodes in each later batch.
    #[serde(with = "batch_json")]
    #[schema(value_type = BatchSizeSchema)]
    pub batch: BatchSize,
    /// Seconds to wait between two batches.
    pub pause_seconds: u64,
    /// The run stops after more failures than this.
    pub max_failures: u64,
}

mod batch_json {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::BatchSize;

    pub(super) fn serialize<S: Serializer>(size: &BatchSize, to: S) -> Result<S::Ok, S::Error> {
        size.as_json().serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<BatchSize, D::Error> {
        let value = Value::deserialize(from)?;
        BatchSize::parse(&value).ok_or_else(|| serde::de::Error::custom("not a batch size"))
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            canary: 0,
            batch: BatchSize::Percent(100),
            pause_seconds: 0,
            max_failures: 0,
        }
    }
}

impl From<&Plan> for PlanRequest {
    fn from(plan: &Plan) -> Self {
        let count = |count: u64| i64::try_from(count).ok();
        Self {
            canary: count(plan.canary),
            batch: Some(plan.batch.as_json()),
            pause_seconds: count(plan.pause_seconds),
            max_failures: count(plan.max_failures),
        }
    }
}

impl Plan {
    /// The plan of a request. Adds every fault to `faults`, and returns the default for it.
    pub fn check(request: &PlanRequest, faults: &mut FieldErrors) -> Self {
        let default = Self::default();
        let mut count = |field: &str, given: Option<i64>, max: Option<i64>, default: u64| {
            let Some(given) = given else { return default };
            match u64::try_from(given) {
                Ok(count) if max.is_none_or(|max| given <= max) => count,
                Ok(_) | Err(_) => {
                    let rule = match max {
                        Some(max) => format!("must be 0 to {max}"),
                        None => "must be a whole number of at least 0".to_owned(),
                    };
                    faults.add(format!("plan.{field}"), rule);
                    default
                }
            }
        };
        let mut plan = Self {
            canary: count("canary", request.canary, None, default.canary),
            batch: default.batch,
            pause_seconds: count(
                "pauseSeconds",
                request.pause_seconds,
                Some(PAUSE_MAX_SECONDS),
                default.pause_seconds,
            ),
            max_failures: count(
                "maxFailures",
                request.max_failures,
                None,
                default.max_failures,
            ),
        };
        match request.batch.as_ref().map(BatchSize::parse) {
            None => {}
            Some(Some(size)) => plan.batch = size,
            Some(None) => faults.add(
                "plan.batch",
                "must be a whole number of at least 1, or \"1%\" to \"100%\" of all nodes",
            ),
        }
        plan
    }

    /// The plan of a stored run. An operator's unreadable text counts as the default.
    pub fn stored(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// The batch of each of `nodes` nodes, in their order.
    pub fn batches(&self, nodes: usize) -> Vec<u64> {
        let nodes = nodes as u64;
        let canary = self.canary.min(nodes);
        let size = self.batch.of(nodes);
        let first = u64::from(canary > 0);
        let batch_of = |index: u64| match index.checked_sub(canary) {
            None => 0,
            Some(index) => first + index / size,
        };
        (0..nodes).map(batch_of).collect()
    }
}

/// `1 failure, 0 allowed`: why a run stopped.
pub(super) fn too_many_failures(failures: u64, allowed: u64) -> String {
    let noun = if failures == 1 { "failure" } else { "failures" };
    format!("{failures} {noun}, {allowed} allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<Plan, Vec<(String, String)>> {
        let request: PlanRequest = serde_json::from_str(json).expect("a plan's shape");
        let mut faults = FieldErrors::default();
        let plan = Plan::check(&request, &mut faults);
        match faults.into_result() {
            Ok(()) => Ok(plan),
            Err(error) => Err(error.fields.into_iter().collect()),
        }
    }

    fn plan(json: &str) -> Plan {
        checked(json).expect(json)
    }

    #[test]
    fn the_defaults_are_one_batch_of_all_nodes() {
        assert_eq!(plan("{}"), Plan::default());
        assert_eq!(
            serde_json::to_string(&Plan::default()).expect("JSON"),
            r#"{"canary":0,"batch":"100%","pauseSeconds":0,"maxFailures":0}"#
        );
        assert_eq!(Plan::default().batches(4), [0, 0, 0, 0]);
    }

    #[test]
    fn nodes_are_divided_in_their_order() {
        for (json, nodes, batches) in [
            (r#"{"canary":1}"#, 4, vec![0, 1, 1, 1]),
            (r#"{"canary":1,"batch":2}"#, 6, vec![0, 1, 1, 2, 2, 3]),
            (r#"{"batch":2}"#, 5, vec![0, 0, 1, 1, 2]),
            (r#"{"canary":9,"batch":2}"#, 3, vec![0, 0, 0]),
            (r#"{"canary":2,"batch":99}"#, 3, vec![0, 0, 1]),
            (r#"{"canary":1,"batch":1}"#, 1, vec![0]),
            // A percentage is of all nodes, also after a canary, and rounded up.
            (r#"{"canary":1,"batch":"34%"}"#, 6, vec![0, 1, 1, 1, 2, 2]),
            (r#"{"batch":"1%"}"#, 3, vec![0, 1, 2]),
            (r#"{"batch":"50%"}"#, 5, vec![0, 0, 0, 1, 1]),
            (r#"{"batch":"100%"}"#, 3, vec![0, 0, 0]),
        ] {
            assert_eq!(plan(json).batches(nodes), batches, "{json} over {nodes}");
        }
    }

    #[test]
    fn a_bad_plan_names_every_field() {
        let faults = checked(r#"{"canary":-1,"batch":"0%","pauseSeconds":86401,"maxFailures":-2}"#)
            .expect_err("a bad plan");
        let names: Vec<&str> = faults.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "plan.batch",
                "plan.canary",
                "plan.maxFailures",
                "plan.pauseSeconds"
            ]
        );
        assert_eq!(faults[3].1, "must be 0 to 86400");
        for batch in [
            "0", "-1", "1.5", "true", "[]", "\"\"", "\"%\"", "\"5\"", "\"0%\"", "\"101%\"",
            "\"+5%\"", "\"5.5%\"", "\"5 %\"",
        ] {
            assert!(
                checked(&format!(r#"{{"batch":{batch}}}"#)).is_err(),
                "{batch}"
            );
        }
    }

    #[test]
    fn a_plan_is_read_back_from_the_database() {
        for json in [
            r#"{"canary":1,"batch":5}"#,
            r#"{"batch":"20%","pauseSeconds":86400}"#,
        ] {
            let plan = plan(json);
            let stored = serde_json::to_string(&plan).expect("JSON");
            assert_eq!(serde_json::from_str::<Plan>(&stored).expect("a plan"), plan);
        }
    }

    #[test]
    fn failures_are_counted_in_words() {
        assert_eq!(too_many_failures(1, 0), "1 failure, 0 allowed");
        assert_eq!(too_many_failures(2, 1), "2 failures, 1 allowed");
    }
}
