//! A shard without bytes: drives a [`Policy`] exactly as a store does, one request at a time.
//!
//! Queues are logs of (key, position); an entry is live where the index points at it, everything
//! else in a log is dead, as after an overwrite. The cursor is the front of the log. What the
//! policy decided in the last call is in [`Sim::events`], for twins to compare with.

use hypercache_core::eviction::{
    Bout, CONTEST_MAX, Context, Duel, EntryMeta, HITS_MAX, Heard, Placement, Policy, QUEUES_MAX,
    Verdict, View,
};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// A decision that changed the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Placed { key: u64, queue: u8 },
    Declined { key: u64 },
    Evicted { key: u64 },
    Kept { key: u64, hits: u8 },
    Moved { key: u64, queue: u8 },
    Promoted { key: u64 },
}

/// A shard of a store, without the bytes.
pub struct Sim<P> {
    pub policy: P,
    /// Decisions of the last call.
    pub events: Vec<Event>,
    view: View,
    memory: Vec<u32>,
    index: HashMap<u64, EntryMeta, BuildHasherDefault<Mixer>>,
    logs: [VecDeque<(u64, u64)>; QUEUES_MAX],
    dice: u64,
}

impl<P: Policy> Sim<P> {
    /// A shard of so many bytes and entries (0: bounded by bytes only); the policy gets memory for
    /// `entries`.
    pub fn new(policy: P, capacity_bytes: u64, capacity_entries: u64, entries: u64) -> Self {
        let memory = vec![0; policy.memory_words(entries)];
        Self::with_memory(policy, capacity_bytes, capacity_entries, memory)
    }

    /// The same with memory of any size.
    pub fn with_memory(
        mut policy: P,
        capacity_bytes: u64,
        capacity_entries: u64,
        memory: Vec<u32>,
    ) -> Self {
        policy.memory_changed();
        Self {
            policy,
            events: Vec::new(),
            view: View { capacity_bytes, capacity_entries, ..View::default() },
            memory,
            index: HashMap::default(),
            logs: Default::default(),
            dice: 1,
        }
    }

    /// A look-up, and an insertion if it misses. Says whether it hit.
    pub fn request(&mut self, key: u64, bytes: u32) -> bool {
        self.get(key) || {
            self.set(key, bytes);
            false
        }
    }

    /// A look-up. Says whether it hit.
    pub fn get(&mut self, key: u64) -> bool {
        self.events.clear();
        let Some(entry) = self.index.get_mut(&key) else { return false };
        let queue = &mut self.view.queues[usize::from(entry.queue)];
        // As if the log were compacted all the time.
        queue.tail = queue.head - queue.bytes;
        let behind = |share: u8| {
            u128::from(queue.head - entry.position) * 256
                > u128::from(queue.length()) * u128::from(share)
        };
        let counted = match self.policy.uncounted_share() {
            Some(share) => entry.queue != 0 || behind(share),
            None => self.policy.promote_after().is_none() || self.policy.counts_hits(),
        };
        let promoted = self.policy.promote_after().is_some_and(behind);
        let hits_before = entry.hits;
        if counted {
            entry.hits = (entry.hits + 1).min(HITS_MAX);
        }
        let entry = *entry;
        if self.policy.hears_at() == Some(hits_before + 1) {
            self.hear(key, &entry);
        }
        if promoted {
            self.append_again(key, entry.queue, entry.hits);
            self.events.push(Event::Promoted { key });
        }
        true
    }

    fn hear(&mut self, key: u64, entry: &EntryMeta) {
        match self.ask(|policy, cx| policy.heard(cx, entry)) {
            Heard::Stay { hits } => {
                self.index.entry(key).and_modify(|entry| entry.hits = hits);
            }
            Heard::Append { queue, hits } => {
                self.append_again(key, queue, hits);
                self.events.push(Event::Moved { key, queue });
            }
        }
    }

    /// A write.
    pub fn set(&mut self, key: u64, bytes: u32) {
        self.set_until(key, bytes, u64::MAX);
    }

    /// What the clock says.
    pub fn now(&mut self, ms: u64) {
        self.view.now_ms = ms;
    }

    /// Another expiry for an entry that has one.
    pub fn touch(&mut self, key: u64, expires_ms: u64) {
        self.index.entry(key).and_modify(|entry| entry.expires_ms = expires_ms);
    }

    /// A write of what expires.
    pub fn set_until(&mut self, key: u64, bytes: u32, expires_ms: u64) {
        self.events.clear();
        if u64::from(bytes) > self.view.capacity_bytes {
            self.remove(key);
            self.events.push(Event::Declined { key });
            return;
        }
        let (queue, hits) = match self.index.get(&key).copied() {
            Some(old) => {
                let hits = self.ask(|policy, cx| policy.replace(cx, &old));
                self.unlink(key);
                (old.queue, hits)
            }
            None => match self.place(key, bytes, expires_ms) {
                Some(place) => place,
                None => return self.events.push(Event::Declined { key }),
            },
        };
        while !self.has_room(bytes) {
            self.make_room();
        }
        self.append(key, bytes, queue, hits, expires_ms);
        self.events.push(Event::Placed { key, queue });
        self.check();
    }

    /// A removal. Says whether there was an entry.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(entry) = self.unlink(key) else { return false };
        self.ask(|policy, cx| policy.removed(cx, &entry));
        true
    }

    /// Empties the shard.
    pub fn clear(&mut self) {
        self.index.clear();
        for (queue, log) in self.logs.iter_mut().enumerate() {
            log.clear();
            (self.view.queues[queue].bytes, self.view.queues[queue].entries) = (0, 0);
        }
        self.policy.clear();
    }

    /// Entries of a queue, the oldest first.
    pub fn queue(&self, queue: u8) -> Vec<u64> {
        let log = self.logs[usize::from(queue)].iter();
        log.filter(|slot| self.is_live(queue, **slot)).map(|slot| slot.0).collect()
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    fn place(&mut self, key: u64, bytes: u32, expires_ms: u64) -> Option<(u8, u8)> {
        let entry = EntryMeta {
            bytes,
            hits: 0,
            queue: 0,
            fingerprint: fingerprint(key),
            position: 0,
            expires_ms,
            session: 0,
        };
        match self.ask(|policy, cx| policy.place(cx, &entry)) {
            Placement::Queue { queue, hits } => Some((queue, hits)),
            Placement::Contest { queue, lost } if lost == Some(queue) => Some((queue, 0)),
            Placement::Contest { queue, lost } => {
                if self.contest(&entry, queue) { Some(queue) } else { lost }.map(|queue| (queue, 0))
            }
            Placement::Decline => None,
        }
    }

    fn contest(&mut self, newcomer: &EntryMeta, queue: u8) -> bool {
        self.pass_dead(queue);
        let mut staked = Vec::new();
        let mut staked_size = 0;
        let mut at = 0;
        let mut walked = 0;
        while walked < CONTEST_MAX {
            let Some(&slot) = self.logs[usize::from(queue)].get(at) else { return false };
            at += 1;
            if !self.is_live(queue, slot) {
                continue;
            }
            walked += 1;
            let tail = self.index[&slot.0];
            match self.ask(|policy, cx| policy.weigh(cx, newcomer, &tail)) {
                Bout::Keep { hits } => {
                    self.append_again(slot.0, queue, hits);
                    self.events.push(Event::Kept { key: slot.0, hits });
                }
                Bout::Stake => {
                    staked.push(slot.0);
                    staked_size += self.view.size(&tail);
                    if staked_size >= self.view.size(newcomer) {
                        for key in staked {
                            self.evict(key);
                        }
                        return true;
                    }
                }
                Bout::Hold => return false,
            }
        }
        false
    }

    fn make_room(&mut self) {
        let queue = self.ask(|policy, cx| policy.victim_queue(cx));
        assert!(queue < self.policy.queues(), "queue {queue} is none of the policy's");
        self.pass_dead(queue);
        if self.policy.roams() {
            self.dice = mix(self.dice);
            let log = &mut self.logs[usize::from(queue)];
            log.rotate_left((self.dice % log.len() as u64) as usize);
            self.pass_dead(queue);
        }
        let &(key, _) = self.logs[usize::from(queue)].front().expect("the queue has entries");
        let entry = self.index[&key];
        match self.ask(|policy, cx| policy.judge(cx, &entry)) {
            Verdict::Evict => self.evict(key),
            Verdict::Keep { hits } => {
                self.append_again(key, queue, hits);
                self.events.push(Event::Kept { key, hits });
            }
            Verdict::Move { queue, hits } => {
                self.append_again(key, queue, hits);
                self.events.push(Event::Moved { key, queue });
            }
            Verdict::Duel { queue: own } if own == queue => {}
            Verdict::Duel { queue: rivals } => match self.queue(rivals).first().copied() {
                None => self.evict(key),
                Some(rival_key) => {
                    let rival = self.index[&rival_key];
                    match self.ask(|policy, cx| policy.duel(cx, &entry, &rival)) {
                        Duel::Win { hits } => {
                            self.append_again(key, rivals, hits);
                            self.events.push(Event::Moved { key, queue: rivals });
                            self.evict(rival_key);
                        }
                        Duel::Lose => self.evict(key),
                    }
                }
            },
        }
    }

    /// Brings the cursor of a queue to a live entry.
    fn pass_dead(&mut self, queue: u8) {
        while let Some(&slot) = self.logs[usize::from(queue)].front()
            && !self.is_live(queue, slot)
        {
            self.logs[usize::from(queue)].pop_front();
        }
    }

    fn evict(&mut self, key: u64) {
        if let Some(entry) = self.unlink(key) {
            self.ask(|policy, cx| policy.evicted(cx, &entry));
            self.events.push(Event::Evicted { key });
        }
    }

    fn append_again(&mut self, key: u64, queue: u8, hits: u8) {
        if let Some(entry) = self.unlink(key) {
            self.append(key, entry.bytes, queue, hits, entry.expires_ms);
        }
    }

    fn append(&mut self, key: u64, bytes: u32, queue: u8, hits: u8, expires_ms: u64) {
        assert!(queue < self.policy.queues() && hits <= HITS_MAX, "queue {queue}, hits {hits}");
        let view = &mut self.view.queues[usize::from(queue)];
        let position = view.head;
        view.head += u64::from(bytes);
        view.bytes += u64::from(bytes);
        view.entries += 1;
        let entry = EntryMeta {
            bytes,
            hits,
            queue,
            fingerprint: fingerprint(key),
            position,
            expires_ms,
            session: 0,
        };
        assert!(self.index.insert(key, entry).is_none(), "an entry was appended twice");
        self.logs[usize::from(queue)].push_back((key, position));
        if self.logs[usize::from(queue)].len() as u64
            > 4 * self.view.queues[usize::from(queue)].entries + 64
        {
            let mut log = std::mem::take(&mut self.logs[usize::from(queue)]);
            log.retain(|slot| self.is_live(queue, *slot));
            self.logs[usize::from(queue)] = log;
        }
    }

    fn unlink(&mut self, key: u64) -> Option<EntryMeta> {
        let entry = self.index.remove(&key)?;
        let queue = &mut self.view.queues[usize::from(entry.queue)];
        queue.bytes -= u64::from(entry.bytes);
        queue.entries -= 1;
        Some(entry)
    }

    fn ask<T>(&mut self, question: impl FnOnce(&mut P, &mut Context<'_>) -> T) -> T {
        question(&mut self.policy, &mut Context { view: &self.view, memory: &mut self.memory })
    }

    fn is_live(&self, queue: u8, (key, position): (u64, u64)) -> bool {
        self.index.get(&key).is_some_and(|e| (e.queue, e.position) == (queue, position))
    }

    fn has_room(&self, bytes: u32) -> bool {
        let View { queues, capacity_bytes, capacity_entries, .. } = &self.view;
        let used: u64 = queues.iter().map(|queue| queue.bytes).sum();
        let entries: u64 = queues.iter().map(|queue| queue.entries).sum();
        used + u64::from(bytes) <= *capacity_bytes
            && (*capacity_entries == 0 || entries < *capacity_entries)
    }

    fn check(&self) {
        let View { queues, capacity_bytes, capacity_entries, .. } = &self.view;
        let entries: u64 = queues.iter().map(|queue| queue.entries).sum();
        assert_eq!(entries, self.index.len() as u64);
        assert!(queues.iter().map(|queue| queue.bytes).sum::<u64>() <= *capacity_bytes);
        assert!(*capacity_entries == 0 || entries <= *capacity_entries);
    }
}

fn fingerprint(key: u64) -> u32 {
    (mix(key) >> 32) as u32
}

/// A bijection that spreads small numbers over 64 bits.
pub fn mix(key: u64) -> u64 {
    let mut x = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// [`mix`] as a hasher of `u64` keys.
#[derive(Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mix(self.0 ^ key);
    }
}
