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

/// Things by number. Numbers begin at 1, and one that was given back is not given again soon: whoever
/// still has it finds nothing, and not another thing.
pub struct Numbers<T> {
    entries: Vec<Numbered<T>>,
    free: Vec<u32>,
}

struct Numbered<T> {
    /// What the place's number was when it was last given.
    number: i32,
    thing: Option<T>,
}

/// Bits of a number that say which place it is; those above them count how often the place was given.
const PLACE_BITS: u32 = 20;

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbers<T> {
    const fn place(number: i32) -> usize {
        ((number as usize) & ((1 << PLACE_BITS) - 1)).wrapping_sub(1)
    }

    /// Takes a thing and gives its number; None where there are too many.
    pub fn insert(&mut self, thing: T) -> Option<i32> {
        if let Some(entry) = self.free.pop().and_then(|place| self.entries.get_mut(place as usize))
        {
            entry.number = entry.number.wrapping_add(1 << PLACE_BITS) & i32::MAX;
            entry.thing = Some(thing);
            return Some(entry.number);
        }
        let number = self.entries.len() + 1;
        if number >= 1 << PLACE_BITS {
            return None;
        }
        self.entries.push(Numbered { number: number as i32, thing: Some(thing) });
        Some(number as i32)
    }

    /// The thing of a number.
    #[inline]
    pub fn get(&self, number: i32) -> Option<&T> {
        let entry = self.entries.get(Self::place(number))?;
        if entry.number == number { entry.thing.as_ref() } else { None }
    }

    /// Takes the thing of a number out.
    pub fn take(&mut self, number: i32) -> Option<T> {
        let place = Self::place(number);
        let entry = self.entries.get_mut(place).filter(|entry| entry.number == number)?;
        let thing = entry.thing.take()?;
        self.free.push(place as u32);
        Some(thing)
    }

    /// Takes out all that is left.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.free.clear();
        self.entries.drain(..).filter_map(|entry| entry.thing)
    }
}

/// Handles of one kind by number.
pub struct Table<T> {
    handles: RefCell<Numbers<NonNull<T>>>,
    release: unsafe extern "C" fn(*mut T),
}

impl<T> Table<T> {
    fn new(release: unsafe extern "C" fn(*mut T)) -> Self {
        Self { handles: RefCell::default(), release }
    }

    /// Takes over a handle and gives its number; None, and the handle is given back, where there are too
    /// many.
    pub fn insert(&self, handle: NonNull<T>) -> Option<i32> {
        let number = self.handles.borrow_mut().insert(handle);
        if number.is_none() {
            // SAFETY: the reference was the caller's, which gave it away.
            unsafe { (self.release)(handle.as_ptr()) };
        }
        number
    }

    /// The handle of a number, or null.
    #[inline]
    pub fn get(&self, number: i32) -> *mut T {
        self.handles.borrow().get(number).map_or(ptr::null_mut(), |handle| handle.as_ptr())
    }

    /// Gives the handle of a number back.
    pub fn release(&self, number: i32) {
        let taken = self.handles.borrow_mut().take(number);
        if let Some(handle) = taken {
            // SAFETY: the table owned the reference and has just forgotten it.
            unsafe { (self.release)(handle.as_ptr()) };
        }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        for handle in self.handles.get_mut().drain() {
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

impl Slab {
    /// Uses as many bytes more, and gives where they begin.
    #[inline]
    pub fn take(&mut self, len: usize) -> usize {
        let at = self.used;
        self.used = (at + len).next_multiple_of(8).min(self.len);
        at
    }
}

/// Words that JavaScript reads after a call, so that a call can give more than one value.
pub const WORDS: usize = crate::batch::WORDS;

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
    /// Writes a number for JavaScript into two words, the first of which has an even index.
    #[inline]
    pub fn tell_number(&self, index: usize, number: f64) {
        let [low, high] = [0, 32].map(|shift| (number.to_bits() >> shift) as u32);
        self.tell(index, low);
        self.tell(index + 1, high);
    }

    /// A number that JavaScript has written before the call.
    pub fn told_number(&self, index: usize) -> f64 {
        let [low, high] = [index, index + 1].map(|index| u64::from(self.told(index)));
        f64::from_bits(low | high << 32)
    }

    /// A word that JavaScript has written before the call.
    #[inline]
    pub fn told(&self, index: usize) -> u32 {
        let words = self.words.get();
        if index < WORDS && !words.is_null() {
            // SAFETY: as in `tell`.
            unsafe { *words.add(index) }
        } else {
            0
        }
    }
}
