//! Latencies in fixed memory: a log-linear histogram in the manner of HdrHistogram (Gil Tene).
//!
//! Values up to [`LINEAR`] nanoseconds have a bucket each; every doubling beyond is cut in
//! [`LINEAR`] equal buckets, whose middle stands for all of them: at most 1.6 % off, from 1 ns to
//! 18 minutes (2^40 ns; what is longer counts as that). Recording is one atomic addition to a
//! stripe that few threads share; reading adds the stripes up without stopping anybody.
//!
//! All bits zero is an empty histogram, and there is no pointer in it: it can be placed in zeroed
//! pool memory, where it is charged.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets for each doubling; a power of two.
const LINEAR: usize = 1 << LINEAR_BITS;
const LINEAR_BITS: u32 = 5;
/// Durations are shorter than 2 to this power nanoseconds.
const RANGE_BITS: u32 = 40;
const BUCKETS: usize = LINEAR * (RANGE_BITS - LINEAR_BITS + 1) as usize;
const STRIPES: usize = 4;

/// Which calls a latency is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum LatencyOp {
    /// Reads.
    Get,
    /// Writes.
    Set,
    /// Removals by key.
    Delete,
}

impl LatencyOp {
    /// All of them, each at the index of its own value.
    pub const ALL: [Self; 3] = [Self::Get, Self::Set, Self::Delete];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
        }
    }
}

/// What a histogram says, in nanoseconds. All zero: nothing was measured yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySummary {
    /// Calls measured.
    pub count: u64,
    /// The shortest.
    pub min_ns: u64,
    /// Their mean.
    pub mean_ns: u64,
    /// Half of them were no longer.
    pub p50_ns: u64,
    /// 90 % of them were no longer.
    pub p90_ns: u64,
    /// 99 % of them were no longer.
    pub p99_ns: u64,
    /// 99.9 % of them were no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Stripe {
    sum: AtomicU64,
    max: AtomicU64,
    /// `u64::MAX` minus the shortest, so that zero is "none yet".
    min_flipped: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Stripe {
    const fn new() -> Self {
        Self {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            min_flipped: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

/// A histogram of durations that any thread may record to.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct LatencyHistogram([Stripe; STRIPES]);

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// What a store is charged for one.
    pub const BYTES: u64 = size_of::<Self>() as u64;

    /// Nothing recorded.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { Stripe::new() }; STRIPES])
    }

    /// Records a duration for a thread whose reader slot is `slot` (any number for a thread without
    /// one); 0 counts as 1 ns.
    #[inline]
    pub fn record(&self, slot: usize, ns: u64) {
        let ns = ns.clamp(1, (1 << RANGE_BITS) - 1);
        let stripe = &self.0[slot % STRIPES];
        stripe.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        stripe.sum.fetch_add(ns, Ordering::Relaxed);
        if ns > stripe.max.load(Ordering::Relaxed) {
            stripe.max.fetch_max(ns, Ordering::Relaxed);
        }
        if u64::MAX - ns > stripe.min_flipped.load(Ordering::Relaxed) {
            stripe.min_flipped.fetch_max(u64::MAX - ns, Ordering::Relaxed);
        }
    }

    /// What was recorded so far.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let mut count = 0_u64;
        for bucket in 0..BUCKETS {
            count = count.wrapping_add(self.bucket(bucket));
        }
        if count == 0 {
            return LatencySummary::default();
        }
        let fold = |read: fn(&Stripe) -> &AtomicU64, how: fn(u64, u64) -> u64| {
            self.0.iter().fold(0, |so_far, s| how(so_far, read(s).load(Ordering::Relaxed)))
        };
        let sum = fold(|stripe| &stripe.sum, u64::wrapping_add);
        let max_ns = fold(|stripe| &stripe.max, u64::max);
        let min_ns = u64::MAX - fold(|stripe| &stripe.min_flipped, u64::max);
        let quantile = |per_mille: u64| {
            let rank = (u128::from(count) * u128::from(per_mille)).div_ceil(1000);
            // A record that is under way may be in its bucket and not yet in the extremes.
            self.at_rank(u64::try_from(rank).unwrap_or(count)).max(min_ns).min(max_ns.max(min_ns))
        };
        LatencySummary {
            count,
            min_ns,
            mean_ns: sum / count,
            p50_ns: quantile(500),
            p90_ns: quantile(900),
            p99_ns: quantile(990),
            p999_ns: quantile(999),
            max_ns,
        }
    }

    fn bucket(&self, bucket: usize) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, stripe| sum.wrapping_add(stripe.buckets[bucket].load(Ordering::Relaxed)))
    }

    /// The value that stands for the `rank`-th shortest duration, from 1.
    fn at_rank(&self, rank: u64) -> u64 {
        let mut passed = 0_u64;
        for bucket in 0..BUCKETS {
            passed = passed.wrapping_add(self.bucket(bucket));
            if passed >= rank {
                return middle_of(bucket);
            }
        }
        middle_of(BUCKETS - 1)
    }
}

/// The bucket of a duration in range.
#[inline]
fn bucket_of(ns: u64) -> usize {
    let octave = ns.max(LINEAR as u64).ilog2() - LINEAR_BITS;
    // Below two times LINEAR a bucket is one nanosecond wide, and the number is the value itself.
    octave as usize * LINEAR + (ns >> octave) as usize
}

/// The middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let octave = (bucket / LINEAR).saturating_sub(1);
    let low = ((bucket - octave * LINEAR) as u64) << octave;
    low + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_the_range_without_gaps() {
        let mut last = 0;
        for shift in 0..RANGE_BITS {
            for step in 0..200_u64 {
                let ns = ((1_u64 << shift) + (step << shift) / 200).max(1);
                let bucket = bucket_of(ns);
                assert!(bucket < BUCKETS, "{ns}");
                assert!(bucket == last || bucket >= last, "{ns}");
                last = bucket;
                let middle = middle_of(bucket);
                let off = middle.abs_diff(ns) as f64 / ns as f64;
                assert!(off <= 1.0 / 64.0, "{ns} stands as {middle}");
                assert_eq!(bucket_of(middle), bucket);
            }
        }
        assert_eq!(bucket_of((1 << RANGE_BITS) - 1), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let histogram = LatencyHistogram::new();
        assert_eq!(histogram.summary(), LatencySummary::default());
        let mut all = Vec::new();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for i in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            // Log-uniform from 16 ns to 2^36 ns.
            let ns = (16.0 * 2_f64.powf((state >> 11) as f64 / 2_f64.powi(53) * 32.0)) as u64;
            histogram.record(i, ns);
            all.push(ns);
        }
        all.sort_unstable();
        let summary = histogram.summary();
        assert_eq!(summary.count, 100_000);
        assert_eq!(summary.min_ns, all[0]);
        assert_eq!(summary.max_ns, all[all.len() - 1]);
        assert_eq!(summary.mean_ns, all.iter().sum::<u64>() / 100_000);
        for (got, rank) in [
            (summary.p50_ns, 50_000),
            (summary.p90_ns, 90_000),
            (summary.p99_ns, 99_000),
            (summary.p999_ns, 99_900),
        ] {
            let exact = all[rank - 1];
            let off = got.abs_diff(exact) as f64 / exact as f64;
            assert!(off <= 1.0 / 64.0, "rank {rank}: {got} for {exact}");
        }
    }

    #[test]
    fn extremes_are_clamped() {
        let histogram = LatencyHistogram::new();
        histogram.record(0, 0);
        histogram.record(1, u64::MAX);
        let summary = histogram.summary();
        assert_eq!((summary.min_ns, summary.p50_ns), (1, 1));
        assert_eq!(summary.max_ns, (1 << 40) - 1);
        assert!(summary.p999_ns <= summary.max_ns);
    }
}
