//! The policies that go by time or by recency and frequency together, beside twins.

use crate::sim::{Event, Sim, mix};
use crate::twins::{Twin, compare, evicted, policy, shards};
use hypercache_core::PolicyKind;
use hypercache_core::eviction::AnyPolicy;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Soonest to expire first, then the oldest.
#[derive(Default)]
struct Soonest {
    capacity: usize,
    times: HashMap<u64, (u64, u64)>,
    order: BTreeSet<(u64, u64, u64)>,
    written: u64,
}

impl Soonest {
    fn take(&mut self, key: u64) {
        if let Some((expires, at)) = self.times.remove(&key) {
            self.order.remove(&(expires, at, key));
        }
    }

    fn set(&mut self, key: u64, expires: u64) -> Option<u64> {
        self.take(key);
        let gone = (self.times.len() == self.capacity).then(|| self.order.first().unwrap().2);
        gone.into_iter().for_each(|gone| self.take(gone));
        self.written += 1;
        self.times.insert(key, (expires, self.written));
        self.order.insert((expires, self.written, key));
        gone
    }

    fn touch(&mut self, key: u64, expires: u64) {
        if let Some((_, at)) = self.times.get(&key).copied() {
            self.take(key);
            self.times.insert(key, (expires, at));
            self.order.insert((expires, at, key));
        }
    }

    /// The share of the entries that would have gone before this one.
    fn rank(&self, key: u64) -> f64 {
        let (expires, at) = self.times[&key];
        self.order.range(..(expires, at, key)).count() as f64 / self.order.len() as f64
    }
}

fn ttl(capacity: u64) -> (Sim<AnyPolicy>, Soonest) {
    let sim = Sim::new(policy(PolicyKind::Ttl, ""), capacity, capacity, capacity);
    (sim, Soonest { capacity: capacity as usize, ..Soonest::default() })
}

/// Up to seven times to live: the order is exact, and nothing is copied. Times are a millisecond off
/// multiples of the clock's steps, so that no two entries expire at once.
#[test]
fn ttl_of_a_few_times_to_live_is_exact() {
    const STEP: u64 = 16;
    for (capacity, times) in [(10, 1), (97, 1), (97, 2), (500, 4), (500, 7)] {
        let (mut sim, mut twin) = ttl(capacity);
        let (mut random, mut gone) = (mix(capacity), 0);
        for step in 0..20_000_u64 {
            random = mix(random);
            let (now, key) = (step * STEP, random % (capacity * 20));
            sim.now(now);
            // A time to live goes with its key; some keys never expire.
            let which = key % (times + 1);
            let expires = match which {
                0 => u64::MAX,
                _ => now + (1 << 20) * (which + 1) + which,
            };
            if random >> 60 == 0 {
                sim.remove(key);
                twin.take(key);
            } else {
                sim.set_until(key, 1, expires);
                let expected: Vec<_> = twin.set(key, expires).into_iter().collect();
                assert_eq!(evicted(&sim), expected, "{times} times, step {step}, write of {key}");
                gone += expected.len();
                let copied =
                    |event: &Event| matches!(event, Event::Kept { .. } | Event::Moved { .. });
                assert!(!sim.events.iter().any(copied), "step {step}: {:?}", sim.events);
            }
        }
        assert!(gone > 5_000, "{gone} evictions");
    }
}

/// Times to live of every length, or prolonged while they run: how many entries would have gone
/// before the one that went, as a share of all; and what is appended again for that.
#[test]
fn ttl_of_any_times_to_live_is_near() {
    const CAPACITY: u64 = 2_000;
    let spread = |random: u64| 60_000 + random % 3_540_000;
    let octaves = |random: u64| (1_000 << (random % 12)) + random % 500;
    let jitter =
        |random: u64| [60_000, 600_000][(random % 2) as usize] * (90 + random / 2 % 11) / 100;
    let one = |_: u64| 600_000;
    type Length<'a> = &'a dyn Fn(u64) -> u64;
    let cases: [(&str, Length<'_>, u64, f64, f64); 5] = [
        ("uniform", &spread, 0, 0.03, 0.5),
        ("twelve octaves", &octaves, 0, 0.01, 0.1),
        ("two, jittered", &jitter, 0, 0.05, 1.0),
        ("one, touched", &one, 2, 0.10, 4.0),
        // What is touched to a sooner end stays where it is. A choice at random has 0.5.
        ("uniform, touched", &spread, 1, 0.40, 4.0),
    ];
    for (what, length, touches, rank_max, copies_max) in cases {
        let (mut sim, mut twin) = ttl(CAPACITY);
        let (mut random, mut gone, mut ranks, mut copies) = (mix(7), 0, 0.0, 0);
        for step in 0..60_000_u64 {
            let now = step * 25;
            sim.now(now);
            for _ in 0..touches {
                random = mix(random);
                // The newest tenth of the keys are hit most.
                let key = step.saturating_sub(random % (CAPACITY * (1 + random % 2 * 9)) / 5);
                random = mix(random);
                let expires = now + length(random);
                sim.touch(key, expires);
                twin.touch(key, expires);
            }
            random = mix(random);
            let expires = now + length(random);
            sim.set_until(step, 1, expires);
            for key in evicted(&sim) {
                if step > 4 * CAPACITY {
                    (gone, ranks) = (gone + 1, ranks + twin.rank(key));
                }
                twin.take(key);
            }
            assert_eq!(twin.set(step, expires), None);
            let copied = |event: &&Event| matches!(event, Event::Kept { .. } | Event::Moved { .. });
            if step > 4 * CAPACITY {
                copies += sim.events.iter().filter(copied).count();
            }
        }
        let (rank, copies) = (ranks / f64::from(gone), copies as f64 / f64::from(gone));
        println!("ttl, {what}: rank {rank:.4}, {copies:.2} copies");
        assert!(rank < rank_max && copies < copies_max, "{what}: {rank:.4}, {copies:.2}");
    }
}

/// A list in the order of use, the coldest in front; what was used often goes behind once more.
struct SecondChance {
    capacity: u64,
    spare: u8,
    window: u32,
    /// Key, size, uses.
    list: VecDeque<(u64, u64, u8)>,
}

impl SecondChance {
    fn take(&mut self, key: u64) -> Option<(u64, u64, u8)> {
        let at = self.list.iter().position(|entry| entry.0 == key)?;
        self.list.remove(at)
    }
}

impl Twin for SecondChance {
    fn get(&mut self, key: u64) -> bool {
        let found = self.take(key);
        self.list.extend(found.map(|(key, size, uses)| (key, size, (uses + 1).min(3))));
        found.is_some()
    }

    fn set(&mut self, key: u64, size: u64) -> Vec<u64> {
        let uses = self.take(key).map_or(0, |old| old.2);
        let (mut gone, mut spared) = (Vec::new(), 0);
        while self.list.iter().map(|entry| entry.1).sum::<u64>() + size > self.capacity {
            let coldest = self.list.pop_front().unwrap();
            if coldest.2 > self.spare && spared < self.window {
                spared += 1;
                self.list.push_back((coldest.0, coldest.1, coldest.2 / 2));
            } else {
                spared = 0;
                gone.push(coldest.0);
            }
        }
        self.list.push_back((key, size, uses));
        gone
    }

    fn remove(&mut self, key: u64) {
        self.take(key);
    }

    fn keys(&mut self) -> Vec<u64> {
        self.list.iter().map(|entry| entry.0).collect()
    }
}

#[test]
fn hybrid_of_share_0_is_exact() {
    for (capacity, entries, sizes) in shards() {
        for (spare, window) in [(2, 16), (0, 1), (1, 32), (3, 16)] {
            let options = format!("share=0,spare={spare},window={window}");
            let sim = Sim::new(policy(PolicyKind::Hybrid, &options), capacity, entries, capacity);
            let twin = SecondChance { capacity, spare, window, list: VecDeque::new() };
            let what = format!("hybrid {options} {capacity}/{entries}");
            compare(sim, twin, capacity * 2, sizes, &what);
        }
    }
}
