//! The text of the statistics: what is in it, and that memory which cannot be had is an error.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use hypercache_core::{ErrorKind, Pool, PoolConfig, StoreConfig, metrics_text};

/// The system's allocator, which refuses blocks of this many bytes and more.
struct Refusing(AtomicUsize);

#[global_allocator]
static ALLOCATOR: Refusing = Refusing(AtomicUsize::new(usize::MAX));

// SAFETY: a block is the system's or null, and goes back to the system.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= self.0.load(Ordering::Relaxed) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller's contract.
        unsafe { System.dealloc(block, layout) };
    }
}

/// One test, because there is one allocator a process, and the text is of all pools.
#[test]
fn tells_of_every_pool_and_store_or_says_that_memory_is_short() {
    assert_eq!(metrics_text().unwrap(), "");
    let named = PoolConfig { name: Some("memory".into()), ..PoolConfig::new(4 << 20) };
    let pools = [Pool::create(&named).unwrap(), Pool::create(&PoolConfig::new(1 << 20)).unwrap()];
    let measured =
        StoreConfig { name: Some("users".into()), latency: true, ..StoreConfig::default() };
    let users = pools[0].open_store(&measured).unwrap();
    let other = pools[1].open_store(&StoreConfig::default()).unwrap();
    users.set(b"7", b"Ada").unwrap();
    assert!(users.get_vec(b"7").unwrap().is_some());
    assert!(other.get_vec(b"7").unwrap().is_none());

    let text = metrics_text().unwrap();
    for line in [
        "hypercache_pool_limit_bytes{pool=\"memory\"} 4194304",
        "hypercache_store_hits_total{pool=\"memory\",store=\"users\"} 1",
        "hypercache_store_latency_seconds_count{pool=\"memory\",store=\"users\",op=\"get\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let nameless = format!(
        "hypercache_store_misses_total{{pool=\"\",pool_id=\"{}\",store=\"\",store_id=\"{}\"}} 1\n",
        pools[1].id(),
        other.id()
    );
    assert!(text.contains(&nameless), "{nameless} is not in\n{text}");

    for refused_from in [4096, 2048, 1024, 512] {
        ALLOCATOR.0.store(refused_from, Ordering::Relaxed);
        let outcome = metrics_text();
        ALLOCATOR.0.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NoMemory, "from {refused_from} bytes");
    }
    assert_eq!(metrics_text().unwrap().lines().count(), text.lines().count());
    pools.iter().for_each(|pool| pool.validate().unwrap());
}
