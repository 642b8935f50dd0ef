//! The process-wide table of reader slots.
//!
//! A thread takes a slot at its first look-up and gives it up when it exits; a look-up costs three
//! stores to the thread's own cache line (see [`super::slot`]). Slots are shared by all pools: an
//! id that two pools use at once merely looks held a little longer than it is.
//!
//! Invariants:
//! - a slot's word is written by its owner only (and wiped in a forked child);
//! - the occupancy bit of a slot is set before its word leaves 0 and cleared after it is 0 again,
//!   and `high_water` is above every slot that was ever taken, so a scan up to it misses nobody;
//! - a thread without a slot (more threads than [`SLOTS`], a thread that is being torn down, a
//!   look-up inside another one) is *counted*: in the table while it is inside, and in the
//!   memory that it announces. Both are sequentially consistent read-modify-writes.

use super::barrier;
use super::own::Own;
use super::slot::Slot;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence};

/// Threads that can have a slot at once.
pub const SLOTS: usize = 2048;
const WORDS: usize = SLOTS / 64;
/// Index of a thread without a slot.
pub const NO_SLOT: u32 = u32::MAX;

/// A slot with what its owner needs beside it.
#[repr(C, align(64))]
pub(super) struct Seat {
    slot: Slot,
    /// Generation in which it was taken; 0: not taken.
    generation: AtomicU64,
    /// The same with the index below, as [`tag_of`] packs them: what [`Seated`] and [`own_slot`] go
    /// by. 0 where readers need a fence.
    tag: AtomicU64,
    index: AtomicU32,
}

impl Seat {
    /// After the index.
    fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
        let index = u64::from(self.index.load(Ordering::Relaxed));
        let is_tagged = generation != 0 && barrier::is_asymmetric();
        let tag = if is_tagged { tag_of(generation) | index } else { 0 };
        self.tag.store(tag, Ordering::Relaxed);
    }
}

#[repr(C, align(64))]
struct Table {
    generation: AtomicU64,
    counted_inside: AtomicU64,
    high_water: AtomicUsize,
    occupied: [AtomicU64; WORDS],
    seats: [Seat; SLOTS],
}

pub(super) static NOBODY: Seat = Seat {
    slot: Slot::vacant(),
    generation: AtomicU64::new(0),
    tag: AtomicU64::new(0),
    index: AtomicU32::new(NO_SLOT),
};
/// Bits of a tag that hold the index.
const TAG_BITS: u32 = 16;
const _: () = assert!(SLOTS <= 1 << TAG_BITS);
/// Generations begun so far; in ordinary memory, so that a child inherits it.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

fn table() -> &'static Table {
    static TABLE: OnceLock<usize> = OnceLock::new();
    let address = *TABLE.get_or_init(|| {
        let table = map_table();
        // SAFETY: the handler only writes to the calling thread's own word.
        unsafe { libc::pthread_atfork(None, None, Some(forget_seat)) };
        barrier::register();
        table as usize
    });
    // SAFETY: `map_table` returned zeroed memory of the size and alignment of a Table that is
    // never unmapped, and zero is a valid value of each of its fields.
    unsafe { &*(address as *const Table) }
}

/// Maps the table's pages, or falls back to static memory, so that this cannot fail.
fn map_table() -> *const Table {
    static FALLBACK: [AtomicU64; size_of::<Table>() / 8 + 8] =
        [const { AtomicU64::new(0) }; size_of::<Table>() / 8 + 8];
    let len = size_of::<Table>();
    // SAFETY: a fresh anonymous mapping, no address asked for.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        // SAFETY: the handler only writes to static memory.
        unsafe { libc::pthread_atfork(None, None, Some(wipe_after_fork)) };
        let start = FALLBACK.as_ptr() as usize;
        return ((start + 63) & !63) as *const Table;
    }
    // SAFETY: the range was mapped above.
    if unsafe { libc::madvise(page, len, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above.
        unsafe { libc::pthread_atfork(None, None, Some(wipe_after_fork)) };
    }
    page.cast::<Table>()
}

/// The one thread of a forked child has no seat: the one that it had in its parent is vacant there,
/// and will be another's.
extern "C" fn forget_seat() {
    SEAT.set(&NOBODY);
}

extern "C" fn wipe_after_fork() {
    let table = table();
    table.generation.store(0, Ordering::Relaxed);
    table.counted_inside.store(0, Ordering::Relaxed);
    table.high_water.store(0, Ordering::Relaxed);
    for word in &table.occupied {
        word.store(0, Ordering::Relaxed);
    }
    for seat in &table.seats {
        seat.slot.vacate();
        seat.set_generation(0);
    }
}

pub(super) fn generation_word() -> u64 {
    table().generation.load(Ordering::Relaxed)
}

#[cold]
pub(super) fn begin_generation() -> u64 {
    let table = table();
    let next = GENERATIONS.load(Ordering::SeqCst) + 1;
    match table.generation.compare_exchange(0, next, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            GENERATIONS.store(next, Ordering::SeqCst);
            next
        }
        Err(other) => other,
    }
}

/// The calling thread's seat, or [`NOBODY`]'s.
static SEAT: Own = Own;

/// Has [`leave`] called when the calling thread ends; false if the system has no room for that. A
/// key of the C library and not a destructor of the language: registering one of those allocates,
/// and aborts the process where it cannot.
fn arm_leaving() -> bool {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: the key is written by the call; the destructor is a plain function that stays.
        (unsafe { libc::pthread_key_create(&raw mut key, Some(leave)) } == 0).then_some(key)
    });
    // SAFETY: the key was made above; its value is only a mark that is never followed.
    key.is_some_and(
        |key| unsafe { libc::pthread_setspecific(key, (&raw const NOBODY).cast()) } == 0,
    )
}

/// Gives the thread's slot up when the thread ends.
extern "C" fn leave(_mark: *mut libc::c_void) {
    let seat = SEAT.replace(&NOBODY);
    let index = seat.index.load(Ordering::Relaxed) as usize;
    if index < SLOTS && seat.generation.load(Ordering::Relaxed) == generation_word() {
        seat.set_generation(0);
        seat.slot.vacate();
        table().occupied[index / 64].fetch_and(!(1 << (index % 64)), Ordering::AcqRel);
    }
}

/// Takes a slot for the calling thread; `None` when there is none or the thread is ending.
#[cold]
fn take_seat(generation: u64) -> Option<&'static Seat> {
    let current = SEAT.get();
    if current.generation.load(Ordering::Relaxed) == generation {
        return Some(current);
    }
    if !arm_leaving() {
        return None;
    }
    let table = table();
    for (word_index, word) in table.occupied.iter().enumerate() {
        let mut bits = word.load(Ordering::Relaxed);
        while bits != u64::MAX {
            let bit = bits.trailing_ones();
            match word.compare_exchange_weak(
                bits,
                bits | 1 << bit,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Err(now) => bits = now,
                Ok(_) => {
                    let index = word_index * 64 + bit as usize;
                    let seat = &table.seats[index];
                    seat.index.store(u32::try_from(index).ok()?, Ordering::Relaxed);
                    table.high_water.fetch_max(index + 1, Ordering::SeqCst);
                    seat.slot.take();
                    seat.set_generation(generation);
                    // A reclaimer that saw one slot in use and ran no barrier did so before this
                    // point; what it unlinked is visible to this thread from here on.
                    fence(Ordering::SeqCst);
                    SEAT.set(seat);
                    return Some(seat);
                }
            }
        }
    }
    None
}

/// The calling thread's slot number, exclusive to it while it lives; `None` when it has none.
#[inline]
pub fn slot_index() -> Option<usize> {
    let seat = SEAT.get();
    let generation = super::fork::generation();
    if seat.generation.load(Ordering::Relaxed) == generation {
        return Some(seat.index.load(Ordering::Relaxed) as usize);
    }
    take_seat(generation).map(|seat| seat.index.load(Ordering::Relaxed) as usize)
}

/// What [`own_slot`] and [`Seated::enter`] are to be given in a process of this generation.
#[must_use]
pub const fn tag_of(generation: u64) -> u64 {
    generation << TAG_BITS
}

/// The calling thread's slot number in a process of the generation that the tag is of; past the
/// table when it has none yet, the process is another one, or readers need a fence
/// ([`barrier::is_asymmetric`]). Never takes a slot: for quick paths that have a slower one beside
/// them.
#[inline(always)]
#[must_use]
pub fn own_slot(tag: u64) -> usize {
    // What is left of a seat's tag of this generation is the index; of any other, more than any.
    (SEAT.get().tag.load(Ordering::Relaxed) ^ tag) as usize
}

/// What names the calling thread among all threads of all processes: its seat's tag. 0 while it has
/// no seat, and where readers need a fence.
#[inline(always)]
#[must_use]
pub fn own_tag() -> u64 {
    SEAT.get().tag.load(Ordering::Relaxed)
}

/// Whether [`own_slot`] tells a number: then the process is the one that the tag is of.
#[inline(always)]
#[must_use]
pub fn has_slot(tag: u64) -> bool {
    own_slot(tag) < SLOTS
}

/// A reader inside a look-up.
pub trait Guard {
    /// Announces memory; `readers` says where a reader without a slot is counted instead. What was
    /// announced before is no longer. A load of the place that names this memory must follow.
    fn announce<'a>(&mut self, id: u32, readers: impl FnOnce() -> &'a AtomicU32);

    /// The reader's slot number, [`NO_SLOT`] for a counted one.
    fn slot_index(&self) -> u32;
}

/// A reader with a slot where no fence is needed ([`barrier::is_asymmetric`]): two words that fit
/// registers. Dropping it ends the look-up.
pub struct Seated {
    seat: &'static Seat,
    token: u64,
    /// The number of its slot.
    slot: u32,
}

impl Seated {
    /// Begins a look-up in memory of the generation that the tag is of; `None` if the thread has no
    /// slot of it, is inside a look-up already, or readers need fences. [`Inside::enter`] then says
    /// more.
    #[inline(always)]
    pub fn enter(tag: u64) -> Option<Self> {
        let seat = SEAT.get();
        let slot = seat.tag.load(Ordering::Relaxed) ^ tag;
        if slot >= SLOTS as u64 {
            return None;
        }
        let token = seat.slot.enter()?;
        compiler_fence(Ordering::SeqCst);
        Some(Self { seat, token, slot: slot as u32 })
    }
}

impl Guard for Seated {
    #[inline(always)]
    fn announce<'a>(&mut self, id: u32, _readers: impl FnOnce() -> &'a AtomicU32) {
        self.seat.slot.announce(self.token, id);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn slot_index(&self) -> u32 {
        self.slot
    }
}

impl Drop for Seated {
    #[inline(always)]
    fn drop(&mut self) {
        self.seat.slot.leave(self.token);
    }
}

/// A reader of any kind. Dropping it ends the look-up.
pub struct Inside {
    /// The thread's slot, or [`NOBODY`]'s for a counted reader.
    seat: &'static Seat,
    /// Token of the look-up; 0 for a counted reader.
    token: u64,
    /// What a counted reader is counted in.
    counted_in: *const AtomicU32,
}

impl Inside {
    /// Begins a look-up in memory of this generation; `None` if that is not the process's.
    pub fn enter(generation: u64) -> Option<Self> {
        let seat = SEAT.get();
        if seat.generation.load(Ordering::Relaxed) == generation
            && let Some(token) = seat.slot.enter()
        {
            barrier::light();
            return Some(Self { seat, token, counted_in: std::ptr::null() });
        }
        Self::enter_slowly(generation)
    }

    #[cold]
    fn enter_slowly(generation: u64) -> Option<Self> {
        if super::fork::generation() != generation {
            return None;
        }
        if let Some(seat) = take_seat(generation)
            && let Some(token) = seat.slot.enter()
        {
            barrier::light();
            return Some(Self { seat, token, counted_in: std::ptr::null() });
        }
        table().counted_inside.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Some(Self { seat: &NOBODY, token: 0, counted_in: std::ptr::null() })
    }

    #[cold]
    fn announce_counted(&mut self, readers: &AtomicU32) {
        readers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.forget_counted();
        self.counted_in = readers;
    }

    fn forget_counted(&mut self) {
        if !self.counted_in.is_null() {
            // SAFETY: it was made from a reference into metadata that is never unmapped while its
            // pool lives, and the caller of the look-up keeps the pool alive.
            unsafe { &*self.counted_in }.fetch_sub(1, Ordering::SeqCst);
            self.counted_in = std::ptr::null();
        }
    }

    #[cold]
    fn leave_counted(&mut self) {
        self.forget_counted();
        table().counted_inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Guard for Inside {
    fn announce<'a>(&mut self, id: u32, readers: impl FnOnce() -> &'a AtomicU32) {
        if self.token != 0 {
            self.seat.slot.announce(self.token, id);
            barrier::light();
        } else {
            self.announce_counted(readers());
        }
    }

    fn slot_index(&self) -> u32 {
        self.seat.index.load(Ordering::Relaxed)
    }
}

impl Drop for Inside {
    #[inline(always)]
    fn drop(&mut self) {
        if self.token != 0 {
            self.seat.slot.leave(self.token);
        } else {
            self.leave_counted();
        }
    }
}

/// Has every reader fence from its next look-up on.
#[cfg(any(test, feature = "testing"))]
pub(super) fn fence_all() {
    for seat in &table().seats {
        seat.tag.store(0, Ordering::SeqCst);
    }
}

/// Calls `visit` with every id announced now. Meaningful after [`barrier::heavy`]; readers without
/// a slot are not among them (they are counted in the memory itself).
pub fn for_each_announced(mut visit: impl FnMut(u32)) {
    let table = table();
    let end = table.high_water.load(Ordering::SeqCst).min(SLOTS);
    for seat in &table.seats[..end] {
        if let Some(id) = Slot::announced(seat.slot.word()) {
            visit(id);
        }
    }
}

/// How many threads have a slot now.
#[must_use]
pub fn threads_seated() -> usize {
    let table = table();
    let words = table.high_water.load(Ordering::Relaxed).min(SLOTS).div_ceil(64);
    let bits = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones() as usize;
    table.occupied[..words].iter().map(bits).sum()
}

/// Who was inside at one moment. Once all of them have left, memory that was unlinked before that
/// moment has no readers.
pub struct Snapshot {
    words: [u64; SLOTS],
    len: usize,
    counted: bool,
}

impl Snapshot {
    /// An empty snapshot: nobody was inside.
    #[must_use]
    pub const fn empty() -> Self {
        Self { words: [0; SLOTS], len: 0, counted: false }
    }

    /// Whether all have left; remembers those that have.
    pub fn all_left(&mut self) -> bool {
        let table = table();
        let mut left = true;
        for (word, seat) in self.words[..self.len].iter_mut().zip(&table.seats) {
            if *word != 0 {
                // A reader may announce other memory meanwhile; only the sequence tells.
                if seat.slot.word() >> super::slot::ID_BITS == *word >> super::slot::ID_BITS {
                    left = false;
                } else {
                    *word = 0;
                }
            }
        }
        if self.counted && table.counted_inside.load(Ordering::SeqCst) == 0 {
            self.counted = false;
        }
        left && !self.counted
    }
}

/// Takes the snapshot of who is inside now. Call it after [`barrier::heavy`].
pub fn snapshot_inside(into: &mut Snapshot) {
    let table = table();
    let end = table.high_water.load(Ordering::SeqCst).min(SLOTS);
    into.len = end;
    for (word, seat) in into.words.iter_mut().zip(&table.seats[..end]) {
        let seen = seat.slot.word();
        *word = if Slot::is_inside(seen) { seen } else { 0 };
    }
    into.counted = table.counted_inside.load(Ordering::SeqCst) != 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_ids_are_seen_and_leave() {
        let generation = super::super::fork::generation();
        let readers = AtomicU32::new(0);
        let mut inside = Inside::enter(generation).unwrap();
        inside.announce(4_242, || &readers);
        let mut seen = false;
        for_each_announced(|id| seen |= id == 4_242);
        assert!(seen);
        let mut snapshot = Snapshot::empty();
        snapshot_inside(&mut snapshot);
        assert!(!snapshot.all_left());

        let mut nested = Inside::enter(generation).unwrap();
        nested.announce(7, || &readers);
        assert_eq!(readers.load(Ordering::SeqCst), 1);
        drop(nested);
        assert_eq!(readers.load(Ordering::SeqCst), 0);

        drop(inside);
        let mut seen = false;
        for_each_announced(|id| seen |= id == 4_242);
        assert!(!seen);
        while !snapshot.all_left() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_forked_child_shares_no_seat() {
        let own = slot_index().unwrap();
        // SAFETY: the child ends by `_exit`, and holds no lock of its parent's.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let seated = std::sync::Barrier::new(own + 2);
            let others: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..=own)
                    .map(|_| {
                        scope.spawn(|| {
                            let slot = slot_index();
                            seated.wait();
                            slot
                        })
                    })
                    .collect();
                // Once all others have one, among them the number that was this thread's.
                while (table().occupied[own / 64].load(Ordering::SeqCst) >> (own % 64)) & 1 == 0 {
                    std::thread::yield_now();
                }
                let mine = slot_index();
                seated.wait();
                let others = threads.into_iter().map(|thread| thread.join().unwrap_or(None));
                others.chain([mine]).collect()
            });
            let different: std::collections::HashSet<_> = others.iter().collect();
            let is_sound = different.len() == others.len() && others.iter().all(Option::is_some);
            // SAFETY: ends the child without running anything of its parent's.
            unsafe { libc::_exit(i32::from(!is_sound)) };
        }
        let mut status = -1;
        // SAFETY: waits for the child of this thread.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "two threads of the child have one seat");
    }

    #[test]
    fn more_threads_than_slots() {
        let generation = super::super::fork::generation();
        for _ in 0..3 {
            let threads: Vec<_> = (0..64)
                .map(|_| {
                    std::thread::spawn(move || {
                        let index = slot_index();
                        assert!(Inside::enter(generation).is_some());
                        assert_eq!(slot_index(), index);
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        assert!(table().high_water.load(Ordering::SeqCst) < 512, "slots are reused");
        assert!(Inside::enter(generation + 1).is_none());
    }
}
