//! Layouts of a cuckoo table, as bare arithmetic on hashes: what decided for the one that the filter
//! has. Fingerprints of 13 bits and buckets of four in all of them; a path is sought as the filter
//! seeks it, but no thread is reckoned with and nothing is counted.
//!
//! - *two lines*: buckets packed without a gap, the second one anywhere in the table;
//! - *one line*: nine buckets in 64 bytes, both buckets of a key in the same;
//! - *mixed*: the same, but half of the fingerprints have their second bucket anywhere.

use std::hint::black_box;

use anyhow::{Result, ensure};

use crate::measure::{median, thread_cpu_ns};
use crate::report::{Table, count, ns, progress};
use crate::workload::Rng;

const WIDTH: u64 = 13;
const MASK: u64 = (1 << WIDTH) - 1;
const ONES: u64 = 1 | 1 << WIDTH | 1 << (2 * WIDTH) | 1 << (3 * WIDTH);
const HIGHS: u64 = ONES << (WIDTH - 1);
const BUCKET_BITS: u64 = 4 * WIDTH;
/// Buckets in a line of 64 bytes; 44 bits are left over.
const IN_LINE: u64 = 9;
/// Buckets that a search looks at.
const NODES: usize = 2_048;
const BATCH: usize = 32;
const LOOKUPS: usize = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    TwoLines,
    OneLine,
    Mixed,
}

impl Layout {
    const ALL: [Self; 3] = [Self::TwoLines, Self::OneLine, Self::Mixed];

    fn name(self) -> &'static str {
        match self {
            Self::TwoLines => "two lines",
            Self::OneLine => "one line",
            Self::Mixed => "mixed",
        }
    }
}

fn scale(of: u64, below: u64) -> u64 {
    ((u128::from(of) * u128::from(below)) >> 64) as u64
}

/// `sum - at`, modulo `n`.
fn across(sum: u64, at: u64, n: u64) -> u64 {
    let other = sum.wrapping_sub(at);
    if other.cast_signed() < 0 { other.wrapping_add(n) } else { other }
}

/// Where a bucket is: the line and the number in it, or the number alone.
#[derive(Clone, Copy)]
struct Place {
    fingerprint: u64,
    buckets: [u64; 2],
}

/// A table. `LAYOUT` is a number so that each layout is compiled apart.
struct Bare<const LAYOUT: usize> {
    words: Vec<u64>,
    /// Lines, or buckets where they are packed; even.
    units: u64,
}

impl<const LAYOUT: usize> Bare<LAYOUT> {
    const LAYOUT: Layout = Layout::ALL[LAYOUT];

    fn new(slots: u64) -> Self {
        let (in_unit, unit_bits) = match Self::LAYOUT {
            Layout::TwoLines => (4, BUCKET_BITS),
            Layout::OneLine | Layout::Mixed => (4 * IN_LINE, 512),
        };
        let units = slots.div_ceil(in_unit).next_multiple_of(2);
        Self { words: vec![0; (units * unit_bits).div_ceil(64) as usize + 9], units }
    }

    fn slots(&self) -> u64 {
        match Self::LAYOUT {
            Layout::TwoLines => self.units * 4,
            Layout::OneLine | Layout::Mixed => self.units * 4 * IN_LINE,
        }
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> Place {
        let low = hash & MASK;
        let fingerprint = low + u64::from(low == 0);
        let product = u128::from(hash) * u128::from(self.units);
        let unit = (product >> 64) as u64;
        let bucket = match Self::LAYOUT {
            Layout::TwoLines => unit,
            Layout::OneLine | Layout::Mixed => unit << 4 | scale(product as u64, IN_LINE),
        };
        Place { fingerprint, buckets: [bucket, self.other(bucket, fingerprint)] }
    }

    #[inline(always)]
    fn other(&self, bucket: u64, fingerprint: u64) -> u64 {
        let spread = fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let sum = scale(spread, self.units / 2) * 2 + 1;
        if Self::LAYOUT == Layout::TwoLines {
            return across(sum, bucket, self.units);
        }
        let (line, at) = (bucket >> 4, bucket & 15);
        // Nine is odd, so that a bucket may be its own other; for one fingerprint in nine.
        let at = across(((spread & 0xFFFF_FFFF) * IN_LINE) >> 32, at, IN_LINE);
        let stays = Self::LAYOUT == Layout::OneLine || fingerprint & 1 == 0;
        (if stays { line } else { across(sum, line, self.units) }) << 4 | at
    }

    #[inline(always)]
    fn bit(bucket: u64) -> u64 {
        match Self::LAYOUT {
            Layout::TwoLines => bucket * BUCKET_BITS,
            Layout::OneLine | Layout::Mixed => (bucket >> 4) * 512 + (bucket & 15) * BUCKET_BITS,
        }
    }

    #[inline(always)]
    fn lanes(&self, bucket: u64) -> u64 {
        let bit = Self::bit(bucket);
        let at = self.words.as_ptr().cast::<u8>().wrapping_add((bit >> 3) as usize);
        // SAFETY: the vector has a word more than its buckets, which end before it.
        unsafe { at.cast::<u64>().read_unaligned() >> (bit & 7) }
    }

    #[inline(always)]
    fn has(&self, place: &Place) -> bool {
        let wanted = place.fingerprint * ONES;
        let zeros = |bucket: u64| {
            let lanes = self.lanes(bucket) ^ wanted;
            lanes.wrapping_sub(ONES) & !lanes & HIGHS
        };
        zeros(place.buckets[0]) | zeros(place.buckets[1]) != 0
    }

    fn slots_of(&self, bucket: u64) -> [u64; 4] {
        let lanes = self.lanes(bucket);
        std::array::from_fn(|slot| lanes >> (slot as u64 * WIDTH) & MASK)
    }

    fn put(&mut self, bucket: u64, slot: usize, fingerprint: u64) {
        let bit = Self::bit(bucket) + slot as u64 * WIDTH;
        let (at, shift) = ((bit / 64) as usize, bit % 64);
        let pair = u128::from(self.words[at]) | u128::from(self.words[at + 1]) << 64;
        let pair = pair & !(u128::from(MASK) << shift) | u128::from(fingerprint) << shift;
        (self.words[at], self.words[at + 1]) = (pair as u64, (pair >> 64) as u64);
    }

    #[inline(always)]
    fn prefetch(&self, bucket: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let at =
                self.words.as_ptr().cast::<i8>().wrapping_add((Self::bit(bucket) >> 3) as usize);
            // SAFETY: a prefetch never faults, whatever the address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(at);
                if Self::LAYOUT == Layout::TwoLines {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(6));
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = bucket;
    }

    /// False: there is no room.
    fn add(&mut self, hash: u64) -> bool {
        let place = self.place(hash);
        let mut nodes = Vec::with_capacity(16);
        nodes.extend(place.buckets.map(|bucket| (bucket, usize::MAX, 0)));
        let mut at = 0;
        while at < nodes.len() {
            let (bucket, ..) = nodes[at];
            let slots = self.slots_of(bucket);
            if let Some(slot) = slots.iter().position(|&slot| slot == 0) {
                let (mut at, mut slot) = (at, slot);
                loop {
                    let (bucket, parent, from) = nodes[at];
                    if parent == usize::MAX {
                        self.put(bucket, slot, place.fingerprint);
                        return true;
                    }
                    let moving = self.slots_of(nodes[parent].0)[from];
                    self.put(bucket, slot, moving);
                    (at, slot) = (parent, from);
                }
            }
            for (slot, fingerprint) in slots.into_iter().enumerate() {
                let other = self.other(bucket, fingerprint);
                let (mut up, mut is_new) = (at, nodes.len() < NODES);
                while is_new && up != usize::MAX {
                    is_new = nodes[up].0 != other;
                    up = nodes[up].1;
                }
                if is_new {
                    self.prefetch(other);
                    nodes.push((other, at, slot));
                }
            }
            at += 1;
        }
        false
    }

    fn remove(&mut self, hash: u64) -> bool {
        let place = self.place(hash);
        for bucket in place.buckets {
            let slots = self.slots_of(bucket);
            if let Some(slot) = slots.iter().position(|&slot| slot == place.fingerprint) {
                self.put(bucket, slot, 0);
                return true;
            }
        }
        false
    }
}

fn timed(n: usize, work: impl FnOnce()) -> f64 {
    let began = thread_cpu_ns();
    work();
    (thread_cpu_ns() - began) as f64 / n.max(1) as f64
}

/// Fills a table as far as `load`, or as it goes, and measures it.
fn measure<const LAYOUT: usize>(
    keys: u64,
    load: f64,
    rounds: u32,
    seed: u64,
    table: &mut Table,
) -> Result<()> {
    let mut bare = Bare::<LAYOUT>::new((keys as f64 / load) as u64);
    let wanted = (bare.slots() as f64 * load) as u64;
    let mut rng = Rng::new(seed);
    let hashes: Vec<u64> = (0..wanted).map(|_| rng.next()).collect();
    let mut held = 0;
    let add = timed(hashes.len(), || {
        held = hashes.iter().take_while(|&&hash| bare.add(hash)).count();
    }) * hashes.len() as f64
        / held.max(1) as f64;
    let mut times: [Vec<f64>; 4] = Default::default();
    let mut found = 0;
    for _ in 0..rounds {
        let hits: Vec<u64> =
            (0..LOOKUPS).map(|_| hashes[rng.below(held as u64) as usize]).collect();
        let misses: Vec<u64> = (0..LOOKUPS).map(|_| rng.next()).collect();
        for (at, asked) in [&hits, &misses].into_iter().enumerate() {
            let mut count = 0;
            times[at].push(timed(LOOKUPS, || {
                count = asked.iter().filter(|&&hash| bare.has(&bare.place(hash))).count();
            }));
            ensure!(at == 1 || count == LOOKUPS, "a layout misses a key");
            found += if at == 1 { count } else { 0 };
            times[2 + at].push(timed(LOOKUPS, || {
                for batch in asked.as_chunks::<BATCH>().0 {
                    let places = batch.map(|hash| {
                        let place = bare.place(hash);
                        place.buckets.into_iter().for_each(|bucket| bare.prefetch(bucket));
                        place
                    });
                    black_box(places.iter().filter(|&place| bare.has(place)).count());
                }
            }));
        }
    }
    let bits = (bare.words.len() * 64) as f64 / held as f64;
    let errs = found as f64 / (u64::from(rounds) * LOOKUPS as u64).max(1) as f64;
    let gone = &hashes[..held / 10];
    let mut missing = 0;
    let remove = timed(gone.len(), || {
        missing = gone.iter().filter(|&&hash| !bare.remove(hash)).count();
    });
    ensure!(missing == 0, "a layout cannot remove a key");
    let reached = held as f64 / bare.slots() as f64;
    let mut row = vec![
        Layout::ALL[LAYOUT].name().to_owned(),
        format!("{:.0} %", load * 100.0),
        if held as u64 == wanted { String::new() } else { format!("{:.0} %", reached * 100.0) },
        format!("{bits:.1}"),
        format!("{:.4}", errs * 100.0),
    ];
    row.extend(times.iter_mut().map(|times| ns(median(times))));
    row.extend([ns(add), ns(remove)]);
    table.row(row);
    Ok(())
}

/// Runs the comparison and prints a table for each number of keys.
pub fn run(keys: &[u64], rounds: u32, seed: u64) -> Result<()> {
    let header = [
        "<layout",
        "load",
        "full at",
        "bits a key",
        "errs %",
        "hit",
        "miss",
        "batch hit",
        "batch miss",
        "add",
        "remove",
    ];
    for &keys in keys {
        let mut table = Table::new(format!("Layouts, {} keys", count(keys)), &header);
        let loads = [0.5, 0.9, 0.95];
        let bar = progress(loads.len() as u64 * 3, "layouts");
        for load in loads {
            table.rule();
            measure::<0>(keys, load, rounds, seed, &mut table)?;
            bar.inc(1);
            measure::<1>(keys, load, rounds, seed, &mut table)?;
            bar.inc(1);
            measure::<2>(keys, load, rounds, seed, &mut table)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        table.note("Nanoseconds of the thread's processor time a key; keys are hashes already.");
        table.note("Full at: where the load was not reached, what was; the figures are of that.");
        table.print();
    }
    Ok(())
}
