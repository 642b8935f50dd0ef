//! The pools of the process: by name, so that all languages in it share them, and all of them, for
//! the metrics.
//!
//! A name is reserved before its pool is made and published after, so that two that open one name
//! get one pool and nobody waits for the making of another. The list refers to pools weakly: a
//! name ends with its pool. Names start afresh in a forked child; what it inherited is left alone,
//! since the fork may have come in the middle of a change.

use super::{Pool, PoolInner};
use crate::config::{PoolConfig, check_name};
use crate::error::{Error, ErrorKind, Result};
use crate::log::ForkLock;
use crate::memory::fork;
use std::cell::UnsafeCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

struct Entry {
    /// `None`: not to be found by name.
    name: Option<String>,
    /// `None`: being made.
    pool: Option<Weak<PoolInner>>,
}

struct Registry {
    lock: ForkLock,
    entries: UnsafeCell<Vec<Entry>>,
    generation: UnsafeCell<u64>,
}

// SAFETY: both cells are touched under `lock` only, see `Registry::with`.
unsafe impl Sync for Registry {}

static REGISTRY: Registry = Registry {
    lock: ForkLock::new(),
    entries: UnsafeCell::new(Vec::new()),
    generation: UnsafeCell::new(0),
};

impl Registry {
    /// Calls `work` with the entries of this process's generation, under the lock. `work` must not
    /// drop a pool: that would come back here.
    fn with<R>(&self, work: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        let generation = fork::generation();
        let _guard = self.lock.lock();
        // SAFETY: the lock is held, so no other reference to the cells' contents exists.
        let (entries, made_in) = unsafe { (&mut *self.entries.get(), &mut *self.generation.get()) };
        if *made_in != generation {
            // Possibly half changed; its memory is the parent's copy and is left alone.
            std::mem::forget(std::mem::take(entries));
            *made_in = generation;
        }
        work(entries)
    }
}

/// All pools of the process that are alive.
#[must_use]
pub fn pools() -> Vec<Pool> {
    REGISTRY.with(|entries| {
        entries
            .iter()
            .filter_map(|entry| entry.pool.as_ref().and_then(Weak::upgrade).map(Pool))
            .collect()
    })
}

pub(super) fn add(pool: &Arc<PoolInner>) {
    let entry = Entry { name: None, pool: Some(Arc::downgrade(pool)) };
    REGISTRY.with(|entries| entries.push(entry));
}

pub(super) fn remove(pool: &PoolInner) {
    let gone = REGISTRY.with(|entries| {
        let at = entries.iter().position(|entry| {
            entry.pool.as_ref().is_some_and(|weak| std::ptr::eq(weak.as_ptr(), pool))
        });
        at.map(|at| entries.swap_remove(at))
    });
    drop(gone);
}

pub(super) fn open(name: &str, config: Option<&PoolConfig>) -> Result<Option<Pool>> {
    check_name("name", Some(name))?;
    if let Some(label) = config.and_then(|config| config.name.as_deref())
        && label != name
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("config.name is \"{label}\"; nothing or \"{name}\" is allowed"),
        ));
    }
    loop {
        match find_or_reserve(name, config.is_some()) {
            Found::Pool(pool) => {
                if let Some(config) = config {
                    config.check_agrees(&pool.0.config)?;
                }
                return Ok(Some(pool));
            }
            Found::BeingMade => std::thread::sleep(Duration::from_millis(1)),
            Found::Nothing => return Ok(None),
            Found::Reserved => break,
        }
    }
    // Whatever becomes of the making, the reservation ends with this call.
    let reservation = Reserved(name);
    let Some(config) = config else { return Ok(None) };
    let made = Pool::make(&PoolConfig { name: Some(name.to_owned()), ..config.clone() })?;
    REGISTRY.with(|entries| {
        if let Some(entry) = find(entries, name) {
            entry.pool = Some(Arc::downgrade(&made.0));
        }
    });
    std::mem::forget(reservation);
    Ok(Some(made))
}

enum Found {
    Pool(Pool),
    BeingMade,
    Nothing,
    Reserved,
}

fn find<'a>(entries: &'a mut [Entry], name: &str) -> Option<&'a mut Entry> {
    entries.iter_mut().find(|entry| entry.name.as_deref() == Some(name))
}

fn find_or_reserve(name: &str, reserve: bool) -> Found {
    REGISTRY.with(|entries| {
        if let Some(entry) = find(entries, name) {
            let Some(weak) = &entry.pool else { return Found::BeingMade };
            if let Some(pool) = weak.upgrade() {
                return Found::Pool(Pool(pool));
            }
            // Its last handle is going; the name is free already.
            entry.name = None;
        }
        if reserve {
            entries.push(Entry { name: Some(name.to_owned()), pool: None });
            Found::Reserved
        } else {
            Found::Nothing
        }
    })
}

/// A name whose pool is being made.
struct Reserved<'a>(&'a str);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        REGISTRY.with(|entries| {
            entries.retain(|entry| entry.pool.is_some() || entry.name.as_deref() != Some(self.0));
        });
    }
}
