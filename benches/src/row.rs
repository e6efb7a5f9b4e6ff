//! One line of the table: a figure, and the limit measured beside it.

use std::fmt;

/// A figure with its limit.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: String,
    pub(crate) limit: String,
    pub(crate) ratio: Option<f64>,
}

impl Row {
    pub(crate) fn plain(what: &str, figure: String) -> Self {
        Self {
            what: what.to_owned(),
            figure,
            limit: "–".to_owned(),
            ratio: None,
        }
    }

    pub(crate) fn heading() -> String {
        "| figure | measured | the limit beside it | ratio |\n| --- | --- | --- | --- |".to_owned()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self
            .ratio
            .map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        write!(
            f,
            "| {} | {} | {} | {ratio} |",
            self.what, self.figure, self.limit
        )
    }
}

/// Milliseconds at a quantile of samples, which need not be sorted.
pub(crate) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((q * last as f64).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// `p50 / p95 / p99` in milliseconds.
pub(crate) fn spread(samples: &[f64]) -> String {
    let at = |q| quantile(samples, q);
    format!("{:.2} / {:.2} / {:.2} ms", at(0.5), at(0.95), at(0.99))
}
