//! Threads beyond measure: more than processors, more than slots, stopped where it hurts, gone
//! before they are missed.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use hypercache_core::memory::guard;
use hypercache_core::pool::LimitOutcome;
use hypercache_core::store::testing::Gate;
use hypercache_core::{ErrorKind, PolicyKind, Pool, PoolConfig, Read, Store, StoreConfig};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::check;

/// Bytes of a small thread's stack.
const STACK: usize = 128 << 10;
/// Longer than any stop of these tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine is not large enough for two of these at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pool(bytes: u64) -> Pool {
    Pool::create(&PoolConfig { limit_max_bytes: bytes, ..PoolConfig::new(bytes) }).unwrap()
}

fn open(pool: &Pool) -> Store {
    pool.open_store(&StoreConfig::default()).unwrap()
}

fn spawn<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().stack_size(STACK).spawn(body).unwrap()
}

/// Lets the other threads of the process go first.
fn step_back() {
    // SAFETY: lowers the priority of the calling thread; takes plain integers.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
        libc::setpriority(libc::PRIO_PROCESS, thread, 19);
    }
}

fn value(key: u64, len: usize) -> Vec<u8> {
    let mut value = vec![(key % 251) as u8; len];
    value[..8].copy_from_slice(&key.to_le_bytes());
    value
}

fn is_of(key: u64, value: &[u8]) -> bool {
    value.len() >= 8
        && value[..8] == key.to_le_bytes()
        && value[8..].iter().all(|&byte| u64::from(byte) == key % 251)
}

/// Reads a key and looks at the value; true on a hit.
fn read(store: &Store, key: u64, buf: &mut [MaybeUninit<u8>]) -> bool {
    match store.get(&key.to_le_bytes(), buf).unwrap() {
        Read::Hit(info) => {
            // SAFETY: a hit has initialised the first `len` bytes.
            let value = unsafe { std::slice::from_raw_parts(buf.as_ptr().cast(), info.len) };
            assert!(is_of(key, value), "a torn or foreign value");
            true
        }
        Read::SmallBuffer(_) => panic!("the buffer is large enough"),
        Read::Miss => false,
    }
}

#[test]
fn a_thousand_readers_do_not_starve_a_writer_of_room() {
    const READERS: u64 = 1_000;
    const LIMIT: u64 = 32 << 20;
    const LEN: usize = 1_000;
    let _alone = alone();
    let pool = pool(LIMIT);
    let store = open(&pool);
    let keys = LIMIT / LEN as u64;
    let next = Arc::new(AtomicU64::new(0));
    for _ in 0..keys * 5 / 4 {
        let key = next.fetch_add(1, Ordering::Relaxed);
        store.set(&key.to_le_bytes(), &value(key, LEN)).unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let hits = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let (store, over, next, hits) =
                (store.clone(), over.clone(), next.clone(), hits.clone());
            spawn(move || {
                step_back();
                let mut buf = [MaybeUninit::uninit(); LEN];
                let mut dice = number + 1;
                while !over.load(Ordering::Relaxed) {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let age = (dice >> 33) % keys;
                    let key = next.load(Ordering::Relaxed).saturating_sub(1 + age);
                    if read(&store, key, &mut buf) {
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut written = 0;
    while written < 2 * keys && start.elapsed() < Duration::from_secs(10) {
        let key = next.load(Ordering::Relaxed);
        let value = value(key, LEN);
        let before = Instant::now();
        store.set(&key.to_le_bytes(), &value).unwrap();
        slowest = slowest.max(before.elapsed());
        next.store(key + 1, Ordering::Relaxed);
        written += 1;
    }
    let (stats, used) = (store.stats(), pool.stats());
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    let share = stats.payload_bytes as f64 / LIMIT as f64;
    println!(
        "{written} sets beside {READERS} readers in {:.1} s, slowest {slowest:?}; {} hits; \
         {:.1} % live payload, {} KiB waiting",
        start.elapsed().as_secs_f64(),
        hits.load(Ordering::Relaxed),
        100.0 * share,
        used.used_bytes.min(stats.waiting_bytes) >> 10,
    );
    assert!(written > keys / 8, "the writer came nowhere");
    assert!(hits.load(Ordering::Relaxed) > 0);
    assert!(used.used_bytes <= LIMIT);
    assert!(share >= 0.85, "live payload is too small a share of the limit");
    check(&store);
}

/// Under LRU hits ask for work that takes the lock. A reader that does it and loses its processor
/// meanwhile keeps writers waiting until its next turn.
#[test]
fn a_crowd_of_readers_leaves_the_lock_to_writers() {
    const READERS: u64 = 200;
    const LIMIT: u64 = 16 << 20;
    const LEN: usize = 500;
    const SETS: u64 = 30_000;
    let _alone = alone();
    let pool = pool(LIMIT);
    let config = StoreConfig { policy: PolicyKind::Lru, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let keys = LIMIT / LEN as u64 / 2;
    for key in 0..keys {
        store.set(&key_bytes(key), &value(key, LEN)).unwrap();
    }
    let all_there = Arc::new(Barrier::new(READERS as usize + 1));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let (store, all_there, over) = (store.clone(), all_there.clone(), over.clone());
            spawn(move || {
                let mut buf = [MaybeUninit::uninit(); LEN];
                read(&store, number, &mut buf);
                all_there.wait();
                let mut key = number;
                while !over.load(Ordering::Relaxed) {
                    key = (key * 31 + 7) % keys;
                    read(&store, key, &mut buf);
                }
            })
        })
        .collect();
    all_there.wait();
    let start = Instant::now();
    let mut written = 0;
    while written < SETS && start.elapsed() < Duration::from_secs(12) {
        store.set(&key_bytes(written % keys), &value(written % keys, LEN)).unwrap();
        written += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    println!("{written} sets beside {READERS} readers that promote, in {seconds:.1} s");
    assert!(written >= SETS / 60, "readers hold the lock");
    check(&store);
}

/// A reader that stops inside a look-up of `key`, until it is let go.
struct Stopped {
    gate: Arc<Gate>,
    thread: std::thread::JoinHandle<bool>,
}

fn stop_in(store: &Store, key: u64, len: usize) -> Stopped {
    let is_large = len > 8_192;
    let gate = Arc::new(Gate::default());
    let (store, mine) = (store.clone(), gate.clone());
    let thread = spawn(move || {
        let mut buf = vec![MaybeUninit::uninit(); len];
        // Before the entry is used, or its run.
        mine.stop_me(if is_large { 4 } else { 1 });
        read(&store, key, &mut buf)
    });
    assert!(gate.wait_stopped(PATIENCE), "the reader did not get inside");
    Stopped { gate, thread }
}

impl Stopped {
    /// Lets the reader go; it must find its value as it was when it got inside.
    fn finish(self) {
        self.gate.open();
        assert!(self.thread.join().unwrap(), "the value went away under a reader");
    }
}

#[test]
fn writers_go_on_while_a_reader_is_stopped_inside() {
    const LIMIT: u64 = 16 << 20;
    let _alone = alone();
    for len in [200, 30_000] {
        let pool = pool(LIMIT);
        let store = open(&pool);
        store.set(&7_u64.to_le_bytes(), &value(7, len)).unwrap();
        let stopped = stop_in(&store, 7, len);
        let start = Instant::now();
        let mut slowest = Duration::ZERO;
        let mut key = 1_000;
        while start.elapsed() < Duration::from_millis(1_500) {
            for _ in 0..64 {
                let length = 50 + (key % 97) as usize * len / 60;
                let value = value(key, length);
                let before = Instant::now();
                store.set(&key.to_le_bytes(), &value).unwrap();
                slowest = slowest.max(before.elapsed());
                key += 1;
            }
            // Grows and shrinks the index, whose memory the reader may be looking at.
            if key % 4_096 < 64 {
                store.clear().unwrap();
            }
            assert!(pool.stats().used_bytes <= LIMIT);
        }
        println!("{} sets beside a stopped reader, slowest {slowest:?}", key - 1_000);
        // The reader is let go only below: a writer that it blocked would never come here.
        assert!(key > 1_000, "the writer came nowhere");
        check(&store);
        assert!(store.delete(&7_u64.to_le_bytes()).is_ok());
        stopped.finish();
        check(&store);
    }
}

#[test]
fn whatever_ends_a_store_leaves_readers_inside_alone() {
    const LIMIT: u64 = 4 << 20;
    const LEN: usize = 3_000;
    let _alone = alone();
    for end in ["destroy", "clear", "shrink", "drop"] {
        for len in [LEN, 50_000] {
            let pool = pool(LIMIT);
            // A destroyed store's memory waits for everybody who is inside, so it is not all there
            // is.
            let config = StoreConfig { limit_bytes: LIMIT / 2, ..StoreConfig::default() };
            let store = pool.open_store(&config).unwrap();
            for key in 0..200 {
                store.set(&key_bytes(key), &value(key, len)).unwrap();
            }
            let key = (0..200).find(|&key| store.contains(&key_bytes(key)).unwrap()).unwrap();
            let stopped = stop_in(&store, key, len);
            let pinned = store.pin(&key_bytes(key), true).unwrap().unwrap();
            let other = open(&pool);
            match end {
                "destroy" => {
                    store.destroy();
                    let error = store.set(b"k", b"v").unwrap_err();
                    assert!(error.kind() == ErrorKind::Closed);
                }
                "clear" => {
                    store.clear().unwrap();
                    assert!(store.stats().entries == 0);
                }
                "shrink" => {
                    let outcome = pool.set_limit(2 << 20).unwrap();
                    assert!(outcome != LimitOutcome::Superseded);
                }
                _ => {}
            }
            // Whatever was given back is used again, several times over.
            for key in 1_000..1_000 + 4 * LIMIT / LEN as u64 {
                let stored = other.set(&key_bytes(key), &value(key, LEN));
                assert!(stored.is_ok(), "{end}, {len} bytes: {stored:?}");
            }
            assert!(pool.stats().used_bytes <= LIMIT);
            pool.validate().unwrap();
            assert!(is_of(key, &pinned), "a view changed");
            if end == "drop" {
                drop((pool, store, other));
                assert!(is_of(key, &pinned), "a view changed");
                stopped.finish();
            } else {
                stopped.finish();
                drop(pinned);
                pool.space().harvest(true);
                pool.validate().unwrap();
                assert!(pool.stats().used_bytes <= LIMIT);
            }
        }
    }
}

fn key_bytes(key: u64) -> [u8; 8] {
    key.to_le_bytes()
}

#[test]
fn more_threads_than_slots() {
    const THREADS: u64 = 2_300;
    const LIMIT: u64 = 8 << 20;
    const LEN: usize = 700;
    let _alone = alone();
    let pool = pool(LIMIT);
    let store = open(&pool);
    let keys = LIMIT / LEN as u64 / 2;
    for key in 0..keys {
        store.set(&key_bytes(key), &value(key, LEN)).unwrap();
    }
    let all_there = Arc::new(Barrier::new(THREADS as usize + 1));
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (store, all_there, over) = (store.clone(), all_there.clone(), over.clone());
            spawn(move || {
                step_back();
                let mut buf = [MaybeUninit::uninit(); LEN];
                read(&store, number % keys, &mut buf);
                let has_slot = guard::slot_index().is_some();
                all_there.wait();
                let mut key = number;
                while !over.load(Ordering::Relaxed) {
                    key = (key * 31 + 7) % keys;
                    read(&store, key, &mut buf);
                    drop(store.pin(&key_bytes(key), false));
                }
                has_slot
            })
        })
        .collect();
    all_there.wait();
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_millis(1_500) {
        for key in written..written + 32 {
            let key = key % (4 * keys);
            store.set(&key_bytes(key), &value(key, LEN)).unwrap();
        }
        written += 32;
        assert!(pool.stats().used_bytes <= LIMIT);
    }
    over.store(true, Ordering::Relaxed);
    let with_slot = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .filter(|&has_slot| has_slot)
        .count();
    println!("{with_slot} of {THREADS} threads had a slot; {written} sets");
    assert!((guard::SLOTS - 64..=guard::SLOTS).contains(&with_slot));
    store.clear().unwrap();
    check(&store);
    // Their slots are free again.
    assert!(spawn(|| guard::slot_index().is_some()).join().unwrap());
}

/// `HYPERCACHE_MANY_THREADS` says how many; 1,000,000 for the acceptance.
#[test]
fn threads_that_come_and_go_leave_nothing_behind() {
    const AT_ONCE: u64 = 32;
    let _alone = alone();
    let threads = std::env::var("HYPERCACHE_MANY_THREADS")
        .ok()
        .and_then(|threads| threads.parse().ok())
        .unwrap_or(100_000_u64);
    let pool = pool(2 << 20);
    let store = open(&pool);
    for key in 0..500 {
        store.set(&key_bytes(key), &value(key, 500)).unwrap();
    }
    let highest = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    for batch in 0..threads / AT_ONCE {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let (store, highest) = (store.clone(), highest.clone());
                spawn(move || {
                    let key = (batch * AT_ONCE + number) % 1_000;
                    let mut buf = [MaybeUninit::uninit(); 500];
                    read(&store, key, &mut buf);
                    if number % 4 == 0 {
                        store.set(&key_bytes(key), &value(key, 500)).unwrap();
                    }
                    let slot = guard::slot_index().map_or(u64::MAX, |slot| slot as u64);
                    highest.fetch_max(slot, Ordering::Relaxed);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
    println!("{threads} threads in {:.1} s", start.elapsed().as_secs_f64());
    assert!(highest.load(Ordering::Relaxed) < 8 * AT_ONCE, "slots are not reused");
    let used = pool.stats().used_bytes;
    assert!(used <= 2 << 20);
    check(&store);
}

#[test]
fn a_hot_key_is_whole_for_every_reader_while_it_is_overwritten() {
    const SECONDS: f64 = 1.0;
    let _alone = alone();
    for len in [64, 2_000, 20_000] {
        let pool = pool(4 << 20);
        let store = open(&pool);
        let over = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        store.set(b"hot", &vec![0; len]).unwrap();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (store, over, done) = (store.clone(), over.clone(), done.clone());
                spawn(move || {
                    let mut buf = vec![MaybeUninit::uninit(); len];
                    let (mut reads, mut newest) = (0_u64, 0);
                    while !over.load(Ordering::Relaxed) {
                        let due = done.load(Ordering::SeqCst);
                        let Read::Hit(info) = store.get(b"hot", &mut buf).unwrap() else {
                            panic!("a key that is always there was missed");
                        };
                        // SAFETY: a hit has initialised the first `len` bytes.
                        let bytes: &[u8] =
                            unsafe { std::slice::from_raw_parts(buf.as_ptr().cast(), info.len) };
                        let number = u64::from_le_bytes(*bytes.first_chunk::<8>().unwrap());
                        assert!(info.len == len);
                        assert!(number >= due, "a stale value");
                        assert!(number >= newest, "time ran backwards");
                        assert!(bytes[8..].iter().all(|&byte| byte == number as u8), "torn");
                        newest = number;
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let start = Instant::now();
        let mut number = 0_u64;
        let mut bytes = vec![0; len];
        while start.elapsed().as_secs_f64() < SECONDS {
            number += 1;
            bytes.fill(number as u8);
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            store.set(b"hot", &bytes).unwrap();
            done.store(number, Ordering::SeqCst);
        }
        over.store(true, Ordering::Relaxed);
        let reads: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        println!("{number} writes of {len} bytes, {reads} reads");
        assert!(reads > 0);
        check(&store);
    }
}
