//! The stores as their pool sees them, and which of them gives when one needs room.
//!
//! Stores share a pool without shares of it: whoever needs a segment that the limit does not hold
//! asks the pool, and the pool asks the store that has the least use of its bytes. That is the
//! store above its floor with the fewest recent hits per used byte; *recent* is a sum of hits that
//! is halved whenever the sums of all have grown past a bound, so that it neither forgets between
//! two askings nor remembers last week. Where several are equal, as when nobody reads, the one that
//! asks gives first, once it has an equal share of the pool: a store that only writes evicts its
//! own. A store that has next to nothing, as a new one in a full pool, can show no hits yet; it is
//! the last to give for itself.
//!
//! Stores are asked with no lock held; the list is walked by place, and a store that comes or goes
//! meanwhile may be asked twice or not at all.

use super::Pool;
use super::space::Space;
use crate::error::Result;
use crate::memory::lock::{FutexGuard, FutexMutex};
use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Recent hits of all stores together at which they are halved.
const MEMORY_HITS: u64 = 1 << 17;

/// A store with less than this part of an equal share of the pool has too little to be judged by.
pub const STARVED: u64 = 8;
/// How often room is made for a charge.
const CHARGE_ATTEMPTS: u32 = 16;

/// A store as its pool sees it.
pub trait Tenant: Send + Sync {
    /// Evicts until about so many bytes of segments and runs were retired or given back, and
    /// returns how many. Bounded, so it may be less; 0: there is nothing to give.
    fn reclaim(&self, bytes: u64) -> u64;
    /// Bytes of the pool that it uses.
    fn used_bytes(&self) -> u64;
    /// Other stores cannot push it below this.
    fn floor_bytes(&self) -> u64;
    /// Hits so far.
    fn hits(&self) -> u64;
    /// Its name, unique in the pool.
    fn name(&self) -> Option<&str>;
    /// Checks its invariants.
    fn validate(&self) -> Result<()>;
    /// Whether it was not destroyed.
    fn is_open(&self) -> bool;
    /// A number that no other store of the pool has.
    fn id(&self) -> u32;
    /// Part of `used_bytes` that is neither keys nor values of live entries.
    fn overhead_bytes(&self) -> u64 {
        0
    }
    /// The store itself, for whoever knows its type.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

struct Entry {
    tenant: Weak<dyn Tenant>,
    id: u32,
    /// Hits at the last asking.
    seen: u64,
    recent: u64,
}

/// The stores of a pool.
pub struct Tenants {
    entries: FutexMutex<Vec<Entry>>,
    /// Length of `entries`.
    count: AtomicUsize,
    opening: FutexMutex<()>,
}

/// Who gives among equals.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Turn {
    /// The asker, if it has its share.
    Asker,
    /// Another store.
    Other,
    /// The asker, if it has less.
    Poorer,
}

/// A store that could give: the lower, the sooner.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Rank {
    /// The asker that has too little to show what it is worth: others go first.
    is_entitled: bool,
    hits_a_byte: f64,
    turn: Turn,
    id: u32,
}

impl Tenants {
    pub(super) fn new() -> Self {
        Self {
            entries: FutexMutex::new(Vec::new()),
            count: AtomicUsize::new(0),
            opening: FutexMutex::new(()),
        }
    }

    /// Held while a store of a name is looked for and made, so that there is one.
    pub fn opening(&self) -> FutexGuard<'_, ()> {
        self.opening.lock()
    }

    /// Adds a store.
    pub fn register(&self, tenant: Weak<dyn Tenant>, id: u32) {
        let mut entries = self.entries.lock();
        entries.push(Entry { tenant, id, seen: 0, recent: 0 });
        self.count.store(entries.len(), Ordering::Relaxed);
    }

    /// Removes a store. Idempotent.
    pub fn unregister(&self, id: u32) {
        let mut entries = self.entries.lock();
        let at = entries.iter().position(|entry| entry.id == id);
        // Dropped without the lock: it may be the last reference to the store's memory.
        let gone = at.map(|at| entries.swap_remove(at));
        self.count.store(entries.len(), Ordering::Relaxed);
        drop(entries);
        drop(gone);
    }

    /// The open stores.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn Tenant>> {
        let found: Vec<_> = {
            let entries = self.entries.lock();
            entries.iter().filter_map(|entry| entry.tenant.upgrade()).collect()
        };
        found.into_iter().filter(|tenant| tenant.is_open()).collect()
    }

    /// The open store of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<dyn Tenant>> {
        self.all().into_iter().find(|tenant| tenant.name() == Some(name))
    }

    /// How many there are that were not unregistered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The floors of all open stores together.
    #[must_use]
    pub fn floor_sum(&self) -> u64 {
        let mut sum = 0_u64;
        self.visit(|tenant, _| sum = sum.saturating_add(tenant.floor_bytes()));
        sum
    }

    /// Calls `work` for each open store and its recent hits, with no lock held and without
    /// allocating.
    fn visit(&self, mut work: impl FnMut(&dyn Tenant, u64)) {
        let mut at = 0;
        loop {
            let found = {
                let entries = self.entries.lock();
                let Some(entry) = entries.get(at) else { return };
                entry.tenant.upgrade().map(|tenant| (tenant, entry.recent))
            };
            at += 1;
            if let Some((tenant, recent)) = found
                && tenant.is_open()
            {
                work(&*tenant, recent);
            }
        }
    }

    /// Brings the recent hits up to date.
    fn look(&self) {
        let mut sum = 0;
        let mut at = 0;
        loop {
            let Some(tenant) = self.entries.lock().get(at).map(|entry| entry.tenant.upgrade())
            else {
                break;
            };
            at += 1;
            let Some(tenant) = tenant else { continue };
            let (id, hits) = (tenant.id(), tenant.hits());
            let mut entries = self.entries.lock();
            if let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) {
                entry.recent += hits.saturating_sub(entry.seen);
                entry.seen = hits;
                sum += entry.recent;
            }
            // Before the store: it may be the last reference to it.
            drop(entries);
        }
        if sum > MEMORY_HITS {
            for entry in self.entries.lock().iter_mut() {
                entry.recent /= 2;
            }
        }
    }

    /// Asks stores, the least useful first, until so many bytes were given or all were asked. What
    /// a store gives goes by whole segments.
    fn reclaim(&self, asker: Option<u32>, bytes: u64, floors_stand: bool, space: &Space) -> u64 {
        self.look();
        let seg_bytes = space.seg_bytes();
        let share = space.target_bytes() / self.count().max(1) as u64;
        let mut given = 0;
        let mut last: Option<Rank> = None;
        while given < bytes {
            let mut best: Option<(Rank, u64)> = None;
            self.visit(|tenant, recent| {
                let used = tenant.used_bytes();
                let floor = if floors_stand { tenant.floor_bytes() } else { 0 };
                // Its own floor does not keep a store from evicting for itself.
                let is_other = asker != Some(tenant.id());
                let above = used.saturating_sub(floor);
                // No more than whole segments, so that a store is not pushed below its floor.
                let whole = if floor == 0 { above } else { above / seg_bytes * seg_bytes };
                let room = if is_other { whole } else { used };
                let starved = used < share / STARVED || floor != 0 && above == 0;
                let rank = Rank {
                    is_entitled: !is_other && starved,
                    hits_a_byte: recent as f64 / used.max(1) as f64,
                    turn: match is_other {
                        true => Turn::Other,
                        false if used < share => Turn::Poorer,
                        false => Turn::Asker,
                    },
                    id: tenant.id(),
                };
                let is_next =
                    last.is_none_or(|last| rank > last) && best.is_none_or(|(best, _)| rank < best);
                if room != 0 && is_next {
                    best = Some((rank, room));
                }
            });
            let Some((rank, room)) = best else { break };
            last = Some(rank);
            if let Some(tenant) = self.get(rank.id) {
                given += tenant.reclaim(room.min(bytes - given));
            }
        }
        given
    }

    fn get(&self, id: u32) -> Option<Arc<dyn Tenant>> {
        self.entries.lock().iter().find(|entry| entry.id == id)?.tenant.upgrade()
    }
}

impl Pool {
    /// Has the stores of the pool give up about so many bytes, the least useful first, and frees
    /// what nobody is in. Returns what the stores gave; part of it may wait for readers.
    /// `asker`: the store that needs the room.
    pub fn reclaim_for(&self, asker: Option<u32>, bytes: u64) -> u64 {
        let given = self.0.tenants.reclaim(asker, bytes, true, self.space());
        self.space().harvest(given != 0);
        given
    }

    /// Charges what lies on the process's heap, evicting for it where the pool is full; false: the
    /// limit holds no room for it.
    #[must_use]
    pub fn charge_with_room(&self, bytes: u64) -> bool {
        for _ in 0..CHARGE_ATTEMPTS {
            if self.space().charge(bytes) {
                return true;
            }
            let wanted = bytes.max(self.space().seg_bytes());
            self.reclaim_for(None, wanted);
            self.space().harvest(true);
            self.space().release_free(wanted);
        }
        false
    }

    /// [`Pool::reclaim_for`] on behalf of the limit, against which floors do not stand.
    pub(super) fn reclaim_all(&self, bytes: u64) -> u64 {
        let given = self.0.tenants.reclaim(None, bytes, false, self.space());
        self.space().harvest(true);
        given
    }

    /// How many stores are in the pool: one relaxed load.
    #[inline]
    #[must_use]
    pub fn tenants_open(&self) -> usize {
        self.0.tenants.count()
    }

    /// The floors of all open stores together, bytes.
    #[must_use]
    pub fn tenants_floor_sum(&self) -> u64 {
        self.0.tenants.floor_sum()
    }
}
