//! Sessions: groups of entries that end together.
//!
//! A session has a *row* in a table that the whole store shares, and an entry that belongs to one
//! carries a *ticket*: the number of the row and the row's generation. A ticket is good while the
//! generation is still the row's and the session is not older than its time to live. So ending a
//! session changes one number, however many entries it has; they are dead from then on, and room
//! is made of them when reclaim comes by. A row is used again under another generation, so that an
//! id that comes back resurrects nothing.
//!
//! **Order.** When room is needed and too little of what is held is dead, sessions end one by one:
//! those that are too old first, then the one that was not accessed for the longest time if that
//! is longer than the idle timeout, then the one that began first. One inside its grace ends only
//! if hardly anything else is left. Entries without a session rank as idle: as long as there are
//! enough of them, they go and no session ends.
//!
//! **How much is enough.** Dead entries lie where they were written, among live ones that reclaim
//! has to copy on its way. It passes four bytes for each that it frees at most, so sessions end
//! until a quarter of the bytes is dead or belongs to no session.
//!
//! **Invariants.** A row is live while its generation is odd; a live row is in the list by
//! beginning, in the heap by last access and in one slot of the hash table of ids; every other row
//! is in the list of free ones. A row's bytes and entries are the sums over the entries that carry
//! its good ticket; what carries a bad one is in the sums of the dead. Readers look at rows
//! without a lock and write only the second of the last access, when it changes; everything else
//! changes under the lock of the table.
//!
//! **Cost.** A look-up of an id is one probe of a table at most half full. Beginning and ending a
//! session takes O(log sessions), for the heap. Memory is 72 bytes a row.

mod heap;
#[cfg(test)]
mod tests;

use crate::memory::lock::{FutexGuard, FutexMutex};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// No row.
const NONE: u32 = u32::MAX;
/// Sessions that one call ends, at most.
const ENDS_MAX: u32 = 64;
/// The part of the bytes that is to be dead, or of no session, while room is needed: one in so
/// many.
const DEAD_SHARE: u64 = 4;
/// A session inside its grace stands while one byte in so many is dead or of no session.
const LEFT_SHARE: u64 = 16;

/// When sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Age at which a session is over, in milliseconds.
    pub ttl_ms: u64,
    /// Seconds without an access after which a session is idle.
    pub idle_s: u32,
    /// Age up to which a session ends only if nothing else is left, in milliseconds.
    pub grace_ms: u64,
    /// Rows of the table; 0: by the store's limit.
    pub rows: u32,
}

/// What a session had when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sessions that ended.
    pub sessions: u64,
    /// Their entries.
    pub entries: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Ended {
    fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

/// Sessions that ended in one call, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Their time was over.
    pub expired: Ended,
    /// They had to make room, in the store or in the table.
    pub evicted: Ended,
}

/// A session's row. All zero: never used.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Row {
    id: AtomicU64,
    /// Odd while the session lives.
    generation: AtomicU32,
    /// Second of the last access.
    last_s: AtomicU32,
    began_ms: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// The session that began before.
    older: AtomicU32,
    /// The session that began after; of a free row, the next free one.
    newer: AtomicU32,
    /// Its place in the heap.
    place: AtomicU32,
    /// Second of the last access, as the heap is ordered by it.
    known_s: AtomicU32,
}

#[derive(Debug)]
struct Lists {
    oldest: u32,
    newest: u32,
    free: u32,
    /// Live rows; also the length of the heap.
    live: u32,
    /// Rows that were used once.
    touched: u32,
}

/// The sessions of a store.
#[derive(Debug)]
pub struct Sessions {
    rows: &'static [Row],
    /// Row numbers plus one, by hash of the id; 0: none.
    slots: &'static [AtomicU32],
    heap: &'static [AtomicU32],
    limits: SessionLimits,
    lists: FutexMutex<Lists>,
    dead: Sum,
    /// What belongs to no session.
    unowned: Sum,
    /// What belongs to sessions that live.
    owned: Sum,
}

/// Bytes and entries. Changed under the table's lock, read without.
#[derive(Debug, Default)]
struct Sum {
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Sum {
    fn add(&self, bytes: u64, entries: u64) {
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
        self.entries.store(self.entries.load(Relaxed) + entries, Relaxed);
    }

    /// What a shard lost when it was taken out of service is never taken out here.
    fn sub(&self, bytes: u64, entries: u64) {
        self.bytes.store(self.bytes.load(Relaxed).saturating_sub(bytes), Relaxed);
        self.entries.store(self.entries.load(Relaxed).saturating_sub(entries), Relaxed);
    }

    fn clear(&self) {
        self.bytes.store(0, Relaxed);
        self.entries.store(0, Relaxed);
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

fn row_of(ticket: u64) -> u32 {
    (ticket >> 32) as u32
}

fn generation_of(ticket: u64) -> u32 {
    ticket as u32
}

fn ticket_of(row: u32, generation: u32) -> u64 {
    u64::from(row) << 32 | u64::from(generation)
}

impl Sessions {
    /// Slots of the hash table for so many rows.
    const fn slots(rows: u32) -> usize {
        (rows as usize * 2).next_power_of_two()
    }

    /// Bytes of memory for so many rows.
    #[must_use]
    pub const fn bytes(rows: u32) -> u64 {
        (rows as usize * (size_of::<Row>() + 4) + Self::slots(rows) * 4) as u64
    }

    /// A table of `limits.rows` rows, at least one.
    ///
    /// # Safety
    /// [`Sessions::bytes`] zeroed bytes at `memory`, aligned to 8, are this table's alone and stay
    /// for as long as it is used.
    pub unsafe fn new(memory: *mut u8, limits: SessionLimits) -> Self {
        let (rows, slots) = (limits.rows as usize, Self::slots(limits.rows));
        // SAFETY: the caller promises as much memory as the three arrays take together; the rows
        // come first and leave the words behind them aligned; zero is a valid value of all of it.
        let (rows, slots, heap) = unsafe {
            let behind_rows = memory.add(rows * size_of::<Row>()).cast::<AtomicU32>();
            (
                std::slice::from_raw_parts(memory.cast::<Row>(), rows),
                std::slice::from_raw_parts(behind_rows, slots),
                std::slice::from_raw_parts(behind_rows.add(slots), rows),
            )
        };
        let lists = Lists { oldest: NONE, newest: NONE, free: NONE, live: 0, touched: 0 };
        Self {
            rows,
            slots,
            heap,
            limits,
            lists: FutexMutex::new(lists),
            dead: Sum::default(),
            unowned: Sum::default(),
            owned: Sum::default(),
        }
    }

    fn row(&self, row: u32) -> &Row {
        &self.rows[row as usize % self.rows.len()]
    }

    fn is_over(&self, row: &Row, now_ms: u64) -> bool {
        now_ms.saturating_sub(row.began_ms.load(Relaxed)) >= self.limits.ttl_ms
    }

    /// The ticket of a session, which begins if it does not live; an access. Sessions that had to
    /// make room for its row, or whose time was over, are added to `ends`.
    pub fn enter(&self, id: u64, now_ms: u64, ends: &mut Ends) -> u64 {
        if let Some(ticket) = self.find(id, now_ms) {
            self.access(ticket, now_ms);
            return ticket;
        }
        let mut lists = self.lists.lock();
        if let Some(row) = self.look_up(id) {
            let generation = self.row(row).generation.load(Relaxed);
            if !self.is_over(self.row(row), now_ms) {
                let ticket = ticket_of(row, generation);
                self.access(ticket, now_ms);
                return ticket;
            }
            ends.expired.add(self.end_row(&mut lists, row));
        }
        if lists.free == NONE && lists.touched as usize == self.rows.len() {
            let oldest = lists.oldest;
            let is_over = self.is_over(self.row(oldest), now_ms);
            let ended = self.end_row(&mut lists, oldest);
            if is_over { ends.expired.add(ended) } else { ends.evicted.add(ended) }
        }
        self.begin(&mut lists, id, now_ms)
    }

    fn begin(&self, lists: &mut Lists, id: u64, now_ms: u64) -> u64 {
        let number = if lists.free == NONE {
            lists.touched += 1;
            lists.touched - 1
        } else {
            let free = lists.free;
            lists.free = self.row(free).newer.load(Relaxed);
            free
        };
        let row = self.row(number);
        // Whoever sees what follows sees that the generation before is over.
        std::sync::atomic::fence(Release);
        row.id.store(id, Relaxed);
        row.began_ms.store(now_ms, Relaxed);
        row.last_s.store(seconds(now_ms), Relaxed);
        row.bytes.store(0, Relaxed);
        row.entries.store(0, Relaxed);
        row.older.store(lists.newest, Relaxed);
        row.newer.store(NONE, Relaxed);
        match lists.newest {
            NONE => lists.oldest = number,
            newest => self.row(newest).newer.store(number, Relaxed),
        }
        lists.newest = number;
        self.push(lists.live, number, seconds(now_ms));
        lists.live += 1;
        let generation = row.generation.load(Relaxed).wrapping_add(1);
        row.generation.store(generation, Release);
        let slot = self.slots_of(id).find(|&slot| self.slots[slot].load(Relaxed) == 0);
        if let Some(slot) = slot {
            self.slots[slot].store(number + 1, Release);
        }
        ticket_of(number, generation)
    }

    fn end_row(&self, lists: &mut Lists, number: u32) -> Ended {
        let row = self.row(number);
        let generation = row.generation.load(Relaxed);
        row.generation.store(generation.wrapping_add(1), Release);
        let (bytes, entries) = (row.bytes.load(Relaxed), row.entries.load(Relaxed));
        self.owned.sub(bytes, entries);
        self.dead.add(bytes, entries);
        let (older, newer) = (row.older.load(Relaxed), row.newer.load(Relaxed));
        match older {
            NONE => lists.oldest = newer,
            older => self.row(older).newer.store(newer, Relaxed),
        }
        match newer {
            NONE => lists.newest = older,
            newer => self.row(newer).older.store(older, Relaxed),
        }
        lists.live -= 1;
        self.remove(lists.live, row.place.load(Relaxed));
        self.vacate(row.id.load(Relaxed), number);
        row.newer.store(lists.free, Relaxed);
        lists.free = number;
        Ended { sessions: 1, entries, bytes }
    }

    /// Ends a session; `None` if there is none of this id.
    pub fn end(&self, id: u64, now_ms: u64) -> Option<Ended> {
        let mut lists = self.lists.lock();
        let row = self.look_up(id)?;
        let is_over = self.is_over(self.row(row), now_ms);
        let ended = self.end_row(&mut lists, row);
        (!is_over).then_some(ended)
    }

    /// The ticket of a session that lives. No lock, no access.
    #[must_use]
    pub fn find(&self, id: u64, now_ms: u64) -> Option<u64> {
        for slot in self.slots_of(id).take(8) {
            let number = self.slots[slot].load(Acquire).checked_sub(1)?;
            let row = self.row(number);
            let generation = row.generation.load(Acquire);
            if generation % 2 == 1 && row.id.load(Relaxed) == id && !self.is_over(row, now_ms) {
                // The row may have changed hands while it was read.
                std::sync::atomic::fence(Acquire);
                if row.generation.load(Relaxed) == generation {
                    return Some(ticket_of(number, generation));
                }
            }
        }
        None
    }

    /// Whether a ticket is good.
    #[inline]
    #[must_use]
    pub fn is_live(&self, ticket: u64, now_ms: u64) -> bool {
        let row = self.row(row_of(ticket));
        row.generation.load(Acquire) == generation_of(ticket) && !self.is_over(row, now_ms)
    }

    /// Whether the session of a ticket was ended; one whose time is over may not be yet.
    #[must_use]
    pub fn has_ended(&self, ticket: u64) -> bool {
        self.row(row_of(ticket)).generation.load(Acquire) != generation_of(ticket)
    }

    /// An access to an entry with this ticket.
    #[inline]
    pub fn access(&self, ticket: u64, now_ms: u64) {
        let row = self.row(row_of(ticket));
        let now_s = seconds(now_ms);
        if row.last_s.load(Relaxed) != now_s
            && row.generation.load(Relaxed) == generation_of(ticket)
        {
            row.last_s.store(now_s, Relaxed);
        }
    }

    /// The id of the session that a ticket was given for; 0 if it is over.
    #[must_use]
    pub fn id_of(&self, ticket: u64) -> u64 {
        let row = self.row(row_of(ticket));
        let id = row.id.load(Relaxed);
        std::sync::atomic::fence(Acquire);
        if row.generation.load(Relaxed) == generation_of(ticket) { id } else { 0 }
    }

    /// An entry of so many bytes is there from now on; ticket 0: of no session. False: its session
    /// ended meanwhile.
    pub fn joined(&self, ticket: u64, bytes: u64) -> bool {
        let _lists = self.lists.lock();
        let row = self.row(row_of(ticket));
        if ticket == 0 {
            self.unowned.add(bytes, 1);
        } else if row.generation.load(Relaxed) == generation_of(ticket) {
            row.bytes.store(row.bytes.load(Relaxed) + bytes, Relaxed);
            row.entries.store(row.entries.load(Relaxed) + 1, Relaxed);
            self.owned.add(bytes, 1);
        } else {
            self.dead.add(bytes, 1);
            return false;
        }
        true
    }

    /// An entry of so many bytes is gone.
    pub fn left(&self, ticket: u64, bytes: u64) {
        let _lists = self.lists.lock();
        let row = self.row(row_of(ticket));
        if ticket == 0 {
            self.unowned.sub(bytes, 1);
        } else if row.generation.load(Relaxed) == generation_of(ticket) {
            row.bytes.store(row.bytes.load(Relaxed).saturating_sub(bytes), Relaxed);
            row.entries.store(row.entries.load(Relaxed).saturating_sub(1), Relaxed);
            self.owned.sub(bytes, 1);
        } else {
            self.dead.sub(bytes, 1);
        }
    }

    /// Ends the sessions whose time is over, the oldest first, a bounded number.
    pub fn expire(&self, now_ms: u64) -> Ended {
        let mut lists = self.lists.lock();
        self.expire_due(&mut lists, now_ms)
    }

    fn expire_due(&self, lists: &mut Lists, now_ms: u64) -> Ended {
        let mut ended = Ended::default();
        for _ in 0..ENDS_MAX {
            let oldest = lists.oldest;
            if oldest == NONE || !self.is_over(self.row(oldest), now_ms) {
                break;
            }
            ended.add(self.end_row(lists, oldest));
        }
        ended
    }

    /// Ends sessions, in order, until enough is dead or belongs to no session; a bounded number.
    pub fn make_room(&self, now_ms: u64) -> Ends {
        let mut lists = self.lists.lock();
        let mut ends =
            Ends { expired: self.expire_due(&mut lists, now_ms), evicted: Ended::default() };
        for _ in 0..ENDS_MAX {
            let Some(victim) = self.victim(&lists, now_ms) else { break };
            ends.evicted.add(self.end_row(&mut lists, victim));
        }
        ends
    }

    /// The session that ends next; `None` if none has to.
    fn victim(&self, lists: &FutexGuard<'_, Lists>, now_ms: u64) -> Option<u32> {
        let free = self.dead.bytes.load(Relaxed) + self.unowned.bytes.load(Relaxed);
        let all = free + self.owned.bytes.load(Relaxed);
        if lists.oldest == NONE || free * DEAD_SHARE >= all {
            return None;
        }
        if let Some(idle) = self.idlest(lists.live, seconds(now_ms), self.limits.idle_s) {
            return Some(idle);
        }
        let oldest = self.row(lists.oldest);
        let age_ms = now_ms.saturating_sub(oldest.began_ms.load(Relaxed));
        let must_end = age_ms >= self.limits.grace_ms || free * LEFT_SHARE < all;
        must_end.then_some(lists.oldest)
    }

    /// Sessions that live, and how many of them are idle. Time O(rows).
    #[must_use]
    pub fn count(&self, now_ms: u64) -> (u64, u64) {
        let lists = self.lists.lock();
        let (mut live, mut idle) = (0, 0);
        for place in &self.heap[..lists.live as usize] {
            let row = self.row(place.load(Relaxed));
            if !self.is_over(row, now_ms) {
                live += 1;
                let unused_s = seconds(now_ms).saturating_sub(row.last_s.load(Relaxed));
                idle += u64::from(unused_s > self.limits.idle_s);
            }
        }
        (live, idle)
    }

    /// Entries of sessions that ended, still there.
    #[must_use]
    pub fn dead_entries(&self) -> u64 {
        self.dead.entries.load(Relaxed)
    }

    /// Bytes of everything that joined and did not leave.
    #[must_use]
    pub fn bytes_held(&self) -> u64 {
        let _lists = self.lists.lock();
        [&self.dead, &self.unowned, &self.owned].map(|sum| sum.bytes.load(Relaxed)).iter().sum()
    }

    /// Ends all sessions.
    pub fn end_all(&self) {
        self.end_all_under(&mut self.lists.lock());
    }

    fn end_all_under(&self, lists: &mut Lists) {
        while lists.oldest != NONE {
            let oldest = lists.oldest;
            self.end_row(lists, oldest);
        }
    }

    /// Ends all sessions where entries went without leaving; so many are left, and are taken for
    /// dead.
    pub fn reset(&self, bytes: u64, entries: u64) {
        let mut lists = self.lists.lock();
        self.end_all_under(&mut lists);
        for sum in [&self.dead, &self.unowned, &self.owned] {
            sum.clear();
        }
        self.dead.add(bytes, entries);
    }

    /// The slots where an id may be, in the order in which they are looked at.
    fn slots_of(&self, id: u64) -> impl Iterator<Item = usize> {
        // Fibonacci hashing (Knuth, volume 3, 6.4): ids are often consecutive.
        let mask = self.slots.len() - 1;
        let first = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        (0..=mask).map(move |step| (first + step) & mask)
    }

    /// The row of an id, over or not. Under the lock.
    fn look_up(&self, id: u64) -> Option<u32> {
        for slot in self.slots_of(id) {
            let number = self.slots[slot].load(Relaxed).checked_sub(1)?;
            if self.row(number).id.load(Relaxed) == id {
                return Some(number);
            }
        }
        None
    }

    /// Takes a row out of the hash table and moves those behind it up (Knuth, volume 3, 6.4,
    /// algorithm R), so that a look-up can stop at the first empty slot.
    fn vacate(&self, id: u64, number: u32) {
        let mask = self.slots.len() - 1;
        let slot = self.slots_of(id).find(|&at| self.slots[at].load(Relaxed) == number + 1);
        let Some(mut hole) = slot else { return };
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(other) = self.slots[at].load(Relaxed).checked_sub(1) else { break };
            let home = self.slots_of(self.row(other).id.load(Relaxed)).next().unwrap_or(at);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole].store(other + 1, Release);
                hole = at;
            }
        }
        self.slots[hole].store(0, Release);
    }
}
