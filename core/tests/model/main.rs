//! Any sequence of calls against a simple model: a map.
//!
//! A cache may forget, so the model allows that a key is absent which was evicted. It never allows
//! a wrong, stale, expired or foreign value, nor metadata that were not written; and where all data
//! are far smaller than the limit (*roomy* cases), it does not allow absence either. After every
//! step the pool and all its stores are checked.
//!
//! 256 cases by default; `PROPTEST_CASES=10000` runs more.

#![allow(clippy::unwrap_used)] // helpers of a test are tests

mod ops;
mod reads;
mod world;
mod writes;

use ops::case;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/model.proptest-regressions"
        )))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_calls_agrees_with_a_map((setup, ops) in case()) {
        let mut world = World::new(setup);
        for op in &ops {
            world.step(op);
            world.check();
        }
        world.end();
    }
}
