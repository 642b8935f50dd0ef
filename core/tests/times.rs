//! Stores that go by time, under a clock that is steered: what goes first, and what stays.

#![allow(clippy::unwrap_used)]

mod support;

use hypercache_core::clock::Clock;
use hypercache_core::{Match, PolicyKind, PutMode, PutOptions, Store, StoreConfig, Ttl};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Dice, MIB, check, key, pool};

const SECOND: u64 = 1_000;

struct Fixture {
    store: Store,
    hand: Arc<AtomicU64>,
}

impl Fixture {
    fn new(policy: PolicyKind, mib: u64, limit_entries: u64) -> Self {
        let (clock, hand) = Clock::manual(1_000 * SECOND);
        let config = StoreConfig { policy, limit_entries, shards: 1, ..StoreConfig::default() };
        Self { store: pool(mib).open_store_with(&config, clock).unwrap(), hand }
    }

    fn pass(&self, ms: u64) -> u64 {
        self.hand.fetch_add(ms, Ordering::SeqCst) + ms
    }

    fn put(&self, number: u64, ttl: Ttl, len: usize) {
        let options = PutOptions { ttl, mode: PutMode::Set, ..PutOptions::default() };
        self.store.put(&key(number), &vec![number as u8; len], &options).unwrap();
    }

    fn has(&self, number: u64) -> bool {
        self.store.contains(&key(number)).unwrap()
    }

    fn there(&self, numbers: impl Iterator<Item = u64>) -> u64 {
        numbers.filter(|number| self.has(*number)).count() as u64
    }
}

/// The order of a store is that of a list that is sorted by expiry, whatever came when.
#[test]
fn ttl_takes_the_soonest_first() {
    const ENTRIES: u64 = 3_000;
    let it = Fixture::new(PolicyKind::Ttl, 8, ENTRIES);
    let mut twin = BTreeSet::new();
    let mut dice = Dice::new(3);
    for number in 0..40_000 {
        let now = it.pass(8);
        // Seven times to live, and some entries without one; no two expire at once.
        let which = dice.roll() % 8;
        let (ttl, expires) = match which {
            0 => (Ttl::Never, u64::MAX),
            _ => {
                let ms = 400 * SECOND * (which + 1) + which;
                (Ttl::Millis(ms), now + ms)
            }
        };
        it.put(number, ttl, (dice.roll() % 300) as usize);
        if twin.len() as u64 == ENTRIES {
            let (_, gone) = twin.pop_first().unwrap();
            assert!(!it.has(gone), "{gone} is there at {number}");
        }
        twin.insert((expires, number));
        if number % 4_000 == 3_999 {
            assert_eq!(it.there(twin.iter().map(|entry| entry.1)), twin.len() as u64);
            check(&it.store);
        }
    }
    assert_eq!(it.store.stats().expired, 0);
}

/// By bytes: of a store that was filled twice over, what stays is what lasts.
#[test]
fn ttl_keeps_what_lasts_within_its_bytes() {
    let it = Fixture::new(PolicyKind::Ttl, 4, 0);
    // Some nine thousand fit.
    for number in 0..4_000 {
        it.put(number, Ttl::Never, 300);
        it.put(10_000 + number, Ttl::Millis(900 * SECOND), 300);
        it.pass(1);
    }
    for number in 20_000..28_000 {
        it.put(number, Ttl::Millis(60 * SECOND), 300);
    }
    assert!(it.there(0..4_000) == 4_000, "what never expires stays");
    assert!(it.there(10_000..14_000) == 4_000, "what expires later stays");
    assert!(it.store.stats().evicted > 4_000);
    check(&it.store);
    // Now the long ones are the soonest there are.
    it.pass(61 * SECOND);
    for number in 30_000..34_000 {
        it.put(number, Ttl::Millis(3_600 * SECOND), 300);
    }
    let (lasting, new) = (it.there(0..4_000), it.there(30_000..34_000));
    assert!(lasting == 4_000 && new == 4_000, "{lasting} and {new}");
    check(&it.store);
}

/// What was overwritten to last does, wherever it lay.
#[test]
fn ttl_keeps_what_is_overwritten_to_last() {
    let it = Fixture::new(PolicyKind::Ttl, 8, 1_000);
    for ttl in [Ttl::Millis(60 * SECOND), Ttl::Never] {
        (0..100).for_each(|number| it.put(number, ttl, 10));
    }
    for number in 1_000..3_000 {
        it.put(number, Ttl::Millis(900 * SECOND + number), 10);
    }
    assert_eq!(it.there(0..100), 100);
    assert_eq!(it.there(2_100..3_000), 900);
    check(&it.store);
}

/// What was touched or overwritten is not where it was, and everything else goes on.
#[test]
fn times_change_and_entries_go_under_both_policies() {
    for policy in [PolicyKind::Ttl, PolicyKind::Hybrid] {
        let it = Fixture::new(policy, 2, 0);
        let mut dice = Dice::new(9);
        for step in 0..60_000_u64 {
            let number = dice.roll() % 9_000;
            let length = 1 + dice.roll() % (400 * SECOND);
            let ttl = [Ttl::Never, Ttl::Default, Ttl::Keep, Ttl::Millis(length)]
                [(dice.roll() % 6).min(3) as usize];
            match dice.roll() % 32 {
                0..16 => it.put(number, ttl, (dice.roll() % 1_500) as usize),
                16..26 => drop(it.store.get_vec(&key(number)).unwrap()),
                26..29 => drop(it.store.touch(&key(number), ttl).unwrap()),
                29 => drop(it.store.delete(&key(number)).unwrap()),
                30 => drop(it.pass(length / 64)),
                _ => match step % 400 {
                    0 => it.store.clear().unwrap(),
                    1 => drop(it.store.invalidate(Match::Prefix(&key(number)[..11])).unwrap()),
                    2 => drop(it.store.pool().set_limit(MIB + MIB / 2).unwrap()),
                    _ => drop(it.store.pool().set_limit(2 * MIB).unwrap()),
                },
            }
            if step % 10_000 == 0 {
                check(&it.store);
            }
        }
        let stats = it.store.stats();
        assert!(stats.evicted > 1_000 && stats.expired > 1_000, "{policy:?}: {stats:?}");
        check(&it.store);
    }
}

/// While there is something expired, hardly anything else goes.
#[test]
fn expired_entries_go_first() {
    for policy in [PolicyKind::Hybrid, PolicyKind::Ttl] {
        let it = Fixture::new(policy, 8, 0);
        let mut dice = Dice::new(1);
        let mut short = 0;
        // Mixed, and used alike; some fifteen thousand fit.
        for number in 0..14_000 {
            let expires = dice.roll().is_multiple_of(2);
            short += u64::from(expires);
            it.put(number, if expires { Ttl::Millis(SECOND) } else { Ttl::Never }, 400);
        }
        let before = it.store.stats().evicted;
        it.pass(2 * SECOND);
        for number in 20_000..20_000 + short {
            it.put(number, Ttl::Never, 400);
        }
        let stats = it.store.stats();
        let evicted = stats.evicted - before;
        println!("{policy:?}: {evicted} evicted, {} of {short} expired", stats.expired);
        assert!(evicted * 20 < short && stats.expired > 2_000);
        check(&it.store);
    }
}

/// What is used often stays where LRU would lose it to a scan.
/// Entries that end one after another give their room back in good time, though segments are not
/// gone through for each of them.
#[test]
fn times_that_end_one_by_one_give_their_room_back() {
    const ENTRIES: u64 = 20_000;
    const OTHERS: u64 = 100;
    let it = Fixture::new(PolicyKind::Fifo, 8, 0);
    let mut dice = Dice::new(5);
    let mut ends: Vec<u64> =
        (0..ENTRIES).map(|_| 10 * SECOND + dice.roll() % (10 * SECOND)).collect();
    for (number, &ttl) in ends.iter().enumerate() {
        it.put(OTHERS + number as u64, Ttl::Millis(ttl), 64);
    }
    ends.sort_unstable();
    for step in 1..=250 {
        it.pass(SECOND / 10);
        for number in 0..5 * OTHERS {
            it.put(number % OTHERS, Ttl::Never, 64);
        }
        let alive = ENTRIES - ends.partition_point(|&end| end <= step * SECOND / 10) as u64;
        let held = it.store.stats().entries - OTHERS;
        assert!(held >= alive, "at {step}: {held} held of {alive} alive");
        assert!(held - alive <= ENTRIES / 4, "at {step}: {held} held of {alive} alive");
    }
    assert_eq!(it.store.stats().entries, OTHERS);
    check(&it.store);
}

#[test]
fn hybrid_gives_a_second_chance() {
    let kept = [PolicyKind::Lru, PolicyKind::Hybrid].map(|policy| {
        let it = Fixture::new(policy, 8, 1_000);
        (0..500).for_each(|number| it.put(number, Ttl::Never, 10));
        for _ in 0..4 {
            for number in 0..500 {
                assert!(it.store.get_vec(&key(number)).unwrap().is_some());
            }
        }
        (1_000..1_900).for_each(|number| it.put(number, Ttl::Never, 10));
        it.there(0..500)
    });
    assert!(kept[0] == 100 && kept[1] > 450, "{kept:?}");
}

#[test]
fn options_that_are_not_known_are_refused_by_name() {
    for (policy, options, word) in [
        (PolicyKind::Ttl, "window=3", "window"),
        (PolicyKind::Hybrid, "decay=1", "decay"),
        (PolicyKind::Hybrid, "window=33", "window"),
        (PolicyKind::Hybrid, "spare=4", "spare"),
    ] {
        let policy_options = Some(options.to_owned());
        let config = StoreConfig { policy, policy_options, ..StoreConfig::default() };
        let error = pool(2).open_store(&config).err().unwrap();
        assert!(error.context().contains(word), "{options}: {}", error.context());
    }
}
