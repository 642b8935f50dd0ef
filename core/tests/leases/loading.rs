//! Who loads, and who is told what came of it.

use crate::common::*;
use hypercache_core::{
    Claim, ClaimOptions, DropReason, ErrorKind, Lease, LoadError, LoadOptions, Loaded, PutMode,
    PutOptions, PutOutcome,
};
use std::convert::Infallible;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[test]
fn one_of_many_loads() {
    let (pool, store) = store();
    let loads = AtomicU32::new(0);
    at_once(16, || match store.claim(b"k", FOREVER).unwrap() {
        Claim::Claimed(lease) => {
            loads.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            let put = store.lease_put(lease, b"loaded", &SET).unwrap();
            assert!(matches!(put, PutOutcome::Stored(_)));
        }
        other => assert_eq!(value(other), b"loaded"),
    });
    assert_eq!(loads.into_inner(), 1);
    let stats = store.stats();
    assert_eq!((stats.leases, stats.entries), (1, 1));
    pool.validate().unwrap();
}

#[test]
fn one_loads_for_all() {
    let (pool, store) = store();
    let loads = AtomicU32::new(0);
    at_once(16, || {
        let value = store.get_or_load(b"k", &LoadOptions::default(), || {
            loads.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            Ok::<_, Infallible>(Some(b"loaded"))
        });
        assert_eq!(&**value.unwrap().as_ref().unwrap(), b"loaded");
    });
    assert_eq!(loads.into_inner(), 1);
    pool.validate().unwrap();
}

#[test]
fn what_the_load_says_is_what_callers_hear() {
    let (pool, store) = store();
    let options = LoadOptions { retry_ms: 100_000, ..LoadOptions::default() };
    let absent = store.get_or_load(b"a", &options, || Ok::<Option<Vec<u8>>, ()>(None));
    assert!(absent.unwrap().is_none());
    let known = store.get_or_load(b"a", &options, || Ok::<_, ()>(Some(vec![1])));
    assert!(known.unwrap().is_none());

    let failed = store.get_or_load(b"f", &options, || Err::<Option<Vec<u8>>, _>("no source"));
    assert!(matches!(failed, Err(LoadError::Load("no source"))));
    let again = store.get_or_load(b"f", &options, || Ok::<_, ()>(Some(vec![1])));
    assert!(matches!(again, Err(LoadError::Failed)));

    // A load that unwinds lets the next one load.
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = store.get_or_load(b"p", &options, || -> Result<Option<Vec<u8>>, ()> {
            panic!("as the test wants it");
        });
    }));
    assert!(unwound.is_err());
    let next = store.get_or_load(b"p", &options, || Ok::<_, ()>(Some(vec![7])));
    assert_eq!(**next.unwrap().as_ref().unwrap(), [7]);

    // A load that asks for its own key is told, not hung.
    let inner = store.get_or_load(b"r", &options, || {
        let inner = store.get_or_load(b"r", &options, || Ok::<_, ()>(Some(vec![1])));
        match inner {
            Err(LoadError::Cache(error)) => Err(error.kind()),
            _ => Ok(Some(vec![2])),
        }
    });
    assert!(matches!(inner, Err(LoadError::Load(ErrorKind::Deadlock))));
    // Who does not wait loads for itself.
    let lease = granted(store.claim(b"t", AT_ONCE).unwrap());
    let hurried = LoadOptions { claim: AT_ONCE, ..LoadOptions::default() };
    let own = store.get_or_load(b"t", &hurried, || Ok::<_, ()>(Some(vec![3])));
    assert!(matches!(own.unwrap().unwrap(), Loaded::Own(value) if value == [3]));
    assert!(matches!(store.lease_put(lease, &[4], &SET).unwrap(), PutOutcome::Stored(_)));
    pool.validate().unwrap();
}

#[test]
fn who_would_wait_for_himself_is_told() {
    let (_pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    assert_eq!(store.claim(b"k", FOREVER).unwrap_err().kind(), ErrorKind::Deadlock);
    is_busy(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Cancelled).unwrap();
    granted(store.claim(b"k", FOREVER).unwrap());
}

#[test]
fn a_cycle_ends_by_the_timeout() {
    let (_pool, store) = store();
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        for (mine, other) in [(b"a", b"b"), (b"b", b"a")] {
            let (store, both) = (&store, &both);
            scope.spawn(move || {
                let lease = granted(store.claim(mine, AT_ONCE).unwrap());
                both.wait();
                let begun = Instant::now();
                let patient = ClaimOptions { timeout_ms: 50, stale: false };
                let got = store.claim(other, patient).unwrap();
                assert!(
                    begun.elapsed() >= Duration::from_millis(50) || !matches!(got, Claim::TimedOut)
                );
                both.wait();
                store.lease_drop(lease, DropReason::Cancelled).unwrap();
            });
        }
    });
}

#[test]
fn failures_and_absence_are_remembered_for_a_while() {
    let (pool, store, hand) = timed_store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Failed { retry_ms: 50 }).unwrap();
    assert!(matches!(store.claim(b"k", AT_ONCE).unwrap(), Claim::LoadFailed));
    hand.fetch_add(50, Ordering::SeqCst);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Failed { retry_ms: 0 }).unwrap();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Absent { ttl_ms: 0 }).unwrap();
    assert!(matches!(store.claim(b"k", AT_ONCE).unwrap(), Claim::Absent));
    assert!(!store.contains(b"k").unwrap());
    hand.fetch_add(999, Ordering::SeqCst);
    assert!(matches!(store.claim(b"k", AT_ONCE).unwrap(), Claim::Absent));
    hand.fetch_add(1, Ordering::SeqCst);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Absent { ttl_ms: 77_000 }).unwrap();
    // A write knows better.
    store.set(b"k", b"v").unwrap();
    assert_eq!(value(store.claim(b"k", AT_ONCE).unwrap()), b"v");
    store.delete(b"k").unwrap();
    granted(store.claim(b"k", AT_ONCE).unwrap());
    pool.validate().unwrap();
}

#[test]
fn leases_that_never_were_are_conflicts() {
    let (_pool, store) = store();
    let mine = granted(store.claim(b"k", AT_ONCE).unwrap());
    for lease in [
        Lease::default(),
        Lease { generation: mine.generation + 1, ..mine },
        Lease { id: mine.id + 1, ..mine },
        Lease { id: u64::MAX, ..mine },
        Lease { id: 0, ..mine },
        Lease { id: mine.id | 255 << 16, ..mine },
    ] {
        assert_eq!(store.lease_put(lease, b"v", &SET).unwrap(), PutOutcome::Conflict);
        store.lease_drop(lease, DropReason::Cancelled).unwrap();
    }
    let add = PutOptions { mode: PutMode::Add, ..SET };
    assert_eq!(store.lease_put(mine, b"v", &add).unwrap_err().kind(), ErrorKind::Invalid);
    // It ended all the same.
    granted(store.claim(b"k", AT_ONCE).unwrap());
}
