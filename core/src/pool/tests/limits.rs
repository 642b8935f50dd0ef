//! Limits that move, charges, who gives, and the level that follows from it all.

use super::*;

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
