//! HyperCache as a C program sees it: the exported functions, called by their names.
//!
//! What is measured through here pays what every other language pays at the boundary. The
//! wrapper adds ownership and turns failures into errors with the library's own sentence.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use anyhow::{Context, Result, bail};
use hypercache as hc;

/// Policies by the names that options and tables use.
const POLICIES: [(&str, i32); 12] = [
    ("default", hc::HC_POLICY_DEFAULT),
    ("s3fifo", hc::HC_POLICY_S3FIFO),
    ("sieve", hc::HC_POLICY_SIEVE),
    ("wtinylfu", hc::HC_POLICY_WTINYLFU),
    ("lru", hc::HC_POLICY_LRU),
    ("lfu", hc::HC_POLICY_LFU),
    ("fifo", hc::HC_POLICY_FIFO),
    ("random", hc::HC_POLICY_RANDOM),
    ("ttl", hc::HC_POLICY_TTL),
    ("hybrid", hc::HC_POLICY_HYBRID),
    ("session", hc::HC_POLICY_SESSION),
    ("adaptive", hc::HC_POLICY_ADAPTIVE),
];

/// A policy's number, from its name.
pub fn policy(name: &str) -> Result<i32> {
    match POLICIES.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => {
            let known = POLICIES.map(|(name, _)| name).join(", ");
            bail!("policy is {name:?}; known are {known}")
        }
    }
}

/// A policy's name, from its number.
#[must_use]
pub fn policy_name(number: i32) -> &'static str {
    POLICIES.iter().rev().find(|(_, known)| *known == number).map_or("unknown", |(name, _)| name)
}

/// How a store is opened.
#[derive(Clone, Debug, Default)]
pub struct StoreSpec {
    /// Limit of its pool, in bytes.
    pub limit: u64,
    /// Policy by name.
    pub policy: String,
    /// Options of the policy.
    pub policy_options: Option<String>,
    /// Seed of the key hash; 0: random.
    pub hash_seed: u64,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// A value of this length, now in the buffer.
    Hit(usize),
    /// Nothing.
    Miss,
    /// A failure or an outcome that a read of this kind does not have.
    Other(i32),
}

/// A pool with one store, released in the order a careful C program would.
pub struct CStore {
    pool: *mut hc::hc_pool,
    store: *mut hc::hc_store,
}

// SAFETY: the header allows pools and stores from many threads at once; the pointers are only
// released by `drop`, which has the value to itself.
unsafe impl Send for CStore {}
// SAFETY: as above.
unsafe impl Sync for CStore {}

/// A zeroed struct with its size stamped, as `HC_INIT` makes it.
fn init<T: hc::Extensible>() -> T {
    // SAFETY: the trait promises that all zeroes are a value of the type.
    let mut value: T = unsafe { std::mem::zeroed() };
    // SAFETY: the trait promises that the type begins with a `size_t`.
    unsafe { (&raw mut value).cast::<usize>().write(size_of::<T>()) };
    value
}

fn sentence(error: &hc::hc_error) -> String {
    // SAFETY: the library ends the message with a NUL inside the array, which began zeroed.
    let text = unsafe { CStr::from_ptr(error.message.as_ptr()) };
    text.to_string_lossy().into_owned()
}

/// "HC_NOT_FOUND" and so on.
#[must_use]
pub fn status_name(status: i32) -> String {
    // SAFETY: the library returns static, NUL-terminated text for every status.
    unsafe { CStr::from_ptr(hc::hc_status_name(status)) }.to_string_lossy().into_owned()
}

impl CStore {
    /// Creates the pool and opens the store.
    pub fn open(spec: &StoreSpec) -> Result<Self> {
        let mut error: hc::hc_error = init();
        let mut config: hc::hc_pool_config = init();
        config.limit_bytes = spec.limit;
        let mut pool = ptr::null_mut();
        // SAFETY: all three point to locals of their types, initialised as the header asks.
        let status =
            unsafe { hc::hc_pool_create(&raw const config, &raw mut pool, &raw mut error) };
        if status != hc::HC_OK {
            bail!("{}: {}", status_name(status), sentence(&error));
        }
        let mut opened = Self { pool, store: ptr::null_mut() };
        let options = spec.policy_options.as_deref().map(CString::new).transpose();
        let options = options.context("the policy's options contain a NUL")?;
        let mut config: hc::hc_store_config = init();
        config.policy = policy(&spec.policy)?;
        config.policy_options = options.as_ref().map_or(ptr::null::<c_char>(), |o| o.as_ptr());
        config.hash_seed = spec.hash_seed;
        // SAFETY: the pool was just created; the rest are locals, and `options` outlives the call.
        let status = unsafe {
            hc::hc_store_open(pool, &raw const config, &raw mut opened.store, &raw mut error)
        };
        if status != hc::HC_OK {
            bail!("{}: {}", status_name(status), sentence(&error));
        }
        Ok(opened)
    }

    /// `hc_get`.
    #[inline]
    pub fn get(&self, key: &[u8], buf: &mut [u8]) -> Got {
        let mut len = 0;
        // SAFETY: the store lives as long as `self`; pointers and lengths are those of slices.
        let status = unsafe {
            hc::hc_get(
                self.store,
                key.as_ptr().cast(),
                key.len(),
                buf.as_mut_ptr().cast::<c_void>(),
                buf.len(),
                &raw mut len,
            )
        };
        match status {
            hc::HC_OK => Got::Hit(len),
            hc::HC_NOT_FOUND => Got::Miss,
            other => Got::Other(other),
        }
    }

    /// `hc_set`; a time to live of 0 is none.
    #[inline]
    pub fn set(&self, key: &[u8], value: &[u8], ttl_ms: u64) -> i32 {
        // SAFETY: the store lives as long as `self`; pointers and lengths are those of slices.
        unsafe {
            hc::hc_set(
                self.store,
                key.as_ptr().cast(),
                key.len(),
                value.as_ptr().cast(),
                value.len(),
                ttl_ms,
            )
        }
    }

    /// The store's configuration, defaults filled in.
    pub fn config(&self) -> Result<hc::hc_store_config> {
        let mut config: hc::hc_store_config = init();
        // SAFETY: the store lives as long as `self`; the config is a local, initialised.
        checked(unsafe { hc::hc_store_config_get(self.store, &raw mut config) })?;
        Ok(config)
    }

    /// The store's statistics.
    pub fn stats(&self) -> Result<hc::hc_store_stats> {
        let mut stats: hc::hc_store_stats = init();
        // SAFETY: as in `config`.
        checked(unsafe { hc::hc_store_stats_get(self.store, &raw mut stats) })?;
        Ok(stats)
    }

    /// The pool's statistics.
    pub fn pool_stats(&self) -> Result<hc::hc_pool_stats> {
        let mut stats: hc::hc_pool_stats = init();
        // SAFETY: as in `config`.
        checked(unsafe { hc::hc_pool_stats_get(self.pool, &raw mut stats) })?;
        Ok(stats)
    }

    /// Checks every invariant of the pool and the store.
    pub fn validate(&self) -> Result<()> {
        let mut error: hc::hc_error = init();
        // SAFETY: the pool lives as long as `self`; the error is a local, initialised.
        let status = unsafe { hc::hc_pool_validate(self.pool, &raw mut error) };
        if status != hc::HC_OK {
            bail!("{}: {}", status_name(status), sentence(&error));
        }
        Ok(())
    }
}

impl Drop for CStore {
    fn drop(&mut self) {
        // SAFETY: each is null or holds the one reference that creating it gave; released once.
        unsafe { hc::hc_store_release(self.store) };
        // SAFETY: as above.
        unsafe { hc::hc_pool_release(self.pool) };
    }
}

fn checked(status: i32) -> Result<()> {
    if status != hc::HC_OK {
        bail!("{}", status_name(status));
    }
    Ok(())
}
