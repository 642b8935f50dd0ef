//! What is left when everything was closed.
//!
//! A round opens a pool with three stores, fills it, makes views, drafts, blocks, leases, walks and a
//! watch, shrinks it and closes everything, and does that twice with one pool. A pool keeps some
//! tables that its first stores had it make, and after the next ones must charge the same but for a
//! page or two of those; after the pool the process must have the heap, the mappings and the open
//! files that it had before. The first round makes what is made once in a process, and does not count.

use std::fs;
use std::mem::MaybeUninit;

use anyhow::{Context, Result, ensure};
use hypercache_core::{
    AllocOptions, Claim, ClaimOptions, DropReason, Match, PolicyKind, Pool, PoolConfig, PutOptions,
    Store, StoreConfig, Ttl,
};

use super::ours;
use crate::measure::{Heap, Mappings};
use crate::report::Unit;
use crate::suite::{Findings, emptied::emptied};
use crate::workload::{Rng, ValueBytes, key_of};

const LIMIT: u64 = 8 << 20;
const LONGEST: u64 = 100_000;
/// What every run repeats: nothing is left of them.
const EXACT: [&str; 4] = ["heap left", "blocks left", "address space left", "open files left"];

/// What the process has.
struct Held {
    heap: Heap,
    mappings: Mappings,
    files: u64,
}

impl Held {
    fn now() -> Self {
        let files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        Self { heap: Heap::now(), mappings: Mappings::now(), files }
    }
}

pub(super) fn measure(seed: u64, rounds: u32, findings: &mut Findings) -> Result<()> {
    ensure!(Heap::is_counted(), "this program's allocator does not count");
    let values = ValueBytes::new(LONGEST as usize, seed);
    let mut rng = Rng::new(seed);
    round(&values, &mut rng)?;
    let before = Held::now();
    let mut charged = Charged::default();
    for _ in 0..rounds {
        let now = round(&values, &mut rng)?;
        charged.tables = charged.tables.max(now.tables);
        charged.more = charged.more.max(now.more);
    }
    let after = Held::now();
    let case = format!("leaks, {rounds} times all opened, used and closed");
    let mut left = |metric, unit, before: u64, after: u64| {
        let value = after as f64 - before as f64;
        let figure = ours(&case, metric, unit, value);
        findings.figure(if EXACT.contains(&metric) { figure.exact() } else { figure });
    };
    left("heap left", Unit::Bytes, before.heap.bytes, after.heap.bytes);
    left("blocks left", Unit::Count, before.heap.blocks, after.heap.blocks);
    left("address space left", Unit::Bytes, before.mappings.bytes, after.mappings.bytes);
    left("resident left", Unit::Bytes, before.mappings.resident, after.mappings.resident);
    left("open files left", Unit::Count, before.files, after.files);
    left("charged for stores gone", Unit::Bytes, 0, charged.more);
    left("tables of the pool", Unit::Bytes, 0, charged.tables);
    Ok(())
}

/// What a pool charged more than when it was new.
#[derive(Default)]
struct Charged {
    /// After its first stores were gone.
    tables: u64,
    /// After the second ones, beside after the first.
    more: u64,
}

/// Opens, uses and closes.
fn round(values: &ValueBytes, rng: &mut Rng) -> Result<Charged> {
    let config = PoolConfig { limit_max_bytes: 2 * LIMIT, ..PoolConfig::new(LIMIT) };
    let pool = Pool::create(&config).context("the pool")?;
    let empty = pool.stats().used_bytes;
    let watch = pool.watch(Box::new(|_| {})).context("a watch")?;
    let first = use_pool(&pool, values, &mut rng.clone())?;
    let second = use_pool(&pool, values, rng)?;
    drop(watch);
    Ok(Charged { tables: first.saturating_sub(empty), more: second.saturating_sub(first) })
}

/// Opens, uses and closes stores. Returns what the pool charges afterwards.
fn use_pool(pool: &Pool, values: &ValueBytes, rng: &mut Rng) -> Result<u64> {
    let mut stores = Vec::new();
    for (name, policy) in [
        ("one", PolicyKind::Default),
        ("two", PolicyKind::WTinyLfu),
        ("three", PolicyKind::Session),
    ] {
        let config = StoreConfig {
            name: Some(name.to_owned()),
            policy,
            filter_fpr: 0.01,
            latency: true,
            hash_seed: 1,
            ..StoreConfig::default()
        };
        stores.push(pool.open_store(&config).context("a store")?);
    }
    for store in &stores {
        use_store(store, values, rng).with_context(|| format!("store {:?}", store.name()))?;
    }
    let mut blocks = Vec::new();
    for _ in 0..200 {
        let options = AllocOptions { evict: true, zero: false };
        blocks.push(pool.alloc(rng.between(1, 20_000) as usize, 0, options).context("a block")?);
    }
    let views: Vec<_> = (0..200).filter_map(|id| stores[0].pin(&key_of(id), true).ok()?).collect();
    pool.validate().context("a pool in use")?;
    // Views may keep it from being reached at once.
    for limit in [2 * LIMIT, LIMIT / 2, LIMIT] {
        let _ = pool.set_limit(limit).context("another limit")?;
    }
    drop(views);
    for block in blocks {
        // SAFETY: allocated above, freed once.
        unsafe { pool.free(block.as_ptr()) }.context("a block given back")?;
    }
    pool.validate().context("a pool after a shrink")?;
    stores.pop().iter().for_each(Store::destroy);
    drop(stores);
    emptied(pool)
}

fn use_store(store: &Store, values: &ValueBytes, rng: &mut Rng) -> hypercache_core::Result<()> {
    let mut written = 0;
    for id in 0.. {
        let len = if id % 100 == 0 { rng.between(1, LONGEST) } else { rng.between(1, 500) };
        written += len;
        if written > LIMIT {
            break;
        }
        // None ends meanwhile, so that time decides nothing.
        let ttl = Ttl::Millis(rng.between(600_000, 900_000));
        let ttl = if id % 4 == 0 { ttl } else { Ttl::Never };
        let options = PutOptions { ttl, session: id % 8, ..PutOptions::default() };
        store.put(&key_of(id), values.get(id, len as usize), &options)?;
        store.contains(&key_of(rng.below(id + 1)))?;
        if id % 16 == 0 {
            store.delete(&key_of(rng.below(id + 1)))?;
        }
    }
    for (nth, len) in [10, 3_000, 70_000].into_iter().enumerate() {
        for fate in 0..2 {
            let mut draft = store.reserve(&[nth as u8, fate], len, &PutOptions::default())?;
            draft.data_mut().fill(MaybeUninit::new(1));
            if fate == 0 {
                // SAFETY: every byte was written just above.
                unsafe { draft.commit() }?;
            }
        }
    }
    for nth in 0..100_u32 {
        if let Claim::Claimed(lease) = store.claim(&nth.to_be_bytes(), ClaimOptions::default())? {
            match nth % 3 {
                0 => drop(store.lease_put(lease, b"loaded", &PutOptions::default())?),
                1 => store.lease_drop(lease, DropReason::Absent { ttl_ms: 0 })?,
                _ => {}
            }
        }
    }
    let mut scan = store.scan(Match::All)?;
    for _ in 0..100 {
        scan.next(true)?;
    }
    store.invalidate(Match::Session(3))?;
    Ok(())
}
