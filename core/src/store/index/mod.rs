//! The index of a shard: from a hash to the location of an entry.
//!
//! Linear hashing over [`Line`]s (Litwin, VLDB'80): with `n` lines, a key lives in the bucket of
//! the low bits of its hash; the table grows by splitting one bucket and shrinks by merging one, so
//! no call rehashes more than a bucket. A bucket that is full spills into overflow lines, a chain
//! hung into its last slot.
//!
//! Invariants:
//! - every line but the last of a chain is full (so a chain is no longer than it must be);
//! - a key is in one slot of its bucket's chain, and nowhere else;
//! - `len` is the number of filled slots; lines 0 to `n` are backed by memory, chunk by chunk;
//! - slots move in the order: home line marked moving, new place filled, geometry published, old
//!   place emptied, home line marked still. A miss is believed under an unchanged, still header and
//!   an unchanged geometry word.
//!
//! Memory is taken in chunks of one segment; a chunk that is no longer used goes back once every
//! reader that was inside has left. Lines keep their versions for as long as their chunk lives.

pub mod geometry;
pub mod line;
mod overflow;
mod resize;

#[cfg(not(loom))]
use crate::error::{Error, ErrorKind, Result};
use crate::pool::space::SegId;
#[cfg(not(loom))]
use crate::pool::space::Space;
use geometry::{CLOSED, EPOCH, EPOCH_MASK, Geometry, POISONED, SCREENED, shape_of};
use line::{LINK, Line, SLOTS, SlotValue};
#[cfg(loom)]
use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// No segment.
const NONE: u32 = u32::MAX;
/// Entries a line holds on average before the table grows, in 1/16.
const GROW_AT: u64 = 16 * 74 / 10;
/// Entries a line holds on average below which the table shrinks, in 1/16.
const SHRINK_AT: u64 = 16 * 64 / 10;
/// The fewest lines.
const LINES_MIN: u32 = if cfg!(loom) { 1 } else { 8 };

/// The part that readers use.
pub struct Table {
    geometry: AtomicU64,
    lines_base: *const u8,
    seg_shift: u32,
    /// Bits of a line's number that are its place in its chunk.
    lines_shift: u32,
    lines_mask: u32,
    homes: Box<Directory>,
    overflows: Box<Directory>,
}

/// The first line of each chunk; null: no chunk.
type Directory = [AtomicPtr<Line>];

#[cfg(not(loom))]
fn directory(chunks: usize) -> Result<Box<Directory>> {
    let mut cells = Vec::new();
    cells.try_reserve_exact(chunks).map_err(|_| {
        Error::fixed(ErrorKind::NoMemory, "no memory for the directory of an index")
    })?;
    cells.resize_with(chunks, AtomicPtr::default);
    Ok(cells.into_boxed_slice())
}

// SAFETY: `lines_base` points to pool memory that outlives the store; what lies there is only
// accessed through the atomics of a Line.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// Where a key's slot is. Valid while the shard's lock is held.
#[derive(Clone, Copy)]
pub struct Place {
    line: *const Line,
    slot: usize,
    home: *const Line,
}

/// The part that the holder of the shard's lock uses.
#[derive(Debug)]
#[repr(C)]
pub struct Tail {
    /// Filled slots.
    pub len: u64,
    /// The table grows with more slots than this.
    grow_above: u64,
    /// The table shrinks with fewer slots than this.
    shrink_below: u64,
    /// Overflow lines of all chunks, headers apart.
    overflow_lines: u32,
    overflow_used: u32,
    /// Chunk that was given up and is to be retired; [`NONE`].
    released: SegId,
    /// No chunk below this one has a free line.
    overflow_hint: u32,
    /// Segments held.
    pub segments: u32,
}

impl Tail {
    /// A table of the fewest lines, in one segment.
    fn first() -> Self {
        let mut tail = Self { segments: 1, ..Self::nothing() };
        tail.set_lines(LINES_MIN);
        tail
    }

    fn set_lines(&mut self, lines: u32) {
        self.grow_above = u64::from(lines) * GROW_AT / 16;
        let fewest = if lines > LINES_MIN { u64::from(lines) * SHRINK_AT } else { 0 };
        self.shrink_below = fewest.div_ceil(16);
    }

    /// A table that holds nothing, not even memory.
    pub const fn nothing() -> Self {
        Self {
            len: 0,
            grow_above: u64::MAX,
            shrink_below: 0,
            overflow_lines: 0,
            overflow_used: 0,
            overflow_hint: 0,
            released: NONE,
            segments: 0,
        }
    }
}

impl Table {
    /// Chunks of home and of overflow lines that a shard of so many segments can come to need: the
    /// shortest entries take 16 bytes, and 9 in the home lines. Overflow lines are a fifth as many
    /// as home lines at most (two fifths through a doubling), so a 14th of all segments, unless
    /// keys were chosen to collide.
    fn chunks_of(segments: usize) -> (usize, usize) {
        (segments / 2 + 2, segments / 12 + 2)
    }

    /// Bytes that the directories of a shard of so many segments take on the process's heap.
    pub fn heap_bytes(segments: usize) -> u64 {
        let (homes, overflows) = Self::chunks_of(segments);
        ((homes + overflows) * size_of::<AtomicPtr<Line>>()) as u64
    }

    /// An empty table of a shard of at most so many segments, on its first chunk, a segment taken
    /// for [`Use::Index`].
    ///
    /// [`Use::Index`]: crate::pool::Use::Index
    #[cfg(not(loom))]
    ///
    /// # Errors
    /// `NoMemory`: the process has none for the directories; the segment stays the caller's.
    pub fn open(space: &Space, segments: usize, first: SegId) -> Result<(Self, Tail)> {
        let (homes, overflows) = Self::chunks_of(segments);
        let table = Self {
            geometry: AtomicU64::new(shape_of(LINES_MIN) | EPOCH),
            lines_base: space.segments_base(),
            seg_shift: space.seg_shift(),
            lines_shift: space.seg_shift() - 6,
            lines_mask: (1 << (space.seg_shift() - 6)) - 1,
            homes: directory(homes)?,
            overflows: directory(overflows)?,
        };
        table.wipe_segment(first);
        table.homes[0].store(table.chunk_of(first), Ordering::Release);
        Ok((table, Tail::first()))
    }

    /// An empty table for a model, on two chunks of `1 << lines_shift` lines that the model keeps:
    /// home lines, then overflow lines.
    ///
    /// # Safety
    /// `chunks` points to so many lines and outlives the table.
    #[cfg(loom)]
    pub unsafe fn on_chunks(chunks: *const Line, lines_shift: u32) -> (Self, Tail) {
        let table = Self {
            geometry: AtomicU64::new(shape_of(LINES_MIN) | EPOCH),
            lines_base: chunks.cast(),
            seg_shift: lines_shift + size_of::<Line>().ilog2(),
            lines_shift,
            lines_mask: (1 << lines_shift) - 1,
            homes: Box::new([AtomicPtr::new(chunks.cast_mut())]),
            overflows: Box::new([AtomicPtr::new(std::ptr::null_mut())]),
        };
        let mut tail = Tail::first();
        table.add_overflow_chunk(&mut tail, 1);
        (table, tail)
    }

    /// The geometry as it is now.
    #[inline(always)]
    pub fn geometry(&self) -> Geometry {
        Geometry(self.geometry.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn lines_shift(&self) -> u32 {
        self.lines_shift
    }

    /// Where the lines of a chunk begin.
    fn chunk_of(&self, segment: SegId) -> *mut Line {
        self.lines_base.wrapping_add((segment as usize) << self.seg_shift).cast_mut().cast()
    }

    /// The segment of a chunk.
    fn segment_of(&self, chunk: *mut Line) -> SegId {
        ((chunk as usize - self.lines_base as usize) >> self.seg_shift) as SegId
    }

    #[inline(always)]
    fn line_in(&self, directory: &Directory, number: u32) -> Option<&Line> {
        let chunk = (number >> self.lines_shift) as usize;
        let first = directory.get(chunk)?.load(Ordering::Acquire);
        if first.is_null() {
            return None;
        }
        // SAFETY: directories name chunks that this index holds, or held when the calling
        // reader went inside; their memory is mapped for the pool's life and only ever accessed
        // as lines while a reader can reach it.
        Some(unsafe { &*first.add((number & self.lines_mask) as usize) })
    }

    /// The home line of a hash. Under the lock there is one.
    #[inline(always)]
    pub fn home_of(&self, hash: u64) -> Option<&Line> {
        self.home(self.geometry().bucket(hash))
    }

    /// The home line of a bucket; `None` only for a geometry that is out of date.
    #[inline(always)]
    pub fn home(&self, bucket: u32) -> Option<&Line> {
        self.line_in(&self.homes, bucket)
    }

    /// An overflow line; `None` for a link that is out of date.
    #[inline(always)]
    pub fn overflow(&self, number: u32) -> Option<&Line> {
        self.line_in(&self.overflows, number.wrapping_sub(1))
    }

    /// Asks for the cache line of this hash's bucket.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        if let Some(line) = self.home_of(hash) {
            line.prefetch();
        }
    }

    /// A model's chunks are used once.
    #[cfg(loom)]
    fn wipe_segment(&self, _segment: SegId) {}

    #[cfg(not(loom))]
    fn wipe_segment(&self, segment: SegId) {
        let start = (segment as usize) << self.seg_shift;
        for i in 0..1_usize << self.lines_shift() {
            // SAFETY: the segment was just taken for this index; nobody else accesses it.
            unsafe {
                let line = self.lines_base.add(start + i * size_of::<Line>()).cast_mut();
                std::ptr::write_bytes(line, 0, size_of::<Line>());
            }
        }
    }

    fn publish_lines(&self, tail: &mut Tail, lines: u32) {
        tail.set_lines(lines);
        let word = self.geometry.load(Ordering::Relaxed);
        let epoch = word.wrapping_add(EPOCH) & EPOCH_MASK;
        let flags = word & (CLOSED | POISONED | SCREENED);
        self.geometry.store(flags | epoch | shape_of(lines), Ordering::Release);
    }

    /// Takes the shard out of service for good.
    pub fn close(&self) {
        self.geometry.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Takes the shard out of service until [`Table::reopen`].
    pub fn poison(&self) {
        self.geometry.fetch_or(POISONED, Ordering::SeqCst);
    }

    /// Says whether look-ups ask the shard's filter first. Without the lock: a writer that changes the
    /// geometry meanwhile may undo it, which costs time and nothing else.
    pub fn set_screened(&self, screened: bool) {
        let is_screened = self.geometry.load(Ordering::Relaxed) & SCREENED != 0;
        if screened && !is_screened {
            self.geometry.fetch_or(SCREENED, Ordering::Relaxed);
        } else if !screened && is_screened {
            self.geometry.fetch_and(!SCREENED, Ordering::Relaxed);
        }
    }

    /// Calls `visit` for each line of a bucket's chain, home line first, until it says no.
    pub fn each_line<'a>(&'a self, bucket: u32, mut visit: impl FnMut(&'a Line) -> bool) {
        let mut line = self.home(bucket);
        while let Some(current) = line {
            if !visit(current) {
                return;
            }
            line =
                if Line::spills(current.header()) { self.overflow(current.link()) } else { None };
        }
    }

    /// Calls `visit` with the place and value of every filled slot of a bucket.
    pub fn each_slot(&self, bucket: u32, mut visit: impl FnMut(Place, SlotValue)) {
        let Some(home) = self.home(bucket) else { return };
        self.each_line(bucket, |line| {
            for slot in 0..SLOTS {
                if let Some(value) = line.get(slot) {
                    visit(Place { line, slot, home }, value);
                }
            }
            true
        });
    }

    /// The slot of a hash whose location `is_it` accepts. Under the lock.
    #[inline(always)]
    pub fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<(Place, SlotValue)> {
        self.find_from(self.home_of(hash)?, hash, is_it)
    }

    /// [`Table::find`], beginning with the home line of the hash.
    #[inline(always)]
    pub fn find_from(
        &self,
        home: &Line,
        hash: u64,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> Option<(Place, SlotValue)> {
        let tag = line::tag_of(hash);
        let mut current = home;
        loop {
            let mut matches = current.matches(tag);
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                matches &= matches - 1;
                if let Some(value) = current.get(slot)
                    && is_it(value.location)
                {
                    return Some((Place { line: current, slot, home }, value));
                }
            }
            if !Line::spills(current.header()) {
                return None;
            }
            current = self.overflow(current.link())?;
        }
    }

    /// Points a slot to a newer entry of its key.
    pub fn relocate(&self, place: Place, location: u32, hits: u8) {
        // SAFETY: a Place is used under the lock that it was found under; its line is live.
        unsafe { &*place.line }.relocate(place.slot, location, hits);
    }

    /// The hits in a slot now.
    pub fn hits(&self, place: Place) -> u8 {
        // SAFETY: as in `relocate`.
        unsafe { &*place.line }.hits(place.slot)
    }

    /// Sets the hits of a slot.
    pub fn set_hits(&self, place: Place, hits: u8) {
        // SAFETY: as in `relocate`.
        unsafe { &*place.line }.set_hits(place.slot, hits);
    }

    /// Counts a hit on a slot.
    pub fn count_hit(&self, place: Place) {
        // SAFETY: as in `relocate`.
        let line = unsafe { &*place.line };
        if let Some(value) = line.get(place.slot) {
            line.count_hit(place.slot, value.tag());
        }
    }

    /// Whether inserting a key with this home line needs no new overflow line.
    #[inline(always)]
    pub fn has_vacancy(&self, tail: &Tail, home: &Line) -> bool {
        Self::overflow_free(tail) != 0 || self.chain_has_vacancy(home)
    }

    #[inline(never)]
    fn chain_has_vacancy(&self, home: &Line) -> bool {
        let mut last = home;
        while last.vacancy().is_none() {
            if !Line::spills(last.header()) {
                return false;
            }
            match self.overflow(last.link()) {
                Some(next) => last = next,
                None => return false,
            }
        }
        true
    }

    /// Inserts a slot for a key that has none, whose home line this is; false if an overflow line
    /// is needed and none is free (see [`Table::add_overflow_chunk`]).
    #[inline(always)]
    pub fn insert(&self, tail: &mut Tail, home: &Line, hash: u64, location: u32, hits: u8) -> bool {
        let value = SlotValue::new(line::tag_of(hash), hits, location);
        let done = match home.vacancy() {
            Some(slot) => {
                home.fill(slot, value);
                true
            }
            None => self.push(tail, home, value, false),
        };
        tail.len += u64::from(done);
        done
    }

    /// Puts a value into the first vacancy of a chain, lengthening the chain if it must.
    fn push(&self, tail: &mut Tail, home: &Line, value: SlotValue, moving: bool) -> bool {
        let mut last = home;
        loop {
            if let Some(slot) = last.vacancy() {
                last.fill(slot, value);
                return true;
            }
            if !Line::spills(last.header()) {
                break;
            }
            match self.overflow(last.link()) {
                Some(next) => last = next,
                None => return false,
            }
        }
        let Some((number, fresh)) = self.take_overflow(tail) else { return false };
        let Some(displaced) = last.get(LINK) else { return false };
        fresh.fill(0, displaced);
        fresh.fill(1, value);
        if !moving {
            home.begin_moving();
        }
        last.empty(LINK);
        last.set_link(number);
        if !moving {
            home.end_moving();
        }
        true
    }

    /// Empties a slot, keeping the chain compact.
    #[inline(always)]
    pub fn remove(&self, tail: &mut Tail, place: Place) {
        // SAFETY: a Place is used under the lock that it was found under; its lines are live.
        let (line, home) = unsafe { (&*place.line, &*place.home) };
        tail.len -= 1;
        if Line::spills(home.header()) {
            self.remove_from_chain(tail, place, line, home);
        } else {
            line.empty(place.slot);
        }
    }

    #[inline(never)]
    fn remove_from_chain(&self, tail: &mut Tail, place: Place, line: &Line, home: &Line) {
        home.begin_moving();
        line.empty(place.slot);
        let mut before = home;
        let mut last = home;
        while Line::spills(last.header()) {
            let Some(next) = self.overflow(last.link()) else { break };
            before = last;
            last = next;
        }
        if !std::ptr::eq(line, last)
            && let Some((slot, value)) =
                (0..SLOTS).rev().find_map(|slot| last.get(slot).map(|value| (slot, value)))
        {
            line.fill(place.slot, value);
            last.empty(slot);
        }
        if !std::ptr::eq(before, last) && last.len() == 0 {
            let number = before.link();
            before.clear_link();
            self.give_overflow(tail, number, last);
        }
        home.end_moving();
    }

    /// Gives every segment of the index to `give` and forgets them. No look-up may follow.
    pub fn dismantle(&self, tail: &mut Tail, mut give: impl FnMut(SegId)) {
        for cell in self.homes.iter().chain(&self.overflows) {
            let chunk = cell.swap(std::ptr::null_mut(), Ordering::AcqRel);
            if !chunk.is_null() {
                give(self.segment_of(chunk));
            }
        }
        if let Some(segment) = self.released_chunk(tail) {
            give(segment);
        }
        *tail = Tail::nothing();
    }

    /// Puts a dismantled, poisoned table back in service with one fresh chunk.
    pub fn reopen(&self, tail: &mut Tail, first: SegId) {
        self.wipe_segment(first);
        self.homes[0].store(self.chunk_of(first), Ordering::Release);
        *tail = Tail::first();
        let word = self.geometry.load(Ordering::Relaxed);
        let epoch = word.wrapping_add(EPOCH) & EPOCH_MASK;
        self.geometry.store((word & CLOSED) | epoch | shape_of(LINES_MIN), Ordering::SeqCst);
    }

    /// Checks the invariants of the structure; `visit` is called with every filled slot and its
    /// bucket, and says what is wrong with it.
    pub fn validate(
        &self,
        tail: &Tail,
        mut visit: impl FnMut(Geometry, u32, SlotValue) -> std::result::Result<(), String>,
    ) -> std::result::Result<(), String> {
        let geometry = self.geometry();
        let (mut slots, mut used) = (0, 0);
        for bucket in 0..geometry.lines() {
            let mut result = Ok(());
            let mut first = true;
            self.each_line(bucket, |line| {
                used += u32::from(!first);
                first = false;
                if line.is_moving() {
                    result = Err(format!("bucket {bucket} is marked moving"));
                }
                if Line::spills(line.header()) && line.len() != LINK {
                    result = Err(format!("bucket {bucket} spills with an empty slot"));
                }
                for slot in 0..SLOTS {
                    if let Some(value) = line.get(slot) {
                        slots += 1;
                        if result.is_ok() {
                            result = visit(geometry, bucket, value);
                        }
                    }
                }
                result.is_ok()
            });
            result?;
        }
        if slots != tail.len {
            return Err(format!("{slots} slots are filled, {} are counted", tail.len));
        }
        if used != tail.overflow_used {
            return Err(format!(
                "{used} overflow lines are hung in, {} counted",
                tail.overflow_used
            ));
        }
        Ok(())
    }
}
