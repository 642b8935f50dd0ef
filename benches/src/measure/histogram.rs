//! A histogram of nanoseconds with a bounded relative error.

/// 128 buckets an octave: every figure is within 0.8 % of the truth. Constant size, no
/// allocation while recording.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: f64,
    max: f64,
}

const SUB_BITS: u32 = 7;
const SUB: u64 = 1 << SUB_BITS;

impl Default for Histogram {
    fn default() -> Self {
        let buckets = ((64 - SUB_BITS) as u64 * SUB) as usize;
        Self { buckets: vec![0; buckets].into_boxed_slice(), count: 0, sum: 0.0, max: 0.0 }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: f64) {
        self.buckets[Self::bucket(ns as u64)] += 1;
        self.count += 1;
        self.sum += ns;
        if ns > self.max {
            self.max = ns;
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (into, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *into += from;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly; 0 for none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The mean; 0 for none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The duration that a share of all stay at or below; 0 for none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::upper(bucket).min(self.max);
            }
        }
        self.max
    }

    fn bucket(ns: u64) -> usize {
        if ns < SUB {
            return ns as usize;
        }
        let octave = 63 - ns.leading_zeros();
        let shift = octave - SUB_BITS;
        ((u64::from(shift) + 1) * SUB + ((ns >> shift) - SUB)) as usize
    }

    fn upper(bucket: usize) -> f64 {
        let bucket = bucket as u64;
        if bucket < SUB {
            return bucket as f64;
        }
        let shift = bucket / SUB - 1;
        (((SUB + bucket % SUB + 1) as u128) << shift) as f64 - 1.0
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
    }

    #[test]
    fn edges() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0.0);
        histogram.record(0.0);
        histogram.record(1e18);
        assert_eq!(histogram.quantile(0.5), 0.0);
        assert_eq!(histogram.quantile(1.0), 1e18);
    }
}
