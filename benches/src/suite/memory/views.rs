//! Whether a view shows the value where it lies.
//!
//! Two views of one key that begin at one address show one value, and no copies; that the address is
//! in the pool's own memory says that the value is there. Values of up to 4 KiB are copied on
//! purpose, so that a small view does not hold a whole segment back. A draft's bytes are those that a
//! view of the committed entry shows.

use anyhow::{Context, Result, ensure};
use hypercache_core::{Pool, PoolConfig, PutOptions, Store, StoreConfig};
use std::mem::MaybeUninit;

use super::ours;
use crate::report::Unit;
use crate::suite::{Findings, Plan};
use crate::workload::{ValueBytes, key_of};

const LENS: [usize; 6] = [64, 4_096, 4_097, 16 << 10, 256 << 10, 1 << 20];

pub(super) fn measure(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let pool = Pool::create(&PoolConfig::new(32 << 20)).context("the pool")?;
    let config = StoreConfig { hash_seed: 1, ..StoreConfig::default() };
    let store = pool.open_store(&config).context("the store")?;
    let values = ValueBytes::new(1 << 20, plan.seed);
    for (id, len) in LENS.into_iter().enumerate() {
        let id = id as u64;
        let case = format!("views, values of {len} B");
        let value = values.get(id, len);
        store.set(&key_of(id), value).context("a set")?;
        let figure = |metric, copied| {
            let bytes = if copied { len as f64 } else { 0.0 };
            ours(&case, metric, Unit::Bytes, bytes).exact()
        };
        let pin_copies = pin_copies(&store, id, value)?;
        findings.figure(figure("copied by a pin", pin_copies));
        // A view that is a copy says nothing of where the entry lies.
        if !pin_copies {
            let id = id + LENS.len() as u64;
            findings.figure(figure("copied by a commit", commit_copies(&store, id, value)?));
        }
    }
    drop(store);
    pool.validate().context("after the views")?;
    ensure!(pool.stats().pinned_bytes == 0, "views are gone, and bytes are still pinned");
    Ok(())
}

fn lies_in(pool: &Pool, address: *const u8) -> bool {
    pool.space().seg_of_addr(address).is_some() || pool.space().run_of_addr(address).is_some()
}

fn pin_copies(store: &Store, id: u64, value: &[u8]) -> Result<bool> {
    let pin = || store.pin(&key_of(id), true).context("a pin")?.context("an entry that is gone");
    let (one, two) = (pin()?, pin()?);
    ensure!(*one == *value && *two == *value, "a view shows other bytes than were put in");
    for view in [&one, &two] {
        ensure!(lies_in(store.pool(), view.as_ptr()), "a view outside the pool");
    }
    Ok(one.as_ptr() != two.as_ptr())
}

fn commit_copies(store: &Store, id: u64, value: &[u8]) -> Result<bool> {
    let mut draft =
        store.reserve(&key_of(id), value.len(), &PutOptions::default()).context("a draft")?;
    for (to, &from) in draft.data_mut().iter_mut().zip(value) {
        *to = MaybeUninit::new(from);
    }
    let written_at = draft.data_mut().as_ptr().cast::<u8>();
    // SAFETY: every byte was written just above.
    unsafe { draft.commit() }.context("a commit")?;
    let view = store.pin(&key_of(id), true).context("a pin")?.context("an entry that is gone")?;
    ensure!(*view == *value, "a view shows other bytes than were committed");
    Ok(view.as_ptr() != written_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Extent;

    #[test]
    fn long_values_are_shown_where_they_lie() {
        let mut findings = Findings::default();
        measure(&Plan { extent: Extent::Quick, seed: 1 }, &mut findings).unwrap();
        let pinned = findings.figures().iter().filter(|figure| figure.metric == "copied by a pin");
        let copied: Vec<f64> = pinned.map(|figure| figure.value).collect();
        assert_eq!(copied, [64.0, 4_096.0, 0.0, 0.0, 0.0, 0.0]);
        let last = findings.figures().last().unwrap();
        assert_eq!((last.metric.as_str(), last.value), ("copied by a commit", 0.0));
    }
}
