//! Sessions of a store: they end at once, in their order, and nothing brings them back.

#![allow(clippy::unwrap_used)]

mod support;

use hypercache_core::clock::Clock;
use hypercache_core::{
    Match, PolicyKind, Pool, PutMode, PutOptions, PutOutcome, Store, StoreConfig, Ttl,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{MIB, check, key, pool};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

struct Fixture {
    store: Store,
    hand: Arc<AtomicU64>,
}

impl Fixture {
    fn in_pool(pool: &Pool, options: &str, config: StoreConfig) -> Self {
        let (clock, hand) = Clock::manual(10 * MINUTE);
        let policy_options = (!options.is_empty()).then(|| options.to_string());
        let config = StoreConfig { policy: PolicyKind::Session, policy_options, ..config };
        let store = pool.open_store_with(&config, clock).unwrap();
        Self { store, hand }
    }

    fn new(mib: u64, options: &str) -> Self {
        Self::in_pool(&pool(mib), options, StoreConfig { shards: 2, ..StoreConfig::default() })
    }

    fn pass(&self, ms: u64) {
        self.hand.fetch_add(ms, Ordering::SeqCst);
    }

    fn put(&self, session: u64, number: u64) {
        let options = PutOptions { session, ..PutOptions::default() };
        let outcome = self.store.put(&key(number), &[session as u8; 100], &options).unwrap();
        assert!(matches!(outcome, PutOutcome::Stored(_)));
    }

    fn has(&self, number: u64) -> bool {
        self.store.contains(&key(number)).unwrap()
    }

    fn end(&self, session: u64) -> u64 {
        self.store.invalidate(Match::Session(session)).unwrap()
    }
}

#[test]
fn ending_a_session_ends_its_entries_at_once() {
    let it = Fixture::new(4, "");
    for number in 0..300 {
        it.put(1 + number % 3, number);
    }
    it.store.set(&key(900), b"of no session").unwrap();
    assert_eq!(it.store.stats().sessions, 3);
    assert_eq!(it.end(2), 100);
    assert_eq!(it.end(2), 0);
    for number in 0..300 {
        assert_eq!(it.has(number), number % 3 != 1, "{number}");
        let read = it.store.get_vec(&key(number)).unwrap();
        assert_eq!(read.is_some(), number % 3 != 1);
        assert_eq!(it.store.pin(&key(number), false).unwrap().is_some(), number % 3 != 1);
    }
    let stats = it.store.stats();
    assert_eq!((stats.entries, stats.sessions, stats.invalidated), (201, 2, 100));
    check(&it.store);

    // The id comes back, its entries do not; and each can be written anew.
    it.put(2, 1_000);
    assert!(it.has(1_000) && !it.has(1));
    let add = PutOptions { mode: PutMode::Add, session: 2, ..PutOptions::default() };
    assert!(matches!(it.store.put(&key(1), b"new", &add).unwrap(), PutOutcome::Stored(_)));
    assert!(it.has(1) && !it.has(4));
    assert!(!it.store.delete(&key(4)).unwrap());
    assert!(!it.store.touch(&key(4), Ttl::Millis(10)).unwrap());
    check(&it.store);
    it.store.clear().unwrap();
    assert_eq!(it.store.stats().sessions, 0);
    check(&it.store);
}

#[test]
fn the_id_goes_in_and_comes_out() {
    let it = Fixture::new(4, "");
    it.put(77, 1);
    it.store.set(&key(2), b"none").unwrap();
    let session = |number| it.store.pin(&key(number), true).unwrap().unwrap().info().session;
    assert_eq!((session(1), session(2)), (77, 0));
    let options = PutOptions { session: 77, ..PutOptions::default() };
    it.store.put(&key(3), &5_i64.to_le_bytes(), &options).unwrap();
    let mut scan = it.store.scan(Match::Session(77)).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = scan.next(false).unwrap() {
        found.push(entry.key.to_vec());
    }
    found.sort();
    assert_eq!(found, [key(1).to_vec(), key(3).to_vec()]);
    assert!(it.store.scan(Match::Session(78)).unwrap().next(false).unwrap().is_none());
    // A time to live that an entry gets later keeps its session.
    assert!(it.store.touch(&key(1), Ttl::Millis(5_000)).unwrap());
    assert_eq!(session(1), 77);
    assert_eq!(it.end(77), 2);
    assert!(!it.has(1) && !it.has(3) && it.has(2));
    check(&it.store);
}

#[test]
fn an_old_session_is_over_whatever_was_accessed() {
    let it = Fixture::new(4, "session_ttl=100,idle_timeout=30");
    it.put(1, 1);
    it.pass(50 * SECOND);
    it.put(2, 2);
    it.pass(50 * SECOND - 1);
    assert!(it.has(1));
    it.pass(1);
    assert!(!it.has(1) && it.has(2));
    let stats = it.store.stats();
    assert_eq!((stats.sessions, stats.sessions_idle, stats.sessions_expired), (1, 1, 1));
    // A read refreshes the session, a peek does not.
    it.store.pin(&key(2), true).unwrap().unwrap();
    assert_eq!(it.store.stats().sessions_idle, 1);
    it.store.get_vec(&key(2)).unwrap().unwrap();
    assert_eq!(it.store.stats().sessions_idle, 0);
    check(&it.store);
}

/// Fills the store in session 9, whose age is then inside its grace.
fn fill(it: &Fixture, entries: u64) {
    for number in 0..entries {
        it.put(9, 1_000_000 + number);
        if number % 1_000 == 0 {
            check(&it.store);
        }
    }
}

#[test]
fn sessions_make_room_in_their_order() {
    let it = Fixture::new(2, "");
    let first = |session: u64| session * 10_000;
    for session in 1..=8 {
        for number in 0..600 {
            it.put(session, first(session) + number);
        }
        it.pass(MINUTE);
    }
    it.pass(6 * MINUTE);
    for in_use in [1, 3] {
        it.store.get_vec(&key(first(in_use))).unwrap().unwrap();
    }
    // Idle for more than ten minutes, the idlest first; then by age.
    let order = [2, 4, 1, 3, 5, 6, 7, 8];
    let (mut ended, mut number) = (0, 0);
    while ended < order.len() {
        it.put(9, 1_000_000 + number);
        number += 1;
        while ended < order.len() && !it.has(first(order[ended])) {
            ended += 1;
        }
        for &session in &order[ended..] {
            assert!(it.has(first(session)), "{session} ended before {}", order[ended]);
        }
        assert!(number < 100_000, "{ended} ended");
    }
    check(&it.store);
}

#[test]
fn one_session_that_holds_all_makes_room_in_its_grace() {
    let it = Fixture::new(2, "");
    fill(&it, 60_000);
    let stats = it.store.stats();
    assert!(stats.sessions_ended >= 1 && stats.entries > 0, "{stats:?}");
    check(&it.store);
}

#[test]
fn what_has_no_session_goes_before_one_that_is_in_use() {
    let it = Fixture::new(2, "");
    for number in 0..3_000 {
        it.put(1, number);
    }
    it.pass(5 * MINUTE);
    for number in 0..100_000 {
        it.store.set(&key(1_000_000 + number), &[0; 100]).unwrap();
    }
    assert_eq!((0..3_000).filter(|&number| it.has(number)).count(), 3_000);
    assert_eq!(it.store.stats().sessions_ended, 0);
    check(&it.store);
}

#[test]
fn a_destroyed_store_has_no_sessions() {
    let it = Fixture::new(4, "");
    it.put(1, 1);
    it.store.set(&key(2), b"of no session").unwrap();
    it.store.destroy();
    assert_eq!(it.store.stats().sessions, 0);
    it.store.validate().unwrap();
    assert!(it.store.invalidate(Match::Session(1)).is_err());
}

#[test]
fn a_full_table_ends_the_oldest() {
    let it = Fixture::new(4, "sessions=10");
    for session in 1..=25 {
        it.put(session, session);
        it.pass(1);
    }
    for session in 1..=25 {
        assert_eq!(it.has(session), session > 15, "{session}");
    }
    let stats = it.store.stats();
    assert_eq!((stats.sessions, stats.sessions_ended, stats.entries), (10, 15, 10));
    check(&it.store);
}

#[test]
fn many_threads_share_the_table() {
    let pool = pool(4);
    let after_first = share_the_table(&pool);
    // What the pool charges for pages of its own that were used stays; nothing is added to it.
    assert_eq!(share_the_table(&pool), after_first);
}

fn share_the_table(pool: &Pool) -> u64 {
    let config = StoreConfig { shards: 4, ..StoreConfig::default() };
    let it = Fixture::in_pool(pool, "sessions=40", config);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let it = &it;
            scope.spawn(move || {
                let mut dice = support::Dice::new(thread + 1);
                for step in 0..20_000_u64 {
                    let number = dice.roll() % 5_000;
                    match dice.roll() % 20 {
                        0 => {
                            it.end(dice.roll() % 60 + 1);
                        }
                        1 => it.pass(dice.roll() % 2_000),
                        2..8 => {
                            let read = it.store.get_vec(&key(number)).unwrap();
                            assert!(read.is_none_or(|value| value.len() == 100));
                        }
                        _ => it.put(dice.roll() % 60, number),
                    }
                    if step % 5_000 == 0 {
                        check(&it.store);
                    }
                }
            });
        }
    });
    check(&it.store);
    assert!(it.store.stats().used_bytes <= 4 * MIB);
    drop(it);
    pool.trim(0).unwrap();
    pool.validate().unwrap();
    pool.stats().used_bytes
}
