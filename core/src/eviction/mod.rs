//! Eviction: which entry goes when room is needed, decided without touching the store.
//!
//! A store keeps the live entries of a shard in up to [`QUEUES_MAX`] *queues*, each an append-only
//! log with a head, where entries are appended, and a *cursor* at its tail, which reads them again
//! in the order in which they were appended. A [`Policy`] sees metadata only and answers
//! questions; the store moves bytes. The questions come in this order, all under the shard's
//! writer lock:
//!
//! 1. A new key: [`Policy::place`] names the queue, declines, or asks for a contest (below).
//! 2. Room is needed: [`Policy::victim_queue`] names a queue, the entry at its cursor is shown to
//!    [`Policy::judge`], and the verdict is carried out: it is evicted, appended again, or moved.
//!    Both questions are asked again for every entry until there is room.
//! 3. What left is reported: [`Policy::evicted`] if room was needed, [`Policy::removed`] if it was
//!    deleted, expired or invalidated. An overwrite is no departure: [`Policy::replace`].
//!
//! Hits never call a policy. They saturate the two-bit access counter in the index, which comes
//! back as [`EntryMeta::hits`]; what else a hit does is declared ahead
//! ([`Policy::promote_after`], [`Policy::uncounted_share`]) so that readers need no lock. A policy
//! that has to know of hits before its cursor comes by is told by writers, later
//! ([`Policy::hears_at`], [`Policy::heard`]).
//!
//! **Invariants.** A policy is plain data: no pointer, no heap, so that it can live in shared
//! memory or in a file. What grows with the number of entries lives in [`Context::memory`], which
//! the store hands in and the pool is charged for; it may be empty, and a policy then works without
//! its memory of the past. No method takes time that grows with the number of entries, and every
//! sequence of verdicts reaches an eviction after a bounded number of entries. A wrong or lossy
//! answer costs hits, never correctness: queues may be emptied, entries evicted and counters lost
//! without the policy's consent.
//!
//! **Why queues of a log.** Appending is the only order that costs no memory an entry and no write
//! a hit. The policies that win on real traces are made of FIFO queues with reinsertion, and an
//! entry's age is its distance from the head. How each policy maps on it:
//!
//! | policy | queues | mapping |
//! |---|---|---|
//! | `fifo` | log | every entry at the cursor goes |
//! | `lru` | log | a hit on an entry older than a share of the queue appends it again |
//! | `s3fifo` | small, main | `judge` moves from small to main or keeps in main; `evicted` and `place` write and read ghosts in `memory` |
//! | `adaptive` | small, main | as `s3fifo`, ghosts with ages; a returning ghost asks for [`Placement::Contest`] against main's tail; `uncounted_share` is the correlation window; the boundary is a field that `place` moves and `victim_queue` obeys; an age in misses is read off marks (place in the log, miss count) that the policy takes each 1/64 or less of a queue's length |
//! | `sieve` | passed by the hand, not passed yet | a survivor moves to the other queue, newcomers are appended behind what the hand has yet to see; when the hand's queue is empty the two swap roles: the same order as a hand over one list |
//! | `wtinylfu` | window, probation, protected | frequency sketch in `memory`; [`Verdict::Duel`] has the window's tail meet probation's; every hit is heard of, and feeds the sketch |
//! | `lfu` | one for each class of frequencies | hits that fill an entry's counter are heard of and append it to a higher class; counters of 8 bits in `memory`, by fingerprint, where a class spans more than one frequency |
//! | `random` | log | the cursor goes on with any segment ([`Policy::roams`]); a coin keeps half of what it passes |
//! | `ttl` | one for each time to live, one for none | each is in the order of expiry; the cursor that is at the soonest entry moves, the others wait ([`Verdict::Duel`]) |
//! | `hybrid` | log | as `lru`; what was hit often is kept when the cursor comes by |
//! | `session` | log | entries of sessions that live are kept; which ones end is decided over the whole store ([`sessions`]), and what they had is dead before `judge` is asked |
//!
//! What a later policy needs beyond this is a method with a default body, so that the policies here
//! stay as they are.

mod adaptive;
mod aged;
mod any;
mod bucket;
mod counts;
mod dice;
mod fifo;
mod ghost;
mod hybrid;
mod lfu;
mod lru;
mod marks;
mod options;
mod random;
mod s3fifo;
mod session;
pub mod sessions;
mod sieve;
mod sketch;
mod ttl;
mod wtinylfu;

pub use adaptive::Adaptive;
pub use any::{AnyPolicy, Called};
pub use fifo::Fifo;
pub use hybrid::Hybrid;
pub use lfu::Lfu;
pub use lru::Lru;
pub use random::Random;
pub use s3fifo::S3Fifo;
pub use session::Session;
pub use sieve::Sieve;
pub use ttl::Ttl;
pub use wtinylfu::WTinyLfu;

use sessions::SessionLimits;

/// The most queues a policy may have.
pub const QUEUES_MAX: usize = 8;
/// The largest value of the access counter.
pub const HITS_MAX: u8 = 3;

/// What a policy knows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// Bytes it takes in the log, header and key included.
    pub bytes: u32,
    /// The access counter of the index, 0 to [`HITS_MAX`].
    pub hits: u8,
    /// The queue it is in; without meaning for a new key.
    pub queue: u8,
    /// 32 bits of the key's hash, uniform among the keys of the shard.
    pub fingerprint: u32,
    /// Bytes of the log appended to its queue before it: what came after it takes
    /// [`QueueView::head`] less this there. A long value has a run of its own and counts little.
    pub position: u64,
    /// When it expires; `u64::MAX`: never.
    pub expires_ms: u64,
    /// Its session, or the ticket of it ([`sessions`]); 0: none.
    pub session: u64,
}

/// What a policy knows of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueView {
    /// Bytes of its live entries.
    pub bytes: u64,
    /// Live entries.
    pub entries: u64,
    /// Bytes of the log ever appended to it.
    pub head: u64,
    /// The position of its oldest entries, when hits were carried out last: for [`Policy::heard`].
    pub tail: u64,
}

impl QueueView {
    /// Its length in bytes of the log, what is dead included: what the age of an entry is a share
    /// of. Live bytes are not, where values are long.
    #[inline]
    #[must_use]
    pub fn length(&self) -> u64 {
        self.head.saturating_sub(self.tail)
    }
}

/// So many per cent of a number, rounded down.
#[inline(always)]
fn percent(of: u64, pct: u64) -> u64 {
    match of.checked_mul(pct) {
        Some(product) => product / 100,
        None => (of / 100).saturating_mul(pct),
    }
}

/// What a policy knows of the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct View {
    /// The queues; those beyond [`Policy::queues`] are empty.
    pub queues: [QueueView; QUEUES_MAX],
    /// Bytes that live entries may take at most; what is dead or held back in the log counts too.
    pub capacity_bytes: u64,
    /// Entries that may be live; 0: bounded by bytes only.
    pub capacity_entries: u64,
    /// The store's clock when an entry with a time to live was last written, or looked for.
    pub now_ms: u64,
}

impl View {
    /// Whether the bound on entries is nearer than the bound on bytes, so that shares of the
    /// capacity are counted in entries.
    #[inline]
    #[must_use]
    pub fn by_entries(&self) -> bool {
        if self.capacity_entries == 0 {
            return false;
        }
        let (mut bytes, mut entries) = (0_u64, 0_u64);
        for queue in &self.queues {
            bytes += queue.bytes;
            entries += queue.entries;
        }
        u128::from(entries) * u128::from(self.capacity_bytes)
            >= u128::from(bytes) * u128::from(self.capacity_entries)
    }

    /// The capacity in the unit of [`View::by_entries`].
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> u64 {
        if self.by_entries() { self.capacity_entries } else { self.capacity_bytes }
    }

    /// Where one of the first two queues has no entries: the other one.
    #[inline(always)]
    #[must_use]
    pub fn sole_queue(&self) -> Option<u8> {
        let [first, second, ..] = &self.queues;
        let is_sole = first.entries == 0 || second.entries == 0;
        is_sole.then_some(u8::from(first.entries == 0))
    }

    /// What a queue holds, in the unit of [`View::by_entries`].
    #[inline]
    #[must_use]
    pub fn used(&self, queue: u8) -> u64 {
        let queue = self.queues.get(usize::from(queue)).copied().unwrap_or_default();
        if self.by_entries() { queue.entries } else { queue.bytes }
    }

    /// What an entry takes, in the unit of [`View::by_entries`].
    #[inline]
    #[must_use]
    pub fn size(&self, entry: &EntryMeta) -> u64 {
        if self.by_entries() { 1 } else { u64::from(entry.bytes) }
    }
}

/// What a policy decides on: the shard, and memory of its own.
#[derive(Debug)]
pub struct Context<'a> {
    /// The shard as it is now.
    pub view: &'a View,
    /// The policy's tables: as much as [`Policy::memory_words`] asked for at some number of
    /// entries, or nothing. Aligned to a cache line.
    pub memory: &'a mut [u32],
}

impl Context<'_> {
    /// The same once more.
    #[inline(always)]
    pub(crate) fn apart(&mut self) -> Context<'_> {
        Context { view: self.view, memory: self.memory }
    }
}

/// Where a new key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// To the head of this queue, with this access counter.
    Queue {
        /// The queue.
        queue: u8,
        /// The counter.
        hits: u8,
    },
    /// Nowhere yet: it must beat the tail of `queue`.
    ///
    /// The store walks that queue from its cursor, at most [`CONTEST_MAX`] live entries, and shows
    /// each to [`Policy::weigh`] beside the newcomer. Once what is staked is as much as the newcomer
    /// takes, both in the unit of [`View::size`], the newcomer has won: they are evicted, and it is appended to `queue` with counter 0. If
    /// the policy holds, or nothing is left to walk, it has lost: what was staked stays where it
    /// is, and the newcomer is appended to `lost` with counter 0, or declined without one.
    ///
    /// Where both are one queue, there is no contest: the newcomer goes there, though it be beyond
    /// [`Policy::newcomer_queues`], and to queue 0 if the head of that one has no room and gets none.
    Contest {
        /// The queue whose tail is challenged, and where a winner goes.
        queue: u8,
        /// Where a loser goes.
        lost: Option<u8>,
    },
    /// Not stored.
    Decline,
}

/// What [`Policy::kept_max`] is unless a policy says otherwise.
const KEPT_MAX: u32 = 32;

/// The most live entries a contest may look at.
pub const CONTEST_MAX: usize = 64;

/// What becomes of one entry at the tail while a newcomer challenges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bout {
    /// It takes no part: appended again to its queue with this counter, whoever wins.
    Keep {
        /// The counter.
        hits: u8,
    },
    /// It goes if the newcomer wins.
    Stake,
    /// It stands, and the newcomer has lost.
    Hold,
}

/// What becomes of a live entry at the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Evict,
    /// It is appended again to its queue with this counter.
    Keep {
        /// The counter.
        hits: u8,
    },
    /// It is appended to another queue with this counter.
    Move {
        /// The queue.
        queue: u8,
        /// The counter.
        hits: u8,
    },
    /// It meets the live entry at the cursor of another queue: [`Policy::duel`] says which of the
    /// two goes. If there is none, it goes.
    ///
    /// In its own queue it *waits*: it stays where it is, and the cursor before it, because another
    /// queue has a better victim. An answer for a bounded number of times in a row.
    Duel {
        /// The other queue.
        queue: u8,
    },
}

/// Which of two entries goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duel {
    /// The rival; the entry that met it is appended to the rival's queue with this counter.
    Win {
        /// The counter.
        hits: u8,
    },
    /// The entry that met the rival, which stays where it is.
    Lose,
}

/// What becomes of an entry whose hits a policy hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It stays where it is, with this counter.
    Stay {
        /// The counter.
        hits: u8,
    },
    /// It is appended to this queue, which may be its own, with this counter; if there is no room
    /// for that, it stays.
    Append {
        /// The queue.
        queue: u8,
        /// The counter.
        hits: u8,
    },
}

/// The decisions of an eviction policy. The module says who asks what, and when. What a method does
/// by default is what one queue without a memory of the past needs.
pub trait Policy {
    /// How many queues it keeps, 1 to [`QUEUES_MAX`].
    #[inline]
    fn queues(&self) -> u8 {
        1
    }

    /// How many words of memory it wants when `entries` entries fit into the shard.
    fn memory_words(&self, _entries: u64) -> usize {
        0
    }

    /// [`Policy::memory_words`] when the entries take so many bytes.
    fn memory_words_within(&self, entries: u64, _bytes: u64) -> usize {
        self.memory_words(entries)
    }

    /// The memory handed in from now on is another one, all zero.
    fn memory_changed(&mut self) {}

    /// Brings near what [`Policy::place`] will read for this fingerprint.
    fn prefetch(&self, _memory: &[u32], _fingerprint: u32) {}

    /// Where a new key goes. Asked before room is made for it.
    #[inline]
    fn place(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) -> Placement {
        Placement::Queue { queue: 0, hits: 0 }
    }

    /// One bout of the contest that the last [`Policy::place`] asked for.
    fn weigh(&mut self, _cx: &mut Context<'_>, _newcomer: &EntryMeta, _tail: &EntryMeta) -> Bout {
        Bout::Hold
    }

    /// An entry is overwritten: the new version is appended to the same queue with the counter
    /// that this returns.
    #[inline]
    fn replace(&mut self, _cx: &mut Context<'_>, _old: &EntryMeta) -> u8 {
        0
    }

    /// Room is needed: the queue whose cursor moves. Names one with live entries if any has some.
    #[inline]
    fn victim_queue(&mut self, _cx: &mut Context<'_>) -> u8 {
        0
    }

    /// What becomes of a live entry at the cursor of the queue that was named.
    fn judge(&mut self, cx: &mut Context<'_>, entry: &EntryMeta) -> Verdict;

    /// Which of two entries goes, the one that was judged [`Verdict::Duel`] or its rival.
    fn duel(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta, _rival: &EntryMeta) -> Duel {
        Duel::Lose
    }

    /// The entry goes for room: it was judged so, it lost a contest, or there was no room left to
    /// append it again.
    #[inline]
    fn evicted(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {}

    /// The entry was deleted, expired or invalidated.
    fn removed(&mut self, _cx: &mut Context<'_>, _entry: &EntryMeta) {}

    /// A hit on an entry that is further behind the head than this many 256ths of its queue's length
    /// in the log appends it again. `None`: hits move nothing.
    fn promote_after(&self) -> Option<u8> {
        None
    }

    /// Whether hits on entries of queue 0 are counted by a policy that has them promoted.
    fn counts_hits(&self) -> bool {
        false
    }

    /// Hits on an entry of queue 0 are not counted while it lies within this many 256ths of the
    /// queue's length behind its head: they are one use, seen twice. `None`: all count. Not
    /// together with [`Policy::hears_at`].
    fn uncounted_share(&self) -> Option<u8> {
        None
    }

    /// Newcomers go to the queues below this one.
    fn newcomer_queues(&self) -> u8 {
        self.queues()
    }

    /// A hit that takes the access counter of an entry to this number is told to
    /// [`Policy::heard`], before the next write of the shard does anything else. `None`: hits are
    /// not told. Not together with [`Policy::promote_after`].
    fn hears_at(&self) -> Option<u8> {
        None
    }

    /// Whether hits are worth a reader's time: it has the policy hear of them at once, if the shard
    /// is free. Otherwise those are lost that come between the one that is told and the next write.
    fn hears_all(&self) -> bool {
        false
    }

    /// An entry was hit as often as its counter says since the counter was last set.
    fn heard(&mut self, _cx: &mut Context<'_>, entry: &EntryMeta) -> Heard {
        Heard::Stay { hits: entry.hits }
    }

    /// Whether the cursor of a queue, having passed a segment, goes on with any other one, each as
    /// likely, and not with the oldest.
    fn roams(&self) -> bool {
        false
    }

    /// Entries kept or moved in a row after which one goes, whatever the verdict.
    fn kept_max(&self) -> u32 {
        KEPT_MAX
    }

    /// When sessions end, of a policy that goes by them.
    fn sessions(&self) -> Option<SessionLimits> {
        None
    }

    /// The shard was emptied: forget everything, as if new.
    fn clear(&mut self) {}
}
