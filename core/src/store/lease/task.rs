//! Waiting as a task: a future that a lease's end wakes.
//!
//! Such a wait is one of `waits.rs`, in a block of the pool, with a waker instead of a descriptor.
//! All of it is under the shard's lock, and wakers are called when that is free again: they run
//! whatever their runtime likes, which may be a call on this store. So whoever ends a lease queues
//! its tasks, and the lock's holder wakes them as it gives the lock up.
//!
//! Nobody watches the time for a task either, and the core knows no runtime: callers bring a timer
//! (`sleep`), which each wait is given the time of its lease and of its own patience.

use super::load::{Held, finish};
use super::waits::{Ended, Wait, allocate, free, outcome};
use super::word::State;
use super::{Claim, ClaimOptions, LoadError, LoadOptions, Loaded};
use crate::error::Result;
use crate::memory::lock::FutexGuard;
use crate::memory::{fork, host};
use crate::store::shard::Shard;
use crate::store::writer::Writer;
use crate::store::{Store, StoreInner, View};
use std::pin::{Pin, pin};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Tasks that are woken at a time, between two looks at the queue.
const WOKEN_AT_ONCE: usize = 16;

/// A wait for the end of a lease.
struct Pending<'a> {
    store: &'a StoreInner,
    shard: &'a Shard,
    /// `None`: its end was told.
    wait: Option<NonNull<Wait>>,
}

// SAFETY: the wait is looked at under the shard's lock only, and wakers may go to any thread.
unsafe impl Send for Pending<'_> {}
// SAFETY: as above; a shared reference gives access to nothing.
unsafe impl Sync for Pending<'_> {}

impl<'a> Pending<'a> {
    /// Waits for the lease that somebody holds on a key, and how long that lasts at most; `None`:
    /// nobody does.
    fn new(store: &'a StoreInner, key: &[u8]) -> Result<Option<(Self, u64)>> {
        let hash = store.hash.of(key);
        let shard = store.shard_of(hash);
        let wait = allocate(store)?;
        let added = shard.lock(store).map(|writer| {
            let number = writer.find_record(hash, key)?;
            let record = writer.record(number);
            let left = record.until_ms.load(Relaxed).saturating_sub(store.clock.now_ms());
            if record.words.see().state() != State::Held || left == 0 {
                return None;
            }
            // SAFETY: the block is new and long enough, and the lock is held.
            unsafe {
                wait.write(Wait::new(store.number_of(shard), number));
                writer.link_wait(record, wait);
            }
            Some(left)
        });
        if let Ok(Some(left)) = added {
            return Ok(Some((Self { store, shard, wait: Some(wait) }, left)));
        }
        // SAFETY: allocated above, and in no list.
        unsafe { free(store, wait) };
        added.map(|_| None)
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Ended> {
        let Some(wait) = self.wait else { return Poll::Ready(Ended::Again) };
        if fork::check(self.store.generation).is_err() {
            return Poll::Ready(Ended::Again);
        }
        // Wakers are made and dropped without the lock: both may be code of the runtime's.
        let mut waker = Some(cx.waker().clone());
        let mut writer = self.shard.lock_any(self.store);
        // SAFETY: this future's until it frees it, and under the lock.
        let is = unsafe { &mut *wait.as_ptr() };
        if is.state == State::Held {
            std::mem::swap(&mut is.waker, &mut waker);
            drop(writer);
            return Poll::Pending;
        }
        writer.unqueue_task(is);
        let (state, handed) = (is.state, is.handed);
        let _woken = is.waker.take();
        drop(writer);
        self.wait = None;
        // SAFETY: it is in no list any more; its share is taken here and nowhere else.
        unsafe {
            free(self.store, wait);
            Poll::Ready(outcome(self.store, state, handed))
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Some(wait) = self.wait else { return };
        if fork::check(self.store.generation).is_err() {
            return;
        }
        let mut writer = self.shard.lock_any(self.store);
        // SAFETY: this future's until it frees it, and under the lock.
        let is = unsafe { &mut *wait.as_ptr() };
        if is.state == State::Held {
            // SAFETY: it has not ended, so it is in the list of a lease of this shard.
            unsafe { writer.unlink_wait(is) };
        } else {
            writer.unqueue_task(is);
            // It may have been the one that was to take over.
            writer.pass_offer_on(is.record);
        }
        let (state, handed) = (is.state, is.handed);
        let waker = is.waker.take();
        drop(writer);
        // SAFETY: it is in no list any more; its share is taken here and nowhere else.
        unsafe {
            free(self.store, wait);
            drop(outcome(self.store, state, handed));
        }
        // Last: it may be code of the runtime's, and unwind.
        drop(waker);
    }
}

impl Writer<'_> {
    /// Has a task be woken once the lock is free. The caller has ended its wait.
    pub fn queue_task(&mut self, wait: *mut Wait) {
        let first = self.state.leases.wakes;
        // SAFETY: what waits is alive, and so is what is in the queue: tasks leave it under the lock.
        unsafe {
            (*wait).earlier = null_mut();
            (*wait).later = first;
            if !first.is_null() {
                (*first).earlier = wait;
            }
        }
        self.state.leases.wakes = wait;
        self.state.wakes_tasks = true;
    }

    /// Takes a task that has ended out of the queue, if it is there still.
    fn unqueue_task(&mut self, wait: &mut Wait) {
        let me: *mut Wait = wait;
        if wait.earlier.is_null() {
            if self.state.leases.wakes != me {
                return;
            }
            self.state.leases.wakes = wait.later;
        } else {
            // SAFETY: as in `queue_task`.
            unsafe { (*wait.earlier).later = wait.later };
        }
        if !wait.later.is_null() {
            // SAFETY: as in `queue_task`.
            unsafe { (*wait.later).earlier = wait.earlier };
        }
        (wait.earlier, wait.later) = (null_mut(), null_mut());
    }

    /// Wakes the tasks whose waits have ended, each time without the lock.
    #[cold]
    #[inline(never)]
    pub fn wake_tasks(&mut self) {
        self.state.wakes_tasks = false;
        loop {
            let mut wakers = [const { None::<Waker> }; WOKEN_AT_ONCE];
            for place in &mut wakers {
                // SAFETY: as in `queue_task`.
                let Some(wait) = (unsafe { self.state.leases.wakes.as_mut() }) else { break };
                *place = wait.waker.take();
                self.unqueue_task(wait);
            }
            let is_done = self.state.leases.wakes.is_null();
            FutexGuard::unlocked(&mut self.state, || {
                for waker in wakers.into_iter().flatten() {
                    // What a runtime does wrong is no fault of the store's, and the next is to be
                    // woken all the same.
                    let _ = host::call(|| waker.wake());
                }
            });
            if is_done {
                return;
            }
        }
    }
}

impl Store {
    /// [`Store::claim`] for tasks: it waits for another's load without a thread.
    ///
    /// `sleep` is the runtime's timer, such as `tokio::time::sleep`: a future that is ready after
    /// so long. Where neither the patience nor the time of leases matters, it may be one that never
    /// is. Dropping the future gives the wait up.
    ///
    /// # Errors
    /// As [`Store::claim`] with timeout 0, so never `Deadlock`: a task that waits for its own lease
    /// waits for as long as the options, or the lease, last. `NoSpace` also where views, drafts and
    /// waits take as much as [`crate::config::PoolConfig::pin_limit_bytes`] allows, or no room can be
    /// made for the wait.
    pub async fn claim_async<S: Future>(
        &self,
        key: &[u8],
        options: ClaimOptions,
        mut sleep: impl FnMut(Duration) -> S,
    ) -> Result<Claim<View>> {
        let patience = Duration::from_millis(options.timeout_ms);
        let forever = options.timeout_ms == u64::MAX;
        let end = if forever { None } else { Instant::now().checked_add(patience) };
        let at_once = ClaimOptions { timeout_ms: 0, ..options };
        loop {
            let claim = self.claim(key, at_once)?;
            if !matches!(claim, Claim::TimedOut) {
                return Ok(claim);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Claim::TimedOut);
            }
            let Some((mut pending, lease_ms)) = Pending::new(&self.0, key)? else { continue };
            self.0.count_wait();
            let lease = Duration::from_millis(lease_ms);
            let mut timer = pin!(sleep(left.map_or(lease, |left| left.min(lease))));
            let ended = std::future::poll_fn(|cx| match pending.poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => Pin::as_mut(&mut timer).poll(cx).map(|_| None),
            });
            match ended.await {
                Some(Ended::Value(view)) => return Ok(Claim::Value(view)),
                Some(Ended::LoadFailed) => return self.after_failure(key, options),
                Some(Ended::Absent) => return Ok(Claim::Absent),
                Some(Ended::Declined) => return Ok(Claim::Declined),
                Some(Ended::Again) | None => {}
            }
        }
    }

    /// [`Store::get_or_load`] for tasks. While the load runs the task may go to another thread, and
    /// if this future is dropped one of those who wait loads instead. `sleep` as in
    /// [`Store::claim_async`].
    ///
    /// ```
    /// # use hypercache_core::{LoadOptions, Pool, PoolConfig, StoreConfig};
    /// # use std::convert::Infallible;
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     loop {
    /// #         if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut cx) {
    /// #             return done;
    /// #         }
    /// #     }
    /// # }
    /// # let sleep = |_| std::future::pending::<()>();
    /// # let pool = Pool::create(&PoolConfig::new(8 << 20))?;
    /// let store = pool.open_store(&StoreConfig::default())?;
    /// # block_on(async {
    /// // With Tokio, `tokio::time::sleep` for `sleep`.
    /// let options = LoadOptions::default();
    /// let page = store
    ///     .get_or_load_async(b"page", &options, sleep, || async {
    ///         Ok::<_, Infallible>(Some("from the source".to_owned()))
    ///     })
    ///     .await;
    /// assert_eq!(&**page.unwrap().as_ref().unwrap(), b"from the source");
    /// # });
    /// # Ok::<(), hypercache_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::get_or_load`], but never `Deadlock`.
    pub async fn get_or_load_async<V, E, L, S>(
        &self,
        key: &[u8],
        options: &LoadOptions,
        sleep: impl FnMut(Duration) -> S,
        load: impl FnOnce() -> L,
    ) -> Result<Option<Loaded<V>>, LoadError<E>>
    where
        V: AsRef<[u8]>,
        L: Future<Output = Result<Option<V>, E>>,
        S: Future,
    {
        let claim = self.claim_async(key, options.claim, sleep).await.map_err(LoadError::Cache)?;
        let lease = match claim {
            Claim::Value(view) => return Ok(Some(Loaded::Cached(view))),
            Claim::Absent => return Ok(None),
            Claim::LoadFailed => return Err(LoadError::Failed),
            Claim::TimedOut | Claim::Declined => {
                let loaded = load().await.map_err(LoadError::Load)?;
                return Ok(loaded.map(Loaded::Own));
            }
            Claim::Claimed(lease) => lease,
        };
        let held = Held { store: self, lease };
        finish(held, options, load().await)
    }
}
