//! Names, handles, and what outlives them.

use super::*;

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
