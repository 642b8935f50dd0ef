//! Memory that waits for readers, guards and pins.

use super::*;

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
