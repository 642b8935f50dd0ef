//! Tests of the pool beneath the stores: memory, limits, waiting, names.

use super::space::{SegId, Space};
use super::*;
use crate::error::ErrorKind;
use crate::memory::guard::{Guard, Inside};
use crate::memory::lock::FutexMutex;
use crate::memory::sys::{self, testing::fail_after};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32};

const MIB: u64 = 1 << 20;

fn pool(limit: u64) -> Pool {
    Pool::create(&PoolConfig::new(limit)).unwrap()
}

/// Pages of a range that have memory.
fn resident(from: *mut u8, bytes: u64) -> u64 {
    let mut pages = vec![0_u8; (bytes / 4_096) as usize];
    // SAFETY: the range is mapped, and `pages` has a byte for each of its pages.
    let done = unsafe { libc::mincore(from.cast(), bytes as usize, pages.as_mut_ptr()) };
    assert_eq!(done, 0);
    pages.iter().filter(|&&page| page & 1 == 1).count() as u64
}

/// Bytes of all segments that have memory.
fn resident_segments(space: &Space) -> u64 {
    resident(space.segments_base(), u64::from(space.segments_max()) * space.seg_bytes()) * 4_096
}

fn fill(space: &Space, id: SegId, byte: u8) {
    // SAFETY: the test holds the segment.
    unsafe { space.seg_addr(id).write_bytes(byte, space.seg_bytes() as usize) };
}

fn fill_run(space: &Space, id: RunId, byte: u8) {
    // SAFETY: the test holds the run.
    unsafe { space.run_addr(id).write_bytes(byte, space.run_charge(id) as usize) };
}

fn check(pool: &Pool) {
    pool.validate().unwrap();
    let (limit, used) = pool.space().limit_and_used();
    assert!(used <= limit, "{used} of {limit}");
}

/// Harvests until nothing waits. Other tests' readers may be in the way for a moment.
fn harvest_all(space: &Space) {
    for _ in 0..10_000 {
        if space.waiting_bytes() == 0 {
            return;
        }
        space.harvest(true);
        std::thread::yield_now();
    }
    panic!("{} bytes wait", space.waiting_bytes());
}

/// A store that is a queue of segments and runs.
struct Fake {
    space: *const Space,
    id: u32,
    name: Option<String>,
    floor: u64,
    hits: AtomicU64,
    open: AtomicBool,
    /// Frees by `give` instead of `retire`.
    gives: AtomicBool,
    held: FutexMutex<VecDeque<u32>>,
}

// SAFETY: the space is Sync and outlives the fake in every test.
unsafe impl Send for Fake {}
// SAFETY: as above.
unsafe impl Sync for Fake {}

impl Fake {
    fn new(pool: &Pool, id: u32, floor: u64) -> Arc<Self> {
        let fake = Arc::new(Self {
            space: pool.space(),
            id,
            name: Some(format!("fake {id}")),
            floor,
            hits: AtomicU64::new(0),
            open: AtomicBool::new(true),
            gives: AtomicBool::new(false),
            held: FutexMutex::default(),
        });
        let weak: std::sync::Weak<Self> = Arc::downgrade(&fake);
        pool.tenants().register(weak, id);
        fake
    }

    fn space(&self) -> &Space {
        // SAFETY: see above.
        unsafe { &*self.space }
    }

    fn bytes_of(&self, id: u32) -> u64 {
        if id < RUN_BASE { self.space().seg_bytes() } else { self.space().run_charge(id) }
    }

    fn take(&self) -> bool {
        match self.space().take_segment(Use::Log).unwrap() {
            Some(id) => {
                fill(self.space(), id, self.id as u8);
                self.held.lock().push_back(id);
                true
            }
            None => false,
        }
    }

    fn take_run(&self, bytes: u64) -> bool {
        match self.space().take_run(bytes).unwrap() {
            Some(id) => {
                fill_run(self.space(), id, self.id as u8);
                self.held.lock().push_back(id);
                true
            }
            None => false,
        }
    }
}

impl Tenant for Fake {
    fn reclaim(&self, bytes: u64) -> u64 {
        let mut given = 0;
        while given < bytes {
            let Some(id) = self.held.lock().pop_front() else { break };
            given += self.bytes_of(id);
            match (id < RUN_BASE, self.gives.load(Ordering::Relaxed)) {
                (true, false) => self.space().retire_segment(id),
                (true, true) => self.space().give_segment(id),
                (false, false) => self.space().retire_run(id),
                (false, true) => self.space().give_run(id),
            }
        }
        given
    }
    fn used_bytes(&self) -> u64 {
        self.held.lock().iter().map(|&id| self.bytes_of(id)).sum()
    }
    fn floor_bytes(&self) -> u64 {
        self.floor
    }
    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    fn validate(&self) -> Result<()> {
        Ok(())
    }
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
    fn id(&self) -> u32 {
        self.id
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[test]
fn a_small_pool_hands_out_all_it_has_and_no_more() {
    let pool = pool(MIB);
    let space = pool.space();
    let mut taken = Vec::new();
    while let Some(id) = space.take_segment(Use::Log).unwrap() {
        fill(space, id, 1);
        taken.push(id);
        check(&pool);
    }
    let bytes = taken.len() as u64 * space.seg_bytes();
    assert!(bytes >= MIB * 9 / 10, "{bytes} of a MiB can be used");
    assert_eq!(space.available_segments(), 0);
    assert_eq!(resident_segments(space), bytes);
    let seqs: Vec<_> = taken.iter().map(|&id| space.meta(id).seq.load(Ordering::Relaxed)).collect();
    assert_eq!(seqs, (1..=taken.len() as u64).collect::<Vec<_>>());

    let last = taken.pop().unwrap();
    space.give_segment(last);
    assert_eq!(space.available_segments(), 1);
    assert_eq!(space.take_segment(Use::Index).unwrap(), Some(last), "the latest freed is first");
    assert_eq!(space.meta(last).usage(), Use::Index);
    for id in taken {
        space.give_segment(id);
    }
    check(&pool);
    assert!(space.release_free(u64::MAX) >= bytes - space.seg_bytes());
    assert_eq!(resident_segments(space), space.seg_bytes());
    check(&pool);
}

#[test]
fn runs_are_charged_to_the_page_and_need_no_neighbours() {
    let pool = pool(4 * MIB);
    let space = pool.space();
    let before = space.used_bytes();
    let run = space.take_run(100_000).unwrap().unwrap();
    assert_eq!(space.run_charge(run), 102_400);
    // The first run of a class may charge a page of the run table.
    assert!(space.used_bytes() - before <= 102_400 + 4_096);
    fill_run(space, run, 9);
    assert_eq!(space.run_of_addr(space.run_addr(run)), Some(run));
    assert_eq!(space.run_of_addr(space.run_addr(run).wrapping_add(1)), None);
    assert_eq!(space.run_of_addr(space.segments_base()), None);
    check(&pool);
    space.give_run(run);
    check(&pool);

    // Fill with small runs, free every other one: half the budget holds one large run.
    let mut small = Vec::new();
    while let Some(run) = space.take_run(40_000).unwrap() {
        fill_run(space, run, 1);
        small.push(run);
    }
    check(&pool);
    let mut freed = 0;
    for &run in small.iter().step_by(2) {
        freed += space.run_charge(run);
        space.give_run(run);
    }
    let large = space.take_run(freed - 8_192).unwrap().expect("room is bytes, not neighbours");
    // SAFETY: the run is held by the test.
    let zeros =
        unsafe { std::slice::from_raw_parts(space.run_addr(large), freed as usize - 8_192) };
    assert!(zeros.iter().all(|&byte| byte == 0), "runs are zeroed");
    check(&pool);
    assert_eq!(space.take_run(u64::MAX / 2).unwrap(), None);
    assert_eq!(space.take_run(space.limit_max()).unwrap(), None);
}

#[test]
fn a_run_takes_the_memory_of_free_segments() {
    let pool = pool(2 * MIB);
    let space = pool.space();
    let mut taken = Vec::new();
    while let Some(id) = space.take_segment(Use::Log).unwrap() {
        fill(space, id, 1);
        taken.push(id);
    }
    assert_eq!(space.take_run(MIB).unwrap(), None);
    for id in taken {
        space.give_segment(id);
    }
    let run = space.take_run(MIB).unwrap().unwrap();
    fill_run(space, run, 2);
    check(&pool);
    assert!(resident_segments(space) + MIB <= 2 * MIB);
}

#[test]
fn a_terabyte_is_address_space_only() {
    let config = PoolConfig { limit_max_bytes: 1 << 40, ..PoolConfig::new(16 * MIB) };
    let pool = Pool::create(&config).unwrap();
    assert_eq!(pool.config().limit_max_bytes, 1 << 40);
    assert!(pool.stats().used_bytes < MIB);
    let run = pool.space().take_run(8 * MIB).unwrap().unwrap();
    fill_run(pool.space(), run, 1);
    assert_eq!(pool.set_limit(1 << 40).unwrap(), LimitOutcome::Reached);
    check(&pool);
    let whole = Pool::create(&PoolConfig::new(1 << 40)).unwrap();
    assert!(whole.stats().used_bytes < MIB);
    whole.space().take_segment(Use::Log).unwrap().unwrap();
    check(&whole);
}

#[test]
fn the_largest_limit_has_a_layout() {
    let pool = Pool::create(&PoolConfig::new(crate::config::POOL_LIMIT_MAX)).unwrap();
    pool.space().take_segment(Use::Log).unwrap().unwrap();
    pool.space().take_run(5 << 30).unwrap().unwrap();
    check(&pool);
}

#[test]
fn whole_chunks_are_split_only_when_they_must_be() {
    let pool = pool(64 * MIB);
    let space = pool.space();
    if !space.asks_for_huge_pages() {
        return;
    }
    let mut taken = Vec::new();
    while let Some(id) = space.take_segment(Use::Log).unwrap() {
        fill(space, id, 1);
        taken.push(id);
    }
    check(&pool);
    let bytes = taken.len() as u64 * space.seg_bytes();
    assert!(bytes > 64 * MIB - MIB, "the rest of the limit is used by single segments: {bytes}");
    assert!(space.huge_bytes() <= bytes);
    let huge = space.huge_bytes();

    // One segment goes: its chunk is split, one segment is uncharged.
    let used = space.used_bytes();
    space.give_segment(taken[0]);
    assert_eq!(space.release_free(1), space.seg_bytes());
    assert_eq!(space.used_bytes(), used - space.seg_bytes());
    assert!(space.huge_bytes() < huge || huge == 0);
    assert_eq!(resident_segments(space), bytes - space.seg_bytes());
    check(&pool);
    // It comes back: the chunk has all its segments again.
    assert_eq!(space.take_segment(Use::Log).unwrap(), Some(taken[0]));
    check(&pool);

    // All of a chunk goes: no split.
    let segs = 2 * MIB / space.seg_bytes();
    for &id in &taken[..segs as usize] {
        space.give_segment(id);
    }
    check(&pool);
    assert_eq!(space.release_free(2 * MIB), 2 * MIB);
    assert_eq!(resident_segments(space), bytes - 2 * MIB);
    check(&pool);
    for _ in 0..segs {
        space.take_segment(Use::Log).unwrap().unwrap();
    }
    check(&pool);
}

#[test]
fn prefault_backs_everything_now() {
    for limit in [3 * MIB, 64 * MIB] {
        let config = PoolConfig { prefault: true, ..PoolConfig::new(limit) };
        let pool = Pool::create(&config).unwrap();
        check(&pool);
        let resident = resident_segments(pool.space());
        assert!(resident > limit * 9 / 10, "{resident} of {limit}");
        assert!(pool.space().available_segments() > 0);
        assert!(pool.space().take_segment(Use::Log).unwrap().is_some());
        check(&pool);
    }
}

#[test]
fn a_shrink_follows_the_used_bytes_and_gives_memory_back() {
    for limit in [8 * MIB, 128 * MIB] {
        let pool = pool(limit);
        let space = pool.space();
        let fake = Fake::new(&pool, 1, limit);
        let mut i = 0;
        while fake.take() {
            i += 1;
            if i % 5 == 0 {
                fake.take_run(3 * space.seg_bytes() / 2);
            }
        }
        assert_eq!(pool.set_limit(limit / 4).unwrap(), LimitOutcome::Reached);
        check(&pool);
        let (in_force, used) = space.limit_and_used();
        assert_eq!(in_force, limit / 4);
        assert!(used > limit / 8, "{used} of {in_force}: no more is evicted than has to be");
        assert!(resident_segments(space) <= limit / 4);
        assert_eq!(pool.set_limit(limit / 2).unwrap(), LimitOutcome::Reached);
        while fake.take() {}
        check(&pool);
        let freed = pool.trim(limit / 8).unwrap();
        assert!(freed >= limit / 8, "{freed}");
        assert!(space.used_bytes() <= limit / 8);
        check(&pool);
        pool.tenants().unregister(1);
    }
}

#[test]
fn what_is_pinned_stays_and_goes_when_it_is_unpinned() {
    let pool = pool(2 * MIB);
    let space = pool.space();
    let fake = Fake::new(&pool, 1, 0);
    while fake.take() {}
    let pinned: Vec<_> = fake.held.lock().iter().copied().take(90).collect();
    for &id in &pinned {
        space.meta(id).pins.fetch_add(1, Ordering::AcqRel);
    }
    assert!(pool.pin_charge(400_000));
    assert_eq!(pool.set_limit(MIB).unwrap(), LimitOutcome::Partial);
    check(&pool);
    let stats = pool.stats();
    assert_eq!(stats.target_bytes, MIB);
    assert!(stats.limit_bytes > MIB && stats.limit_bytes >= stats.used_bytes);
    assert!(space.take_segment(Use::Log).unwrap().is_none());
    for &id in &pinned {
        space.meta(id).pins.fetch_sub(1, Ordering::AcqRel);
    }
    // SAFETY: charged above.
    unsafe { Pool::pin_discharge(pool.as_inner(), 400_000) };
    for _ in 0..1_000 {
        // A guard of another test may name one of our segments for a moment.
        space.harvest(true);
    }
    let stats = pool.stats();
    assert_eq!(stats.limit_bytes, MIB, "the rest went with the pins");
    check(&pool);
}

#[test]
fn the_later_limit_wins() {
    let pool = pool(32 * MIB);
    let fake = Fake::new(&pool, 1, 0);
    while fake.take() {}
    // What holds the shrink up for a while.
    for &id in fake.held.lock().iter() {
        pool.space().meta(id).pins.fetch_add(1, Ordering::AcqRel);
    }
    std::thread::scope(|scope| {
        let shrink = scope.spawn(|| pool.set_limit(4 * MIB).unwrap());
        while pool.stats().target_bytes != 4 * MIB {
            std::thread::yield_now();
        }
        assert_eq!(pool.set_limit(48 * MIB).unwrap(), LimitOutcome::Reached);
        let outcome = shrink.join().unwrap();
        assert!(outcome != LimitOutcome::Reached, "{outcome:?}");
    });
    check(&pool);
}

#[test]
fn limits_out_of_range_are_refused_by_name() {
    let pool = pool(2 * MIB);
    for bytes in [0, MIB - 1, 17 * MIB, u64::MAX] {
        let error = pool.set_limit(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.context().contains(&bytes.to_string()), "{error}");
    }
    check(&pool);
}

#[test]
fn guards_readers_and_pins_hold_what_waits() {
    let pool = pool(2 * MIB);
    let space = pool.space();
    let take = || space.take_segment(Use::Log).unwrap().unwrap();
    let (guarded, read, pinned, free) = (take(), take(), take(), take());
    let mut inside = Inside::enter(pool.generation()).unwrap();
    inside.announce(guarded, || &space.meta(guarded).readers);
    space.meta(read).readers.fetch_add(1, Ordering::SeqCst);
    space.meta(pinned).pins.fetch_add(1, Ordering::SeqCst);
    for id in [guarded, read, pinned, free] {
        space.retire_segment(id);
    }
    let run = space.take_run(50_000).unwrap().unwrap();
    space.run_meta(run).pins.fetch_add(1, Ordering::SeqCst);
    space.retire_run(run);
    check(&pool);
    let waiting = space.waiting_bytes();
    assert_eq!(waiting, 4 * space.seg_bytes() + 53_248);
    for _ in 0..1_000 {
        space.harvest(true);
        check(&pool);
        if space.meta(free).usage() == Use::Free {
            break;
        }
    }
    assert_eq!(space.meta(free).usage(), Use::Free);
    assert_eq!(space.harvest(true).bytes, 0);
    for id in [guarded, read, pinned] {
        assert_eq!(space.meta(id).usage(), Use::Waiting);
    }
    drop(inside);
    space.meta(read).readers.fetch_sub(1, Ordering::SeqCst);
    space.meta(pinned).pins.fetch_sub(1, Ordering::SeqCst);
    space.run_meta(run).pins.fetch_sub(1, Ordering::SeqCst);
    harvest_all(space);
    check(&pool);
}

#[test]
fn memory_retired_inside_waits_for_everybody_inside() {
    let pool = pool(2 * MIB);
    let space = pool.space();
    let segment = space.take_segment(Use::Index).unwrap().unwrap();
    let run = space.take_run(9_000).unwrap().unwrap();
    let inside = Inside::enter(pool.generation()).unwrap();
    space.retire_segment_inside(segment);
    space.retire_run_inside(run);
    for _ in 0..10 {
        assert_eq!(space.harvest(true).bytes, 0);
        check(&pool);
    }
    let later = space.take_segment(Use::Index).unwrap().unwrap();
    space.retire_segment_inside(later);
    drop(inside);
    harvest_all(space);
    check(&pool);
    assert_eq!(space.meta(later).usage(), Use::Free);
}

#[test]
fn an_unforced_harvest_waits_for_enough() {
    let pool = pool(256 * MIB);
    let space = pool.space();
    let take = || space.take_segment(Use::Log).unwrap().unwrap();
    let segments: Vec<_> = (0..4).map(|_| take()).collect();
    space.retire_segment(segments[0]);
    assert_eq!(space.harvest(false), Harvest::default());
    space.retire_segment(segments[1]);
    for _ in 0..1_000 {
        space.harvest(false);
    }
    assert_eq!(space.waiting_bytes(), 0);
    check(&pool);
}

#[test]
fn memory_is_wiped_where_that_is_asked_for() {
    let config = PoolConfig { zero_on_free: true, ..PoolConfig::new(2 * MIB) };
    let pool = Pool::create(&config).unwrap();
    let space = pool.space();
    let id = space.take_segment(Use::Log).unwrap().unwrap();
    fill(space, id, 7);
    space.retire_segment(id);
    harvest_all(space);
    assert_eq!(space.take_segment(Use::Log).unwrap(), Some(id));
    // SAFETY: the test holds the segment.
    let bytes =
        unsafe { std::slice::from_raw_parts(space.seg_addr(id), space.seg_bytes() as usize) };
    assert!(bytes.iter().all(|&byte| byte == 0));
}

#[test]
fn the_store_of_least_use_gives_down_to_its_floor() {
    let pool = pool(8 * MIB);
    let floor = MIB;
    let (busy, idle) = (Fake::new(&pool, 1, 0), Fake::new(&pool, 2, floor));
    assert_eq!(pool.tenants_floor_sum(), floor);
    while busy.take() && idle.take() {}
    let total = busy.used_bytes() + idle.used_bytes();
    for _ in 0..64 {
        busy.hits.fetch_add(1_000, Ordering::Relaxed);
        pool.reclaim_for(Some(1), pool.space().seg_bytes());
        while busy.take() {}
        check(&pool);
    }
    assert!(busy.used_bytes() > total / 2 + 32 * pool.space().seg_bytes());
    assert!(idle.used_bytes() >= floor);
    for _ in 0..1_000 {
        busy.hits.fetch_add(1_000, Ordering::Relaxed);
        pool.reclaim_for(Some(1), pool.space().seg_bytes());
        while busy.take() {}
    }
    let left = idle.used_bytes();
    assert!(left >= floor - pool.space().seg_bytes() && left < floor + MIB / 4, "{left}");

    // Nobody reads: who asks gives.
    pool.tenants().unregister(1);
    let quiet = Fake::new(&pool, 3, 0);
    let before = idle.used_bytes();
    assert_eq!(pool.tenants_open(), 2);
    busy.gives.store(true, Ordering::Relaxed);
    busy.reclaim(2 * MIB);
    while quiet.take() {}
    let given = pool.reclaim_for(Some(3), 4 * pool.space().seg_bytes());
    assert_eq!(given, 4 * pool.space().seg_bytes());
    assert_eq!(idle.used_bytes(), before);
    assert!(pool.tenants().find("fake 3").is_some());
    quiet.open.store(false, Ordering::Relaxed);
    assert!(pool.tenants().find("fake 3").is_none());
}

#[test]
fn heap_charges_are_exact_in_sum() {
    let pool = pool(MIB);
    let space = pool.space();
    let before = space.used_bytes();
    let charged = space.fixed_bytes();
    for _ in 0..1_000 {
        assert!(space.charge(100));
    }
    assert!(space.fixed_bytes() - charged <= 100_000 + 4_096);
    check(&pool);
    for _ in 0..500 {
        space.discharge(200);
    }
    assert_eq!(space.used_bytes(), before);
    assert!(!space.charge(2 * MIB));
    check(&pool);
}

#[test]
fn the_pin_limit_holds() {
    let config = PoolConfig { pin_limit_bytes: 1_000, ..PoolConfig::new(MIB) };
    let pool = Pool::create(&config).unwrap();
    let space = pool.space();
    assert!(pool.pin_charge(600));
    assert!(!pool.pin_charge(401));
    assert!(space.pin_charge(400));
    assert_eq!(space.pinned_bytes(), 1_000);
    assert!(pool.stats().held_bytes >= 1_000);
    space.pin_discharge(400);
    // SAFETY: charged above.
    unsafe { Pool::pin_discharge(pool.as_inner(), 600) };
    assert_eq!(space.pinned_bytes(), 0);
    assert!(!pool.pin_charge(1_001));
}

#[test]
fn pinned_memory_outlives_the_handles() {
    let pool = pool(MIB);
    let space: *const Space = pool.space();
    let id = pool.space().take_segment(Use::Log).unwrap().unwrap();
    fill(pool.space(), id, 5);
    let address = pool.space().seg_addr(id);
    let inner = pool.as_inner();
    assert!(pool.pin_charge(100));
    assert!(pool.pin_charge(200));
    let weak = Arc::downgrade(&pool.0);
    drop(pool);
    // SAFETY: 300 bytes are pinned, so the pool and its memory live.
    unsafe {
        assert_eq!(address.read(), 5);
        Pool::pin_discharge(inner, 100);
        assert_eq!((*space).pinned_bytes(), 200);
        Pool::pin_discharge(inner, 200);
    }
    assert!(weak.upgrade().is_none(), "the last view took the pool along");
}

#[test]
fn pins_come_and_go_on_many_threads_while_handles_go() {
    for _ in 0..200 {
        let pool = pool(MIB);
        let weak = Arc::downgrade(&pool.0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let pool = pool.clone();
                scope.spawn(move || {
                    let inner = pool.as_inner();
                    for _ in 0..50 {
                        assert!(pool.pin_charge(8));
                        // SAFETY: charged just now.
                        unsafe { Pool::pin_discharge(inner, 8) };
                    }
                    assert!(pool.pin_charge(8));
                    drop(pool);
                    // SAFETY: charged above.
                    unsafe { Pool::pin_discharge(inner, 8) };
                });
            }
            drop(pool);
        });
        assert!(weak.upgrade().is_none());
    }
}

#[test]
fn blocks_of_the_application_outlive_the_handles() {
    let pool = pool(MIB);
    let block = pool.alloc(100, 0, AllocOptions { zero: true, ..AllocOptions::default() }).unwrap();
    drop(pool);
    // SAFETY: the block was not freed.
    unsafe { assert_eq!(block.read(), 0) };
}

#[test]
fn raw_memory_is_the_pools() {
    let pool = pool(4 * MIB);
    let fake = Fake::new(&pool, 1, 0);
    let small = pool.alloc(64, 0, AllocOptions::default()).unwrap();
    let large = pool.alloc(700_000, 4_096, AllocOptions::default()).unwrap();
    assert!(pool.stats().app_bytes >= 700_064);
    assert!(pool.stats().held_bytes >= 700_064);
    while fake.take() {}
    check(&pool);
    let refused = pool.alloc(500_000, 0, AllocOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    assert_eq!(pool.stats().alloc_failures, 1);
    let evicting = AllocOptions { evict: true, zero: false };
    let block = pool.alloc(500_000, 0, evicting).unwrap();
    check(&pool);
    assert_eq!(pool.alloc(5 << 20, 0, evicting).unwrap_err().kind(), ErrorKind::NoSpace);
    check(&pool);
    for block in [small, large, block] {
        // SAFETY: allocated above, freed once.
        unsafe {
            pool.free(block.as_ptr()).unwrap();
            assert_eq!(pool.free(block.as_ptr()).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
    let mut here = 0_u8;
    // SAFETY: it is refused before anything is touched.
    let foreign = unsafe { pool.free(&raw mut here) };
    assert_eq!(foreign.unwrap_err().kind(), ErrorKind::Invalid);
    // SAFETY: null is taken for nothing.
    assert!(unsafe { pool.free(std::ptr::null_mut()) }.is_ok());
    check(&pool);
    assert_eq!(pool.stats().app_bytes, 0);
}

#[test]
fn a_name_is_one_pool() {
    assert!(Pool::open("nobody", None).unwrap().is_none());
    let config = PoolConfig::new(2 * MIB);
    let pool = Pool::open("shared", Some(&config)).unwrap().unwrap();
    assert_eq!(pool.name(), Some("shared"));
    for config in [None, Some(&config)] {
        let same = Pool::open("shared", config).unwrap().unwrap();
        assert_eq!(pool.id(), same.id());
    }
    let other = PoolConfig::new(3 * MIB);
    let error = Pool::open("shared", Some(&other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.context().contains("limit_bytes"), "{error}");
    // The limit it was created with counts, not the one in force.
    assert_eq!(pool.set_limit(4 * MIB).unwrap(), LimitOutcome::Reached);
    assert!(Pool::open("shared", Some(&config)).is_ok());
    assert!(pools().iter().any(|other| other.id() == pool.id()));
    let label = PoolConfig { name: Some("label".into()), ..config.clone() };
    assert_eq!(Pool::open("shared", Some(&label)).unwrap_err().kind(), ErrorKind::Invalid);
    let labelled = Pool::create(&label).unwrap();
    assert!(Pool::open("label", None).unwrap().is_none(), "a label is not findable");
    drop((pool, labelled));
    assert!(Pool::open("shared", None).unwrap().is_none(), "the name went with the pool");
    let again = Pool::open("shared", Some(&other)).unwrap().unwrap();
    assert_eq!(again.config().limit_bytes, 3 * MIB);
    assert!(Pool::open("bad", Some(&PoolConfig::new(1))).is_err());
    assert!(Pool::open("bad", Some(&config)).unwrap().is_some(), "a failure leaves no reservation");
}

#[test]
fn threads_that_open_one_name_get_one_pool() {
    for round in 0..50 {
        let name = format!("raced {round}");
        let next = AtomicU32::new(0);
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        next.fetch_add(1, Ordering::SeqCst);
                        while next.load(Ordering::SeqCst) < 4 {
                            std::hint::spin_loop();
                        }
                        Pool::open(&name, Some(&PoolConfig::new(MIB))).unwrap().unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|pool| pool.id() == ids[0].id()));
    }
}

#[test]
fn pools_come_and_go() {
    for _ in 0..2_000 {
        let pool = pool(MIB);
        pool.space().take_segment(Use::Log).unwrap().unwrap();
    }
}

#[test]
fn raw_handles_keep_the_pool() {
    let raw = pool(MIB).into_raw();
    // SAFETY: the handle was given away above and is taken back once, after the loan.
    unsafe {
        assert_eq!(Pool::borrow_raw(raw).stats().target_bytes, MIB);
        drop(Pool::from_raw(raw));
    }
}

#[test]
fn every_refusal_leaves_a_sound_pool() {
    for limit in [2 * MIB, 64 * MIB] {
        for n in 1.. {
            let trace = with_failure(limit, n);
            fail_after(0);
            if !trace {
                assert!(n > 10, "there are operations to fail");
                break;
            }
        }
    }
}

/// Runs a little of everything with the n-th operation failing; whether there was an n-th.
fn with_failure(limit: u64, n: u64) -> bool {
    fail_after(n);
    let made = Pool::create(&PoolConfig::new(limit));
    let struck = sys::testing::has_failed();
    let pool = match made {
        Ok(pool) => pool,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NoMemory);
            return struck;
        }
    };
    let space = pool.space();
    let mut segments = Vec::new();
    let mut runs = Vec::new();
    for i in 0..24 {
        match space.take_segment(Use::Log) {
            Ok(found) => segments.extend(found),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoMemory),
        }
        match space.take_run(1_000 << (i % 10)) {
            Ok(found) => runs.extend(found),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoMemory),
        }
        if i % 8 == 7 {
            for id in segments.drain(..) {
                space.give_segment(id);
            }
            space.release_free(3 * space.seg_bytes());
        }
        if space.charge(1_000) {
            space.discharge(1_000);
        }
        pool.validate().unwrap();
    }
    for id in segments {
        space.retire_segment(id);
    }
    for id in runs {
        space.retire_run(id);
    }
    if let Ok(block) = pool.alloc(100, 0, AllocOptions::default()) {
        // SAFETY: allocated just now.
        unsafe { pool.free(block.as_ptr()).unwrap() };
    }
    harvest_all(space);
    pool.validate().unwrap();
    sys::testing::has_failed()
}

/// A small generator; the tests name their seeds.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn any_sequence_of_steps_keeps_every_invariant() {
    for seed in 1..=12_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let limit = [MIB, 3 * MIB, 64 * MIB, 96 * MIB][seed as usize % 4];
        let config = PoolConfig {
            zero_on_free: seed % 3 == 0,
            prefault: seed % 5 == 0,
            ..PoolConfig::new(limit)
        };
        let pool = Pool::create(&config).unwrap();
        let space = pool.space();
        let fake = Fake::new(&pool, 1, 0);
        let (mut pins, mut fixed) = (Vec::<u32>::new(), 0_u64);
        for step in 0..2_500 {
            match dice.roll(16) {
                0..=4 => {
                    fake.take();
                }
                5 => {
                    fake.take_run(1 << (8 + dice.roll(15)));
                }
                6 => {
                    fake.gives.store(dice.roll(3) == 0, Ordering::Relaxed);
                    fake.reclaim(dice.roll(8) * space.seg_bytes());
                }
                7 => {
                    let mut held = fake.held.lock();
                    if let Some(id) = held.pop_back() {
                        if id < RUN_BASE && dice.roll(2) == 0 {
                            space.retire_segment_inside(id);
                        } else if id < RUN_BASE {
                            space.retire_segment(id);
                        } else {
                            space.retire_run_inside(id);
                        }
                    }
                }
                8 | 9 => {
                    space.harvest(dice.roll(2) == 0);
                }
                10 => {
                    let bytes = dice.roll(9_000);
                    fixed += if space.charge(bytes) { bytes } else { 0 };
                }
                11 => {
                    let bytes = dice.roll(fixed + 1);
                    space.discharge(bytes);
                    fixed -= bytes;
                }
                12 => {
                    if let Some(&id) = fake.held.lock().iter().find(|&&id| id < RUN_BASE)
                        && !fake.gives.load(Ordering::Relaxed)
                        && pins.len() < 8
                    {
                        space.meta(id).pins.fetch_add(1, Ordering::SeqCst);
                        pins.push(id);
                        // Only retirement waits for pins.
                        fake.gives.store(false, Ordering::Relaxed);
                    }
                }
                13 => {
                    if let Some(id) = pins.pop() {
                        space.meta(id).pins.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                14 => {
                    space.release_free(dice.roll(limit / 2));
                }
                _ => {
                    if step % 7 == 0 && pins.is_empty() {
                        let to = MIB.max(limit / 4 + dice.roll(limit));
                        let _ = pool.set_limit(to.min(space.limit_max())).unwrap();
                    }
                }
            }
            if !pins.is_empty() {
                fake.gives.store(false, Ordering::Relaxed);
            }
            if step % 8 == 0 || limit < 4 * MIB {
                check(&pool);
            }
            if step % 250 == 0 {
                let (limit, _) = space.limit_and_used();
                assert!(resident_segments(space) <= limit, "seed {seed} step {step}");
            }
        }
        for id in pins {
            space.meta(id).pins.fetch_sub(1, Ordering::SeqCst);
        }
        fake.gives.store(false, Ordering::Relaxed);
        fake.reclaim(u64::MAX);
        harvest_all(space);
        space.discharge(fixed);
        space.release_free(u64::MAX);
        check(&pool);
        assert_eq!(resident_segments(space), 0, "seed {seed}");
        assert!(space.used_bytes() < limit / 16 + 128 * 1_024, "seed {seed}: tables are left");
    }
}

#[test]
fn threads_take_give_and_retire_under_a_moving_limit() {
    let limit = 16 * MIB;
    let pool = pool(limit);
    let space = pool.space();
    let stop = AtomicBool::new(false);
    let fakes: Vec<_> = (1..=3).map(|id| Fake::new(&pool, id, 0)).collect();
    std::thread::scope(|scope| {
        for fake in &fakes {
            let (stop, pool) = (&stop, &pool);
            scope.spawn(move || {
                let mut dice = Dice(u64::from(fake.id) * 77);
                while !stop.load(Ordering::Relaxed) {
                    let done = if dice.roll(4) == 0 {
                        fake.take_run(1 << (12 + dice.roll(6)))
                    } else {
                        fake.take()
                    };
                    if !done {
                        pool.reclaim_for(Some(fake.id), pool.space().seg_bytes() * 2);
                    }
                }
            });
        }
        scope.spawn(|| {
            for i in 0..60_u64 {
                let to = limit / (1 + i % 4);
                let outcome = pool.set_limit(to).unwrap();
                assert_eq!(outcome, LimitOutcome::Reached);
                pool.space().validate().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (limit, used) = space.limit_and_used();
                assert!(used <= limit);
            }
        });
    });
    harvest_all(space);
    check(&pool);
}

#[test]
fn levels_follow_what_is_held_or_what_is_used() {
    let held = pool(4 * MIB);
    while held.space().take_segment(Use::Log).unwrap().is_some() {}
    assert_eq!(held.pressure(), Pressure::None, "a full cache is healthy");
    held.space().hold(4 * MIB * 87 / 100);
    assert_eq!(held.pressure(), Pressure::Elevated);
    held.space().unhold(4 * MIB * 87 / 100);
    assert_eq!(held.pressure(), Pressure::None);
    assert!(held.pin_charge(MIB));
    let thresholds = Thresholds { elevated_pct: 10, high_pct: 20, critical_pct: 90 };
    held.set_thresholds(thresholds).unwrap();
    assert_eq!(held.pressure(), Pressure::High);
    assert_eq!(held.config().thresholds, Some(thresholds));
    let mut seq = 0;
    let level = held.wait_pressure(&mut seq, Duration::from_secs(1));
    assert_eq!((level, seq), (Some(Pressure::High), 3));
    assert_eq!(held.wait_pressure(&mut seq, Duration::ZERO), None);
    // SAFETY: charged above.
    unsafe { Pool::pin_discharge(held.as_inner(), MIB) };
    assert_eq!(held.pressure(), Pressure::None);

    let config = PoolConfig { pressure_by_used: true, ..PoolConfig::new(4 * MIB) };
    let used = Pool::create(&config).unwrap();
    let fake = Fake::new(&used, 1, 0);
    while fake.take() {}
    assert_eq!(used.pressure(), Pressure::Critical);
    used.trim(MIB).unwrap();
    assert_eq!(used.pressure(), Pressure::None);
    assert_eq!(used.set_limit(MIB).unwrap(), LimitOutcome::Reached);
    while fake.take() {}
    assert_eq!(used.pressure(), Pressure::Critical);
    assert_eq!(used.set_limit(16 * MIB).unwrap(), LimitOutcome::Reached);
    assert_eq!(used.pressure(), Pressure::None);
}

#[test]
fn much_that_was_retired_inside_is_freed_in_steps() {
    let pool = pool(32 * MIB);
    let space = pool.space();
    let fake = Fake::new(&pool, 1, 0);
    while fake.take() {}
    let held: Vec<_> = fake.held.lock().drain(..).collect();
    assert!(held.len() > 900);
    for &id in &held {
        space.retire_segment_inside(id);
    }
    let most = (0..10_000).map(|_| space.harvest(true).segments).max().unwrap();
    assert!(most <= 2 * 512, "{most}");
    harvest_all(space);
    assert_eq!(space.segments_in(Use::Free) as usize, held.len());
    check(&pool);
}

#[test]
fn freed_runs_lend_their_pages() {
    let pool = pool(16 * MIB);
    let space = pool.space();
    let run = space.take_run(200_000).unwrap().unwrap();
    let charge = space.run_charge(run);
    fill_run(space, run, 7);
    let used = space.used_bytes();
    space.give_run(run);
    assert_eq!((space.used_bytes(), space.warm_bytes()), (used, charge));
    check(&pool);
    // A shorter one of its class: the rest goes; what is reused is zeroed.
    assert_eq!(space.take_run(150_000).unwrap(), Some(run));
    assert_eq!(space.run_charge(run), 151_552);
    assert_eq!(resident(space.run_addr(run), 256 << 10) * 4_096, 151_552);
    // SAFETY: the run is held by the test.
    let bytes = unsafe { std::slice::from_raw_parts(space.run_addr(run), 151_552) };
    assert!(bytes.iter().all(|&byte| byte == 0));
    fill_run(space, run, 7);
    space.give_run(run);
    // A longer one: it is charged what it lacks, and all of it reads as zeros.
    assert_eq!(space.take_run(250_000).unwrap(), Some(run));
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(space.run_addr(run), 250_000) };
    assert!(bytes.iter().all(|&byte| byte == 0));
    space.give_run(run);
    assert_eq!(space.take_run_dirty(250_000).unwrap(), Some(run));
    check(&pool);

    // Segments get the charge of warm runs before the limit is said to be reached.
    let mut runs = vec![run];
    while let Some(run) = space.take_run(250_000).unwrap() {
        runs.push(run);
    }
    for run in runs {
        fill_run(space, run, 1);
        space.give_run(run);
    }
    check(&pool);
    assert!(space.warm_bytes() > 15 * MIB);
    let available = space.available_segments();
    let mut taken = 0;
    while let Some(id) = space.take_segment(Use::Log).unwrap() {
        fill(space, id, 1);
        taken += 1;
        check(&pool);
    }
    assert!(taken > 900 && taken + 8 >= available, "{taken}, {available}");
    assert!(space.warm_bytes() < space.seg_bytes());
    // A part of a run can go.
    let warm = space.warm_bytes();
    if warm > 4_096 {
        assert_eq!(space.release_free(4_096), 4_096);
        assert_eq!(space.warm_bytes(), warm - 4_096);
    }
    check(&pool);
}

#[test]
fn what_becomes_of_huge_pages_is_looked_up() {
    let pool = pool(64 * MIB);
    let space = pool.space();
    let Some(probe) = sys::HugeProbe::open() else { return };
    if !space.asks_for_huge_pages() || probe.is_huge(&space.memory, 0).is_none() {
        return;
    }
    for _ in 0..200 {
        let id = space.take_segment(Use::Log).unwrap().unwrap();
        fill(space, id, 1);
    }
    let seen = pool.stats().huge_bytes;
    // The system splits one, as it does to swap it: here by other access for a part of it.
    let at = space.seg_addr(40).cast();
    // SAFETY: a segment of the test, of which the test makes no use meanwhile.
    unsafe {
        assert_eq!(libc::mprotect(at, space.seg_bytes() as usize, libc::PROT_READ), 0);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(libc::mprotect(at, space.seg_bytes() as usize, access), 0);
    }
    let now = pool.stats().huge_bytes;
    assert!(now == seen.saturating_sub(2 * MIB), "{seen} before, {now} after");
    check(&pool);
}
