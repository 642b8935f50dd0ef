//! What the addon keeps for one environment: the main thread or a worker.
//!
//! JavaScript holds small numbers, and the tables here say which handle of the library each one is:
//! looking a number up is cheaper than unwrapping an object, and a closed handle is a number without
//! an entry, not a dangling pointer. When the environment ends, by whatever way, every handle that
//! is left is given back.

use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};

use hypercache_sys as hc;
use napi_sys as n;

use crate::leases::Leases;
use crate::pressure::Watches;

/// Handles of one kind by number. Numbers begin at 1 and are used again.
pub struct Table<T> {
    entries: RefCell<Vec<Option<NonNull<T>>>>,
    release: unsafe extern "C" fn(*mut T),
}

impl<T> Table<T> {
    const fn new(release: unsafe extern "C" fn(*mut T)) -> Self {
        Self { entries: RefCell::new(Vec::new()), release }
    }

    /// Takes over a handle and gives its number.
    pub fn insert(&self, handle: NonNull<T>) -> i32 {
        let mut entries = self.entries.borrow_mut();
        let free = entries.iter().position(Option::is_none).unwrap_or(entries.len());
        if free == entries.len() {
            entries.push(None);
        }
        entries[free] = Some(handle);
        free as i32 + 1
    }

    /// The handle of a number, or null.
    #[inline]
    pub fn get(&self, id: i32) -> *mut T {
        let entries = self.entries.borrow();
        let entry = entries.get((id as usize).wrapping_sub(1)).copied().flatten();
        entry.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    /// Gives the handle of a number back.
    pub fn release(&self, id: i32) {
        let taken =
            self.entries.borrow_mut().get_mut((id as usize).wrapping_sub(1)).and_then(Option::take);
        if let Some(handle) = taken {
            // SAFETY: the table owned the reference and has just forgotten it.
            unsafe { (self.release)(handle.as_ptr()) };
        }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        for handle in self.entries.get_mut().drain(..).flatten() {
            // SAFETY: the table owned the reference.
            unsafe { (self.release)(handle.as_ptr()) };
        }
    }
}

/// Where small values are put for JavaScript to see them as Buffers: the rest of an array that is
/// cut into Buffers, as Node does it for its own.
#[derive(Clone, Copy)]
pub struct Slab {
    /// The array's memory.
    pub data: *mut u8,
    /// Its length in bytes.
    pub len: usize,
    /// How much of it is in use.
    pub used: usize,
}

/// Words that JavaScript reads after a call, so that a call can give more than one value.
pub const WORDS: usize = 8 + 4 * crate::batch::MOST;

/// What the addon keeps for one environment.
pub struct State {
    own: Weak<Self>,
    fail: Cell<n::napi_ref>,
    /// Makes an array of its arguments: cheaper than setting elements one by one.
    pub collect: Cell<n::napi_ref>,
    /// The class of raw keys.
    pub raw_key: Cell<n::napi_ref>,
    /// Tells JavaScript that waits for leases have ended.
    pub wake: Cell<n::napi_ref>,
    /// Leases that are held, and waits for others; before the stores, so that they end first.
    pub leases: Leases,
    /// Stores.
    pub stores: Table<hc::hc_store>,
    /// Pools.
    pub pools: Table<hc::hc_pool>,
    /// Filters.
    pub filters: Table<hc::hc_filter>,
    /// Walks.
    pub scans: Table<hc::hc_scan>,
    /// Registered pressure callbacks.
    pub watches: Watches,
    /// Renews the slab where its memory was taken away.
    pub check_slab: Cell<n::napi_ref>,
    /// The slab's array.
    pub slab_array: Cell<n::napi_ref>,
    /// Where small values go.
    pub slab: Cell<Slab>,
    /// [`WORDS`] words of JavaScript's.
    words: Cell<*mut u32>,
    /// Bytes that values of a batch are copied to; JavaScript's as well.
    pub scratch: Cell<Slab>,
}

impl State {
    /// A state before JavaScript has given its part.
    pub fn new() -> Rc<Self> {
        Rc::new_cyclic(|own| Self::with(own.clone()))
    }

    fn with(own: Weak<Self>) -> Self {
        let none = Slab { data: ptr::null_mut(), len: 0, used: 0 };
        Self {
            own,
            fail: Cell::new(ptr::null_mut()),
            collect: Cell::new(ptr::null_mut()),
            raw_key: Cell::new(ptr::null_mut()),
            wake: Cell::new(ptr::null_mut()),
            leases: Leases::default(),
            stores: Table::new(hc::hc_store_release),
            pools: Table::new(hc::hc_pool_release),
            filters: Table::new(hc::hc_filter_release),
            scans: Table::new(hc::hc_scan_close),
            watches: Watches::default(),
            check_slab: Cell::new(ptr::null_mut()),
            slab_array: Cell::new(ptr::null_mut()),
            slab: Cell::new(none),
            words: Cell::new(ptr::null_mut()),
            scratch: Cell::new(none),
        }
    }

    /// A share in the state, for work that outlives the call.
    pub fn shared(&self) -> Rc<Self> {
        // There is a share as long as anybody can call this; were there none, an empty state serves.
        self.own.upgrade().unwrap_or_else(Self::new)
    }

    /// The function that throws.
    pub fn fail(&self) -> n::napi_ref {
        self.fail.get()
    }

    /// Takes what JavaScript gives when it loads the addon.
    pub fn begin(&self, fail: n::napi_ref, words: *mut u32) {
        self.fail.set(fail);
        self.words.set(words);
    }

    /// Writes a word for JavaScript to read after the call.
    #[inline]
    pub fn tell(&self, index: usize, word: u32) {
        let words = self.words.get();
        if index < WORDS && !words.is_null() {
            // SAFETY: `begin` was given WORDS words, in an array that JavaScript keeps to itself
            // and holds for as long as the environment lives.
            unsafe { *words.add(index) = word };
        }
    }
}
