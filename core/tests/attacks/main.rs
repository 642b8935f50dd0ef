//! Attacks on the store: each test is a way in which it was, or might have been, broken.
//!
//! `ATTACK_SEEDS` and `ATTACK_FIRST` say how many random sequences run and from which on,
//! `ATTACK_MS` how long everything goes on at once.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod crowd;
mod lifetimes;
mod random;
mod shapes;
#[path = "../support/mod.rs"]
mod support;

use hypercache_core::Pool;
use hypercache_core::pool::Use;

/// After its stores are gone, a pool holds nothing for them.
pub fn assert_empty(pool: &Pool) {
    let space = pool.space();
    for _ in 0..100 {
        space.harvest(true);
        if space.waiting_bytes() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let held = [Use::Log, Use::Index, Use::Waiting].map(|usage| space.segments_in(usage));
    assert_eq!(held, [0, 0, 0], "log, index and waiting segments");
    assert_eq!(space.waiting_bytes(), 0);
    pool.validate().unwrap();
}
