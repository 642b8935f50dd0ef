//! The pool: a byte limit that is true, and the memory under it.
//!
//! Everything a pool causes to be allocated is charged to it *before* it exists, page by page, so
//! that `used <= limit in force` holds at every instant and the process's resident set grows by no
//! more than the limit. One idea a file:
//!
//! - [`space`]: the reservation, its `tables`, the accounts, and the invariants between them;
//! - `budget`: used and limit in one word; `layout`: what lies where;
//! - `segments`: memory by segment and by huge page (`huge`); `runs`: contiguous memory by page;
//!   `release`: how either goes back to the system; `charged`: tables that belong to no store;
//! - `waiting`: when memory that was unlinked may be reused;
//! - `pressure`, `watch`: levels, and who is told of them; `raw`: memory for the application;
//! - `tenants`: the stores as their pool sees them, and which of them gives when one needs;
//! - `limit`: changing the limit at run time; `registry`: pools by name; `stats`, `validate`.
//!
//! A [`Pool`] is a handle; the memory lives as long as any handle, store or view. Views do not
//! each hold a reference: their pinned bytes are counted in one word, the first byte takes one
//! reference for all of them, and whoever takes the last byte away releases it. Blocks that the
//! application still has when the last handle goes keep their memory mapped for good: nobody is
//! left who could give them back.

mod alloc;
mod budget;
mod charged;
mod huge;
mod layout;
mod limit;
mod links;
mod pressure;
mod raw;
mod registry;
mod release;
mod runs;
mod segments;
pub mod space;
mod stats;
mod tables;
pub mod tenants;
mod validate;
mod waiting;
mod watch;

#[cfg(test)]
mod tests;

pub use alloc::AllocOptions;
pub use charged::Charged;
pub use layout::{RUN_BASE, SEG_IDS};
pub use limit::LimitOutcome;
pub use pressure::{PressureGauge, Reading};
pub use raw::{Owner, RawAllocator, RawCounts};
pub use registry::pools;
pub use space::{RunId, RunMeta, SEG_NONE, SegId, SegMeta, Space, Use};
pub use tenants::{Tenant, Tenants};
pub use waiting::Harvest;
pub use watch::{PressureEvent, Watch};

use crate::config::{PoolConfig, Thresholds};
use crate::error::Result;
use crate::log::{Severity, log};
use crate::memory::fork;
use crate::memory::guard::{self, Snapshot};
use crate::memory::lock::FutexMutex;
use crate::types::Pressure;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Hooks for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    pub use super::waiting::testing::{harvest_at_once, pins_before_guards, skip_barrier};
}

/// A byte budget and its memory, shared by all who hold a handle.
#[derive(Clone)]
pub struct Pool(Arc<PoolInner>);

/// What the handles share.
pub struct PoolInner {
    space: ManuallyDrop<Space>,
    raw: RawAllocator,
    tenants: Tenants,
    /// As created, defaults filled in.
    config: PoolConfig,
    generation: u64,
    /// Of the generation; see [`guard::own_slot`].
    slot_tag: u64,
    id: u64,
    alloc_failures: AtomicU64,
    /// Bytes of tables that belong to no store.
    charged: AtomicU64,
    /// One `set_limit` steps at a time; a later one is heard at each step.
    retargeting: FutexMutex<()>,
}

/// Numbers the pools of a process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Bytes on the process's heap that a pool is charged for itself.
const FIXED_BYTES: u64 = (size_of::<PoolInner>() + size_of::<Snapshot>() + 512) as u64;

impl Pool {
    /// Makes a pool. Its name, if it has one, is a label; only [`Pool::open`] makes it findable.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] names the field; [`crate::ErrorKind::NoMemory`]: the system
    /// refuses the address space, or with `prefault` the memory.
    pub fn create(config: &PoolConfig) -> Result<Self> {
        let pool = Self::make(config)?;
        registry::add(&pool.0);
        Ok(pool)
    }

    /// The pool of this name in this process, made from `config` if there is none. `None`: there
    /// is none and no configuration was given.
    ///
    /// # Errors
    /// As [`Pool::create`]; and [`crate::ErrorKind::Invalid`] when a field that is set disagrees
    /// with the configuration that the pool was created with.
    pub fn open(name: &str, config: Option<&PoolConfig>) -> Result<Option<Self>> {
        registry::open(name, config)
    }

    fn make(config: &PoolConfig) -> Result<Self> {
        let config = config.resolved()?;
        let generation = fork::generation();
        let space = Space::new(&config, FIXED_BYTES)?;
        let inner = PoolInner {
            raw: RawAllocator::new(space.seg_bytes(), config.zero_on_free),
            space: ManuallyDrop::new(space),
            tenants: Tenants::new(),
            config,
            generation,
            slot_tag: guard::tag_of(generation),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            alloc_failures: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            retargeting: FutexMutex::new(()),
        };
        inner.space.update_gauge();
        Ok(Self(Arc::new(inner)))
    }

    /// Fails in a process that is not the one that made the pool.
    #[inline]
    pub fn check(&self) -> Result<()> {
        fork::check(self.0.generation)
    }

    /// The pool's memory.
    #[inline]
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.0.space
    }

    /// The pool's raw allocator.
    #[inline]
    #[must_use]
    pub fn raw(&self) -> &RawAllocator {
        &self.0.raw
    }

    /// The stores in the pool.
    #[must_use]
    pub fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// The process generation that made it; see [`fork`].
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// A number that no other pool of the process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Its name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.config.name.as_deref()
    }

    /// The configuration in force: as created, with the defaults filled in, the limit asked for
    /// last and the thresholds in force.
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        PoolConfig {
            limit_bytes: self.space().target_bytes(),
            // Less than was asked for where address space is short.
            limit_max_bytes: self.space().limit_max(),
            thresholds: Some(self.space().gauge().thresholds()),
            ..self.0.config.clone()
        }
    }

    /// The present pressure level: one relaxed load.
    #[inline]
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.0.space.gauge.level()
    }

    /// Waits until the level has changed since `seq` (0 at first), and moves `seq` on. `None`: the
    /// time is over.
    pub fn wait_pressure(&self, seq: &mut u64, timeout: Duration) -> Option<Pressure> {
        if self.check().is_err() {
            return None;
        }
        self.space().gauge().wait(seq, timeout)
    }

    /// Has `callback` called on the notifier thread at every change of level.
    pub fn watch(&self, callback: Box<dyn FnMut(PressureEvent) + Send>) -> Result<Watch> {
        self.check()?;
        Watch::register(&self.0, callback)
    }

    /// Puts other thresholds in force.
    pub fn set_thresholds(&self, thresholds: Thresholds) -> Result<()> {
        self.check()?;
        thresholds.check()?;
        let space = self.space();
        space.gauge().set_thresholds(thresholds, || space.reading());
        Ok(())
    }

    /// [`Space::pin_charge`] for a view that outlives every handle: while any bytes are pinned
    /// this way, the pool lives. At least 1 byte.
    #[inline]
    #[must_use]
    pub fn pin_charge(&self, bytes: u64) -> bool {
        debug_assert!(bytes != 0);
        let space = self.space();
        if space.pin_add(bytes) {
            // The caller's handle keeps the pool alive until this is done, and this call's bytes
            // keep the count above 0, so nobody releases the reference before it is taken.
            // SAFETY: the pointer comes from the Arc that this handle is.
            unsafe { Arc::increment_strong_count(Arc::as_ptr(&self.0)) };
        }
        if space.pinned_bytes() > space.pin_limit_bytes() {
            if space.pin_sub(bytes) {
                // SAFETY: the count fell to 0, so the one reference that stands for all pinned
                // bytes is this call's to release; `self` holds another.
                unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
            }
            return false;
        }
        space.update_gauge();
        true
    }

    /// What a view keeps to call [`Pool::pin_discharge`] with.
    #[inline]
    #[must_use]
    pub fn as_inner(&self) -> *const PoolInner {
        Arc::as_ptr(&self.0)
    }

    /// Takes a [`Pool::pin_charge`] back, after the pin itself was; the pool may go with it.
    ///
    /// # Safety
    /// `inner` is [`Pool::as_inner`] of a pool on which [`Pool::pin_charge`] succeeded with as many
    /// bytes, once for this call.
    #[inline]
    pub unsafe fn pin_discharge(inner: *const PoolInner, bytes: u64) {
        // SAFETY: the bytes that are being taken back keep the pool alive up to `pin_sub`. The
        // work of a shrink is done before that; it needs the pin to be gone, not the count.
        let space: &Space = unsafe { &(*inner).space };
        if space.budget.excess() != 0 {
            space.harvest(true);
        }
        // After `pin_sub` others may let the pool go. A level that could fall needs a reference of
        // its own to be told; the lowest level cannot fall, so the usual discharge pays nothing.
        let told = (space.gauge.level() != Pressure::None).then(|| {
            // SAFETY: as above, the pool is alive here; the handle owns the added reference.
            unsafe {
                Arc::increment_strong_count(inner);
                Self(Arc::from_raw(inner))
            }
        });
        if space.pin_sub(bytes) {
            // SAFETY: the count fell to 0: the one reference that stands for all pinned bytes is
            // this call's to release.
            unsafe { Arc::decrement_strong_count(inner) };
        }
        if let Some(pool) = told {
            pool.space().update_gauge();
        }
    }

    /// Gives the handle away as a pointer.
    #[must_use]
    pub fn into_raw(self) -> *const () {
        Arc::into_raw(self.0).cast()
    }

    /// Takes a handle back.
    ///
    /// # Safety
    /// `raw` came from [`Pool::into_raw`] and is taken back once.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_raw(raw: *const ()) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Arc::from_raw(raw.cast()) })
    }

    /// Uses a handle that was given away, without taking it back.
    ///
    /// # Safety
    /// `raw` came from [`Pool::into_raw`] and is not taken back while the result lives.
    #[inline(always)]
    #[must_use]
    pub unsafe fn borrow_raw(raw: *const ()) -> PoolRef {
        // SAFETY: the caller's promise; the reference count is not touched.
        PoolRef(ManuallyDrop::new(unsafe { Self::from_raw(raw) }))
    }
}

/// A borrowed handle; see [`Pool::borrow_raw`].
pub struct PoolRef(ManuallyDrop<Pool>);

impl Deref for PoolRef {
    type Target = Pool;

    #[inline(always)]
    fn deref(&self) -> &Pool {
        &self.0
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("id", &self.0.id).field("name", &self.name()).finish()
    }
}

impl watch::PressureSource for PoolInner {
    fn gauge(&self) -> &PressureGauge {
        self.space.gauge()
    }

    fn used_and_limit(&self) -> (u64, u64) {
        let (limit, used) = self.space.limit_and_used();
        (used, limit)
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        if fork::generation() == self.generation {
            registry::remove(self);
        }
        let blocks = self.raw.counts().app_blocks;
        if blocks != 0 {
            log(
                Severity::Warn,
                &format!("a pool went while {blocks} of its allocations were in use; they stay"),
            );
            return;
        }
        // SAFETY: dropped here and nowhere else, and `self` is not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.space) };
    }
}
