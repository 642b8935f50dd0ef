//! Threads that write, each the keys that it owns.

use crate::model::Model;
use crate::reader::{check_value, initialised, integer};
use crate::run::{Setup, pick_key};
use crate::support::Dice;
use crate::value::{LEN_MAX, fill, key_bytes};
use hypercache_core::types::IncrOutcome;
use hypercache_core::{
    BatchEntry, Error, ErrorKind, PutMode, PutOptions, PutOutcome, Read, Store, Ttl, ValueType,
};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

/// A time to live that nothing here outlives.
const LONG: Ttl = Ttl::Millis(3_600_000);

/// What a writer knows of a key: only it writes there.
#[derive(Clone, Copy, Default)]
struct Own {
    /// The write whose value the store may hold.
    stored: Option<u64>,
    /// Whether that value may expire during the test.
    is_short_lived: bool,
    version: u64,
}

pub struct Writer<'a> {
    store: &'a Store,
    model: &'a Model,
    setup: &'a Setup,
    number: u32,
    dice: Dice,
    own: Vec<Own>,
    pub writes: u64,
    pub refused: u64,
    pub slowest_ms: u64,
}

impl<'a> Writer<'a> {
    pub fn new(store: &'a Store, model: &'a Model, setup: &'a Setup, number: u32) -> Self {
        Self {
            store,
            model,
            setup,
            number,
            dice: Dice::new(setup.seed * 64 + u64::from(number)),
            own: vec![Own::default(); setup.keys as usize],
            writes: 0,
            refused: 0,
            slowest_ms: 0,
        }
    }

    pub fn run(&mut self) {
        let mut space = vec![0_u8; LEN_MAX];
        let mut out = vec![MaybeUninit::new(0xEE_u8); LEN_MAX];
        while !self.model.is_over() {
            self.writes += 1;
            let key = self.pick();
            let start = Instant::now();
            if is_counter(key) {
                match self.dice.below(10) {
                    0..8 => self.incr(key),
                    8 => self.delete(key),
                    _ => self.take(key, &mut out),
                }
            } else {
                match self.dice.below(100) {
                    0..58 => self.set(key, &mut space),
                    58..66 => self.put_if(key, &mut space),
                    66..72 => self.draft(key),
                    72..78 => self.put_many(&mut space),
                    78..86 => self.delete(key),
                    86..92 => self.take(key, &mut out),
                    _ => self.touch(key),
                }
            }
            self.slowest_ms = self.slowest_ms.max(start.elapsed().as_millis() as u64);
        }
    }

    /// A key of this writer's.
    fn pick(&mut self) -> u32 {
        let key = pick_key(&mut self.dice, self.setup);
        let own = key - key % self.setup.writers + self.number;
        if own < self.setup.keys { own } else { self.number }
    }

    fn begin(&self, key: u32) -> u64 {
        let known = &self.model.keys[key as usize];
        let seq = known.started.load(SeqCst) + 1;
        known.started.store(seq, SeqCst);
        seq
    }

    /// A write has returned; nothing older than `floor` may be read from now on.
    fn end(&self, key: u32, seq: u64, floor: u64) {
        let known = &self.model.keys[key as usize];
        known.floor.fetch_max(floor, SeqCst);
        known.completed.store(seq, SeqCst);
    }

    fn len(&mut self) -> usize {
        match self.dice.below(100) {
            0..5 => 0,
            5..30 => self.dice.below(64) as usize,
            30..65 => self.dice.below(4_200) as usize,
            _ => self.dice.below(LEN_MAX as u64 + 1) as usize,
        }
    }

    fn options(&mut self, seq: u64) -> (PutOptions, bool) {
        let (ttl, is_short_lived) = match self.dice.below(10) {
            0 => (Ttl::Millis(1 + self.dice.below(30)), true),
            1 => (LONG, false),
            _ => (Ttl::Never, false),
        };
        let value_type = ValueType(128 + self.dice.below(4) as u8);
        let flags = seq as u32;
        (PutOptions { ttl, value_type, flags, ..PutOptions::default() }, is_short_lived)
    }

    fn stored(&mut self, key: u32, seq: u64, version: u64, is_short_lived: bool) {
        self.own[key as usize] = Own { stored: Some(seq), is_short_lived, version };
        self.end(key, seq, seq);
    }

    fn gone(&mut self, key: u32, seq: u64) {
        self.own[key as usize] = Own::default();
        self.end(key, seq, seq + 1);
    }

    /// The store says that it has a value where this writer left none.
    fn blame_presence(&self, how: &str, key: u32) {
        if self.own[key as usize].stored.is_none() {
            self.model.blame(|| format!("{how}: key {key} is there after it was removed"));
        }
    }

    fn failed(&mut self, how: &str, key: u32, seq: u64, error: &Error) {
        if error.kind() == ErrorKind::NoSpace {
            self.refused += 1;
        } else {
            self.model.blame(|| format!("{how} failed: {error}"));
        }
        self.gone(key, seq);
    }

    fn set(&mut self, key: u32, space: &mut [u8]) {
        let seq = self.begin(key);
        let len = self.len();
        fill(key, seq, &mut space[..len]);
        let (options, is_short_lived) = self.options(seq);
        let result = self.store.put(&key_bytes(key), &space[..len], &options);
        self.note_put("put", key, seq, is_short_lived, result);
    }

    fn note_put(
        &mut self,
        how: &str,
        key: u32,
        seq: u64,
        is_short_lived: bool,
        result: Result<PutOutcome, Error>,
    ) {
        match result {
            Ok(PutOutcome::Stored(version)) => self.stored(key, seq, version, is_short_lived),
            Ok(PutOutcome::NotAdmitted) => self.gone(key, seq),
            Ok(PutOutcome::Exists | PutOutcome::Conflict) => {
                self.blame_presence(how, key);
                self.end(key, seq, 0);
            }
            Ok(PutOutcome::NotFound) => self.gone(key, seq),
            Err(error) => self.failed(how, key, seq, &error),
        }
    }

    fn put_if(&mut self, key: u32, space: &mut [u8]) {
        let seq = self.begin(key);
        let len = self.len();
        fill(key, seq, &mut space[..len]);
        let own = self.own[key as usize];
        let (mut options, is_short_lived) = self.options(seq);
        options.mode = match self.dice.below(4) {
            0 => PutMode::Add,
            1 => PutMode::Replace,
            2 => PutMode::CompareAndSet(own.version.wrapping_add(1)),
            _ => PutMode::CompareAndSet(own.version),
        };
        let result = self.store.put(&key_bytes(key), &space[..len], &options);
        match (&result, options.mode) {
            // A condition that is not met changes nothing, room or no room.
            (Err(error), PutMode::Add) if error.kind() == ErrorKind::NoSpace => {
                self.refused += 1;
                self.end(key, seq, 0);
            }
            (Err(error), PutMode::CompareAndSet(_)) if error.kind() == ErrorKind::NoSpace => {
                self.refused += 1;
                self.end(key, seq, 0);
            }
            (Ok(PutOutcome::Stored(_)), PutMode::CompareAndSet(version))
                if version != own.version =>
            {
                self.model.blame(|| format!("put_if: key {key}: a wrong version was accepted"));
            }
            _ => self.note_put("put_if", key, seq, is_short_lived, result),
        }
    }

    fn draft(&mut self, key: u32) {
        let seq = self.begin(key);
        let len = self.len();
        let (options, is_short_lived) = self.options(seq);
        let mut draft = match self.store.reserve(&key_bytes(key), len, &options) {
            Ok(draft) => draft,
            Err(error) => return self.failed("reserve", key, seq, &error),
        };
        // SAFETY: writing initialised bytes over possibly uninitialised ones through a slice that
        // is only written to.
        let bytes = unsafe {
            let data = draft.data_mut();
            data.fill(MaybeUninit::new(0));
            std::slice::from_raw_parts_mut(data.as_mut_ptr().cast::<u8>(), data.len())
        };
        fill(key, seq, bytes);
        if self.dice.below(6) == 0 {
            drop(draft);
            self.end(key, seq, 0);
            return;
        }
        // SAFETY: every byte was written above.
        let result = unsafe { draft.commit() };
        self.note_put("commit", key, seq, is_short_lived, result);
    }

    fn put_many(&mut self, space: &mut [u8]) {
        const ENTRIES: usize = 4;
        let mut keys = [0; ENTRIES];
        let mut writes = [(0, 0, false); ENTRIES];
        let mut options = [PutOptions::default(); ENTRIES];
        let mut end = 0;
        let mut count = 0;
        for _ in 0..ENTRIES {
            let key = self.pick();
            if is_counter(key) || keys[..count].contains(&key) {
                continue;
            }
            let seq = self.begin(key);
            let len = self.len().min(LEN_MAX / ENTRIES);
            fill(key, seq, &mut space[end..end + len]);
            let (chosen, is_short_lived) = self.options(seq);
            keys[count] = key;
            options[count] = chosen;
            writes[count] = (seq, len, is_short_lived);
            count += 1;
            end += len;
        }
        let names = keys.map(key_bytes);
        let mut at = 0;
        let entries: Vec<_> = (0..count)
            .map(|i| {
                let value = &space[at..at + writes[i].1];
                at += writes[i].1;
                BatchEntry { key: &names[i], value, options: options[i] }
            })
            .collect();
        let store = self.store;
        let done = store.put_many(&entries, &mut |i, result| {
            let (seq, _, is_short_lived) = writes[i];
            self.note_put("put_many", keys[i], seq, is_short_lived, result);
        });
        if let Err(error) = done {
            self.model.blame(|| format!("put_many failed: {error}"));
        }
    }

    fn delete(&mut self, key: u32) {
        let seq = self.begin(key);
        match self.store.delete(&key_bytes(key)) {
            Ok(was_there) => {
                if was_there {
                    self.blame_presence("delete", key);
                }
                self.gone(key, seq);
            }
            Err(error) => self.failed("delete", key, seq, &error),
        }
    }

    fn take(&mut self, key: u32, out: &mut [MaybeUninit<u8>]) {
        let seq = self.begin(key);
        match self.store.take(&key_bytes(key), out) {
            Ok(Read::Hit(info)) => {
                self.blame_presence("take", key);
                let bytes = initialised(&out[..info.len]);
                let found = check_value("take", self.model, key, &info, bytes);
                if found.is_some() && found != self.own[key as usize].stored {
                    self.model.blame(|| format!("take: key {key}: not the latest write"));
                }
                self.gone(key, seq);
            }
            Ok(Read::Miss) => self.gone(key, seq),
            Ok(Read::SmallBuffer(_)) => {
                self.model.blame(|| format!("take: key {key}: a buffer was not too small"));
            }
            Err(error) => self.failed("take", key, seq, &error),
        }
    }

    fn touch(&mut self, key: u32) {
        let seq = self.begin(key);
        // A reader may have seen that a short life is over just before it is lengthened.
        let ttl = if self.own[key as usize].is_short_lived || self.dice.below(2) == 0 {
            Ttl::Keep
        } else {
            LONG
        };
        match self.store.touch(&key_bytes(key), ttl) {
            Ok(true) => {
                self.blame_presence("touch", key);
                self.end(key, seq, 0);
            }
            Ok(false) => self.gone(key, seq),
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.refused += 1;
                self.end(key, seq, 0);
            }
            Err(error) => self.failed("touch", key, seq, &error),
        }
    }

    fn incr(&mut self, key: u32) {
        let seq = self.begin(key);
        // The sum is the number of the write: each write counts one, and a removal starts anew.
        let before = self.own[key as usize].stored.unwrap_or(0);
        let delta = (seq - before).cast_signed();
        let initial = (u64::from(key) << 40 | seq).cast_signed();
        match self.store.incr(&key_bytes(key), delta, initial, Ttl::Never) {
            Ok(IncrOutcome::Sum(sum)) => {
                if integer(&sum.to_le_bytes()) != Some((key, seq)) {
                    self.model.blame(|| format!("incr: key {key}: a sum is not the latest's"));
                }
                self.stored(key, seq, 0, false);
            }
            Ok(IncrOutcome::NotAdmitted) => self.gone(key, seq),
            Ok(IncrOutcome::WrongType | IncrOutcome::Overflow) => {
                self.model.blame(|| format!("incr: key {key}: not an integer that fits"));
            }
            Err(error) => self.failed("incr", key, seq, &error),
        }
    }
}

/// Keys that hold integers and are only counted up.
fn is_counter(key: u32) -> bool {
    key % 16 >= 14
}
