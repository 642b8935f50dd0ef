//! `adaptive`, written for being read: exact times, exact ghosts in the order in which they came,
//! queues without a log. The policy rounds times to ticks and keeps ghosts in buckets; where a tick
//! is one miss and the ghosts are one bucket, both decide the same.

use crate::sim::Mixer;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

type Map<V> = HashMap<u64, V, BuildHasherDefault<Mixer>>;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// What makes an [`Exact`], and which of its parts are there.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub capacity: u64,
    /// The capacity is a number of entries; else of bytes.
    pub by_entries: bool,
    pub ghosts: u64,
    /// What a ghost is known by.
    pub tag: fn(u64) -> u64,
    /// The longest time for which an entry has been there when it leaves, as far as ghosts know.
    pub age_max: u64,
    pub objective_bytes: bool,
    /// The boundary moves.
    pub adapts: bool,
    /// Main is filled unasked.
    pub fills: bool,
    /// The newest part of small in which hits do not count, in 256ths.
    pub window: u64,
    /// A ghost has to win a contest.
    pub contests: bool,
}

impl Rules {
    pub fn new(capacity: u64, by_entries: bool, ghosts: u64) -> Self {
        Self {
            capacity,
            by_entries,
            ghosts,
            tag: |key| key,
            age_max: u64::MAX,
            objective_bytes: false,
            adapts: true,
            fills: true,
            window: 51,
            contests: true,
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    queue: usize,
    bytes: u64,
    hits: u8,
    appended: u64,
    /// Bytes appended to its queue before it.
    place: u64,
}

#[derive(Clone, Copy)]
struct Ghost {
    number: u64,
    queue: usize,
    appended: u64,
    left: u64,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<(u64, u64)>,
    bytes: u64,
    entries: u64,
    head: u64,
    /// Inserts into small, steps of main's hand.
    clock: u64,
}

pub struct Exact {
    rules: Rules,
    entries: Map<Entry>,
    queues: [Queue; 2],
    ghosts: Map<Vec<Ghost>>,
    /// Ghosts in the order in which they came, and how many came and are left.
    departures: VecDeque<(u64, u64)>,
    departed: u64,
    ghosts_left: u64,
    misses: u64,
    share: f64,
    mean: u64,
    spared: u32,
    rounds: u32,
    gone: Vec<u64>,
}

impl Exact {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            entries: Map::default(),
            queues: Default::default(),
            ghosts: Map::default(),
            departures: VecDeque::new(),
            departed: 0,
            ghosts_left: 0,
            misses: 0,
            share: 0.1,
            mean: 0,
            spared: 0,
            rounds: 0,
            gone: Vec::new(),
        }
    }

    pub fn get(&mut self, key: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let small = &self.queues[SMALL];
        let is_old = |place| (small.head - place) * 256 > small.bytes * self.rules.window;
        if entry.queue == MAIN || is_old(entry.place) {
            entry.hits = (entry.hits + 1).min(3);
        }
        true
    }

    /// Writes a key; the keys that had to go.
    pub fn set(&mut self, key: u64, bytes: u64) -> Vec<u64> {
        self.gone.clear();
        if self.rules.by_entries || bytes <= self.rules.capacity {
            let (queue, hits) = match self.entries.get(&key).copied() {
                Some(old) => {
                    self.unlink(key);
                    (old.queue, old.hits)
                }
                None => (self.place(key, bytes), 0),
            };
            while !self.has_room(bytes) {
                self.make_room();
            }
            self.append(key, bytes, queue, hits);
        } else {
            self.unlink(key);
        }
        std::mem::take(&mut self.gone)
    }

    pub fn remove(&mut self, key: u64) {
        self.unlink(key);
    }

    pub fn keys(&mut self) -> Vec<u64> {
        let orders = self.queues.each_ref().map(|queue| queue.order.clone());
        let live = orders.into_iter().enumerate().flat_map(|(queue, order)| {
            order.into_iter().map(move |(key, place)| (key, queue, place))
        });
        live.filter(|&(key, queue, place)| self.is_live(key, queue, place))
            .map(|(key, ..)| key)
            .collect()
    }

    fn size(&self, bytes: u64) -> u64 {
        if self.rules.by_entries { 1 } else { bytes }
    }

    fn used(&self, queue: usize) -> u64 {
        let queue = &self.queues[queue];
        if self.rules.by_entries { queue.entries } else { queue.bytes }
    }

    fn live(&self) -> u64 {
        self.used(SMALL) + self.used(MAIN)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.live() + self.size(bytes) <= self.rules.capacity
    }

    fn main_part(&self) -> f64 {
        (1.0 - self.share) * self.live() as f64
    }

    /// Where a new key goes.
    fn place(&mut self, key: u64, bytes: u64) -> usize {
        self.misses += 1;
        let count = self.entries.len() as u64;
        self.mean = (self.queues[SMALL].bytes + self.queues[MAIN].bytes) / count.max(1);
        let size = self.size(bytes);
        let Some(ghost) = self.recall(key) else {
            self.queues[SMALL].clock += 1;
            return SMALL;
        };
        let count = count.max(1) as f64;
        let near = (count / 20.0).max(4.0);
        if self.rules.adapts && (self.queues[ghost.queue].clock - ghost.left) as f64 <= near {
            let by = if ghost.queue == SMALL { 2.0 } else { -3.0 };
            self.share = (self.share + by / count).clamp(0.01, 0.98);
        }
        let has_room = (self.used(MAIN) + size) as f64 <= self.main_part();
        if has_room || !self.rules.contests || self.wins(size, self.misses - ghost.appended) {
            return MAIN;
        }
        self.queues[SMALL].clock += 1;
        SMALL
    }

    fn wins(&mut self, size: u64, age: u64) -> bool {
        let age = age.max(1);
        let mut margin = 1.0 / age as f64;
        let (mut staked, mut passed, mut stakes) = (Vec::new(), 0, 0);
        loop {
            let Some(key) = self.tail(MAIN, staked.len()) else { return false };
            let tail = self.entries[&key];
            if tail.hits > 0 && passed < 32 {
                passed += 1;
                self.queues[MAIN].clock += 1;
                // Whatever is staked stays in front.
                let at = self.position(key, tail.place);
                self.queues[MAIN].order.remove(at);
                self.append_again(key, MAIN, tail.hits - 1);
                continue;
            }
            let tail_age = (self.misses - tail.appended).max(1);
            margin -= 1.0 / tail_age as f64;
            let stands = if self.rules.objective_bytes { tail_age <= age } else { margin <= 0.0 };
            if stands || stakes >= 32 {
                return false;
            }
            stakes += 1;
            staked.push(key);
            if staked.iter().map(|key| self.size(self.entries[key].bytes)).sum::<u64>() >= size {
                staked.into_iter().for_each(|key| self.evict(key));
                return true;
            }
        }
    }

    fn position(&self, key: u64, place: u64) -> usize {
        let order = &self.queues[MAIN].order;
        order.iter().position(|&slot| slot == (key, place)).unwrap()
    }

    /// The live entry of a queue that has so many before it.
    fn tail(&mut self, queue: usize, skip: usize) -> Option<u64> {
        while let Some(&(key, place)) = self.queues[queue].order.front()
            && !self.is_live(key, queue, place)
        {
            self.queues[queue].order.pop_front();
        }
        let live =
            self.queues[queue].order.iter().filter(|slot| self.is_live(slot.0, queue, slot.1));
        live.map(|slot| slot.0).nth(skip)
    }

    fn make_room(&mut self) {
        let (small, main) = (self.queues[SMALL].entries, self.queues[MAIN].entries);
        let over = self.used(MAIN) as f64 > self.main_part();
        let queue = if small == 0 || main > 0 && over { MAIN } else { SMALL };
        let key = self.tail(queue, 0).unwrap();
        let entry = self.entries[&key];
        let moves = if self.spared >= 32 {
            None
        } else if queue == MAIN {
            (entry.hits > 0).then(|| (MAIN, entry.hits - 1))
        } else {
            let used = self.used(MAIN);
            if self.rules.fills && 2 * used <= self.live() && (used as f64) < self.main_part() {
                Some((MAIN, entry.hits.min(1)))
            } else if entry.hits > 0 {
                Some((MAIN, 0))
            } else {
                self.earns_round(entry.bytes).then_some((SMALL, 0))
            }
        };
        match moves {
            Some((to, hits)) => {
                self.spared += 1;
                if queue == MAIN {
                    self.queues[MAIN].clock += 1;
                }
                self.append_again(key, to, hits);
            }
            None => self.evict(key),
        }
    }

    fn earns_round(&mut self, bytes: u64) -> bool {
        let rounds = (0..3).filter(|round| (4 << round) * bytes <= 3 * self.mean).count() as u32;
        if rounds == 0 || self.rules.by_entries {
            return false;
        }
        self.rounds += 12 * rounds / (rounds + 1);
        let earns = self.rounds >= 12;
        self.rounds %= 12;
        earns
    }

    fn evict(&mut self, key: u64) {
        let entry = self.entries[&key];
        self.unlink(key);
        self.spared = 0;
        if entry.queue == MAIN {
            self.queues[MAIN].clock += 1;
        }
        let age = (self.misses - entry.appended).min(self.rules.age_max);
        self.remember(key, entry.queue, self.misses - age);
        self.gone.push(key);
    }

    fn append_again(&mut self, key: u64, queue: usize, hits: u8) {
        let bytes = self.entries[&key].bytes;
        self.unlink(key);
        self.append(key, bytes, queue, hits);
    }

    fn append(&mut self, key: u64, bytes: u64, queue: usize, hits: u8) {
        let to = &mut self.queues[queue];
        let place = to.head;
        to.order.push_back((key, place));
        to.head += bytes;
        to.bytes += bytes;
        to.entries += 1;
        self.entries.insert(key, Entry { queue, bytes, hits, appended: self.misses, place });
    }

    fn unlink(&mut self, key: u64) {
        if let Some(entry) = self.entries.remove(&key) {
            self.queues[entry.queue].bytes -= entry.bytes;
            self.queues[entry.queue].entries -= 1;
        }
    }

    fn is_live(&self, key: u64, queue: usize, place: u64) -> bool {
        self.entries.get(&key).is_some_and(|entry| (entry.queue, entry.place) == (queue, place))
    }

    fn remember(&mut self, key: u64, queue: usize, appended: u64) {
        let (tag, number) = ((self.rules.tag)(key), self.departed);
        let ghost = Ghost { number, queue, appended, left: self.queues[queue].clock };
        self.ghosts.entry(tag).or_default().push(ghost);
        self.departures.push_back((tag, number));
        self.departed += 1;
        self.ghosts_left += 1;
        while self.ghosts_left > self.rules.ghosts {
            let (tag, number) = self.departures.pop_front().unwrap();
            self.forget(tag, |ghost| ghost.number == number);
        }
    }

    /// The newest ghost of a key.
    fn recall(&mut self, key: u64) -> Option<Ghost> {
        self.forget((self.rules.tag)(key), |_| true)
    }

    fn forget(&mut self, tag: u64, is_it: impl Fn(&Ghost) -> bool) -> Option<Ghost> {
        let ghosts = self.ghosts.get_mut(&tag)?;
        let at = ghosts.iter().rposition(is_it)?;
        let ghost = ghosts.remove(at);
        if ghosts.is_empty() {
            self.ghosts.remove(&tag);
        }
        self.ghosts_left -= 1;
        Some(ghost)
    }
}
