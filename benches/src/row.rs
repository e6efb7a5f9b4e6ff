//! A row of the table: figures with their targets, and with the machine's own limits measured in
//! the same run.

use serde_json::{Value, json};

/// The target of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// In the figure's unit.
    AtMost(f64),
    /// In the figure's unit.
    AtLeast(f64),
    /// The figure divided by the limit.
    RatioAtMost(f64),
    /// The figure divided by the limit.
    RatioAtLeast(f64),
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// The machine's limit in the same unit, and a description of it.
    pub(crate) limit: Option<(f64, String)>,
    pub(crate) targets: Vec<Target>,
}

/// The result of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// What was run, and how many samples were taken.
    pub(crate) ran: String,
    pub(crate) figures: Vec<Figure>,
    /// Why there are no figures.
    pub(crate) skipped: Option<String>,
}

impl Target {
    fn is_met(self, figure: &Figure) -> bool {
        match self {
            Target::AtMost(most) => figure.value <= most,
            Target::AtLeast(least) => figure.value >= least,
            Target::RatioAtMost(most) => figure.ratio().is_some_and(|ratio| ratio <= most),
            Target::RatioAtLeast(least) => figure.ratio().is_some_and(|ratio| ratio >= least),
        }
    }

    pub(crate) fn describe(self, unit: &str) -> String {
        match self {
            Target::AtMost(most) => format!("≤ {} {unit}", number(most)),
            Target::AtLeast(least) => format!("≥ {} {unit}", number(least)),
            Target::RatioAtMost(most) => format!("ratio ≤ {}", number(most)),
            Target::RatioAtLeast(least) => format!("ratio ≥ {}", number(least)),
        }
    }

    fn to_json(self) -> Value {
        match self {
            Target::AtMost(value) => json!({ "atMost": value }),
            Target::AtLeast(value) => json!({ "atLeast": value }),
            Target::RatioAtMost(value) => json!({ "ratioAtMost": value }),
            Target::RatioAtLeast(value) => json!({ "ratioAtLeast": value }),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let (name, bound) = value.as_object()?.iter().next()?;
        let bound = bound.as_f64()?;
        match name.as_str() {
            "atMost" => Some(Target::AtMost(bound)),
            "atLeast" => Some(Target::AtLeast(bound)),
            "ratioAtMost" => Some(Target::RatioAtMost(bound)),
            "ratioAtLeast" => Some(Target::RatioAtLeast(bound)),
            _ => None,
        }
    }
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            value,
            unit: unit.to_owned(),
            limit: None,
            targets: Vec::new(),
        }
    }

    pub(crate) fn with_limit(mut self, limit: f64, of: &str) -> Self {
        self.limit = Some((limit, of.to_owned()));
        self
    }

    pub(crate) fn with_target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// The figure divided by the limit.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|(limit, _)| self.value / limit)
    }

    /// Whether every target is met; `None` without targets.
    pub(crate) fn is_met(&self) -> Option<bool> {
        (!self.targets.is_empty()).then(|| self.targets.iter().all(|target| target.is_met(self)))
    }

    fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit.as_ref().map(|(value, of)| json!({ "value": value, "of": of })),
            "ratio": self.ratio(),
            "targets": self.targets.iter().map(|target| target.to_json()).collect::<Vec<_>>(),
            "met": self.is_met(),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let limit = &value["limit"];
        Some(Self {
            what: value["what"].as_str()?.to_owned(),
            value: value["value"].as_f64().unwrap_or(f64::NAN),
            unit: value["unit"].as_str()?.to_owned(),
            limit: limit["value"]
                .as_f64()
                .zip(limit["of"].as_str().map(str::to_owned)),
            targets: value["targets"]
                .as_array()?
                .iter()
                .filter_map(Target::from_json)
                .collect(),
        })
    }
}

impl Row {
    pub(crate) fn new(name: &str, ran: impl Into<String>, figures: Vec<Figure>) -> Self {
        Self {
            name: name.to_owned(),
            ran: ran.into(),
            figures,
            skipped: None,
        }
    }

    pub(crate) fn skipped(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ran: String::new(),
            figures: Vec::new(),
            skipped: Some(why.into()),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let figures: Vec<_> = self.figures.iter().map(Figure::to_json).collect();
        json!({ "name": self.name, "ran": self.ran, "figures": figures, "skipped": self.skipped })
    }

    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            ran: value["ran"].as_str()?.to_owned(),
            figures: value["figures"]
                .as_array()?
                .iter()
                .filter_map(Figure::from_json)
                .collect(),
            skipped: value["skipped"].as_str().map(str::to_owned),
        })
    }
}

/// Formats a number with about three significant digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_the_round_trip_through_json() {
        let figure = Figure::new("p50", 7.5, "ms")
            .with_limit(2.5, "bash")
            .with_target(Target::RatioAtMost(2.5))
            .with_target(Target::AtMost(9.0));
        let row = Row::new("dispatch", "40 jobs", vec![figure]);
        assert_eq!(Row::from_json(&row.to_json()), Some(row.clone()));
        let skipped = Row::skipped("fleet", "too few open files");
        assert_eq!(Row::from_json(&skipped.to_json()), Some(skipped));
    }

    #[test]
    fn a_figure_is_met_if_all_of_its_targets_are() {
        let figure = Figure::new("p50", 7.5, "ms").with_limit(2.5, "bash");
        assert_eq!(figure.is_met(), None);
        let near = figure.with_target(Target::AtMost(9.0));
        assert_eq!(near.is_met(), Some(true));
        assert_eq!(
            near.with_target(Target::RatioAtMost(2.5)).is_met(),
            Some(false)
        );
    }
}
