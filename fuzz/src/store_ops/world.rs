//! The pool, its stores, what is held of them, and which operation a byte is.
//!
//! The numbers of operations are the corpus's: give a new one some of those that mean nothing yet,
//! and leave the others where they are.

use super::keys::{self, How, key};
use super::loads::HeldLease;
use super::raw::Blocks;
use super::scan::HeldScan;
use super::setup;
use super::twin::{Twin, shown};
use crate::Log;
use crate::input::Input;
use hypercache_core::clock::Clock;
use hypercache_core::store::{Draft, View};
use hypercache_core::{Pool, PutOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A draft and what its commit is to publish.
pub struct HeldDraft {
    /// The store's id.
    pub store: u32,
    pub draft: Draft,
    pub key: Vec<u8>,
    pub value: Arc<[u8]>,
    pub options: PutOptions,
}

/// Everything that an input works on.
pub struct World<'a> {
    pub log: &'a mut Log,
    pub pool: Pool,
    pub clock: Clock,
    hand: Arc<AtomicU64>,
    pub twins: Vec<Twin>,
    /// The store that operations go to.
    pub at: usize,
    pub views: Vec<(View, Arc<[u8]>)>,
    pub drafts: Vec<HeldDraft>,
    pub scans: Vec<HeldScan>,
    pub leases: Vec<HeldLease>,
    pub blocks: Blocks,
    /// Numbers the values, so that no two are equal.
    seed: u64,
    /// Bytes of values so far.
    pub written: usize,
}

impl<'a> World<'a> {
    pub fn new(input: &mut Input<'_>, log: &'a mut Log) -> Self {
        let config = setup::pool_config(input);
        log.begin("pool", || format!("{config:?}"));
        let pool = Pool::create(&config).unwrap();
        let (clock, hand) = Clock::manual(1_000);
        let mut world = Self {
            log,
            pool,
            clock,
            hand,
            twins: Vec::new(),
            at: 0,
            views: Vec::new(),
            drafts: Vec::new(),
            scans: Vec::new(),
            leases: Vec::new(),
            blocks: Blocks::default(),
            seed: 0,
            written: 0,
        };
        world.open(input);
        while world.twins.is_empty() {
            // What the input asked for does not fit: a store that does.
            world.open(&mut Input::new(&[]));
        }
        world
    }

    pub fn now(&self) -> u64 {
        self.hand.load(Ordering::SeqCst)
    }

    pub fn twin(&self) -> &Twin {
        &self.twins[self.at]
    }

    pub fn twin_mut(&mut self) -> &mut Twin {
        &mut self.twins[self.at]
    }

    /// A value that no other write has.
    pub fn value(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        crate::input::bytes_of(self.seed, len)
    }

    /// The key was written or removed: scans may show it or not.
    pub fn disturb(&mut self, key: &[u8]) {
        let store = self.twin().store.id();
        for scan in &mut self.scans {
            scan.disturb(store, key);
        }
    }

    /// The key was not found.
    pub fn missing(&mut self, key: &[u8], why: &str) {
        let now = self.now();
        self.twin_mut().missing(key, now, why);
    }

    /// Runs the next operation.
    pub fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..40 => self.put(input),
            40..60 => self.get(input),
            60..68 => self.pin(input),
            68..76 => self.unpin(input),
            76..82 => self.take(input),
            82..90 => self.touch(input),
            90..98 => self.delete(input),
            98..104 => self.delete_if(input),
            104..112 => self.incr(input),
            112..124 => self.put_many(input),
            124..132 => self.get_many(input),
            132..136 => self.pin_many(input),
            136..140 => self.delete_many(input),
            140..148 => self.reserve(input),
            148..154 => self.commit(input),
            154..158 => self.abandon(input),
            158..164 => self.invalidate(input),
            164..166 => self.clear(),
            166..172 => self.scan(input),
            172..176 => self.pool_limit(input),
            176..180 => self.store_limit(input),
            180..184 => self.trim(input),
            184..188 => self.open(input),
            188..190 => self.destroy(),
            190..194 => self.switch(),
            194..202 => self.advance(input),
            202..212 => self.alloc(input),
            212..220 => self.free(input),
            220..222 => self.free_wrongly(input),
            222..224 => self.open_scan(input),
            224..228 => self.step_scan(input),
            228..230 => self.thresholds(input),
            230..232 => self.look(),
            232..234 => self.fill(input),
            234..236 => self.find(),
            236..238 => self.wrong_arguments(input),
            238..240 => self.forget_handles(),
            240..244 => self.claim(input),
            244..247 => self.lease_put(input),
            247..250 => self.lease_drop(input),
            250 => self.get_or_claim(input),
            251 => self.wait_add(input),
            252 => self.get_or_load(input),
            253.. => {}
        }
    }

    fn advance(&mut self, input: &mut Input<'_>) {
        let ms = match input.byte() {
            byte @ 0..160 => u64::from(byte),
            160..240 => u64::from(input.word()),
            240..250 => u64::from(input.word()) << 16,
            _ => 1 << 44,
        };
        self.log.begin("advance", || format!("{ms} ms"));
        self.hand.fetch_add(ms, Ordering::SeqCst);
    }

    fn switch(&mut self) {
        self.at = (self.at + 1) % self.twins.len();
        let at = self.at;
        self.log.begin("switch", || format!("to store {at}"));
    }

    /// An operation on a key, for the log.
    pub fn begin(&mut self, name: &'static str, key: &[u8], detail: impl FnOnce() -> String) {
        self.log.begin(name, || format!("{} {}", shown(key), detail()));
    }

    pub fn read_key_and_how(input: &mut Input<'_>) -> (Vec<u8>, How) {
        (key(input), How::read(input))
    }

    pub fn read_ttl(input: &mut Input<'_>) -> hypercache_core::Ttl {
        let kind = input.byte();
        keys::ttl(kind, input)
    }
}

/// Takes one of some out, whichever a number names.
pub fn take_out<T>(from: &mut Vec<T>, number: u8) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    let at = usize::from(number) % from.len();
    Some(from.remove(at))
}
