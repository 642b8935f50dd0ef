//! The pool against the operating system: what the process's resident set says, and systems that
//! refuse. Each case has a process of its own, so that nothing else moves its figures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use hypercache_core::memory::sys;
use hypercache_core::pool::{AllocOptions, LimitOutcome, Pool, SegId, Space, Use};
use hypercache_core::{ErrorKind, PoolConfig};
use support::{MIB, alone};

/// The process's resident set, bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * sys::page_bytes()
}

fn fill(space: &Space, id: SegId) {
    // SAFETY: the test holds the segment.
    unsafe { space.seg_addr(id).write_bytes(1, space.seg_bytes() as usize) };
}

/// Takes and fills segments, and runs between them, until the limit is reached.
fn fill_up(pool: &Pool, run_bytes: u64) -> (Vec<SegId>, Vec<u32>) {
    let space = pool.space();
    let (mut segments, mut runs) = (Vec::new(), Vec::new());
    while let Some(id) = space.take_segment(Use::Log).unwrap() {
        fill(space, id);
        segments.push(id);
        if run_bytes != 0
            && segments.len() % 4 == 0
            && let Some(run) = space.take_run(run_bytes).unwrap()
        {
            // SAFETY: the test holds the run.
            unsafe { space.run_addr(run).write_bytes(1, run_bytes as usize) };
            runs.push(run);
        }
    }
    (segments, runs)
}

#[test]
fn the_resident_set_stays_below_the_limit() {
    alone("the_resident_set_stays_below_the_limit", || {
        for limit in [16 * MIB, 256 * MIB] {
            let before = resident();
            let pool = Pool::create(&PoolConfig::new(limit)).unwrap();
            let space = pool.space();
            // What the vectors of this test take is not the pool's.
            let slack = 2 * MIB;
            for run_bytes in [0, 300_000, 40_000] {
                let (segments, runs) = fill_up(&pool, run_bytes);
                let grown = resident() - before;
                assert!(grown <= limit + slack, "{grown} of {limit}");
                assert!(grown > limit * 9 / 10, "{grown} of {limit}");
                pool.validate().unwrap();
                for (i, id) in segments.into_iter().enumerate() {
                    // Every other one in another order, so that chunks are split.
                    if i % 2 == 0 { space.give_segment(id) } else { space.retire_segment(id) }
                }
                for run in runs {
                    space.retire_run(run);
                }
                while space.waiting_bytes() != 0 {
                    space.harvest(true);
                }
            }
            assert_eq!(pool.set_limit(limit / 4).unwrap(), LimitOutcome::Reached);
            let grown = resident() - before;
            assert!(grown <= limit / 4 + slack, "{grown} after a shrink to {}", limit / 4);
            pool.validate().unwrap();
            fill_up(&pool, 100_000);
            let grown = resident() - before;
            assert!(grown <= limit / 4 + slack, "{grown} of {}", limit / 4);
            drop(pool);
            let left = resident().saturating_sub(before);
            assert!(left <= slack, "{left} after the pool went");
        }
    });
}

/// Shrunken memory must not come back: khugepaged fills huge ranges that are partly empty.
#[test]
fn memory_that_was_given_back_stays_given_back() {
    alone("memory_that_was_given_back_stays_given_back", || {
        let limit = 128 * MIB;
        let before = resident();
        let pool = Pool::create(&PoolConfig::new(limit)).unwrap();
        let space = pool.space();
        let (segments, _) = fill_up(&pool, 0);
        // Three of four segments go, one of each four stays: every chunk is split.
        for (i, &id) in segments.iter().enumerate() {
            if i % 4 != 0 {
                space.give_segment(id);
            }
        }
        assert_eq!(pool.set_limit(limit / 4 + 4 * MIB).unwrap(), LimitOutcome::Reached);
        for _ in 0..30 {
            let grown = resident() - before;
            assert!(grown <= limit / 4 + 6 * MIB, "{grown}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        pool.validate().unwrap();
    });
}

fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: setrlimit reads the structure only.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

#[test]
fn little_address_space_makes_a_narrow_pool() {
    alone("little_address_space_makes_a_narrow_pool", || {
        limit_address_space(1 << 30);
        let error = Pool::create(&PoolConfig::new(4 << 30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoMemory);
        assert!(error.os_error() != 0);
        let pool = Pool::create(&PoolConfig::new(64 * MIB)).unwrap();
        assert_eq!(pool.config().limit_max_bytes, 64 * MIB, "the limit is all there is room for");
        assert_eq!(pool.set_limit(65 * MIB).unwrap_err().kind(), ErrorKind::Invalid);
        let (segments, runs) = fill_up(&pool, 500_000);
        pool.validate().unwrap();
        assert!(!segments.is_empty() && !runs.is_empty());
        let config = PoolConfig { prefault: true, ..PoolConfig::new(8 * MIB) };
        Pool::create(&config).unwrap().validate().unwrap();
    });
}

#[test]
fn strict_accounting_opens_memory_as_it_is_needed() {
    alone("strict_accounting_opens_memory_as_it_is_needed", || {
        sys::testing::account_strictly(true);
        for limit in [MIB, 64 * MIB] {
            let pool = Pool::create(&PoolConfig::new(limit)).unwrap();
            let space = pool.space();
            let (segments, runs) = fill_up(&pool, 20_000);
            assert!(!runs.is_empty());
            pool.validate().unwrap();
            for id in segments {
                space.retire_segment(id);
            }
            for run in runs {
                space.give_run(run);
            }
            while space.waiting_bytes() != 0 {
                space.harvest(true);
            }
            space.release_free(limit / 2);
            pool.validate().unwrap();
            let block = pool.alloc(1_000, 64, AllocOptions::default()).unwrap();
            // SAFETY: allocated just now.
            unsafe { pool.free(block.as_ptr()).unwrap() };
            fill_up(&pool, 30_000);
            pool.validate().unwrap();
        }
    });
}

/// Runs `work` in a forked child; its exit status, or the signal that ended it, negative.
fn forked(work: impl FnOnce()) -> i32 {
    // SAFETY: the child runs `work` and leaves without unwinding into the parent's frames.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

#[test]
fn a_child_starts_afresh() {
    alone("a_child_starts_afresh", || {
        let config = PoolConfig::new(2 * MIB);
        let pool = Pool::open("inherited", Some(&config)).unwrap().unwrap();
        let segment = pool.space().take_segment(Use::Log).unwrap().unwrap();
        let status = forked(|| {
            assert_eq!(pool.set_limit(MIB).unwrap_err().kind(), ErrorKind::Forked);
            assert_eq!(pool.trim(0).unwrap_err().kind(), ErrorKind::Forked);
            assert_eq!(pool.validate().unwrap_err().kind(), ErrorKind::Forked);
            let refused = pool.alloc(10, 0, AllocOptions::default()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Forked);
            assert_eq!(pool.stats().used_bytes, 0);
            assert!(Pool::open("inherited", None).unwrap().is_none());
            let own = Pool::open("inherited", Some(&config)).unwrap().unwrap();
            let segment = own.space().take_segment(Use::Log).unwrap().unwrap();
            fill(own.space(), segment);
            own.space().retire_segment(segment);
            while own.space().waiting_bytes() != 0 {
                own.space().harvest(true);
            }
            own.validate().unwrap();
            assert!(Pool::open("inherited", None).unwrap().is_some());
            drop(own);
            drop(pool.clone());
        });
        assert_eq!(status, 0);
        fill(pool.space(), segment);
        pool.validate().unwrap();
        assert!(Pool::open("inherited", None).unwrap().is_some());
    });
}

#[test]
fn a_read_of_reclaimed_memory_faults_under_the_switch() {
    alone("a_read_of_reclaimed_memory_faults_under_the_switch", || {
        sys::testing::protect_reclaimed(true);
        let pool = Pool::create(&PoolConfig::new(2 * MIB)).unwrap();
        let space = pool.space();
        let id = space.take_segment(Use::Log).unwrap().unwrap();
        fill(space, id);
        space.retire_segment(id);
        let address = space.seg_addr(id) as usize;
        // SAFETY: while it waits the segment may be read.
        let read = || assert_eq!(unsafe { (address as *const u8).read_volatile() }, 1);
        assert_eq!(forked(read), 0);
        while space.waiting_bytes() != 0 {
            space.harvest(true);
        }
        assert_eq!(forked(read), -libc::SIGSEGV);
        space.release_free(u64::MAX);
        assert_eq!(space.take_segment(Use::Log).unwrap(), Some(id));
        fill(space, id);
        pool.validate().unwrap();
    });
}
