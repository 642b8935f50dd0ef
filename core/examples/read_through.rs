//! Reading through the cache: 64 threads want 100 keys of a slow source. With `get_or_load` each key
//! is loaded once; without it, whoever misses loads.

use hypercache_core::{LoadError, LoadOptions, Pool, PoolConfig, Result, Store, StoreConfig};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const KEYS: u32 = 100;
const THREADS: u32 = 64;

/// What is slow, and how often it was asked.
#[derive(Default)]
struct Source {
    loads: AtomicU32,
}

impl Source {
    fn load(&self, key: u32) -> Vec<u8> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
        format!("value of {key}").into_bytes()
    }
}

/// Has all threads ask for all keys; returns how long that took.
fn crowd(ask: impl Fn(u32) -> Result<()> + Sync) -> Result<Duration> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(move || (0..KEYS).try_for_each(ask))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(start.elapsed())
}

fn read_through(store: &Store, source: &Source, key: u32) -> Result<()> {
    let load = || Ok::<_, Infallible>(Some(source.load(key)));
    match store.get_or_load(&key.to_be_bytes(), &LoadOptions::default(), load) {
        Ok(value) => assert!(value.is_some_and(|value| value.starts_with(b"value of "))),
        Err(LoadError::Cache(error)) => return Err(error),
        Err(LoadError::Failed) => {}
    }
    Ok(())
}

fn main() -> Result<()> {
    let pool = Pool::create(&PoolConfig::new(16 << 20))?;
    let store = pool.open_store(&StoreConfig::default())?;
    let source = Source::default();
    let together = crowd(|key| read_through(&store, &source, key))?;

    let other = pool.open_store(&StoreConfig::default())?;
    let stampeded = Source::default();
    let apart = crowd(|key| {
        if other.get_vec(&key.to_be_bytes())?.is_none() {
            other.set(&key.to_be_bytes(), &stampeded.load(key))?;
        }
        Ok(())
    })?;

    let (loads, others) = (source.loads.into_inner(), stampeded.loads.into_inner());
    println!("                     loads   time");
    println!("get_or_load          {loads:5}   {} ms", together.as_millis());
    println!("get, else load, set  {others:5}   {} ms", apart.as_millis());
    assert_eq!(loads, KEYS);
    Ok(())
}
