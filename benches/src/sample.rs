//! Statistics of samples.

/// Returns the sample at a quantile; NaN without samples. The samples need not be sorted.
pub(crate) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((q * last as f64).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Returns the median.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(median(&samples), 3.0);
        assert_eq!(quantile(&samples, 1.0), 5.0);
        assert_eq!(quantile(&samples, 0.0), 1.0);
        assert!(median(&[]).is_nan());
    }
}
