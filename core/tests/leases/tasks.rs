//! Waiting as a task: every end reaches it, and nobody is forgotten when a future is dropped.

use crate::common::*;
use hypercache_core::{
    Claim, ClaimOptions, DropReason, Filter, FilterConfig, LoadError, LoadOptions, Loaded, Pool,
    PoolConfig, PutOutcome, Store, StoreConfig, View,
};
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on the calling thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
        std::thread::park();
    }
}

/// A waker that tells whether it was called, or does something when it is.
#[derive(Default)]
struct Told {
    times: AtomicU32,
    does: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        if let Some(does) = &mut *self.does.lock().unwrap_or_else(PoisonError::into_inner) {
            does();
        }
    }
}

impl Told {
    fn times(&self) -> u32 {
        self.times.load(Ordering::SeqCst)
    }
}

fn poll<T>(task: &mut Boxed<'_, T>, told: &Arc<Told>) -> Poll<T> {
    let waker = Waker::from(Arc::clone(told));
    task.as_mut().poll(&mut Context::from_waker(&waker))
}

/// No timer.
fn never(_: Duration) -> std::future::Pending<()> {
    pending()
}

/// A timer with a thread.
fn sleep(time: Duration) -> impl Future<Output = ()> + Send {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut has_begun = false;
    poll_fn(move |cx| {
        if is_over.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if !has_begun {
            has_begun = true;
            let (is_over, waker) = (Arc::clone(&is_over), cx.waker().clone());
            std::thread::spawn(move || {
                std::thread::sleep(time);
                is_over.store(true, Ordering::SeqCst);
                waker.wake();
            });
        }
        Poll::Pending
    })
}

/// Gives way so many times.
fn yields(mut times: u32) -> impl Future<Output = ()> + Send {
    poll_fn(move |cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

fn claims<'a>(store: &'a Store, key: &'a [u8]) -> Boxed<'a, Claim<View>> {
    Box::pin(async move { store.claim_async(key, FOREVER, never).await.unwrap() })
}

#[test]
fn one_of_many_tasks_loads() {
    let (pool, store) = store();
    let loads = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let told = Arc::new(Told::default());
                let options = LoadOptions::default();
                let mut tasks: Vec<Boxed<'_, ()>> = (0..50)
                    .map(|_| {
                        let task = async {
                            let load = || async {
                                loads.fetch_add(1, Ordering::SeqCst);
                                sleep(Duration::from_millis(20)).await;
                                Ok::<_, Infallible>(Some(b"loaded"))
                            };
                            let value = store.get_or_load_async(b"k", &options, sleep, load).await;
                            assert_eq!(&**value.unwrap().as_ref().unwrap(), b"loaded");
                        };
                        Box::pin(task) as Boxed<'_, ()>
                    })
                    .collect();
                block_on(poll_fn(|cx| {
                    tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
                    if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
                }));
                drop(told);
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    assert!(store.stats().lease_waits <= 399);
    pool.validate().unwrap();
}

#[test]
fn who_drops_a_load_gives_it_on() {
    let (pool, store) = store();
    let options = LoadOptions::default();
    let told: [Arc<Told>; 3] = Default::default();
    let mut first: Boxed<'_, _> = Box::pin(store.get_or_load_async(
        b"k",
        &options,
        never,
        pending::<Result<Option<Vec<u8>>, ()>>,
    ));
    assert!(poll(&mut first, &told[0]).is_pending());
    let load = |value: &'static [u8]| async move { Ok::<_, ()>(Some(value)) };
    let mut second: Boxed<'_, _> =
        Box::pin(store.get_or_load_async(b"k", &options, never, || load(b"second")));
    let mut third: Boxed<'_, _> =
        Box::pin(store.get_or_load_async(b"k", &options, never, || load(b"third")));
    assert!(poll(&mut second, &told[1]).is_pending());
    assert!(poll(&mut third, &told[2]).is_pending());
    drop(first);
    // One is told, and goes away as well: the other has it.
    assert_eq!(told[1].times() + told[2].times(), 1);
    let (gone, stays, told, value) = if told[1].times() == 1 {
        (second, third, &told[2], &b"third"[..])
    } else {
        (third, second, &told[1], &b"second"[..])
    };
    let mut stays = stays;
    drop(gone);
    assert_eq!(told.times(), 1);
    match poll(&mut stays, told) {
        Poll::Ready(Ok(Some(Loaded::Own(own)))) => assert_eq!(own, value),
        other => panic!("{other:?}"),
    }
    drop(stays);
    assert_eq!(store.get_vec(b"k").unwrap().as_deref(), Some(value));
    pool.validate().unwrap();
}

#[test]
fn an_offer_that_is_not_taken_goes_to_threads_too() {
    let (_pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let told = Arc::new(Told::default());
    let mut task = claims(&store, b"k");
    assert!(poll(&mut task, &told).is_pending());
    store.lease_drop(lease, DropReason::Cancelled).unwrap();
    assert_eq!(told.times(), 1);
    drop(task);
    granted(store.claim(b"k", FOREVER).unwrap());
    // The same where an object forgets what it was told.
    let lease = granted(store.claim(b"l", AT_ONCE).unwrap());
    let mut task = claims(&store, b"l");
    assert!(poll(&mut task, &told).is_pending());
    let waits = store.waits().unwrap();
    waits.add(b"l", 1).unwrap().unwrap();
    store.lease_drop(lease, DropReason::Cancelled).unwrap();
    assert_eq!(told.times(), 1);
    drop(waits);
    assert_eq!(told.times(), 2);
    assert!(matches!(poll(&mut task, &told), Poll::Ready(Claim::Claimed(_))));
}

#[test]
fn every_end_reaches_tasks() {
    type End = fn(&Store, hypercache_core::Lease);
    type IsRight = fn(&Claim<View>) -> bool;
    let ends: [(End, IsRight); 6] = [
        (|s, lease| ignore(s.lease_put(lease, b"v", &SET)), |c| matches!(c, Claim::Value(_))),
        (|s, _| ignore(s.set(b"k", b"v")), |c| matches!(c, Claim::Value(_))),
        (|s, _| ignore(s.delete(b"k")), |c| matches!(c, Claim::Claimed(_))),
        (
            |s, lease| s.lease_drop(lease, DropReason::Failed { retry_ms: 0 }).unwrap(),
            |c| matches!(c, Claim::LoadFailed),
        ),
        (
            |s, lease| s.lease_drop(lease, DropReason::Absent { ttl_ms: 0 }).unwrap(),
            |c| matches!(c, Claim::Absent),
        ),
        // Too long for the store, so it is passed on.
        (
            |s, lease| ignore(s.lease_put(lease, &[7; 2_000], &SET)),
            |c| matches!(c, Claim::Value(view) if **view == [7; 2_000] && view.info().version == 0),
        ),
    ];
    for (end, is_right) in ends {
        let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
        let config = StoreConfig { value_len_max: 1_000, ..StoreConfig::default() };
        let store = pool.open_store(&config).unwrap();
        let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
        let told: Vec<_> = (0..40).map(|_| Arc::new(Told::default())).collect();
        let mut tasks: Vec<_> = told.iter().map(|_| claims(&store, b"k")).collect();
        for (task, told) in tasks.iter_mut().zip(&told) {
            assert!(poll(task, told).is_pending());
            assert!(poll(task, told).is_pending());
        }
        // Some go away before, some after they are told, some are never looked at again.
        tasks.drain(..5);
        end(&store, lease);
        assert!(told[..5].iter().all(|told| told.times() == 0));
        assert!(told[5..].iter().all(|told| told.times() == 1));
        tasks.drain(..5);
        assert!(matches!(poll(&mut tasks[0], &told[10]), Poll::Ready(claim) if is_right(&claim)));
        drop(tasks);
        pool.validate().unwrap();
        assert_eq!(pool.stats().pinned_bytes, 0);
    }
}

#[test]
fn an_old_value_is_shown_where_its_load_failed() {
    let (_pool, store, hand) = timed_store();
    let soft = hypercache_core::PutOptions { soft_ttl_ms: 1_000, ..SET };
    store.put(b"k", b"old", &soft).unwrap();
    hand.fetch_add(2_000, Ordering::SeqCst);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let told = Arc::new(Told::default());
    let mut task = claims(&store, b"k");
    assert!(poll(&mut task, &told).is_pending());
    store.lease_drop(lease, DropReason::Failed { retry_ms: 0 }).unwrap();
    match poll(&mut task, &told) {
        Poll::Ready(Claim::Value(view)) => {
            assert_eq!((&*view, view.info().ttl_ms), (&b"old"[..], Some(0)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn failed_loads_are_heard_of_and_tasks_that_do_not_wait_load_for_themselves() {
    let (_pool, store) = store();
    let options = LoadOptions { retry_ms: 100_000, ..LoadOptions::default() };
    let failed = block_on(store.get_or_load_async(b"f", &options, never, || async {
        Err::<Option<Vec<u8>>, _>("no source")
    }));
    assert!(matches!(failed, Err(LoadError::Load("no source"))));
    let again = block_on(
        store.get_or_load_async(b"f", &options, never, || async { Ok::<_, ()>(Some(vec![1])) }),
    );
    assert!(matches!(again, Err(LoadError::Failed)));
    let absent =
        block_on(store.get_or_load_async(b"a", &options, never, || async {
            Ok::<Option<Vec<u8>>, ()>(None)
        }));
    assert!(absent.unwrap().is_none());
    let lease = granted(store.claim(b"t", AT_ONCE).unwrap());
    for timeout_ms in [0, 30] {
        let claim = ClaimOptions { timeout_ms, stale: false };
        let hurried = LoadOptions { claim, ..options };
        let own = block_on(store.get_or_load_async(b"t", &hurried, sleep, || async {
            yields(3).await;
            Ok::<_, ()>(Some(vec![3]))
        }));
        assert!(matches!(own.unwrap().unwrap(), Loaded::Own(value) if value == [3]));
    }
    assert!(matches!(store.lease_put(lease, &[4], &SET).unwrap(), PutOutcome::Stored(_)));
}

#[test]
fn a_dead_holder_blocks_tasks_for_the_time_of_the_lease_only() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { lease_ms: 50, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    ignore(granted(store.claim(b"k", AT_ONCE).unwrap()));
    let claim = block_on(store.claim_async(b"k", FOREVER, sleep)).unwrap();
    ignore(granted(claim));
}

/// Wakers are called without the lock, and one that fails keeps no other from being called.
#[test]
fn wakers_may_use_the_store_and_may_panic() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let store = pool.open_store(&StoreConfig { shards: 1, ..StoreConfig::default() }).unwrap();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let told: Vec<_> = (0..40).map(|_| Arc::new(Told::default())).collect();
    let mut tasks: Vec<_> = told.iter().map(|_| claims(&store, b"k")).collect();
    for (number, told) in told.iter().enumerate() {
        let store = store.clone();
        *told.does.lock().unwrap() = Some(Box::new(move || {
            if number % 3 == 0 {
                std::panic::resume_unwind(Box::new("as the test wants it"));
            }
            store.set(&[number as u8], b"from a waker").unwrap();
            let lease = granted(store.claim(b"l", AT_ONCE).unwrap());
            store.lease_drop(lease, DropReason::Cancelled).unwrap();
        }));
    }
    for (task, told) in tasks.iter_mut().zip(&told) {
        assert!(poll(task, told).is_pending());
    }
    ignore(store.lease_put(lease, b"v", &SET).unwrap());
    assert!(told.iter().all(|told| told.times() == 1));
    assert_eq!(store.stats().poisoned_shards, 0);
    for (number, told) in told.iter().enumerate() {
        assert_eq!(store.contains(&[number as u8]).unwrap(), number % 3 != 0);
        *told.does.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    drop(tasks);
    pool.validate().unwrap();
}

/// What a waker throws may fail once more when it goes: it is nobody's fault who ended the lease.
#[test]
fn what_a_waker_throws_may_panic_as_well() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as the test wants it"));
        }
    }
    let (pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let told: Vec<_> = (0..40).map(|_| Arc::new(Told::default())).collect();
    let mut tasks: Vec<_> = told.iter().map(|_| claims(&store, b"k")).collect();
    for ((number, task), told) in tasks.iter_mut().enumerate().zip(&told) {
        if number % 3 == 0 {
            *told.does.lock().unwrap() =
                Some(Box::new(|| std::panic::resume_unwind(Box::new(Bomb))));
        }
        assert!(poll(task, told).is_pending());
    }
    ignore(store.lease_put(lease, b"v", &SET).unwrap());
    assert!(told.iter().all(|told| told.times() == 1));
    assert_eq!(store.stats().poisoned_shards, 0);
    drop(tasks);
    assert_eq!(pool.stats().pinned_bytes, 0);
    pool.validate().unwrap();
}

/// A waker whose own end fails takes nothing of the pool with it.
#[test]
fn a_waker_may_panic_as_it_goes() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as the test wants it"));
        }
    }
    let (pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let mut task = claims(&store, b"k");
    let waker = Waker::from(Arc::new(Bomb));
    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task)));
    assert!(dropped.is_err());
    assert_eq!(pool.stats().pinned_bytes, 0);
    ignore(store.lease_put(lease, b"v", &SET).unwrap());
    pool.validate().unwrap();
}

/// Who is told of an offer may hear from the known keys that there is nothing to load, and take no
/// lease then: nobody is left to pass the offer on.
#[test]
fn known_keys_leave_no_offer_to_one_alone() {
    for is_late in [false, true] {
        let (_pool, store) = store();
        let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
        let told: Vec<_> = (0..3).map(|_| Arc::new(Told::default())).collect();
        let mut tasks: Vec<_> = told.iter().map(|_| claims(&store, b"k")).collect();
        for (task, told) in tasks.iter_mut().zip(&told) {
            assert!(poll(task, told).is_pending());
        }
        let know = || {
            let none = Filter::create(&FilterConfig::new(100)).unwrap();
            store.set_known_keys(Some(none)).unwrap();
        };
        let cancel = || store.lease_drop(lease, DropReason::Cancelled).unwrap();
        if is_late {
            cancel();
            know();
        } else {
            know();
            cancel();
        }
        for (task, told) in tasks.iter_mut().zip(&told) {
            assert_eq!(told.times(), 1);
            assert!(matches!(poll(task, told), Poll::Ready(Claim::Absent)));
        }
    }
}

#[test]
fn a_destroyed_store_lets_tasks_go() {
    let (pool, store) = store();
    ignore(granted(store.claim(b"k", AT_ONCE).unwrap()));
    let told = Arc::new(Told::default());
    let mut task: Boxed<'_, _> = Box::pin(store.claim_async(b"k", FOREVER, never));
    assert!(poll(&mut task, &told).is_pending());
    store.destroy();
    assert_eq!(told.times(), 1);
    match poll(&mut task, &told) {
        Poll::Ready(Err(error)) => assert_eq!(error.kind(), hypercache_core::ErrorKind::Closed),
        other => panic!("{other:?}"),
    }
    drop(task);
    drop(store);
    pool.validate().unwrap();
}

/// Tasks that come, are told, and go at any moment, on four threads.
#[test]
fn tasks_race_with_ends_and_with_each_other() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { value_len_max: 1_000, shards: 2, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                let told = Arc::new(Told::default());
                let keys = [*b"a", *b"b", *b"c"];
                let mut tasks = Vec::new();
                for round in 0..4_000_u32 {
                    let key = &keys[(round % 3) as usize];
                    let mut task = claims(store, key);
                    match poll(&mut task, &told) {
                        Poll::Ready(Claim::Claimed(lease)) => match (round + number) % 5 {
                            0 => ignore(store.lease_drop(lease, DropReason::Cancelled)),
                            1 => {
                                let failed = DropReason::Failed { retry_ms: 0 };
                                ignore(store.lease_drop(lease, failed));
                            }
                            2 => ignore(store.lease_put(lease, &[1; 1_001], &SET)),
                            3 => ignore(store.lease_put(lease, &[1; 10], &SET)),
                            _ => ignore(store.delete(key)),
                        },
                        Poll::Ready(Claim::Value(_)) => ignore(store.delete(key)),
                        Poll::Ready(_) => {}
                        Poll::Pending => tasks.push(task),
                    }
                    if round % 7 == 0 {
                        tasks.retain_mut(|task| match poll(task, &told) {
                            Poll::Ready(Claim::Claimed(lease)) => {
                                store.lease_drop(lease, DropReason::Cancelled).unwrap();
                                false
                            }
                            other => other.is_pending(),
                        });
                    }
                    if round % 11 == 0 && !tasks.is_empty() {
                        drop(tasks.remove((round % 5) as usize % tasks.len()));
                    }
                }
            });
        }
    });
    assert_eq!(pool.stats().pinned_bytes, 0);
    pool.validate().unwrap();
    // Nobody holds anything that was not ended, so whoever asks is told at once.
    for key in [b"a", b"b", b"c"] {
        assert!(!matches!(block_on(claims(&store, key)), Claim::TimedOut));
    }
}
