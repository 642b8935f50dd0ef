//! Segments and runs: all that there is and no more, charged as it is used, given back.

use super::*;

/// Takes and fills segments until there is none.
fn take_all(pool: &Pool) -> Vec<SegId> {
    let space = pool.space();
    let mut taken = Vec::new();
    while let Some(id) = space.take_segment(Use::Log).unwrap() {
        fill(space, id, 1);
        taken.push(id);
        check(pool);
    }
    taken
}

#[test]
fn a_small_pool_hands_out_all_it_has_and_no_more() {
    let pool = pool(MIB);
    let space = pool.space();
    let mut taken = take_all(&pool);
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
    let taken = take_all(&pool);
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
    let taken = take_all(&pool).len() as u32;
    let most = (16 * MIB / space.seg_bytes()) as u32;
    assert!(taken > most * 7 / 8 && taken + 8 >= available, "{taken} of {most}, {available}");
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
    let taken = take_all(&pool);
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
