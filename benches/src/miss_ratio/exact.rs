//! FIFO that holds its capacity exactly: what a mean of live bytes is measured against.

use std::collections::VecDeque;

use super::loaded::{Loaded, Missed};

/// Samples of what is live in a replay.
const SAMPLES: usize = 2048;

/// What was live, on the mean from the first eviction on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    samples: u64,
    sum: u64,
    most: u64,
    evicted: bool,
}

impl Live {
    /// Looks once. `evicted`: whether anything was evicted so far.
    pub fn sample(&mut self, live: u64, evicted: bool) {
        self.most = self.most.max(live);
        self.evicted |= evicted;
        if self.evicted {
            self.samples += 1;
            self.sum += live;
        }
    }

    /// Whether anything was evicted.
    #[must_use]
    pub fn evicted(&self) -> bool {
        self.evicted
    }

    /// The mean; the most there ever was where nothing was evicted.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.samples > 0 { self.sum as f64 / self.samples as f64 } else { self.most as f64 }
    }
}

/// The requests of a trace, in as many pieces as there are samples.
pub fn pieces(trace: &Loaded) -> impl Iterator<Item = &[u32]> {
    trace.requests.chunks(trace.requests.len().div_ceil(SAMPLES))
}

/// Replays a trace at a capacity, objects counting what `weigh` makes of their size. Those that
/// count more than the capacity are not stored.
pub fn fifo(trace: &Loaded, capacity: u64, weigh: impl Fn(u32) -> u64) -> (Missed, Live) {
    let (mut missed, mut live) = (Missed::default(), Live::default());
    let (mut queue, mut used, mut evicted) = (VecDeque::new(), 0, false);
    let mut there = vec![false; trace.sizes.len()];
    for requests in pieces(trace) {
        for &object in requests {
            let size = weigh(trace.sizes[object as usize]);
            missed.count(size, there[object as usize]);
            if there[object as usize] || size > capacity {
                continue;
            }
            while used + size > capacity {
                let Some(gone) = queue.pop_front() else { break };
                there[gone as usize] = false;
                used -= weigh(trace.sizes[gone as usize]);
                evicted = true;
            }
            queue.push_back(object);
            there[object as usize] = true;
            used += size;
        }
        live.sample(used, evicted);
    }
    (missed, live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifo_by_hand() {
        let requests = vec![0, 1, 0, 2, 0, 1, 3, 2];
        let sizes = vec![4, 3, 4, 11];
        let trace = Loaded { requests, sizes, unique_bytes: 22, ..Loaded::default() };
        // 0 and 1 go in, 0 hits, 2 pushes 0 out, 0 pushes 1 out, 1 pushes 2 out, 3 never fits, 2
        // pushes 0 out.
        let (missed, live) = fifo(&trace, 10, u64::from);
        assert_eq!((missed.requests, missed.misses), (8, 7));
        assert_eq!((missed.bytes, missed.missed_bytes), (37, 33));
        // After 2: 7, 0: 8, 1: 7, 3: 7, 2: 7.
        assert!(live.evicted() && (live.mean() - 36.0 / 5.0).abs() < 1e-9);
        let (missed, live) = fifo(&trace, 3, |_| 1);
        assert_eq!(missed.misses, 4);
        assert!(live.evicted() && (live.mean() - 3.0).abs() < 1e-9);
        let (_, live) = fifo(&trace, 4, |_| 1);
        assert!(!live.evicted() && (live.mean() - 4.0).abs() < 1e-9);
    }
}
