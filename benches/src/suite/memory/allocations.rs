//! Calls of the process's allocator an operation, in a full cache that has seen every operation.
//!
//! Run in the program whose allocator counts. Other threads than the caller's count too, so that a
//! cache which does its work elsewhere shows it. The peers' keys and values are boxes of their own,
//! which is what their interfaces ask for.

use std::mem::MaybeUninit;

use anyhow::{Context, Result, ensure};
use hypercache_core::store::BatchRead;
use hypercache_core::{
    BatchEntry, Claim, ClaimOptions, Pool, PoolConfig, PutOptions, Store, StoreConfig, Ttl,
};

use super::{NAME, ours};
use crate::cache::{Cache, Kind, Spec};
use crate::drive::BATCH;
use crate::measure::Heap;
use crate::report::{Figure, Unit};
use crate::suite::Findings;
use crate::workload::{ABSENT, ValueBytes, key_of};

/// The metric.
const CALLED: &str = "calls of the allocator";
const LIMIT: u64 = 16 << 20;
const LEN: usize = 64;
/// Operations counted; as many go before.
const CALLS: u64 = 20_000;
/// Ids that stay in the cache, because they are read before anything is counted.
const RESIDENT: u64 = 1_000;

pub(super) fn measure(seed: u64, findings: &mut Findings) -> Result<()> {
    ensure!(Heap::is_counted(), "this program's allocator does not count");
    let values = ValueBytes::new(LEN, seed);
    for &kind in Kind::BUILT {
        compared(kind, &values, findings)?;
    }
    alone(&values, findings)
}

/// Runs an operation until it is used to it, and then counts.
fn calls_an_operation(mut operation: impl FnMut(u64) -> Result<()>) -> Result<f64> {
    (0..CALLS).try_for_each(&mut operation)?;
    let before = Heap::now().calls;
    (CALLS..2 * CALLS).try_for_each(&mut operation)?;
    Ok((Heap::now().calls - before) as f64 / CALLS as f64)
}

/// What every cache can do.
fn compared(kind: Kind, values: &ValueBytes, findings: &mut Findings) -> Result<()> {
    let cache = kind.build(&Spec::new(LIMIT, LEN as u64))?;
    let cache: &dyn Cache = &*cache;
    let mut next = 0;
    let mut fresh = || {
        next += 1;
        next + RESIDENT
    };
    for _ in 0..3 * LIMIT / (16 + LEN as u64) {
        let id = fresh();
        cache.set(&key_of(id), values.get(id, LEN));
    }
    let mut buf = [0; BATCH * LEN];
    let mut count = |case: &str, operation: &mut dyn FnMut(u64)| -> Result<()> {
        // What is read has to be there: its own writes come just before.
        for id in 0..RESIDENT {
            cache.set(&key_of(id), values.get(id, LEN));
        }
        cache.settle();
        let calls = calls_an_operation(|nth| {
            operation(nth);
            Ok(())
        })?;
        let case = format!("allocations, {case}");
        let figure = Figure::new(NAME, &case, kind.name(), CALLED, Unit::Count, calls);
        findings.figure(if kind.is_ours() { figure.exact() } else { figure });
        Ok(())
    };
    count("get that hits", &mut |nth| {
        cache.get(&key_of(nth % RESIDENT), &mut buf);
    })?;
    count("get that misses", &mut |nth| {
        cache.get(&key_of(ABSENT | nth), &mut buf);
    })?;
    count("set into a full cache", &mut |_| {
        let id = fresh();
        cache.set(&key_of(id), values.get(id, LEN));
    })?;
    count("overwrite", &mut |nth| {
        cache.set(&key_of(nth % RESIDENT), values.get(nth, LEN));
    })?;
    count("set and delete", &mut |nth| {
        cache.set(&key_of(nth % RESIDENT), values.get(nth, LEN));
        cache.remove(&key_of(nth % RESIDENT));
    })?;
    count("get of 32 keys", &mut |nth| {
        let keys: [_; BATCH] = std::array::from_fn(|i| key_of((nth + i as u64) % RESIDENT));
        cache.get_many(&keys.each_ref().map(|key| &key[..]), &mut buf);
    })
}

/// What HyperCache alone can do.
fn alone(values: &ValueBytes, findings: &mut Findings) -> Result<()> {
    let pool = Pool::create(&PoolConfig::new(LIMIT)).context("the pool")?;
    let config = StoreConfig { hash_seed: 1, shards: 4, ..StoreConfig::default() };
    let store = pool.open_store(&config).context("the store")?;
    for id in RESIDENT..LIMIT / LEN as u64 {
        store.set(&key_of(id), values.get(id, LEN)).context("a set")?;
    }
    for (case, operation) in OPERATIONS {
        for id in 0..RESIDENT {
            store.set(&key_of(id), values.get(id, LEN)).context("a set")?;
        }
        let calls =
            calls_an_operation(|nth| operation(&store, nth, values.get(nth, LEN)).context(case))?;
        let case = format!("allocations, {case}");
        findings.figure(ours(&case, CALLED, Unit::Count, calls).exact());
    }
    pool.validate().context("after all operations")
}

type Operation = fn(&Store, u64, &[u8]) -> hypercache_core::Result<()>;

const OPERATIONS: [(&str, Operation); 9] = [
    ("set with a time to live", |store, nth, value| {
        let options = PutOptions { ttl: Ttl::Millis(60_000), ..PutOptions::default() };
        store.put(&key_of(nth), value, &options).map(drop)
    }),
    ("set of 32 keys", |store, nth, value| {
        let keys: [_; BATCH] = std::array::from_fn(|i| key_of(nth + i as u64));
        let entries = keys.each_ref().map(|key| BatchEntry { key, value, ..BatchEntry::default() });
        let mut outcome = Ok(());
        store.put_many(&entries, &mut |_, put| {
            if let Err(error) = put {
                outcome = Err(error);
            }
        })?;
        outcome
    }),
    ("get of 32 keys that miss", |store, nth, _| {
        let keys: [_; BATCH] = std::array::from_fn(|i| key_of(ABSENT | (nth + i as u64)));
        let mut out = [const { BatchRead::Miss }; BATCH];
        let mut buf = [MaybeUninit::uninit(); BATCH * LEN];
        store.get_many(&keys.each_ref().map(|key| &key[..]), false, &mut buf, &mut out).map(drop)
    }),
    ("pin and unpin", |store, nth, _| store.pin(&key_of(nth % RESIDENT), false).map(drop)),
    ("touch", |store, nth, _| store.touch(&key_of(nth % RESIDENT), Ttl::Millis(60_000)).map(drop)),
    ("incr", |store, nth, _| {
        store.incr(&(nth % RESIDENT).to_le_bytes(), 1, 0, Ttl::Never).map(drop)
    }),
    ("reserve and commit", |store, nth, value| {
        let mut draft = store.reserve(&key_of(nth), value.len(), &PutOptions::default())?;
        for (to, &from) in draft.data_mut().iter_mut().zip(value) {
            *to = MaybeUninit::new(from);
        }
        // SAFETY: every byte was written just above.
        unsafe { draft.commit() }.map(drop)
    }),
    ("claim that hits", |store, nth, _| {
        store.claim(&key_of(nth % RESIDENT), ClaimOptions::default()).map(drop)
    }),
    ("claim that misses and its put", |store, nth, value| {
        match store.claim(&key_of(ABSENT | nth), ClaimOptions::default())? {
            Claim::Claimed(lease) => {
                store.lease_put(lease, value, &PutOptions::default()).map(drop)
            }
            Claim::Value(_)
            | Claim::TimedOut
            | Claim::Absent
            | Claim::LoadFailed
            | Claim::Declined => Ok(()),
        }
    }),
];
