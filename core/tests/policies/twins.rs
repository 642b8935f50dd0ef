//! Each policy beside a twin that is written for being read: lists in memory, no log, no
//! positions. Every step must have the same outcome: hit or miss, and the same keys evicted in
//! the same order.

use crate::exact::{Exact, Rules};
use crate::sim::{Event, Sim, mix};
use hypercache_core::eviction::AnyPolicy;
use hypercache_core::{PolicyKind, Pool, PoolConfig, StoreConfig};
use std::collections::{BTreeSet, HashMap, VecDeque};

pub trait Twin {
    /// Whether `key` hits.
    fn get(&mut self, key: u64) -> bool;
    /// Writes a key; the keys that had to go.
    fn set(&mut self, key: u64, size: u64) -> Vec<u64>;
    fn remove(&mut self, key: u64);
    /// All keys.
    fn keys(&mut self) -> Vec<u64>;
}

/// FIFO, or LRU where `touch` is set: a list with the next victim in front.
struct List {
    capacity: u64,
    touch: bool,
    entries: VecDeque<(u64, u64)>,
}

impl List {
    fn take(&mut self, key: u64) -> Option<(u64, u64)> {
        let at = self.entries.iter().position(|entry| entry.0 == key)?;
        self.entries.remove(at)
    }
}

impl Twin for List {
    fn get(&mut self, key: u64) -> bool {
        let found = self.entries.iter().any(|entry| entry.0 == key);
        if found && self.touch {
            let entry = self.take(key).unwrap();
            self.entries.push_back(entry);
        }
        found
    }

    fn set(&mut self, key: u64, size: u64) -> Vec<u64> {
        self.take(key);
        let mut gone = Vec::new();
        while self.entries.iter().map(|entry| entry.1).sum::<u64>() + size > self.capacity {
            gone.push(self.entries.pop_front().unwrap().0);
        }
        self.entries.push_back((key, size));
        gone
    }

    fn remove(&mut self, key: u64) {
        self.take(key);
    }

    fn keys(&mut self) -> Vec<u64> {
        self.entries.iter().map(|entry| entry.0).collect()
    }
}

/// S3-FIFO with a list of ghosts that a clock ages: it advances by what is remembered, but for what
/// was recalled before.
struct S3 {
    capacity: u64,
    small_pct: u64,
    threshold: u8,
    small: VecDeque<u64>,
    main: VecDeque<u64>,
    /// Size and hits.
    entries: HashMap<u64, (u64, u8)>,
    /// Keys, and what the clock said when they came.
    ghosts: VecDeque<(u64, u64)>,
    clock: u64,
    recalled: u64,
    ghost_share: u64,
    spared: u32,
}

impl S3 {
    fn new(capacity: u64, small_pct: u64, ghost_pct: u64, threshold: u8) -> Self {
        let ghost_share = (capacity - capacity * small_pct / 100) * ghost_pct / 100;
        Self {
            capacity,
            small_pct,
            threshold,
            small: VecDeque::new(),
            main: VecDeque::new(),
            entries: HashMap::new(),
            ghosts: VecDeque::new(),
            clock: 0,
            recalled: 0,
            ghost_share,
            spared: 0,
        }
    }

    fn sum(&self, queue: &VecDeque<u64>) -> u64 {
        queue.iter().map(|key| self.entries[key].0).sum()
    }

    fn evict_one(&mut self) -> Option<u64> {
        let live = self.sum(&self.small) + self.sum(&self.main);
        let over = self.sum(&self.main) > live - live * self.small_pct / 100;
        let from_main = over || self.small.is_empty();
        let key = if from_main { self.main.pop_front() } else { self.small.pop_front() }.unwrap();
        let (size, hits) = self.entries[&key];
        let stays = hits >= if from_main { 1 } else { self.threshold };
        if stays && self.spared < 32 {
            self.spared += 1;
            self.main.push_back(key);
            self.entries.insert(key, (size, if from_main { hits - 1 } else { 0 }));
            return None;
        }
        self.spared = 0;
        self.entries.remove(&key);
        if !from_main {
            self.ghosts.push_back((key, self.clock));
            let free = size.min(self.recalled);
            (self.recalled, self.clock) = (self.recalled - free, self.clock + size - free);
            self.ghosts.retain(|ghost| self.clock - ghost.1 <= self.ghost_share);
        }
        Some(key)
    }
}

impl Twin for S3 {
    fn get(&mut self, key: u64) -> bool {
        let entry = self.entries.get_mut(&key);
        entry.map(|entry| entry.1 = (entry.1 + 1).min(3)).is_some()
    }

    fn set(&mut self, key: u64, size: u64) -> Vec<u64> {
        let (mut hits, mut to_main) = (0, false);
        if let Some(&(_, before)) = self.entries.get(&key) {
            (hits, to_main) = (before, self.main.contains(&key));
            self.remove(key);
        } else {
            if let Some(at) = self.ghosts.iter().rposition(|ghost| ghost.0 == key) {
                self.ghosts.remove(at);
                to_main = true;
                self.recalled = (self.recalled + size).min(self.ghost_share);
            }
        }
        let mut gone = Vec::new();
        while self.sum(&self.small) + self.sum(&self.main) + size > self.capacity {
            gone.extend(self.evict_one());
        }
        if to_main {
            self.main.push_back(key)
        } else {
            self.small.push_back(key)
        }
        self.entries.insert(key, (size, hits));
        gone
    }

    fn remove(&mut self, key: u64) {
        self.small.retain(|&other| other != key);
        self.main.retain(|&other| other != key);
        self.entries.remove(&key);
    }

    fn keys(&mut self) -> Vec<u64> {
        self.small.iter().chain(&self.main).copied().collect()
    }
}

/// SIEVE as its paper draws it: one list, the oldest in front, and a hand that goes to the newest.
struct Hand {
    capacity: u64,
    /// Key, size, whether it was hit.
    list: Vec<(u64, u64, bool)>,
    at: usize,
}

impl Hand {
    fn take(&mut self, at: usize) -> (u64, u64, bool) {
        self.at -= usize::from(at < self.at);
        self.list.remove(at)
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.list.iter().position(|entry| entry.0 == key)
    }
}

impl Twin for Exact {
    fn get(&mut self, key: u64) -> bool {
        Exact::get(self, key)
    }

    fn set(&mut self, key: u64, size: u64) -> Vec<u64> {
        Exact::set(self, key, size)
    }

    fn remove(&mut self, key: u64) {
        Exact::remove(self, key);
    }

    fn keys(&mut self) -> Vec<u64> {
        Exact::keys(self)
    }
}

impl Twin for Hand {
    fn get(&mut self, key: u64) -> bool {
        self.find(key).map(|at| self.list[at].2 = true).is_some()
    }

    fn set(&mut self, key: u64, size: u64) -> Vec<u64> {
        // A newcomer is yet to be seen; an overwritten entry stays on its side of the hand. Where
        // it goes is said before room is made, so both change sides with a hand that begins anew.
        let (mut passed, mut hit) = (false, false);
        if let Some(at) = self.find(key) {
            passed = at < self.at;
            hit = self.take(at).2;
        } else if self.at == self.list.len() {
            self.at = 0;
        }
        let mut gone = Vec::new();
        let mut spared = 0;
        while self.list.iter().map(|entry| entry.1).sum::<u64>() + size > self.capacity {
            if self.at == self.list.len() {
                self.at = 0;
                passed = !passed;
            }
            if self.list[self.at].2 && spared < 32 {
                self.list[self.at].2 = false;
                (self.at, spared) = (self.at + 1, spared + 1);
            } else {
                gone.push(self.take(self.at).0);
                spared = 0;
            }
        }
        if passed {
            self.list.insert(self.at, (key, size, hit));
            self.at += 1;
        } else {
            self.list.push((key, size, hit));
        }
        gone
    }

    fn remove(&mut self, key: u64) {
        if let Some(at) = self.find(key) {
            self.take(at);
        }
    }

    fn keys(&mut self) -> Vec<u64> {
        self.list.iter().map(|entry| entry.0).collect()
    }
}

/// Skewed requests with a drifting scan, overwrites and removals; sizes of 1 to `sizes`.
pub fn compare(mut sim: Sim<AnyPolicy>, mut twin: impl Twin, keys: u64, sizes: u64, what: &str) {
    let mut random = mix(keys);
    let (mut hits, mut evictions) = (0, 0);
    for step in 0..15_000_u64 {
        random = mix(random);
        let uniform = (random >> 40) as f64 / (1 << 24) as f64;
        let key = if random.is_multiple_of(4) {
            keys + step / 3 % (keys * 2)
        } else {
            (keys as f64 * uniform * uniform * uniform) as u64
        };
        let size = 1 + mix(key ^ (step / 1000)) % sizes;
        match (random >> 8) % 64 {
            0 => {
                sim.remove(key);
                twin.remove(key);
            }
            1 | 2 => {
                sim.set(key, size as u32);
                assert_eq!(evicted(&sim), twin.set(key, size), "{what}, step {step}, write {key}");
            }
            _ => {
                let hit = sim.get(key);
                assert_eq!(hit, twin.get(key), "{what}, step {step}, look-up {key}");
                hits += u64::from(hit);
                if !hit {
                    sim.set(key, size as u32);
                    let gone = twin.set(key, size);
                    assert_eq!(evicted(&sim), gone, "{what}, step {step}, insertion of {key}");
                    evictions += gone.len();
                }
            }
        }
    }
    let (first, second) = (sim.queue(0), sim.queue(1));
    let orders = [[&first[..], &second].concat(), [&second[..], &first].concat()];
    assert!(orders.contains(&twin.keys()), "{what}: {orders:?}, not {:?}", twin.keys());
    assert!(hits > 500 && evictions > 500, "{what}: {hits} hits, {evictions} evictions");
}

pub fn evicted(sim: &Sim<AnyPolicy>) -> Vec<u64> {
    let gone = sim.events.iter().filter_map(|event| match event {
        Event::Evicted { key } => Some(*key),
        Event::Placed { .. }
        | Event::Declined { .. }
        | Event::Kept { .. }
        | Event::Moved { .. }
        | Event::Promoted { .. } => None,
    });
    gone.collect()
}

pub fn policy(kind: PolicyKind, options: &str) -> AnyPolicy {
    AnyPolicy::new(kind, Some(options)).unwrap()
}

/// Both units, several capacities.
pub fn shards() -> impl Iterator<Item = (u64, u64, u64)> {
    [(10, 1), (97, 1), (500, 1), (60, 6), (700, 9)].into_iter().flat_map(|(capacity, sizes)| {
        [0, capacity]
            .into_iter()
            .filter(move |&entries| entries == 0 || sizes == 1)
            .map(move |entries| (capacity, entries, sizes))
    })
}

#[test]
fn fifo() {
    for (capacity, entries, sizes) in shards() {
        let sim = Sim::new(policy(PolicyKind::Fifo, ""), capacity, entries, capacity);
        let twin = List { capacity, touch: false, entries: VecDeque::new() };
        compare(sim, twin, capacity * 2, sizes, &format!("fifo {capacity}/{entries}"));
    }
}

#[test]
fn lru_of_share_0_is_exact() {
    for (capacity, entries, sizes) in shards() {
        let sim = Sim::new(policy(PolicyKind::Lru, "share=0"), capacity, entries, capacity);
        let twin = List { capacity, touch: true, entries: VecDeque::new() };
        compare(sim, twin, capacity * 2, sizes, &format!("lru {capacity}/{entries}"));
    }
}

#[test]
fn sieve() {
    for (capacity, entries, sizes) in shards() {
        let sim = Sim::new(policy(PolicyKind::Sieve, ""), capacity, entries, capacity);
        let twin = Hand { capacity, list: Vec::new(), at: 0 };
        compare(sim, twin, capacity * 2, sizes, &format!("sieve {capacity}/{entries}"));
    }
}

#[test]
fn s3fifo() {
    for (capacity, entries, sizes) in shards() {
        for (small, ghost, threshold) in [(10, 100, 1), (10, 100, 2), (30, 50, 3), (5, 0, 1)] {
            let options = format!("small={small},ghost={ghost},threshold={threshold}");
            // Eight words a ghost: no bucket overflows, and none is left alone until the clock
            // wraps.
            let ghosts = capacity * ghost / 100 / sizes.div_ceil(2);
            let memory = vec![0; 8 * ghosts as usize];
            let policy = policy(PolicyKind::S3Fifo, &options);
            let sim = Sim::with_memory(policy, capacity, entries, memory);
            let twin = S3::new(capacity, small, ghost, threshold as u8);
            let what = format!("s3fifo {options} {capacity}/{entries}");
            compare(sim, twin, capacity * 2, sizes, &what);
        }
    }
}

/// Exact LFU: the lowest frequency first, then the longest since its last use.
#[derive(Default)]
struct Frequencies {
    capacity: usize,
    uses: HashMap<u64, (u64, u64)>,
    order: BTreeSet<(u64, u64, u64)>,
    now: u64,
}

impl Frequencies {
    fn request(&mut self, key: u64) -> bool {
        self.now += 1;
        let before = self.uses.remove(&key);
        if let Some((uses, at)) = before {
            self.order.remove(&(uses, at, key));
        } else if self.order.len() == self.capacity {
            let (.., gone) = self.order.pop_first().unwrap();
            self.uses.remove(&gone);
        }
        let uses = before.map_or(1, |(uses, _)| uses + 1);
        self.uses.insert(key, (uses, self.now));
        self.order.insert((uses, self.now, key));
        before.is_some()
    }
}

/// W-TinyLFU with lists, and an exact count of every key in place of the sketch.
#[derive(Default)]
struct Tiny {
    capacity: usize,
    /// Window, probation, protected; the next victim in front.
    lists: [VecDeque<u64>; 3],
    counts: HashMap<u64, u64>,
    hits: usize,
}

impl Tiny {
    fn main(&self) -> usize {
        self.capacity - self.capacity / 100
    }

    fn shift(&mut self, from: usize, to: usize) {
        let key = self.lists[from].pop_front().unwrap();
        self.lists[to].push_back(key);
    }

    fn count(&mut self, key: u64) {
        *self.counts.entry(key).or_default() += 1;
    }

    fn hit(&mut self, list: usize, at: usize) {
        let key = self.lists[list].remove(at).unwrap();
        self.lists[if list == 0 { 0 } else { 2 }].push_back(key);
        if list == 0 {
            return;
        }
        self.count(key);
        self.hits += 1;
        if self.hits == 32 * self.main() {
            self.counts.values_mut().for_each(|count| *count /= 2);
            self.hits = 0;
        }
        while self.lists[2].len() > self.main() * 80 / 100 {
            self.shift(2, 1);
            if self.lists[1].len() > self.main() * 20 / 100 {
                self.lists[1].pop_front();
            }
        }
    }

    fn request(&mut self, key: u64) -> bool {
        for list in 0..3 {
            if let Some(at) = self.lists[list].iter().position(|&other| other == key) {
                self.hit(list, at);
                return true;
            }
        }
        while self.lists.iter().map(VecDeque::len).sum::<usize>() == self.capacity {
            let newcomer = self.lists[0][0];
            if self.lists[1].len() + self.lists[2].len() < self.main() {
                let full = self.lists[1].len() >= self.main() * 20 / 100;
                let to = if full && self.lists[2].len() < self.main() * 80 / 100 { 2 } else { 1 };
                self.shift(0, to);
            } else if self.counts[&newcomer] > self.counts[&self.lists[1][0]] {
                self.lists[1].pop_front();
                self.shift(0, 1);
            } else {
                self.lists[0].pop_front();
            }
            self.count(newcomer);
        }
        self.lists[0].push_back(key);
        self.count(key);
        false
    }
}

/// Misses of a policy and of its twin on skewed requests whose popular keys change.
fn misses(mut sim: Sim<AnyPolicy>, mut twin: impl FnMut(u64) -> bool, keys: u64) -> (f64, f64) {
    const REQUESTS: u64 = 60_000;
    let mut random = mix(keys);
    let (mut ours, mut its) = (0, 0);
    for step in 0..REQUESTS {
        random = mix(random);
        let uniform = (random >> 40) as f64 / (1 << 24) as f64;
        let key = (keys as f64 * uniform * uniform * uniform) as u64 + step / 20_000 * (keys / 8);
        ours += u64::from(!sim.request(key, 1));
        its += u64::from(!twin(key));
    }
    (ours as f64 / REQUESTS as f64, its as f64 / REQUESTS as f64)
}

/// The log takes ties in another order than the list: half a point.
#[test]
fn lfu_without_decay() {
    for capacity in [1_000, 2_000] {
        let sim = Sim::new(policy(PolicyKind::Lfu, "decay=0"), capacity, capacity, capacity);
        let mut twin = Frequencies { capacity: capacity as usize, ..Frequencies::default() };
        let (ours, its) = misses(sim, |key| twin.request(key), capacity * 8);
        assert!((ours - its).abs() < 0.005, "{capacity}: {ours:.4}, not {its:.4}");
    }
}

/// The sketch errs where the twin counts, among keys of which most are asked for once or twice: two
/// points.
#[test]
fn wtinylfu_of_one_window() {
    for capacity in [1_000, 2_000] {
        let options = "window=1,adapt=0";
        let sim = Sim::new(policy(PolicyKind::WTinyLfu, options), capacity, capacity, capacity);
        let mut twin = Tiny { capacity: capacity as usize, ..Tiny::default() };
        let (ours, its) = misses(sim, |key| twin.request(key), capacity * 8);
        assert!((ours - its).abs() < 0.020, "{capacity}: {ours:.4}, not {its:.4}");
    }
}

/// Under a stream of new keys an entry's chance to be there after as many insertions as there are
/// entries is 1/e, and 1/e^2 after twice as many.
#[test]
fn random_forgets_exponentially() {
    let pool = Pool::create(&PoolConfig::new(16 << 20)).unwrap();
    for options in ["keep=0", "keep=50", "keep=90"] {
        let config = StoreConfig {
            policy: PolicyKind::Random,
            policy_options: Some(options.into()),
            ..StoreConfig::default()
        };
        let store = pool.open_store(&config).unwrap();
        let mut key = 0_u64;
        let mut fill = |inserts: u64| {
            for _ in 0..inserts {
                store.set(&key.to_le_bytes(), &[0; 40]).unwrap();
                key += 1;
            }
            key
        };
        fill(400_000);
        let entries = store.stats().entries;
        let end = fill(3 * entries);
        for (laps, share) in [(1, 0.368), (2, 0.135)] {
            let newest = end - laps * entries;
            let asked = newest - entries / 4..newest + entries / 4;
            let there = asked.clone().filter(|key| store.contains(&key.to_le_bytes()).unwrap());
            let found = there.count() as f64 / asked.count() as f64;
            assert!((found - share).abs() < 0.1, "{options}: {found:.3} after {laps} laps");
        }
        store.destroy();
    }
}

/// Capacities at which a tick is one miss and a place has a mark of its own, and one bucket of
/// ghosts.
#[test]
fn adaptive() {
    for (capacity, sizes) in [(6, 1), (10, 1), (33, 1), (60, 1), (30, 6), (120, 9)] {
        for by_entries in [false, true] {
            for objective in ["objects", "bytes"] {
                if by_entries && sizes > 1 {
                    continue;
                }
                let entries = if by_entries { capacity } else { 0 };
                let options = format!("objective={objective}");
                let policy = policy(PolicyKind::Adaptive, &options);
                let sim = Sim::with_memory(policy, capacity, entries, vec![0; 8]);
                let twin = Exact::new(Rules {
                    tag: |key| ((mix(key) >> 32) & 0x1FFF).max(1),
                    age_max: 384,
                    objective_bytes: objective == "bytes",
                    ..Rules::new(capacity, by_entries, 8)
                });
                let what = format!("adaptive {options} {capacity}/{entries}");
                compare(sim, twin, capacity * 2, sizes, &what);
            }
        }
    }
}
