//! Waiting without a thread: many waits, one descriptor.
//!
//! An event loop cannot sleep on a word. It has a [`Waits`]: a descriptor that poll, epoll and kqueue
//! wrappers (asyncio, libuv) find readable while a wait of it has ended, and a queue of what ended.
//! A wait costs a block of the pool and no descriptor of its own, so ten thousand coroutines that
//! wait for as many keys are ten thousand small blocks. Room for one is made as for a draft, and the
//! pool's pin limit bounds them.
//!
//! A wait ends with its lease; nobody watches the time for it. The caller is told how long the lease
//! lasts at most, and sets a timer of its loop, as it does for every time-out of its own.
//!
//! Lock order: the shard's lock, then that of the waits. A wait is in its lease's list until that
//! ends, and in one of two lists of its `Waits` always: still waiting, or ended.

use super::handed::Handed;
use super::record::{Number, Record};
use super::word::State;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::fork;
use crate::memory::lock::FutexMutex;
use crate::pool::{Owner, Pool};
use crate::store::writer::Writer;
use crate::store::{Store, StoreInner, View};
use crate::types::check_key;
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

/// Waits of one object, at most.
const WAITS_MAX: u32 = 1 << 20;

const TOO_MANY: Error =
    Error::fixed(ErrorKind::NoSpace, "1,048,576 waits of one object have not been told yet");
const PIN_LIMIT: Error = Error::fixed(
    ErrorKind::NoSpace,
    "views, drafts and waits hold as much memory back as the pool's pin_limit_bytes allows",
);

/// One wait. Under the shard's lock: the place in the lease's list, and all of a task's; under that of
/// its `Waits`, all else.
pub struct Wait {
    /// NULL: a task.
    owner: *const Inner,
    cookie: u64,
    shard: u16,
    pub record: Number,
    /// Of the first of a lease's list: how many are in it.
    len: u32,
    /// The lease's list.
    next: *mut Wait,
    before: *mut Wait,
    /// The list of those still waiting, or the queue of the ended; of a task, the queue of those to
    /// be woken.
    pub later: *mut Wait,
    pub earlier: *mut Wait,
    /// How it ended; [`State::Held`]: it has not.
    pub state: State,
    pub handed: *mut Handed,
    /// Of a task that waits.
    pub waker: Option<Waker>,
}

impl Wait {
    /// One for a task, in no list.
    pub fn new(shard: u16, record: Number) -> Self {
        Self {
            owner: null(),
            cookie: 0,
            shard,
            record,
            len: 0,
            next: null_mut(),
            before: null_mut(),
            later: null_mut(),
            earlier: null_mut(),
            state: State::Held,
            handed: null_mut(),
            waker: None,
        }
    }
}

struct Lists {
    /// Still waiting: first of a list in both directions.
    waiting: *mut Wait,
    /// Ended, in that order.
    first: *mut Wait,
    last: *mut Wait,
    len: u32,
}

struct Inner {
    lists: FutexMutex<Lists>,
    fd: i32,
}

/// Waits for leases of a store, and a descriptor that tells of their ends.
pub struct Waits {
    store: Store,
    inner: Box<Inner>,
}

// SAFETY: the lists are under locks, and waits are reached through them only.
unsafe impl Send for Waits {}
// SAFETY: as above.
unsafe impl Sync for Waits {}

/// How a wait ended.
#[derive(Debug)]
pub enum Ended {
    /// The lease is over: claim the key again.
    Again,
    /// The value that the store declined.
    Value(View),
    /// The load failed.
    LoadFailed,
    /// The source has no such key.
    Absent,
    /// The value was declined and could not be passed on.
    Declined,
}

impl Store {
    /// An object for waits without a thread.
    ///
    /// # Errors
    /// `NoMemory`: the system refuses a descriptor; `Closed`, `Forked`.
    pub fn waits(&self) -> Result<Waits> {
        self.0.check_open()?;
        // SAFETY: makes a descriptor, and touches no memory.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
            return Err(Error::os(ErrorKind::NoMemory, "the system refused a descriptor", errno));
        }
        let lists = Lists { waiting: null_mut(), first: null_mut(), last: null_mut(), len: 0 };
        let inner = Box::new(Inner { lists: FutexMutex::new(lists), fd });
        Ok(Waits { store: self.clone(), inner })
    }
}

impl Waits {
    /// The descriptor: readable while [`Waits::next`] has something to tell. It belongs to this
    /// object; nobody else reads, writes or closes it.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.inner.fd
    }

    /// Waits for the end of the lease that somebody holds on a key. `Some` says after how many
    /// milliseconds the lease is over at the latest: claim the key again then. `None`: nobody holds
    /// one; claim the key again now. Each wait is told once, by its `cookie`.
    ///
    /// # Errors
    /// `Invalid`: the key is too long; `NoSpace`: views, drafts and waits take as much as
    /// [`crate::config::PoolConfig::pin_limit_bytes`] allows, or no room can be made for another wait;
    /// `Closed`, `Forked`, `Poisoned`.
    pub fn add(&self, key: &[u8], cookie: u64) -> Result<Option<u64>> {
        check_key(key)?;
        let store = &self.store.0;
        store.check_open()?;
        if self.inner.lists.lock().len >= WAITS_MAX {
            return Err(TOO_MANY);
        }
        let wait = allocate(store)?;
        let added = self.add_to_lease(key, cookie, wait);
        if !matches!(added, Ok(Some(_))) {
            // SAFETY: allocated above, and in no list.
            unsafe { free(store, wait) };
        }
        added
    }

    fn add_to_lease(&self, key: &[u8], cookie: u64, wait: NonNull<Wait>) -> Result<Option<u64>> {
        let store = &*self.store.0;
        let hash = store.hash.of(key);
        let shard = store.shard_of(hash);
        let writer = shard.lock(store)?;
        let Some(number) = writer.find_record(hash, key) else { return Ok(None) };
        let record = writer.record(number);
        let left = record.until_ms.load(Relaxed).saturating_sub(store.clock.now_ms());
        if record.words.see().state() != State::Held || left == 0 {
            return Ok(None);
        }
        let mut lists = self.inner.lists.lock();
        let made = Wait {
            owner: &raw const *self.inner,
            cookie,
            later: lists.waiting,
            ..Wait::new(store.number_of(shard), number)
        };
        // SAFETY: the block is new and long enough; those that are in the lists are alive, and
        // both locks are held.
        unsafe {
            wait.write(made);
            writer.link_wait(record, wait);
            if !lists.waiting.is_null() {
                (*lists.waiting).earlier = wait.as_ptr();
            }
        }
        lists.waiting = wait.as_ptr();
        lists.len += 1;
        Ok(Some(left))
    }

    /// The cookie of a wait that has ended, and how; `None`: no other has. The descriptor is no
    /// longer readable after `None`.
    ///
    /// # Errors
    /// `Forked`.
    pub fn next(&self) -> Result<Option<(u64, Ended)>> {
        let store = &self.store.0;
        fork::check(store.generation)?;
        let mut lists = self.inner.lists.lock();
        let Some(wait) = NonNull::new(lists.first) else {
            let mut count = 0_u64;
            // SAFETY: reads eight bytes into a word. Under the lock, so that whoever ends a wait
            // afterwards writes after this.
            let _ = unsafe { libc::read(self.inner.fd, (&raw mut count).cast(), 8) };
            return Ok(None);
        };
        // SAFETY: an ended wait is this object's alone, and alive.
        let (cookie, state, handed, later) = unsafe {
            let wait = wait.as_ref();
            (wait.cookie, wait.state, wait.handed, wait.later)
        };
        lists.first = later;
        if later.is_null() {
            lists.last = null_mut();
        }
        lists.len -= 1;
        drop(lists);
        // SAFETY: it is in no list any more.
        unsafe { free(store, wait) };
        // SAFETY: each wait that ended so has a share, taken here and nowhere else.
        let ended = unsafe { outcome(store, state, handed) };
        Ok(Some((cookie, ended)))
    }

    /// Forgets what ended and was not told. What one of them was offered goes to the next.
    fn forget_ended(&self) {
        let store = &*self.store.0;
        loop {
            let first = self.inner.lists.lock().first;
            // SAFETY: an ended wait is this object's alone, and alive until it is told.
            let Some((shard, record, state)) =
                (unsafe { first.as_ref() }).map(|wait| (wait.shard, wait.record, wait.state))
            else {
                return;
            };
            let _ = self.next();
            if state == State::Again {
                store.shards[usize::from(shard)].lock_any(store).pass_offer_on(record);
            }
        }
    }

    /// Takes one that still waits out of its lease's list and frees it; false if there is none.
    fn remove_one(&self) -> bool {
        let store = &*self.store.0;
        let first = self.inner.lists.lock().waiting;
        if first.is_null() {
            return false;
        }
        // SAFETY: only this object frees its waits, and it is being dropped by one thread; the
        // shard's number does not change.
        let shard = unsafe { (*first).shard };
        let writer = store.shards[usize::from(shard)].lock_any(store);
        let mut lists = self.inner.lists.lock();
        // It may have ended meanwhile, and another may be the first.
        if lists.waiting != first {
            return true;
        }
        // SAFETY: it still waits, so it is in the list of a lease of that shard, whose lock is held
        // as well as that of this object's lists.
        unsafe {
            let wait = &*first;
            writer.unlink_wait(wait);
            lists.waiting = wait.later;
            if !wait.later.is_null() {
                (*wait.later).earlier = null_mut();
            }
        }
        lists.len -= 1;
        drop(lists);
        drop(writer);
        if let Some(wait) = NonNull::new(first) {
            // SAFETY: it is in no list any more.
            unsafe { free(store, wait) };
        }
        true
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if fork::check(self.store.0.generation).is_ok() {
            while self.remove_one() {}
            self.forget_ended();
        }
        // SAFETY: the descriptor is this object's, and nobody writes to it any more.
        unsafe { libc::close(self.inner.fd) };
    }
}

/// Room for a wait, counted against the pin limit. The caller holds no lock.
pub fn allocate(store: &StoreInner) -> Result<NonNull<Wait>> {
    let bytes = size_of::<Wait>();
    if !store.pool.pin_charge(bytes as u64) {
        return Err(PIN_LIMIT);
    }
    let block = store.obtain_block(bytes).inspect_err(|_| {
        // SAFETY: charged just above, taken back once.
        unsafe { Pool::pin_discharge(store.pool.as_inner(), bytes as u64) };
    })?;
    Ok(block.cast())
}

/// What a wait is told; `handed` is its share, if it ended so.
///
/// # Safety
/// The share was not taken yet.
pub unsafe fn outcome(store: &StoreInner, state: State, handed: *mut Handed) -> Ended {
    match (state, NonNull::new(handed)) {
        // SAFETY: as the caller promises.
        (State::Handed, Some(handed)) => Ended::Value(unsafe { Handed::take(handed, &store.pool) }),
        (State::Failed, _) => Ended::LoadFailed,
        (State::Absent, _) => Ended::Absent,
        (State::Declined, _) => Ended::Declined,
        (State::Free | State::Held | State::Offered | State::Again | State::Handed, _) => {
            Ended::Again
        }
    }
}

/// Gives the block of a wait back.
///
/// # Safety
/// It is in no list, and nobody uses it any more.
pub unsafe fn free(store: &StoreInner, wait: NonNull<Wait>) {
    // SAFETY: the block was allocated for this wait.
    let freed = unsafe { store.pool.raw().free(store.space(), wait.cast(), Owner::Pin) };
    debug_assert!(freed.is_ok());
    // SAFETY: as many bytes were charged when it was allocated.
    unsafe { Pool::pin_discharge(store.pool.as_inner(), size_of::<Wait>() as u64) };
}

impl Writer<'_> {
    /// Tells all waits of a lease how it ended.
    #[inline]
    pub fn end_waits(&mut self, record: &Record, state: State) {
        if !record.waits.load(Relaxed).is_null() {
            self.end_all_waits(record, state);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_all_waits(&mut self, record: &Record, state: State) {
        let handed = if state == State::Handed { record.handed.load(Relaxed) } else { null_mut() };
        let mut wait = record.waits.swap(null_mut(), Relaxed);
        while !wait.is_null() {
            // SAFETY: what is in a lease's list under the shard's lock is alive; once it is told,
            // its owner may free it.
            wait = unsafe {
                let next = (*wait).next;
                self.end_wait(wait, state, handed);
                next
            };
        }
    }

    /// Has one wait of a lease, if there is one, claim the key again.
    pub fn end_one_wait(&mut self, record: &Record) {
        let wait = record.waits.load(Relaxed);
        if !wait.is_null() {
            // SAFETY: as in `end_waits`.
            unsafe {
                let next = (*wait).next;
                record.waits.store(next, Relaxed);
                if !next.is_null() {
                    (*next).before = null_mut();
                    (*next).len = (*wait).len - 1;
                }
                self.end_wait(wait, State::Again, null_mut());
            }
        }
    }

    /// Moves a wait to the ended ones: of its object, or of the tasks that are to be woken.
    ///
    /// # Safety
    /// It is of a lease of this shard, was taken out of the lease's list, and has not ended.
    unsafe fn end_wait(&mut self, wait: *mut Wait, state: State, handed: *mut Handed) {
        // SAFETY: what waits is alive, and an object takes its waits out of their leases, under the
        // shard's lock, before it goes.
        unsafe {
            (*wait).handed = handed;
            match (*wait).owner.as_ref() {
                Some(owner) => end_of(owner, wait, state),
                None => {
                    (*wait).state = state;
                    self.queue_task(wait);
                }
            }
        }
    }

    /// Puts a wait into a lease's list.
    ///
    /// # Safety
    /// The record is of this shard, and the wait in no list.
    pub unsafe fn link_wait(&self, record: &Record, wait: NonNull<Wait>) {
        let next = record.waits.swap(wait.as_ptr(), Relaxed);
        // SAFETY: what is in a lease's list under the shard's lock is alive, and so is the new one.
        unsafe {
            (*wait.as_ptr()).next = next;
            (*wait.as_ptr()).len = 1;
            if !next.is_null() {
                (*next).before = wait.as_ptr();
                (*wait.as_ptr()).len = (*next).len + 1;
            }
        }
    }

    /// Takes a wait that has not ended out of its lease's list.
    ///
    /// # Safety
    /// It is of a lease of this shard, and in its list.
    pub unsafe fn unlink_wait(&self, wait: &Wait) {
        let first = &self.record(wait.record).waits;
        let len = count(self.record(wait.record)) - 1;
        if wait.before.is_null() {
            first.store(wait.next, Relaxed);
        } else {
            // SAFETY: what is in the same list under the shard's lock is alive.
            unsafe { (*wait.before).next = wait.next };
        }
        if !wait.next.is_null() {
            // SAFETY: as above.
            unsafe { (*wait.next).before = wait.before };
        }
        // SAFETY: as above.
        if let Some(first) = unsafe { first.load(Relaxed).as_mut() } {
            first.len = len;
        }
    }

    /// Has the next who waits take what is on offer, where one that was told of it is gone.
    pub fn pass_offer_on(&mut self, number: Number) {
        let record = self.record(number);
        if record.words.see().state() != State::Offered {
            return;
        }
        if record.words.waiters() == 0 {
            self.end_one_wait(record);
        } else {
            crate::memory::wait::wake(record.words.futex(), 1);
        }
    }
}

/// How many waits a lease has. The caller holds the shard's lock.
pub fn count(record: &Record) -> u32 {
    // SAFETY: what is in a lease's list under the shard's lock is alive.
    unsafe { record.waits.load(Relaxed).as_ref() }.map_or(0, |first| first.len)
}

/// Checks a lease's list. The caller holds the shard's lock.
pub fn check_waits(record: &Record) -> std::result::Result<(), String> {
    let (mut at, mut before, mut found) = (record.waits.load(Relaxed), null_mut(), 0);
    // SAFETY: what is in a lease's list under the shard's lock is alive.
    while let Some(wait) = unsafe { at.as_ref() } {
        if wait.before != before {
            return Err(format!("wait {found} is not linked to the one before it"));
        }
        (before, at, found) = (at, wait.next, found + 1);
    }
    let known = count(record);
    if found == known { Ok(()) } else { Err(format!("{found} waits found, {known} counted")) }
}

/// Moves a wait to the ended ones of its object.
///
/// # Safety
/// It is of a lease whose shard's lock is held, was taken out of the lease's list, and has not
/// ended.
unsafe fn end_of(owner: &Inner, wait: *mut Wait, state: State) {
    let mut lists = owner.lists.lock();
    // SAFETY: both locks are held, and what is in the owner's lists is alive.
    unsafe {
        let (earlier, later) = ((*wait).earlier, (*wait).later);
        if earlier.is_null() {
            lists.waiting = later;
        } else {
            (*earlier).later = later;
        }
        if !later.is_null() {
            (*later).earlier = earlier;
        }
        (*wait).state = state;
        (*wait).later = null_mut();
        if lists.last.is_null() {
            lists.first = wait;
            let one = 1_u64;
            // Cannot fail: the counter is 0 or 1, and was read before the queue was empty.
            libc::write(owner.fd, (&raw const one).cast(), 8);
        } else {
            (*lists.last).later = wait;
        }
        lists.last = wait;
    }
}
