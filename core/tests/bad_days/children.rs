//! Days that a whole process has to itself: each test runs again, alone, in a child process.

use crate::common::{KIB, MIB, Stop, check, key};
use hypercache_core::pool::AllocOptions;
use hypercache_core::{
    ErrorKind, Match, Pool, PoolConfig, PutOptions, Result, Store, StoreConfig, Thresholds, Ttl,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

const TASK: &str = "HYPERCACHE_TEST_TASK";

const TASKS: [(&str, fn()); 9] = [
    ("fork", fork_under_load),
    ("fault", a_fault_under_load),
    ("address_space", address_space_is_short),
    ("data", memory_is_accounted_strictly),
    ("membarrier", no_membarrier),
    ("pools", pools_come_and_go),
    ("rss32", || resident_memory(32)),
    ("rss128", || resident_memory(128)),
    ("fork_once", fork_without_pools),
];

/// What a child process does; nothing in the parent.
#[test]
fn task() {
    let Ok(name) = std::env::var(TASK) else { return };
    let (_, task) = TASKS.iter().find(|(known, _)| *known == name).unwrap();
    task();
}

#[track_caller]
fn run(name: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["children::task", "--exact", "--nocapture", "--test-threads=1"])
        .env(TASK, name)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(240) {
            child.kill().unwrap();
            panic!("{name} hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let tail: String =
        said.chars().rev().take(1_500).collect::<Vec<_>>().into_iter().rev().collect();
    assert!(output.status.success(), "{name}: {:?}: {tail}", output.status);
}

#[test]
fn fork_with_threads_at_work() {
    run("fork");
}

#[test]
fn fork_before_the_first_pool() {
    run("fork_once");
}

#[test]
fn a_fault_in_a_shard_under_load() {
    run("fault");
}

#[test]
fn address_space_may_be_short() {
    run("address_space");
}

#[test]
fn memory_may_be_accounted_strictly() {
    run("data");
}

#[test]
fn a_system_without_membarrier() {
    run("membarrier");
}

#[test]
fn many_pools_leave_nothing() {
    run("pools");
}

#[test]
fn resident_memory_stays_within_32_mib() {
    run("rss32");
}

#[test]
fn resident_memory_stays_within_128_mib() {
    run("rss128");
}

/// Bytes of the process that are in memory.
fn resident() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * KIB
}

fn forked<T>(result: Result<T>) {
    match result {
        Ok(_) => panic!("an inherited handle was served"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Forked, "{error}"),
    }
}

/// Runs `work` in a forked child and waits for it.
fn in_fork(work: impl FnOnce()) {
    // SAFETY: the child runs on this thread's stack only and ends with _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: plain system calls; the child ends here.
        unsafe { libc::alarm(30) };
        let code = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
        // SAFETY: as above.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the status is this function's.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:x}");
}

fn use_a_pool(name: &str) {
    let pool = Pool::open(name, Some(&PoolConfig::new(2 * MIB))).unwrap().unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    for i in 0..20_000 {
        store.set(&key(i), &[i as u8; 100]).unwrap();
        assert!(store.get_vec(&key(i)).unwrap().is_none_or(|value| value == [i as u8; 100]));
    }
    assert!(store.stats().entries > 5_000);
    let view = store.pin(&key(19_999), false).unwrap();
    drop(view);
    check(&pool);
}

fn use_inherited(pool: &Pool, store: &Store, block: *mut u8) {
    let mut buf = [std::mem::MaybeUninit::uninit(); 16];
    let options = PutOptions::default();
    forked(store.get_vec(b"k"));
    forked(store.get(b"k", &mut buf));
    forked(store.pin(b"k", true));
    forked(store.contains(b"k"));
    forked(store.take(b"k", &mut buf));
    forked(store.touch(b"k", Ttl::Keep));
    forked(store.set(b"k", b"v"));
    forked(store.set(b"k", &[1; 200_000]));
    forked(store.set(b"k", &vec![1; 4 * MIB as usize]));
    forked(store.set(&[1; 60_000], b"v"));
    forked(store.reserve(b"k", 4 * MIB as usize, &options));
    forked(store.incr(&[1; 60_000], 1, 1, Ttl::Keep));
    forked(store.incr(b"k", 1, 1, Ttl::Keep));
    forked(store.delete(b"k"));
    forked(store.delete_if(b"k", 1));
    forked(store.delete_many(&[b"k"]));
    forked(store.get_many(&[], false, &mut [], &mut []));
    forked(store.pin_many(&[], false, &mut [], &mut |_, _| {}));
    forked(store.put_many(&[], &mut |_, _| {}));
    forked(store.reserve(b"k", 10, &options));
    forked(store.invalidate(Match::All));
    forked(store.clear());
    forked(store.scan(Match::All).and_then(|mut scan| scan.next(false).map(|_| ())));
    forked(store.set_limit(MIB));
    forked(store.validate());
    forked(pool.set_limit(MIB));
    forked(pool.set_thresholds(Thresholds::default()));
    forked(pool.trim(0));
    forked(pool.alloc(10, 0, AllocOptions::default()));
    // SAFETY: nobody uses the block in this process.
    forked(unsafe { pool.free(block) });
    forked(pool.open_store(&StoreConfig::default()));
    forked(pool.find_store("s"));
    forked(pool.watch(Box::new(|_| {})));
    forked(pool.validate());
    assert!(pool.stores().is_empty());
    assert_eq!(pool.stats(), hypercache_core::stats::PoolStats::default());
    assert_eq!(store.stats(), hypercache_core::stats::StoreStats::default());
    assert!(pool.wait_pressure(&mut 0, Duration::ZERO).is_none());
    store.destroy();
}

fn fork_under_load() {
    let pool = Pool::open("shared", Some(&PoolConfig::new(8 * MIB))).unwrap().unwrap();
    let named = StoreConfig { name: Some("s".into()), ..StoreConfig::default() };
    let store = pool.open_store(&named).unwrap();
    let watch = pool.watch(Box::new(|_| {})).unwrap();
    let block = pool.alloc(100, 0, AllocOptions::default()).unwrap().as_ptr();
    let stop = Stop::default();
    let mut rounds = 0_u64;
    std::thread::scope(|scope| {
        let end = stop.at_end();
        for thread in 0..2_u64 {
            let (store, pool, stop, named) = (&store, &pool, &stop, &named);
            scope.spawn(move || {
                let mut i = thread;
                while !stop.is_set() {
                    let len = (i * 37 % 6_000) as usize + usize::from(i % 64 == 0) * 50_000;
                    store.set(&key(i % 4_000), &vec![i as u8; len]).unwrap();
                    store.get_vec(&key(i * 7 % 4_000)).unwrap();
                    if i % 16 == 0 {
                        drop(store.pin(&key(i * 3 % 4_000), false).unwrap());
                        drop(store.reserve(b"draft", 5_000, &PutOptions::default()).unwrap());
                        drop(pool.open_store(named).unwrap());
                    }
                    if i % 1_000 == 0 {
                        let _ = pool.set_limit((4 + i / 1_000 % 5) * MIB).unwrap();
                    }
                    i += 2;
                }
            });
        }
        for _ in 0..15 {
            store.set(b"pinned", &[7; 9_000]).unwrap();
            let view = store.pin(b"pinned", false).unwrap();
            let draft = store.reserve(b"d", 70_000, &PutOptions::default()).unwrap();
            in_fork(|| {
                use_inherited(&pool, &store, block);
                if let Some(view) = &view {
                    assert!(**view == [7; 9_000]);
                }
                // SAFETY: this child drops what its copy of the process holds, and ends; the
                // originals are the parent's.
                unsafe {
                    drop(std::ptr::read(&raw const view));
                    drop(std::ptr::read(&raw const draft));
                    drop(std::ptr::read(&raw const watch));
                    drop(std::ptr::read(&raw const store));
                    drop(std::ptr::read(&raw const pool));
                }
                use_a_pool("shared");
                use_a_pool("shared");
                let own = Pool::create(&PoolConfig::new(MIB)).unwrap();
                let (said, heard) = std::sync::mpsc::channel();
                let watch =
                    own.watch(Box::new(move |event| said.send(event).unwrap_or(()))).unwrap();
                let block = own.alloc(900_000, 0, AllocOptions::default()).unwrap();
                heard.recv_timeout(Duration::from_secs(10)).unwrap();
                // SAFETY: allocated above, freed once.
                unsafe { own.free(block.as_ptr()) }.unwrap();
                drop(watch);
                // A child of the child.
                in_fork(|| {
                    forked(own.validate());
                    use_a_pool("shared");
                });
            });
            rounds += 1;
        }
        drop(end);
    });
    assert_eq!(rounds, 15);
    // SAFETY: allocated above, freed once.
    unsafe { pool.free(block) }.unwrap();
    drop(watch);
    check(&pool);
    store.clear().unwrap();
    check(&pool);
    assert_eq!(pool.stats().pinned_bytes, 0);
}

fn fork_without_pools() {
    in_fork(|| use_a_pool("p"));
    use_a_pool("p");
    in_fork(|| use_a_pool("p"));
    use_a_pool("p");
}

fn a_fault_under_load() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.to_string().contains("injected fault") {
            usual(info);
        }
    }));
    let pool = Pool::create(&PoolConfig::new(8 * MIB)).unwrap();
    let config = StoreConfig { shards: 4, ..StoreConfig::default() };
    drop(pool.open_store(&config).unwrap());
    pool.trim(0).unwrap();
    let before = pool.stats().used_bytes;
    let store = pool.open_store(&config).unwrap();
    let shards = store.config().shards;
    let mut faults = 0;
    for round in 0..30_u64 {
        hypercache_core::store::testing::panic_at_write(500 + 97 * round);
        let caught: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3_u64)
                .map(|thread| {
                    let store = &store;
                    scope.spawn(move || {
                        let (mut caught, mut poisoned) = (0, 0_u64);
                        for i in (thread..6_000).step_by(3) {
                            let len = (i * 31 % 3_000) as usize + usize::from(i % 50 == 0) * 60_000;
                            let done = catch_unwind(AssertUnwindSafe(|| match i % 4 {
                                0..2 => store.set(&key(i), &vec![i as u8; len]).map(|_| ()),
                                2 => store.delete(&key(i - 2)).map(|_| ()),
                                _ => match store.get_vec(&key(i - 3)) {
                                    Ok(found) => {
                                        let same = |byte: &u8| *byte == (i - 3) as u8;
                                        assert!(found.is_none_or(|value| value.iter().all(same)));
                                        Ok(())
                                    }
                                    Err(error) => Err(error),
                                },
                            }));
                            match done {
                                Ok(Ok(())) => {}
                                Ok(Err(error)) => {
                                    assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
                                    poisoned += 1;
                                }
                                Err(_) => caught += 1,
                            }
                        }
                        assert!(poisoned < 6_000 / 3, "the other shards serve on");
                        caught
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        hypercache_core::store::testing::panic_at_write(0);
        assert_eq!(caught, 1);
        faults += 1;
        let stats = store.stats();
        assert_eq!((stats.poisoned_shards, stats.faults), (1, faults));
        check(&pool);
        assert!(pool.set_limit(if round % 2 == 0 { 6 * MIB } else { 8 * MIB }).is_ok());
        check(&pool);
        store.clear().unwrap();
        let stats = store.stats();
        assert_eq!((stats.poisoned_shards, stats.entries), (0, 0));
        check(&pool);
        for i in 0..u64::from(shards) * 20 {
            store.set(&key(i), b"works").unwrap();
        }
    }
    store.destroy();
    drop(store);
    pool.trim(0).unwrap();
    let left = pool.stats().used_bytes;
    // Tables that were once used stay: pages, not the memory of values.
    assert!(left < before + 64 * KIB, "{before} bytes before, {left} after");
    check(&pool);
}

/// Bytes of the process's address space (0) or private writable memory (5) now.
fn mapped(column: usize) -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(column).unwrap().parse::<u64>().unwrap() * 4_096
}

fn limit_resource(resource: libc::__rlimit_resource_t, soft: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is a valid struct that the kernel only reads.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Creates and uses pools under a limit of the system; counts those that were refused and those
/// that were made.
fn under_limit(resource: libc::__rlimit_resource_t, column: usize, spare: &[u64]) -> (u32, u32) {
    let (mut made, mut refused) = (0, 0);
    let value = vec![1; 30_000];
    for &spare in spare {
        for limit_bytes in [MIB, 64 * MIB, 4 << 30] {
            limit_resource(resource, mapped(column) + spare);
            let pool = Pool::create(&PoolConfig::new(limit_bytes));
            let pool = match pool {
                Ok(pool) => pool,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
                    refused += 1;
                    limit_resource(resource, libc::RLIM_INFINITY);
                    continue;
                }
            };
            made += 1;
            let most = pool.config().limit_max_bytes;
            assert!(most >= limit_bytes);
            match pool.open_store(&StoreConfig { shards: 2, ..StoreConfig::default() }) {
                Ok(store) => {
                    for i in 0..2_000 {
                        let len = [20, 1_000, 30_000][i as usize % 3];
                        match store.set(&key(i), &value[..len]) {
                            Ok(_) => {}
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
                                assert!(!store.contains(&key(i)).unwrap());
                            }
                        }
                        assert!(store.get_vec(&key(i / 2)).unwrap().is_none_or(|v| v[0] == 1));
                    }
                    if let Ok(block) = pool.alloc(100_000, 0, AllocOptions::default()) {
                        // SAFETY: the block was made just above and nobody uses it.
                        unsafe { pool.free(block.as_ptr()) }.unwrap();
                    }
                    // Checking takes memory of its own, which nobody promises to do without.
                    limit_resource(resource, libc::RLIM_INFINITY);
                    check(&pool);
                    limit_resource(resource, mapped(column) + spare);
                    store.clear().unwrap();
                    let _ = pool.set_limit(MIB).unwrap();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}"),
            }
            limit_resource(resource, libc::RLIM_INFINITY);
            check(&pool);
            drop(pool);
        }
    }
    (made, refused)
}

fn address_space_is_short() {
    let spare = [8 * MIB, 20 * MIB, 100 * MIB, 600 * MIB, 2 << 30, 40 << 30];
    let (made, refused) = under_limit(libc::RLIMIT_AS, 0, &spare);
    assert!(made >= 8 && refused >= 4, "{made} {refused}");
}

/// A limit on private memory refuses what a strict overcommit policy refuses: writable mappings
/// that are larger than what is left, then the opening of pages.
fn memory_is_accounted_strictly() {
    let spare = [MIB, 4 * MIB, 20 * MIB, 100 * MIB];
    let (made, _) = under_limit(libc::RLIMIT_DATA, 5, &spare);
    assert!(made >= 8, "{made}");
}

fn no_membarrier() {
    hypercache_core::memory::barrier::testing::refuse_membarrier();
    let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
    assert!(!hypercache_core::memory::barrier::is_asymmetric());
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let end = stop.at_end();
        for thread in 0..4_u64 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut i = thread;
                let mut kept = Vec::new();
                while !stop.is_set() {
                    i = i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
                    let name = key(i >> 33 & 0x3FF);
                    let fill = name[11];
                    if thread < 2 {
                        let len = (i >> 40) as usize % 9_000;
                        store.set(&name, &vec![fill; len]).unwrap();
                    } else if i >> 60 == 0 {
                        kept.extend(store.pin(&name, false).unwrap());
                    } else if let Some(value) = store.get_vec(&name).unwrap() {
                        assert!(value.iter().all(|&byte| byte == fill), "a torn value");
                    }
                    if kept.len() > 4 {
                        for view in kept.drain(..) {
                            assert!(view.iter().all(|byte| *byte == view[0]), "a torn view");
                        }
                    }
                }
            });
        }
        for round in 0..12 {
            std::thread::sleep(Duration::from_millis(120));
            let _ = pool.set_limit([MIB * 2, 4 * MIB][round % 2]).unwrap();
            if round % 5 == 4 {
                store.clear().unwrap();
            }
        }
        drop(end);
    });
    check(&pool);
    assert!(store.stats().evicted > 1_000);
}

fn pools_come_and_go() {
    let many = std::env::var_os("HYPERCACHE_MANY_POOLS").is_some();
    let rounds = if many { 100_000 } else { 10_000 };
    let work = |i: u64| {
        let config = PoolConfig::new((1 + i % 3) * MIB);
        let pool = Pool::open(&format!("pool {}", i % 7), Some(&config)).unwrap().unwrap();
        let store = pool.open_store(&StoreConfig { shards: 1, ..StoreConfig::default() }).unwrap();
        store.set(&key(i), &[1; 1_000]).unwrap();
        let view = store.pin(&key(i), false).unwrap().unwrap();
        if i.is_multiple_of(3) {
            store.destroy();
        }
        drop((store, pool));
        assert_eq!(view.len(), 1_000);
    };
    (0..500).for_each(work);
    let before = (resident(), mapped(0));
    (500..rounds).for_each(work);
    let after = (resident(), mapped(0));
    assert!(after.0 < before.0 + 2 * MIB, "resident: {before:?} {after:?}");
    assert!(after.1 < before.1 + 8 * MIB, "mapped: {before:?} {after:?}");
    assert!(hypercache_core::pool::pools().is_empty());
}

/// Unique sets of mixed sizes, three budgets of them, a shrink to a quarter, and all over again.
fn resident_memory(mib: u64) {
    let limit = mib * MIB;
    let value = vec![0xA5; 200_000];
    let before = resident();
    let pool = Pool::create(&PoolConfig::new(limit)).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    let mut dice = 7_u64;
    let mut next = 0;
    let mut worst = 0;
    let mut fill = |store: &Store, limit: u64, budgets: u64, low: u64, high: u64| {
        let (mut written, mut looked) = (0, 0);
        while written < budgets * limit {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let len = low + (dice >> 33) % (high - low);
            store.set(&key(next), &value[..len as usize]).unwrap();
            next += 1;
            written += len + 24;
            if written - looked > limit / 16 {
                looked = written;
                let grown = resident().saturating_sub(before);
                worst = worst.max(grown.saturating_sub(limit));
                assert!(grown <= limit + 4 * MIB, "{grown} of {limit} ({low} to {high})");
            }
        }
    };
    for (low, high) in [(1, 100), (16, 4_096), (1_000, 1_024), (100, 30_000), (5_000, 200_000)] {
        fill(&store, limit, 2, low, high);
    }
    let outcome = pool.set_limit(limit / 4).unwrap();
    assert_eq!(outcome, hypercache_core::pool::LimitOutcome::Reached);
    let grown = resident().saturating_sub(before);
    assert!(grown <= limit / 4 + 4 * MIB, "{grown} after the shrink");
    fill(&store, limit / 4, 2, 16, 4_096);
    let _ = pool.set_limit(limit).unwrap();
    fill(&store, limit, 2, 16, 4_096);
    let payload = store.stats().payload_bytes;
    assert!(payload * 10 > limit * 8, "{payload} of {limit} live after growing again");
    let _ = pool.set_limit(limit / 4).unwrap();
    pool.trim(0).unwrap();
    // Not before: the check's own tables are on the process's heap.
    check(&pool);
    let grown = resident().saturating_sub(before);
    let used = pool.stats().used_bytes;
    assert!(used <= limit / 16, "{used} bytes used by tables after the trim");
    assert!(grown <= used + MIB, "{grown} resident after the trim, {used} used");
    drop((store, pool));
    let grown = resident().saturating_sub(before);
    assert!(grown <= 2 * MIB, "{grown} after the end");
    println!("{mib} MiB: at most {worst} bytes above the limit");
}

/// A program that panics for reasons of its own may use the cache while it unwinds.
#[test]
fn unwinding_for_other_reasons_poisons_nothing() {
    struct AtEnd<'a>(&'a Store);
    impl Drop for AtEnd<'_> {
        fn drop(&mut self) {
            self.0.set(b"last words", b"said").unwrap();
            self.0.delete(b"k").unwrap();
            let _ = self.0.stats();
        }
    }
    let pool = crate::common::pool(2);
    let store = crate::common::store(&pool);
    store.set(b"k", b"v").unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _at_end = AtEnd(&store);
        std::panic::resume_unwind(Box::new("the program's own"));
    }));
    assert!(caught.is_err());
    let stats = store.stats();
    assert_eq!((stats.poisoned_shards, stats.faults), (0, 0));
    assert_eq!(store.get_vec(b"last words").unwrap().unwrap(), b"said");
    assert!(!store.contains(b"k").unwrap());
    check(&pool);
}
