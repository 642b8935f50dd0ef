//! Values handed over: loaded for those who wait, and declined by the store.
//!
//! One copy, in a block of the pool, for all waiters of the lease; each has a share of it as a
//! [`View`], and the last view that goes gives the block back.

use crate::memory::fork;
use crate::pool::{Owner, Pool, PoolInner};
use crate::store::StoreInner;
use crate::store::pin::{RawView, SHARED, View};
use crate::types::{Info, PutOptions};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// What precedes the value in its block.
#[repr(C, align(16))]
pub struct Handed {
    shares: AtomicU32,
    info: Info,
}

const HEAD: usize = size_of::<Handed>();

impl Handed {
    /// Copies a value for `shares` waiters, at least one; `None` if there is no room for it.
    pub fn new(store: &StoreInner, value: &[u8], options: &PutOptions) -> Option<NonNull<Self>> {
        let pool = &store.pool;
        let bytes = HEAD.checked_add(value.len())?;
        if !pool.pin_charge(bytes as u64) {
            return None;
        }
        let block = pool.raw().alloc(store.space(), bytes, 16, Owner::Pin, false).ok().flatten();
        let Some(block) = block else {
            // SAFETY: charged just above, taken back once.
            unsafe { Pool::pin_discharge(pool.as_inner(), bytes as u64) };
            return None;
        };
        let head = block.cast::<Self>();
        let info = Info {
            len: value.len(),
            version: 0,
            ttl_ms: Some(0),
            session: options.session,
            value_type: options.value_type,
            flags: options.flags,
        };
        // SAFETY: the block is new, 16-aligned, and has room for head and value.
        unsafe {
            head.write(Self { shares: AtomicU32::new(1), info });
            std::ptr::copy_nonoverlapping(value.as_ptr(), block.as_ptr().add(HEAD), value.len());
        }
        Some(head)
    }

    /// Sets how many views there will be.
    pub fn share(&self, shares: u32) {
        self.shares.store(shares, Ordering::Relaxed);
    }

    /// One of the shares, as a view.
    ///
    /// # Safety
    /// `this` came from [`Handed::new`] of a store of this pool, and this share was not taken yet.
    pub unsafe fn take(this: NonNull<Self>, pool: &Pool) -> View {
        // SAFETY: the share keeps the block.
        let info = unsafe { this.as_ref().info };
        // SAFETY: the value follows the head.
        let data = unsafe { this.cast::<u8>().add(HEAD) }.as_ptr().cast_const();
        let pin = pool.as_inner().cast_mut().cast::<c_void>();
        let raw = RawView { data, len: info.len, info, pin, token: SHARED };
        // SAFETY: as View's destructor wants it: [`Handed::give`] takes the share back.
        unsafe { View::from_raw(raw) }
    }

    /// Gives a share back.
    ///
    /// # Safety
    /// `data` is that of a view which [`Handed::take`] made on this pool and which nobody uses any
    /// more.
    pub unsafe fn give(pool: &Pool, inner: *const PoolInner, data: *const u8) {
        // SAFETY: the head precedes the value.
        let Some(head) = NonNull::new(unsafe { data.sub(HEAD) }.cast_mut().cast::<Self>()) else {
            return;
        };
        // SAFETY: this share keeps the block up to here.
        let this = unsafe { head.as_ref() };
        let bytes = (HEAD + this.info.len) as u64;
        if this.shares.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        if fork::check(pool.generation()).is_err() {
            return;
        }
        // SAFETY: that was the last share.
        let freed = unsafe { pool.raw().free(pool.space(), head.cast(), Owner::Pin) };
        debug_assert!(freed.is_ok());
        // SAFETY: as many bytes were charged when the copy was made.
        unsafe { Pool::pin_discharge(inner, bytes) };
    }
}
