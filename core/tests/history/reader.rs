//! Threads that read and compare with the model.

use crate::model::{Begun, Model};
use crate::run::{Setup, pick_key};
use crate::support::Dice;
use crate::value::{LEN_MAX, NAMED, is_whole, key_bytes, named_write};
use hypercache_core::store::{BatchRead, Copied, View};
use hypercache_core::{ErrorKind, Info, Read, Store, ValueType};
use std::mem::MaybeUninit;
use std::time::Instant;

/// Views that a reader holds at once.
const HELD_MAX: usize = 8;
/// The most writes between which a short value may be, for a batch read to tell.
const CANDIDATES: u64 = 64;
/// Keys of a batch.
const BATCH: usize = 8;

struct Held {
    view: View,
    key: u32,
    seq: u64,
    until: u64,
}

pub struct Reader<'a> {
    pub store: &'a Store,
    pub model: &'a Model,
    pub setup: &'a Setup,
    pub dice: Dice,
    held: Vec<Held>,
    /// Version and write that each key was last seen with.
    versions: Vec<(u64, u64)>,
    pub reads: u64,
    pub hits: u64,
    pub refused: u64,
    pub slowest_ms: u64,
}

impl<'a> Reader<'a> {
    pub fn new(store: &'a Store, model: &'a Model, setup: &'a Setup, seed: u64) -> Self {
        Self {
            store,
            model,
            setup,
            dice: Dice::new(seed),
            held: Vec::new(),
            versions: vec![(0, 0); setup.keys as usize],
            reads: 0,
            hits: 0,
            refused: 0,
            slowest_ms: 0,
        }
    }

    pub fn run(&mut self) {
        let mut space = vec![MaybeUninit::new(0xEE_u8); BATCH * LEN_MAX];
        while !self.model.is_over() {
            self.reads += 1;
            let key = pick_key(&mut self.dice, self.setup);
            let begun = self.model.begin_read(key);
            let start = Instant::now();
            match self.dice.below(100) {
                0..45 => self.get(key, begun, &mut space),
                45..55 => self.copy(key, begun, &mut space),
                55..75 => self.pin(key, begun),
                75..85 => self.get_many(&mut space),
                85..92 => self.pin_many(),
                _ => self.contains(key, begun),
            }
            self.slowest_ms = self.slowest_ms.max(start.elapsed().as_millis() as u64);
            self.check_held();
        }
        for held in std::mem::take(&mut self.held) {
            self.check_view(&held);
        }
    }

    fn fail(&self, how: &str, error: &hypercache_core::Error) {
        self.model.blame(|| format!("{how} failed: {error}"));
    }

    fn get(&mut self, key: u32, begun: Begun, space: &mut [MaybeUninit<u8>]) {
        // Now and then a buffer that is too small.
        let room = if self.dice.below(8) == 0 { self.dice.below(2_000) as usize } else { LEN_MAX };
        let peek = self.dice.below(8) == 0;
        match self.store.get_with(&key_bytes(key), &mut space[..room], peek) {
            Ok(Read::Hit(info)) => {
                let bytes = initialised(&space[..info.len]);
                self.hit("get", key, begun, &info, bytes);
            }
            Ok(Read::SmallBuffer(info)) => {
                if info.len <= room {
                    self.model.blame(|| format!("get: key {key}: a buffer was not too small"));
                }
                if info.value_type != ValueType::INT64 {
                    self.model.saw("get", key, begun, u64::from(info.flags));
                }
            }
            Ok(Read::Miss) => self.model.missed(key, begun),
            Err(error) => self.fail("get", &error),
        }
    }

    fn copy(&mut self, key: u32, begun: Begun, space: &mut [MaybeUninit<u8>]) {
        match self.store.copy(&key_bytes(key), space) {
            Ok(Copied::Hit { len, value_type }) => {
                let bytes = initialised(&space[..len]);
                self.hit_without_info("copy", key, begun, value_type, bytes);
            }
            Ok(Copied::SmallBuffer { .. }) => {
                self.model.blame(|| format!("copy: key {key}: a buffer was not too small"));
            }
            Ok(Copied::Miss) => self.model.missed(key, begun),
            Err(error) => self.fail("copy", &error),
        }
    }

    fn contains(&mut self, key: u32, begun: Begun) {
        match self.store.contains(&key_bytes(key)) {
            Ok(true) => self.model.saw_something("contains", key, begun),
            Ok(false) => self.model.missed(key, begun),
            Err(error) => self.fail("contains", &error),
        }
    }

    fn pin(&mut self, key: u32, begun: Begun) {
        match self.store.pin(&key_bytes(key), false) {
            Ok(Some(view)) => {
                let seq = self.hit("pin", key, begun, view.info(), &view);
                self.hold(view, key, seq);
            }
            Ok(None) => self.model.missed(key, begun),
            Err(error) if error.kind() == ErrorKind::NoSpace => self.refused += 1,
            Err(error) => self.fail("pin", &error),
        }
    }

    fn hold(&mut self, view: View, key: u32, seq: Option<u64>) {
        if let Some(seq) = seq
            && self.held.len() < HELD_MAX
            && self.dice.below(3) != 0
        {
            let until = self.reads + self.dice.below(4_000);
            self.held.push(Held { view, key, seq, until });
        }
    }

    fn check_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.dice.below(self.held.len() as u64) as usize;
        if self.held[at].until <= self.reads {
            let held = self.held.swap_remove(at);
            self.check_view(&held);
        } else if self.dice.below(16) == 0 {
            self.check_view(&self.held[at]);
        }
    }

    fn check_view(&self, held: &Held) {
        let is_same = if held.view.info().value_type == ValueType::INT64 {
            integer(&held.view) == Some((held.key, held.seq))
        } else {
            named_write_or(held.key, held.seq, &held.view) == Ok(held.seq)
                && is_whole(held.key, held.seq, &held.view)
        };
        if !is_same {
            let (key, seq, len) = (held.key, held.seq, held.view.len());
            self.model
                .blame(|| format!("pin: key {key}: a held view changed ({seq}, {len} bytes)"));
        }
    }

    fn get_many(&mut self, space: &mut [MaybeUninit<u8>]) {
        let keys: [u32; BATCH] = std::array::from_fn(|_| pick_key(&mut self.dice, self.setup));
        let begun = keys.map(|key| self.model.begin_read(key));
        let bytes = keys.map(key_bytes);
        let slices: [&[u8]; BATCH] = std::array::from_fn(|i| bytes[i].as_slice());
        let mut out = [BatchRead::Miss; BATCH];
        if let Err(error) = self.store.get_many(&slices, false, space, &mut out) {
            return self.fail("get_many", &error);
        }
        for ((key, begun), result) in keys.into_iter().zip(begun).zip(out) {
            match result {
                BatchRead::Hit { offset, len, value_type } => {
                    let bytes = initialised(&space[offset..offset + len]);
                    self.hit_without_info("get_many", key, begun, value_type, bytes);
                }
                BatchRead::Miss => self.model.missed(key, begun),
                BatchRead::SmallBuffer { .. } => {
                    self.model.blame(|| format!("get_many: key {key}: there was room"));
                }
                BatchRead::Failed(kind) => {
                    self.model.blame(|| format!("get_many: key {key} failed: {kind:?}"));
                }
            }
        }
    }

    fn pin_many(&mut self) {
        let keys: [u32; BATCH] = std::array::from_fn(|_| pick_key(&mut self.dice, self.setup));
        let begun = keys.map(|key| self.model.begin_read(key));
        let bytes = keys.map(key_bytes);
        let slices: [&[u8]; BATCH] = std::array::from_fn(|i| bytes[i].as_slice());
        let mut out: [Option<View>; BATCH] = [const { None }; BATCH];
        let mut failed = [false; BATCH];
        let mut other = None;
        let result = self.store.pin_many(&slices, false, &mut out, &mut |i, error| {
            failed[i] = true;
            if error.kind() != ErrorKind::NoSpace {
                other = Some(error);
            }
        });
        if let Some(error) = result.err().or(other) {
            return self.fail("pin_many", &error);
        }
        for (i, view) in out.into_iter().enumerate() {
            match view {
                Some(view) => {
                    let seq = self.hit("pin_many", keys[i], begun[i], view.info(), &view);
                    self.hold(view, keys[i], seq);
                }
                None if failed[i] => self.refused += 1,
                None => self.model.missed(keys[i], begun[i]),
            }
        }
    }

    /// Checks a value that came with its metadata; returns its write.
    fn hit(&mut self, how: &str, key: u32, begun: Begun, info: &Info, bytes: &[u8]) -> Option<u64> {
        self.hits += 1;
        let seq = check_value(how, self.model, key, info, bytes)?;
        self.model.saw(how, key, begun, seq);
        let (version, known) = &mut self.versions[key as usize];
        if *version == info.version && *known != seq {
            self.model.blame(|| format!("{how}: key {key}: two writes have one version"));
        }
        (*version, *known) = (info.version, seq);
        Some(seq)
    }

    fn hit_without_info(
        &mut self,
        how: &str,
        key: u32,
        begun: Begun,
        value_type: ValueType,
        bytes: &[u8],
    ) {
        self.hits += 1;
        if value_type != ValueType::INT64 && bytes.len() < NAMED {
            let started =
                self.model.keys[key as usize].started.load(std::sync::atomic::Ordering::SeqCst);
            if started < begun.floor {
                self.model.saw_something(how, key, begun);
            } else if started - begun.floor < CANDIDATES
                && !(begun.floor..=started).any(|seq| is_whole(key, seq, bytes))
            {
                let len = bytes.len();
                self.model
                    .blame(|| format!("{how}: key {key}: {len} bytes are of no recent write"));
            }
            return;
        }
        let found = if value_type == ValueType::INT64 {
            integer(bytes)
                .filter(|(found, _)| *found == key)
                .map(|(_, seq)| seq)
                .ok_or("foreign or torn integer")
        } else {
            named_write(key, bytes)
                .and_then(|seq| if is_whole(key, seq, bytes) { Ok(seq) } else { Err("torn") })
        };
        match found {
            Ok(seq) => self.model.saw(how, key, begun, seq),
            Err(what) => {
                let len = bytes.len();
                self.model.blame(|| format!("{how}: key {key}, {len} bytes: {what}"));
            }
        }
    }
}

/// Checks every byte of a value; returns the write that it is of.
pub fn check_value(how: &str, model: &Model, key: u32, info: &Info, bytes: &[u8]) -> Option<u64> {
    let found = if info.value_type == ValueType::INT64 {
        integer(bytes)
            .filter(|(found, _)| *found == key)
            .map(|(_, seq)| seq)
            .ok_or("foreign or torn integer")
    } else {
        let seq = u64::from(info.flags);
        named_write_or(key, seq, bytes).and_then(|named| {
            if named != seq {
                Err("torn: value and metadata are of two writes")
            } else if is_whole(key, seq, bytes) {
                Ok(seq)
            } else {
                Err("torn")
            }
        })
    };
    match found {
        Ok(seq) => Some(seq),
        Err(what) => {
            let len = bytes.len();
            model.blame(|| format!("{how}: key {key}, {len} bytes: {what}"));
            None
        }
    }
}

fn named_write_or(key: u32, seq: u64, bytes: &[u8]) -> Result<u64, &'static str> {
    if bytes.len() < NAMED { Ok(seq) } else { named_write(key, bytes) }
}

/// Key and write of an integer value.
pub fn integer(bytes: &[u8]) -> Option<(u32, u64)> {
    let word = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    (bytes.len() == 8).then_some(((word >> 40) as u32, word & ((1 << 40) - 1)))
}

/// The bytes as plain ones: the whole buffer was initialised when it was made.
pub fn initialised(bytes: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: the buffers of this test are made of initialised bytes and stay so.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}
