//! Filters.

use std::ffi::{c_char, c_void};
use std::mem;
use std::ops::Deref;
use std::path::Path;

use hypercache_core::{Filter, FilterConfig, FilterStats, Result};

use crate::abi::*;
use crate::batch::{GROUP, Group, NULL_KEYS, NULL_STATUSES, by_groups};
use crate::boundary::{
    Outcome, Place, array, call, call_allocating, call_detailed, check_flags, fill, filter,
    invalid, key, out, out_array, pool, quiet, read, report_faults, text, zeroed,
};

/// # Safety
/// `config` is NULL or an hc_filter_config of as many bytes as its size says, whose pool is NULL or
/// a handle that holds a reference.
unsafe fn filter_config(config: *const hc_filter_config) -> Result<FilterConfig> {
    // SAFETY: as the caller's contract.
    let c = unsafe { read(config) }?;
    check_flags("hc_filter_config.flags", c.flags, 0)?;
    if c.reserved != 0 {
        return Err(invalid("hc_filter_config.reserved is not 0"));
    }
    let pool = match c.pool.is_null() {
        true => None,
        // SAFETY: not NULL, so a handle by the caller's contract.
        false => Some(unsafe { self::pool(c.pool) }?.clone()),
    };
    Ok(FilterConfig { capacity: c.capacity, fpr: c.fpr, pool, hash_seed: c.hash_seed })
}

/// A filter as a handle that holds one reference.
fn handle(filter: Filter) -> *mut hc_filter {
    filter.into_raw().cast_mut().cast()
}

/// What most calls begin with.
///
/// # Safety
/// As [`filter`] and [`key`].
#[inline(always)]
unsafe fn filter_and_key<'a>(
    filter: *const hc_filter,
    key: *const c_void,
    key_len: usize,
) -> Result<(impl Deref<Target = Filter>, &'a [u8])> {
    // SAFETY: as the caller's contract.
    Ok(unsafe { (self::filter(filter)?, self::key(key, key_len)?) })
}

#[inline(always)]
const fn maybe(found: bool) -> hc_status {
    if found { HC_OK } else { HC_NOT_FOUND }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_create(
    config: *const hc_filter_config,
    out: *mut *mut hc_filter,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        report_faults();
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        // SAFETY: the header asks for a whole config.
        let config = unsafe { filter_config(config) }?;
        place.write(handle(Filter::create(&config)?));
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_retain(filter: *mut hc_filter) -> *mut hc_filter {
    quiet(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        mem::forget(unsafe { self::filter(filter) }?.clone());
        Ok(())
    });
    filter
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_release(filter: *mut hc_filter) {
    if !filter.is_null() {
        quiet(|| {
            // SAFETY: the handle came from Filter::into_raw; its reference ends here.
            drop(unsafe { Filter::from_raw(filter.cast_const().cast()) });
            Ok(())
        });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_add(
    filter: *mut hc_filter,
    key: *const c_void,
    key_len: usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference, and a readable key.
        let (filter, key) = unsafe { filter_and_key(filter, key, key_len) }?;
        filter.add(key)?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_contains(
    filter: *mut hc_filter,
    key: *const c_void,
    key_len: usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference, and a readable key.
        let (filter, key) = unsafe { filter_and_key(filter, key, key_len) }?;
        Ok(maybe(filter.contains(key)?))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_contains_many(
    filter: *mut hc_filter,
    keys: *const hc_slice,
    n: usize,
    statuses: *mut hc_status,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let filter = unsafe { self::filter(filter) }?;
        // SAFETY: the header asks for n keys.
        let keys = unsafe { array(keys, n, NULL_KEYS) }?;
        // SAFETY: the header asks for room for n statuses.
        let statuses = unsafe { out_array(statuses, n, NULL_STATUSES) }?;
        let look_up = |_first: usize, group: &Group, statuses: &mut [Place<hc_status>]| {
            let mut found = [true; GROUP];
            filter.contains_many(group.keys(), &mut found)?;
            for (at, found) in group.of_keys(found) {
                statuses[at].write(maybe(found));
            }
            Ok(())
        };
        // SAFETY: the header asks for readable keys.
        unsafe { by_groups(keys, statuses, look_up) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_remove(
    filter: *mut hc_filter,
    key: *const c_void,
    key_len: usize,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference, and a readable key.
        let (filter, key) = unsafe { filter_and_key(filter, key, key_len) }?;
        Ok(maybe(filter.remove(key)?))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_clear(filter: *mut hc_filter) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::filter(filter) }?.clear()?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_stats_get(
    filter: *mut hc_filter,
    stats: *mut hc_filter_stats,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let filter = unsafe { self::filter(filter) }?;
        filter.check()?;
        // Taken apart without a rest: a statistic that is new there does not compile here.
        let FilterStats {
            keys,
            capacity,
            bytes,
            adds,
            add_failures,
            lookups,
            positives,
            removes,
            remove_failures,
            kicks,
            longest_kick_chain,
            resizes,
            load_factor,
            fpr_theoretical,
            fpr_sampled,
            saturated,
        } = filter.stats();
        let value = hc_filter_stats {
            keys,
            capacity,
            bytes,
            adds,
            add_failures,
            lookups,
            positives,
            removes,
            remove_failures,
            kicks,
            longest_kick_chain,
            resizes,
            load_factor,
            fpr_theoretical,
            fpr_sampled,
            saturated: u32::from(saturated),
            ..zeroed()
        };
        // SAFETY: the header asks for a struct of as many bytes as its size says.
        unsafe { fill(stats, value) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_validate(
    filter: *mut hc_filter,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::filter(filter) }?.validate()?;
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_save(
    filter: *mut hc_filter,
    path: *const c_char,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        // SAFETY: the header asks for a handle that holds a reference.
        let filter = unsafe { self::filter(filter) }?;
        // SAFETY: the header asks for a NUL-terminated string.
        let path = unsafe { text("path", path) }?.ok_or_else(|| invalid("path is NULL"))?;
        filter.save(Path::new(path))?;
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_filter_load(
    path: *const c_char,
    config: *const hc_filter_config,
    out: *mut *mut hc_filter,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        report_faults();
        // SAFETY: the header asks for a NUL-terminated string.
        let path = unsafe { text("path", path) }?.ok_or_else(|| invalid("path is NULL"))?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        let config = match config.is_null() {
            true => FilterConfig::default(),
            // SAFETY: the header asks for NULL or a whole config.
            false => unsafe { filter_config(config) }?,
        };
        place.write(handle(Filter::load(Path::new(path), &config)?));
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}
