//! A histogram of nanoseconds with a bounded relative error.

use hdrhistogram::Histogram as Hdr;

/// High dynamic range (Gil Tene's `HdrHistogram`, in its Rust port) with two significant digits:
/// every figure is within 0.8 % of the truth. Constant size, no allocation while recording.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// `None` only where its constant bounds were refused, which they are not.
    counts: Option<Hdr<u64>>,
    sum: f64,
    max: f64,
}

/// Three centuries of nanoseconds.
const LONGEST: u64 = i64::MAX as u64;
/// Three digits would spread what is recorded over eight times the lines of the processor's cache,
/// next to the cache that is measured.
const DIGITS: u8 = 2;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Hdr::new_with_bounds(1, LONGEST, DIGITS).ok(), sum: 0.0, max: 0.0 }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: f64) {
        if let Some(counts) = &mut self.counts {
            counts.saturating_record(ns as u64);
        }
        self.sum += ns;
        if ns > self.max {
            self.max = ns;
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(into), Some(from)) = (&mut self.counts, &other.counts) {
            // Both have the same bounds, so nothing of it can be out of them.
            let _ = into.add(from);
        }
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.as_ref().map_or(0, Hdr::len)
    }

    /// The longest, exactly; 0 for none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The mean; 0 for none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.count().max(1) as f64
    }

    /// The duration that a share of all stay at or below; 0 for none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let Some(counts) = &self.counts else { return 0.0 };
        (counts.value_at_quantile(share) as f64).min(self.max)
    }

    /// How many lasted at least so long, within the error of a figure.
    #[must_use]
    pub fn at_least(&self, ns: f64) -> u64 {
        let Some(counts) = &self.counts else { return 0 };
        counts.count_between(ns as u64, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        for ns in 1..=100_000 {
            histogram.record(f64::from(ns));
        }
        for share in [0.001, 0.5, 0.99, 0.999, 0.9999] {
            let (got, want) = (histogram.quantile(share), 100_000.0 * share);
            assert!((got / want - 1.0).abs() < 0.01, "{share}: {got} for {want}");
        }
        assert_eq!(histogram.quantile(1.0), 100_000.0);
        assert_eq!(histogram.max(), 100_000.0);
        assert!((histogram.at_least(90_000.0) as f64 / 10_000.0 - 1.0).abs() < 0.08);
    }

    #[test]
    fn edges() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0.0);
        histogram.record(0.0);
        histogram.record(1e18);
        assert_eq!(histogram.quantile(0.5), 0.0);
        assert_eq!(histogram.quantile(1.0), 1e18);
        let mut both = Histogram::default();
        both.merge(&histogram);
        assert_eq!((both.count(), both.max(), both.mean()), (2, 1e18, 5e17));
    }
}
