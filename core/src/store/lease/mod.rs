//! Leases: of all callers that miss a key one loads it.
//!
//! A *claim* is a look-up that, where it finds nothing, gives the caller a *lease*: the right, and
//! the task, to load the key. Whoever claims the key meanwhile waits for that load, or goes on
//! without. The lease ends with a value ([`Store::lease_put`]) or without one
//! ([`Store::lease_drop`]). `docs/read-through.md` draws the states and says who wakes whom.
//!
//! Invariants:
//! - a key has at most one lease at a time;
//! - a write, removal or invalidation of a key ends its lease before it returns: what is being
//!   loaded is old by then, and its holder's put is a conflict that stores nothing;
//! - a lease lasts until its deadline at most; afterwards another caller may load, and the holder's
//!   put is a conflict;
//! - whoever waits for a lease is woken when it ends, however it ends, and needs no lock to find
//!   out how;
//! - all of it is charged to the pool and bounded: leases and what is remembered by their shares of
//!   the limit, waits without a thread by the pool's pin limit;
//! - a call takes O(1), but for the end of a lease: O(waits of the key); no thread watches the time.
//!
//! Who waits does so as a thread (`claim.rs`), through a descriptor (`waits.rs`) or as a task (`task.rs`).
//!
//! A lease is two numbers and not memory: one that has ended, belongs to another store, or was made
//! up, is a conflict.
//!
//! **Cost.** A hit is [`Store::pin`] or [`Store::get`]: nothing is added to a look-up that finds a
//! fresh entry. A miss takes the shard's lock once for the claim and once for the put. A plain
//! write learns from a byte beside the lock whether its shard has any leases.
//!
//! [`Store::lease_put`]: crate::store::Store::lease_put
//! [`Store::lease_drop`]: crate::store::Store::lease_drop
//! [`Store::pin`]: crate::store::Store::pin
//! [`Store::get`]: crate::store::Store::get

mod ask;
mod bounds;
mod claim;
mod course;
mod end;
pub(super) mod fresh;
pub(super) mod handed;
mod load;
mod record;
pub(super) mod table;
mod task;
mod waits;
#[doc(hidden)]
pub mod word;

pub use load::{LoadError, LoadOptions, Loaded};
pub use waits::{Ended, Waits};

/// The right to load a key. A value: copies are the same lease, which ends once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Which record, of which shard.
    pub id: u64,
    /// Which lease. 0: none.
    pub generation: u64,
}

/// How a key is claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimOptions {
    /// Milliseconds that the call may wait for another's load; 0: it does not wait;
    /// [`u64::MAX`]: for as long as it takes.
    pub timeout_ms: u64,
    /// While somebody else reloads the key, take the old value.
    pub stale: bool,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<T> {
    /// The value.
    Value(T),
    /// There is none, and the caller is the one to load it.
    Claimed(Lease),
    /// Another caller loads, and the time is over.
    TimedOut,
    /// The source has no such key, as was found out not long ago.
    Absent,
    /// The load failed, just now or not long ago.
    LoadFailed,
    /// The store declined the loaded value, and it could not be passed on.
    Declined,
}

/// Why a lease ends without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The caller will not load: one of those who wait gets the lease.
    Cancelled,
    /// The load failed: who waits is told, and who claims the key within `retry_ms`.
    Failed {
        /// Milliseconds for which the failure is remembered; 0: it is not.
        retry_ms: u64,
    },
    /// The source has no such key: who waits is told, and who claims the key within `ttl_ms`. An
    /// old value is removed.
    Absent {
        /// Milliseconds for which that is remembered; 0: the store's `negative_ttl_ms`.
        ttl_ms: u64,
    },
}
