//! A fault under a shard's lock wakes who waits for its leases at once, however long those last.

#![allow(clippy::unwrap_used)]

use hypercache_core::store::Ended;
use hypercache_core::{Claim, ClaimOptions, ErrorKind, Pool, PoolConfig, StoreConfig};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

struct Told(AtomicU32);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_waits_for_a_poisoned_shard_is_woken_at_once() {
    const FOREVER: ClaimOptions = ClaimOptions { timeout_ms: u64::MAX, stale: false };
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    // A day: the test would not end.
    let config = StoreConfig { shards: 1, lease_ms: 86_400_000, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let lease = match store.claim(b"k", FOREVER).unwrap() {
        Claim::Claimed(lease) => lease,
        other => panic!("{other:?}"),
    };
    let waits = store.waits().unwrap();
    waits.add(b"k", 7).unwrap().unwrap();
    let told = Arc::new(Told(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&told));
    let mut cx = Context::from_waker(&waker);
    let sleep = |_| std::future::pending::<()>();
    let mut task = pin!(store.claim_async(b"k", FOREVER, sleep));
    assert!(task.as_mut().poll(&mut cx).is_pending());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let error = store.claim(b"k", FOREVER).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Poisoned);
            });
        }
        while store.stats().lease_waits < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(5));
        hypercache_core::store::testing::panic_at_write(1);
        let fault = catch_unwind(AssertUnwindSafe(|| store.set(b"other", b"v")));
        assert!(fault.is_err());
    });
    assert!(matches!(waits.next().unwrap(), Some((7, Ended::Again))));
    assert_eq!(told.0.load(Ordering::SeqCst), 1);
    match task.as_mut().poll(&mut cx) {
        Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Poisoned),
        other => panic!("{other:?}"),
    }
    let error = store.lease_put(lease, b"v", &Default::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    store.clear().unwrap();
    assert!(matches!(store.claim(b"k", FOREVER).unwrap(), Claim::Claimed(_)));
    pool.validate().unwrap();
}
