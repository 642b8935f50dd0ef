//! A table of fingerprints, packed bit by bit: four slots a bucket, no header, no padding.
//!
//! Readers load while the one writer stores. A load of up to 64 bits at any byte is not one that
//! the language's memory model has, so it is made in assembly; what it returns may mix old and new
//! bits of slots that change, but bits that do not change are right, since the writer stores them
//! as they were. So a fingerprint that stays where it is is found, and one that is not there may be
//! found now and then while another is being written, which a filter may say at any time. The
//! writer stores whole aligned words, as atomics.
//!
//! Up to [`NARROW_MAX`] bits the four slots of a bucket are compared at once: the bucket, less the
//! fingerprint in every lane, has a lane that is zero where they agree (Mycroft's test; the lowest
//! lane it reports is right, which is all that is asked). A pair of buckets takes as many bytes as a
//! fingerprint has bits; the right one begins in the middle of a byte where that number is odd, so
//! it is compared with everything shifted by four bits. Nothing that was loaded needs a shift.

use super::shape::{NARROW_MAX, Place, SLOTS, Shape, place_of};
use crate::error::Result;
use crate::memory::racy::prefetch;
use crate::pool::{Charged, Pool};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a look-up needs of a table.
#[derive(Clone, Copy, Debug)]
pub struct Lens {
    /// The first left bucket, and the byte in which the first right one begins.
    left: *const u8,
    right: *const u8,
    pairs: u64,
    lanes: Lanes,
}

/// How the slots of a bucket lie in a word.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Lanes {
    /// Bits of a fingerprint.
    width: u64,
    /// The bits of a hash that are its fingerprint in a first table.
    mask: u64,
    /// A bit's number times this, shifted right by 16, is the number of its lane.
    lane: u64,
    /// Bits by which the lanes of a right bucket lie higher than those of a left one.
    shift: u64,
    /// The lowest bit of every lane of a left bucket, and of a right one; 0 for fingerprints too
    /// wide to be compared in one word.
    ones: [u64; 2],
    /// The highest.
    highs: [u64; 2],
}

/// What a look-up in two buckets goes by.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    left: *const u8,
    right: *const u8,
    fingerprint: u64,
}

/// A slot.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub bucket: u64,
    pub slot: usize,
}

/// What the two buckets of a place hold.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Copies of its fingerprint.
    pub copies: u32,
    /// One of them.
    pub copy: Option<Spot>,
    /// An empty slot, of the bucket that has more of them.
    pub free: Option<Spot>,
}

/// The lanes that are zero, by their highest bits: all of them and no other.
#[inline(always)]
fn zero_lanes(lanes: u64, ones: u64, highs: u64) -> u64 {
    let below = highs - ones;
    !(((lanes & below) + below) | lanes) & highs
}

// SAFETY: `left` and `right` point to memory that the table owns and any thread may read.
unsafe impl Send for Lens {}
// SAFETY: as above.
unsafe impl Sync for Lens {}

/// Loads 8 bytes at any address while others may write them.
///
/// # Safety
/// The 8 bytes, and those of the aligned words that they lie in, are mapped and readable.
#[inline(always)]
unsafe fn load(at: *const u8) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let word: u64;
        // SAFETY: the caller promises that the bytes are readable; the instruction only loads.
        unsafe {
            std::arch::asm!(
                "mov {word}, qword ptr [{at}]",
                at = in(reg) at,
                word = out(reg) word,
                options(nostack, preserves_flags, readonly)
            );
        }
        word
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        let shift = (at as usize % 8) as u32 * 8;
        let first = at.wrapping_sub(at as usize % 8).cast::<AtomicU64>();
        // SAFETY: the caller promises that the aligned words are readable; they are only ever
        // accessed as atomics.
        let low = unsafe { &*first }.load(Ordering::Relaxed).to_le() >> shift;
        if shift == 0 {
            return low;
        }
        // SAFETY: as above.
        let high = unsafe { &*first.add(1) }.load(Ordering::Relaxed).to_le();
        low | high << (64 - shift)
    }
}

/// Stores 8 bytes at any address while others may read them.
///
/// # Safety
/// The 8 bytes are mapped and writable, and nobody else writes them.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
unsafe fn store(at: *const u8, word: u64) {
    // SAFETY: the caller promises that the bytes are writable; the instruction only stores.
    unsafe {
        std::arch::asm!(
            "mov qword ptr [{at}], {word}",
            at = in(reg) at,
            word = in(reg) word,
            options(nostack, preserves_flags)
        );
    }
}

/// As above: the aligned words that they lie in, as atomics.
///
/// # Safety
/// As above, for those words.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline(always)]
unsafe fn store(at: *const u8, word: u64) {
    let shift = (at as usize % 8) as u32 * 8;
    let first = at.wrapping_sub(at as usize % 8).cast::<AtomicU64>();
    let change = |place: &AtomicU64, mask: u64, bits: u64| {
        let old = u64::from_le(place.load(Ordering::Relaxed));
        place.store((old & !mask | bits).to_le(), Ordering::Relaxed);
    };
    // SAFETY: the caller promises that the aligned words are writable; they are only ever accessed as
    // atomics.
    change(unsafe { &*first }, u64::MAX << shift, word << shift);
    if shift != 0 {
        // SAFETY: as above.
        change(unsafe { &*first.add(1) }, u64::MAX >> (64 - shift), word >> (64 - shift));
    }
}

impl Lanes {
    /// Of fingerprints of so many bits.
    pub fn of(width: u32) -> Self {
        let lane = |bit: u32| {
            if width > NARROW_MAX {
                return [0; 2];
            }
            let lanes =
                (0..SLOTS as u32).fold(0, |bits, slot| bits | 1_u64 << (slot * width + bit));
            [lanes, lanes << (width % 2 * 4)]
        };
        Self {
            width: u64::from(width),
            mask: (1 << width) - 1,
            lane: (1 << 16) / u64::from(width) + 1,
            shift: u64::from(width % 2 * 4),
            ones: lane(0),
            highs: lane(width - 1),
        }
    }

    /// Whether fingerprints are too wide to be compared in one word.
    #[inline(always)]
    pub fn are_wide(&self) -> bool {
        self.ones[0] == 0
    }

    /// [`Lens::has`] for fingerprints that are compared in one word; false for wider ones. Without a
    /// branch, and where there are registers for vectors, what waits for memory waits in those: a
    /// processor runs out of renamed integer registers first, and then begins no further look-up
    /// beside those that wait.
    ///
    /// # Safety
    /// The aim is one of a table with these lanes.
    #[inline(always)]
    pub unsafe fn hits(&self, aim: &Aim) -> bool {
        let pattern = aim.fingerprint.wrapping_mul(self.ones[0]);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::asm;
            use std::arch::x86_64::{
                __m128i, _mm_and_si128, _mm_andnot_si128, _mm_cmpeq_epi32, _mm_cvtsi64_si128,
                _mm_load_si128, _mm_loadl_epi64, _mm_movemask_epi8, _mm_setzero_si128,
                _mm_sll_epi64, _mm_sub_epi64, _mm_unpacklo_epi64, _mm_xor_si128,
            };
            let mut words: __m128i;
            // SAFETY: by the caller's promise there are 8 bytes at either end of the aim, as in `load`;
            // the instructions only load.
            unsafe {
                asm!(
                    "movq {words}, qword ptr [{at}]",
                    at = in(reg) aim.left,
                    words = out(xmm_reg) words,
                    options(nostack, preserves_flags, readonly)
                );
                #[cfg(test)]
                super::tests::between_buckets();
                asm!(
                    "movhps {words}, qword ptr [{at}]",
                    at = in(reg) aim.right,
                    words = inout(xmm_reg) words,
                    options(nostack, preserves_flags, readonly)
                );
            }
            // SAFETY: SSE2 is part of x86_64; the lanes are aligned to 16 bytes, and so is each pair
            // of words in them.
            unsafe {
                let shift = _mm_loadl_epi64((&raw const self.shift).cast());
                let ones = _mm_load_si128(self.ones.as_ptr().cast());
                let highs = _mm_load_si128(self.highs.as_ptr().cast());
                let pattern = _mm_cvtsi64_si128(pattern.cast_signed());
                let pattern = _mm_unpacklo_epi64(pattern, _mm_sll_epi64(pattern, shift));
                let other = _mm_xor_si128(words, pattern);
                let zeros = _mm_andnot_si128(other, _mm_sub_epi64(other, ones));
                let none = _mm_cmpeq_epi32(_mm_and_si128(zeros, highs), _mm_setzero_si128());
                _mm_movemask_epi8(none) != 0xFFFF
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        {
            let zeros = |word: u64, side: usize| {
                let other = word ^ pattern << (self.shift * side as u64);
                other.wrapping_sub(self.ones[side]) & !other & self.highs[side]
            };
            // SAFETY: by the caller's promise there are 8 bytes at either end of the aim.
            let left = unsafe { load(aim.left) };
            #[cfg(test)]
            super::tests::between_buckets();
            // SAFETY: as above.
            let right = unsafe { load(aim.right) };
            zeros(left, 0) | zeros(right, 1) != 0
        }
    }
}

impl Lens {
    /// A table of so many pairs that begins here.
    #[inline(always)]
    pub fn on(base: *const u8, pairs: u64, lanes: Lanes) -> Self {
        Self { left: base, right: base.wrapping_add(lanes.width as usize / 2), pairs, lanes }
    }

    /// How its slots lie.
    #[inline(always)]
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// [`Shape::place`] of a first table.
    #[inline(always)]
    pub fn place(&self, hash: u64) -> Place {
        place_of(hash, self.pairs, self.lanes.mask)
    }

    /// Where to look for what belongs here.
    #[inline(always)]
    pub fn aim(&self, place: Place) -> Aim {
        Aim {
            left: self.left_of(place.left),
            right: self.right_of(place.right),
            fingerprint: place.fingerprint,
        }
    }

    #[inline(always)]
    fn left_of(&self, pair: u64) -> *const u8 {
        self.left.wrapping_add((pair * self.lanes.width) as usize)
    }

    #[inline(always)]
    fn right_of(&self, pair: u64) -> *const u8 {
        self.right.wrapping_add((pair * self.lanes.width) as usize)
    }

    /// One slot.
    #[inline(always)]
    fn slot(&self, bucket: u64, slot: u64) -> u64 {
        let bit = (bucket * SLOTS + slot) * self.lanes.width;
        // SAFETY: the bucket is one of the table's, behind whose last slot lies a word; a width of
        // at most 57 bits fits beside a shift of up to 7.
        let word = unsafe { load(self.left.wrapping_add((bit >> 3) as usize)) } >> (bit & 7);
        word & ((1 << self.lanes.width) - 1)
    }

    /// Whether one of the two buckets has the fingerprint now.
    #[inline(always)]
    pub fn has(&self, place: Place) -> bool {
        if self.lanes.are_wide() {
            return self.has_wide(place);
        }
        // SAFETY: the pairs are two of the table's, behind whose last slot lies a word.
        unsafe { self.lanes.hits(&self.aim(place)) }
    }

    #[inline(never)]
    fn has_wide(&self, place: Place) -> bool {
        let mut found = false;
        for bucket in place.buckets() {
            for slot in 0..SLOTS {
                found |= self.slot(bucket, slot) == place.fingerprint;
            }
        }
        found
    }

    /// The four slots of a bucket.
    #[inline(always)]
    pub fn bucket(&self, bucket: u64) -> [u64; SLOTS as usize] {
        if self.lanes.are_wide() {
            return std::array::from_fn(|slot| self.slot(bucket, slot as u64));
        }
        // Four slots of an odd width begin at half a byte in every other bucket.
        let halves = bucket * self.lanes.width;
        // SAFETY: as for `slot`.
        let lanes = unsafe { load(self.left.wrapping_add((halves >> 1) as usize)) };
        let lanes = lanes >> ((halves & 1) * 4);
        std::array::from_fn(|slot| {
            lanes >> (slot as u64 * self.lanes.width) & ((1 << self.lanes.width) - 1)
        })
    }

    /// Looks at the two buckets, for the one writer.
    #[inline]
    pub fn look(&self, place: Place) -> Look {
        if self.lanes.are_wide() {
            return self.look_wide(place);
        }
        // SAFETY: as for `has`.
        let words = unsafe { [load(self.left_of(place.left)), load(self.right_of(place.right))] };
        let lanes = |side: usize, of: u64| {
            zero_lanes(
                words[side] ^ of.wrapping_mul(self.lanes.ones[side]),
                self.lanes.ones[side],
                self.lanes.highs[side],
            )
        };
        let copies = [lanes(0, place.fingerprint), lanes(1, place.fingerprint)];
        let free = [lanes(0, 0), lanes(1, 0)];
        let spot = |side: usize, lanes: u64| {
            let bit = lanes.trailing_zeros() + 1 - (self.lanes.width as u32 % 2 * 4 * side as u32);
            let slot = ((u64::from(bit) * self.lanes.lane) >> 16) as usize - 1;
            Spot { bucket: place.buckets()[side], slot }
        };
        let mut look = Look { copies: 0, copy: None, free: None };
        if copies[0] | copies[1] != 0 {
            look.copies = copies[0].count_ones() + copies[1].count_ones();
            let side = usize::from(copies[1] != 0);
            look.copy = Some(spot(side, copies[side]));
        }
        if free[0] | free[1] != 0 {
            let side = usize::from(free[1].count_ones() > free[0].count_ones());
            look.free = Some(spot(side, free[side]));
        }
        look
    }

    #[cold]
    fn look_wide(&self, place: Place) -> Look {
        let mut look = Look { copies: 0, copy: None, free: None };
        let mut most = 0;
        for bucket in place.buckets() {
            let mut empty = 0;
            for (slot, fingerprint) in self.bucket(bucket).into_iter().enumerate() {
                if fingerprint == place.fingerprint {
                    look.copies += 1;
                    look.copy = Some(Spot { bucket, slot });
                } else if fingerprint == 0 {
                    empty += 1;
                    if empty > most {
                        most = empty;
                        look.free = Some(Spot { bucket, slot });
                    }
                }
            }
        }
        look
    }

    /// Asks for the cache lines of a bucket.
    #[inline(always)]
    pub fn prefetch(&self, bucket: u64) {
        prefetch_word(self.left.wrapping_add(((bucket * self.lanes.width) >> 1) as usize));
    }

    /// Asks for the cache lines of a place.
    #[inline(always)]
    pub fn prefetch_both(&self, place: Place) {
        self.aim(place).prefetch();
    }
}

impl Aim {
    /// Asks for the cache lines.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch_word(self.left);
        prefetch_word(self.right);
    }
}

/// Asks for the cache lines of the 8 bytes at `first`: a tenth of all words lie in two.
#[inline(always)]
fn prefetch_word(first: *const u8) {
    prefetch(first);
    prefetch(first.wrapping_add(7));
}

/// A table. One thread at a time may call what changes it.
#[derive(Debug)]
pub struct Table {
    lens: Lens,
    shape: Shape,
    /// Slots in use.
    used: AtomicU64,
    /// Where it lies, if that is its own.
    memory: Option<Charged>,
}

impl Table {
    /// An empty table, charged to `pool` if there is one.
    ///
    /// # Errors
    /// As [`Charged::zeroed`].
    pub fn new(shape: Shape, pool: Option<&Pool>) -> Result<Self> {
        let memory = Charged::zeroed(pool, shape.bytes())?;
        // SAFETY: the memory is zeroed, long enough, and goes with the table.
        let table = unsafe { Self::on(memory.base(), shape) };
        Ok(Self { memory: Some(memory), ..table })
    }

    /// An empty table in memory that is somebody else's.
    ///
    /// # Safety
    /// The memory is zeroed, aligned to a word, as long as the shape says, written through this table
    /// alone, and outlives it.
    pub unsafe fn on(memory: *mut u8, shape: Shape) -> Self {
        let lens = Lens::on(memory, shape.base.pairs << shape.doubled, Lanes::of(shape.width));
        Self { lens, shape, used: AtomicU64::new(0), memory: None }
    }

    fn base(&self) -> *mut u8 {
        self.lens.left.cast_mut()
    }

    /// What look-ups use.
    #[inline(always)]
    pub fn lens(&self) -> &Lens {
        &self.lens
    }

    /// Its arithmetic.
    #[inline(always)]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Slots in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn words(&self) -> &[AtomicU64] {
        let len = (self.shape.bytes() / 8) as usize;
        // SAFETY: the memory is this long or longer, aligned to a word, zeroed or written, and written
        // through these atomics only.
        unsafe { std::slice::from_raw_parts(self.base().cast::<AtomicU64>(), len) }
    }

    /// Writes a slot.
    pub fn put(&self, bucket: u64, slot: usize, fingerprint: u64) {
        let width = self.shape.width;
        let bit = (bucket * SLOTS + slot as u64) * u64::from(width);
        let (at, shift) = ((bit / 64) as usize, (bit % 64) as u32);
        let mask = (1_u64 << width) - 1;
        let change = |at: usize, mask: u64, bits: u64| {
            let word = &self.words()[at];
            let old = u64::from_le(word.load(Ordering::Relaxed));
            word.store(((old & !mask) | bits).to_le(), Ordering::Relaxed);
        };
        change(at, mask << shift, fingerprint << shift);
        if shift + width > 64 {
            let rest = 64 - shift;
            change(at + 1, mask >> rest, fingerprint >> rest);
        }
    }

    /// Fills an empty slot.
    #[inline]
    pub fn fill(&self, bucket: u64, slot: usize, fingerprint: u64) {
        self.put(bucket, slot, fingerprint);
        self.used.store(self.used() + 1, Ordering::Relaxed);
    }

    /// Empties a slot of a place that has its fingerprint; false: there is none, or all eight have it.
    /// What `begin` returns lives while the slot changes. Otherwise as [`Table::fill_one`].
    #[inline]
    pub fn empty_one<G>(&self, place: Place, begin: impl FnOnce() -> G) -> bool {
        let (lens, lanes) = (&self.lens, &self.lens.lanes);
        let aim = lens.aim(place);
        let pattern = aim.fingerprint.wrapping_mul(lanes.ones[0]);
        // SAFETY: the pairs are two of the table's, behind whose last slot lies a word.
        let words = unsafe { [load(aim.left), load(aim.right)] };
        let copies = [0, 1].map(|side| {
            let pattern = pattern << (lanes.shift * side as u64);
            zero_lanes(words[side] ^ pattern, lanes.ones[side], lanes.highs[side])
        });
        let is_right = copies[1] != 0;
        let pick = |right, left| std::hint::select_unpredictable(is_right, right, left);
        let (at, word, lane) = (
            pick(aim.right as u64, aim.left as u64),
            pick(words[1], words[0]),
            pick(copies[1], copies[0]),
        );
        if lane == 0 || copies == lanes.highs {
            return false;
        }
        let lane = lane.trailing_zeros() + 1 - lanes.width as u32;
        let _changing = begin();
        // SAFETY: as for the load; the caller is the one writer.
        unsafe { store(at as *const u8, word ^ aim.fingerprint << lane) };
        self.used.store(self.used() - 1, Ordering::Relaxed);
        true
    }

    /// Fills an empty slot of a place, in the bucket that has more of them; false: there is none. Not
    /// for fingerprints too wide to be compared in one word. Nothing but that is branched on: where a
    /// slot is free cannot be foreseen.
    #[inline]
    pub fn fill_one(&self, place: Place) -> bool {
        let (lens, lanes) = (&self.lens, &self.lens.lanes);
        let aim = lens.aim(place);
        // SAFETY: the pairs are two of the table's, behind whose last slot lies a word.
        let words = unsafe { [load(aim.left), load(aim.right)] };
        let free = [0, 1].map(|side| zero_lanes(words[side], lanes.ones[side], lanes.highs[side]));
        // Buckets fill from their lowest slot on: the one that has more room has it further up, or
        // begins it further down.
        let takes_right = free[1] > free[0] << lanes.shift;
        let pick = |right, left| std::hint::select_unpredictable(takes_right, right, left);
        let (at, word, free) = (
            pick(aim.right as u64, aim.left as u64),
            pick(words[1], words[0]),
            pick(free[1], free[0]),
        );
        if free == 0 {
            return false;
        }
        let lane = free.trailing_zeros() + 1 - lanes.width as u32;
        // SAFETY: as for the load; the caller is the one writer.
        unsafe { store(at as *const u8, word | aim.fingerprint << lane) };
        self.used.store(self.used() + 1, Ordering::Relaxed);
        true
    }

    /// Empties a slot.
    #[inline]
    pub fn empty(&self, bucket: u64, slot: usize) {
        self.put(bucket, slot, 0);
        self.used.store(self.used() - 1, Ordering::Relaxed);
    }

    /// Empties all.
    pub fn clear(&self) {
        if !self.memory.as_ref().is_some_and(Charged::wipe) {
            for word in self.words() {
                word.store(0, Ordering::Relaxed);
            }
        }
        self.used.store(0, Ordering::Relaxed);
    }

    /// The slots as they lie in memory, little-endian.
    ///
    /// # Safety
    /// Nobody changes the table while the result lives.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: as for `words`; by the caller's promise nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(self.base(), self.shape.bytes() as usize) }
    }

    /// The same, to be filled by whoever makes the table; [`Table::recount`] then says what it
    /// holds.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `words`; the table is the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.shape.bytes() as usize) }
    }

    /// Checks what the bytes hold and counts the slots in use; what is wrong with them otherwise.
    pub fn count(&self) -> Result<u64, &'static str> {
        let low = (1_u64 << self.shape.base.width) - 1;
        let mut used = 0;
        for bucket in 0..self.shape.buckets() {
            for fingerprint in self.lens.bucket(bucket) {
                if fingerprint != 0 {
                    used += 1;
                    if fingerprint & low == 0 {
                        return Err("a fingerprint is one that no key has");
                    }
                }
            }
        }
        let end = self.shape.slots() * u64::from(self.shape.width);
        let words = self.words();
        let mut tail = words[words.len() - 1].load(Ordering::Relaxed);
        if !end.is_multiple_of(64) {
            let last = u64::from_le(words[words.len() - 2].load(Ordering::Relaxed));
            tail |= last >> (end % 64);
        }
        if tail == 0 { Ok(used) } else { Err("there are bits behind the last slot") }
    }

    /// Takes the count of what [`Table::bytes_mut`] was filled with.
    pub fn recount(&mut self) -> Result<u64, &'static str> {
        let used = self.count()?;
        self.used = AtomicU64::new(used);
        Ok(used)
    }
}
