//! Any order of steps, with refusals of the system and on many threads.

use super::*;

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
