//! A cache's hold on its store: shared by the calls that run, given back by `close`.
//!
//! A short call runs with the interpreter's lock held from beginning to end, so `close`, which needs
//! that lock too, cannot come between: it reads one pointer. A long call lets others run meanwhile,
//! and so takes a share of the handle first; the last share gives the store back. Where the
//! interpreter has no such lock, every call takes a share.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hypercache_sys::*;

/// One reference to a store, and one to its pool.
pub struct Owned {
    pub pool: *mut hc_pool,
    pub store: *mut hc_store,
}

// SAFETY: the library's handles may be used from any thread.
unsafe impl Send for Owned {}
// SAFETY: as above, and from many at once.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: this holds one reference to each and gives them back once.
        unsafe {
            hc_store_release(self.store);
            hc_pool_release(self.pool);
        }
    }
}

/// The store while it is open.
pub struct Handle {
    /// The store of `owned`, for calls that hold the interpreter's lock; null when closed.
    store: AtomicPtr<hc_store>,
    owned: Mutex<Option<Arc<Owned>>>,
}

/// The store for one call.
pub struct Use {
    pub store: *mut hc_store,
    _share: Option<Arc<Owned>>,
}

impl Handle {
    pub fn new(owned: Owned) -> Self {
        let store = AtomicPtr::new(owned.store);
        Self { store, owned: Mutex::new(Some(Arc::new(owned))) }
    }

    /// The store for a call that keeps the interpreter's lock and runs no Python code.
    #[cfg(not(Py_GIL_DISABLED))]
    #[inline]
    pub fn brief(&self) -> Option<Use> {
        let store = self.store.load(Ordering::Acquire);
        (!store.is_null()).then_some(Use { store, _share: None })
    }

    #[cfg(Py_GIL_DISABLED)]
    pub fn brief(&self) -> Option<Use> {
        let share = self.share()?;
        Some(Use { store: share.store, _share: Some(share) })
    }

    /// A share of the store, for calls that let other threads run.
    pub fn share(&self) -> Option<Arc<Owned>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another store from now on; the caller holds the interpreter's lock, as for `close`.
    pub fn replace(&self, owned: Owned) {
        let mut place = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.store(owned.store, Ordering::Release);
        let old = place.replace(Arc::new(owned));
        drop(place);
        drop(old);
    }

    /// Closes; the caller holds the interpreter's lock, so that no brief call runs. What it returns
    /// gives the store back, when the last call that runs has ended, and may be dropped without the
    /// lock. None where it was closed before.
    #[must_use = "dropping it may take long: let other threads run meanwhile"]
    pub fn close(&self) -> Option<Arc<Owned>> {
        let mut place = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.store(std::ptr::null_mut(), Ordering::Release);
        place.take()
    }
}
