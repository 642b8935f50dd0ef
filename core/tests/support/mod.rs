//! What the files of tests share.

#![allow(dead_code)] // each uses its part

use hypercache_core::{Pool, PoolConfig, Store};
use std::process::Command;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;

pub fn pool(mib: u64) -> Pool {
    Pool::create(&PoolConfig::new(mib * MIB)).unwrap()
}

/// The store and its pool are sound.
#[track_caller]
pub fn check(store: &Store) {
    store.validate().unwrap();
    store.pool().validate().unwrap();
}

pub fn key(i: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    key[4..12].copy_from_slice(&i.to_be_bytes());
    key
}

/// Runs `work` in a process that runs nothing else. `test` is the name of the test that calls
/// this, with its modules, as the runner knows it.
pub fn alone(test: &str, work: impl FnOnce()) {
    const CASE: &str = "HYPERCACHE_TEST_ALONE";
    if std::env::var(CASE).is_ok_and(|case| case == test) {
        return work();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(CASE, test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    eprint!("{said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{test}: {}", child.status);
    assert!(said.contains("1 passed"), "there is no test of the name {test}");
}

/// Random numbers: xorshift64 (Marsaglia 2003).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
