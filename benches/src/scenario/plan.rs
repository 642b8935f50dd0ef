//! The requests of a scenario, drawn before they are served, so that drawing costs nobody time and
//! all caches are asked the same.

use super::file::{Keys, Mix, Scenario, Values};
use super::load::Moments;
use crate::workload::{KEY_LEN, LogNormal, Rng, Zipf, mix};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads, and stores what it misses where the scenario says so.
    Read,
    /// Stores.
    Write,
    /// Stores for a while.
    WriteTtl,
    /// Removes.
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// When it arrives: nanoseconds from the beginning of its slice.
    pub at: f64,
    /// Whose value.
    pub id: u64,
    /// How long that value is.
    pub len: u32,
    /// What is done.
    pub op: Op,
    /// Whether it counts: it arrives after the warm-up.
    pub counts: bool,
}

/// How long the value of each key is.
#[derive(Clone, Debug)]
pub struct Lengths {
    values: Values,
    seed: u64,
}

impl Lengths {
    /// Those of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self { values: scenario.values.clone(), seed }
    }

    /// The length of a key's value, in bytes: the same whenever it is asked for.
    #[must_use]
    pub fn of(&self, id: u64) -> u32 {
        let mut rng = Rng::new(mix(id) ^ self.seed);
        match self.values {
            Values::Fixed { bytes } => bytes,
            Values::Uniform { from, to } => rng.between(from.into(), to.into()) as u32,
            Values::Lognormal { median, sigma, most } => {
                (LogNormal::new(median, sigma).sample(&mut rng) as u32).clamp(1, most)
            }
        }
    }
}

/// The keys that are read, and stored where they are missing, before anything counts: each of the
/// most popular ones that two budgets hold, in no order, and then as many as the scenario asks for
/// them. Without the second part, a policy that waits for a second access would begin with nothing
/// known and one that keeps what came last with luck.
pub fn stock(scenario: &Scenario, seed: u64) -> impl Iterator<Item = u64> + use<> {
    let entry = scenario.values.mean() + KEY_LEN as f64;
    let held = (2.0 * scenario.limit as f64 / entry) as u64;
    let count = scenario.keys.count().min(held.max(1));
    let mut each: Vec<u64> = (0..count).collect();
    each.sort_unstable_by_key(|&id| mix(id ^ seed));
    // A lane that no thread has: the requests that are served are others.
    let mut drawer = Drawer::new(scenario, scenario.threads, seed);
    each.into_iter().chain((0..count).map(move |_| drawer.draw(0.0).id))
}

/// Draws the requests of one lane, in the order in which they arrive.
#[derive(Clone, Debug)]
pub struct Drawer {
    moments: Moments,
    keys: Keys,
    zipf: Zipf,
    lengths: Lengths,
    mix: Mix,
    warm_up: f64,
    rng: Rng,
    /// Where the walk of a scan is, and how far it steps.
    walked: u64,
    lanes: u64,
}

impl Drawer {
    /// That of lane `lane` of the scenario's threads.
    #[must_use]
    pub fn new(scenario: &Scenario, lane: usize, seed: u64) -> Self {
        let schedule = scenario.schedule();
        let arrivals = scenario.load.arrivals();
        let keys = scenario.keys.clone();
        let exponent = match keys {
            Keys::Uniform { .. } => 1.0,
            Keys::Zipf { exponent, .. }
            | Keys::Scan { exponent, .. }
            | Keys::Shifting { exponent, .. } => exponent,
        };
        Self {
            moments: Moments::new(schedule, arrivals, lane, scenario.threads, seed),
            zipf: Zipf::new(keys.count(), exponent),
            keys,
            lengths: Lengths::new(scenario, seed),
            mix: scenario.mix.clone(),
            warm_up: scenario.warm_up_seconds,
            rng: Rng::new(mix(seed ^ 0x6B65_7973) ^ lane as u64),
            walked: lane as u64,
            lanes: scenario.threads as u64,
        }
    }

    /// The requests that arrive from `from` to `to`, in seconds from the beginning of the warm-up.
    /// Slices are asked for one after another.
    pub fn slice(&mut self, from: f64, to: f64) -> Vec<Request> {
        let mut requests = Vec::new();
        while let Some(moment) = self.moments.before(to) {
            let request = self.draw(moment);
            requests.push(Request { at: (moment - from) * 1e9, ..request });
        }
        requests
    }

    /// One request of a moment, in seconds from the beginning of the warm-up.
    pub fn draw(&mut self, moment: f64) -> Request {
        let id = self.id(moment - self.warm_up);
        let op = self.op();
        Request { at: 0.0, id, len: self.lengths.of(id), op, counts: moment >= self.warm_up }
    }

    fn id(&mut self, moment: f64) -> u64 {
        match self.keys {
            Keys::Uniform { count } => self.rng.below(count),
            Keys::Zipf { .. } => self.zipf.sample(&mut self.rng),
            Keys::Scan { count, share, .. } => {
                if self.rng.unit() < share {
                    let id = self.walked % count;
                    self.walked = (self.walked + self.lanes) % count.max(self.lanes);
                    id
                } else {
                    self.zipf.sample(&mut self.rng)
                }
            }
            Keys::Shifting { count, every_seconds, by, .. } => {
                let shifts = (moment / every_seconds).floor().max(0.0) as u64;
                let step = ((count as f64 * by) as u64).max(1);
                (self.zipf.sample(&mut self.rng) + shifts.wrapping_mul(step)) % count
            }
        }
    }

    fn op(&mut self) -> Op {
        let Mix { read, write, write_ttl, delete, .. } = self.mix;
        let drawn = self.rng.unit() * (read + write + write_ttl + delete);
        if drawn < read {
            Op::Read
        } else if drawn < read + write {
            Op::Write
        } else if drawn < read + write + write_ttl {
            Op::WriteTtl
        } else {
            Op::Delete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load::{Arrivals, Load};

    fn scenario(keys: Keys) -> Scenario {
        Scenario {
            name: "test".to_owned(),
            about: String::new(),
            limit: 1 << 20,
            threads: 1,
            seconds: 4.0,
            passes: 1,
            warm_up_seconds: 1.0,
            loopback: false,
            load: Load::Constant { rate: 10_000.0, arrivals: Arrivals::Even },
            keys,
            values: Values::Uniform { from: 10, to: 20 },
            mix: Mix {
                read: 70.0,
                write: 15.0,
                write_ttl: 10.0,
                delete: 5.0,
                ttl_seconds: 1.0,
                fill_misses: false,
            },
        }
    }

    fn drawn(keys: Keys) -> Vec<Request> {
        Drawer::new(&scenario(keys), 0, 1).slice(0.0, 5.0)
    }

    #[test]
    fn a_mix_is_what_was_asked_for_and_lengths_stay() {
        let requests = drawn(Keys::Uniform { count: 500 });
        assert_eq!(requests.len(), 50_000);
        assert_eq!(requests.iter().filter(|request| request.counts).count(), 40_000);
        for (op, share) in
            [(Op::Read, 0.7), (Op::Write, 0.15), (Op::WriteTtl, 0.1), (Op::Delete, 0.05)]
        {
            let got = requests.iter().filter(|request| request.op == op).count() as f64 / 5e4;
            assert!((got - share).abs() < 0.01, "{op:?}: {got}");
        }
        let mut lens = std::collections::HashMap::new();
        for request in &requests {
            assert!((10..=20).contains(&request.len));
            assert_eq!(*lens.entry(request.id).or_insert(request.len), request.len);
        }
        assert!(lens.len() == 500 && lens.keys().all(|&id| id < 500));
        assert_eq!(requests, drawn(Keys::Uniform { count: 500 }));
    }

    #[test]
    fn slices_join_without_a_seam() {
        let keys = Keys::Zipf { count: 100, exponent: 0.9 };
        let whole = drawn(keys.clone());
        let mut drawer = Drawer::new(&scenario(keys), 0, 1);
        let joined: Vec<Request> = (0..50)
            .flat_map(|nth| {
                let from = f64::from(nth) / 10.0;
                let slice = drawer.slice(from, f64::from(nth + 1) / 10.0);
                assert!(slice.iter().all(|request| (0.0..1e8).contains(&request.at)));
                slice
            })
            .collect();
        assert_eq!(whole.len(), joined.len());
        assert!(whole.iter().zip(&joined).all(|(a, b)| (a.id, a.op) == (b.id, b.op)));
    }

    #[test]
    fn a_stock_has_every_key_that_fits_and_favours_the_popular() {
        let scenario = scenario(Keys::Zipf { count: 1_000, exponent: 1.0 });
        let stocked: Vec<u64> = stock(&scenario, 1).collect();
        assert_eq!(stocked.len(), 2_000);
        let mut each = stocked[..1_000].to_vec();
        assert!(!each.is_sorted());
        each.sort_unstable();
        assert!(each.into_iter().eq(0..1_000));
        let popular = stocked[1_000..].iter().filter(|&&id| id < 10).count();
        assert!((250..550).contains(&popular), "{popular}");
        let short = Scenario { limit: 3_100, ..scenario };
        // Two budgets of entries of 31 bytes on average.
        assert_eq!(stock(&short, 1).count(), 400);
    }

    #[test]
    fn a_scan_walks_and_a_shift_moves_on() {
        let walk = drawn(Keys::Scan { count: 1_000, exponent: 1.0, share: 1.0 });
        assert!(walk.iter().enumerate().all(|(nth, request)| request.id == nth as u64 % 1_000));
        let keys = Keys::Shifting { count: 1_000, exponent: 1.2, every_seconds: 1.0, by: 0.25 };
        let shifting = drawn(keys);
        let most_popular = |second: usize| {
            let mut counts = vec![0; 1_000];
            for request in &shifting[second * 10_000..(second + 1) * 10_000] {
                counts[request.id as usize] += 1;
            }
            (0..1_000).max_by_key(|&id| counts[id])
        };
        // The warm-up counts as the time before the first shift.
        assert_eq!(
            [0, 1, 2, 3, 4].map(most_popular),
            [Some(0), Some(0), Some(250), Some(500), Some(750)]
        );
    }
}
