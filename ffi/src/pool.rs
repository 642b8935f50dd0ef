//! Pools.

use std::ffi::{c_char, c_void};
use std::mem;
use std::ptr;
use std::time::Duration;

use hypercache_core::pool::{AllocOptions, PressureEvent};
use hypercache_core::{Error, Pool, PoolConfig, Result, Thresholds};

use crate::abi::*;
use crate::boundary::{
    Outcome, call, call_allocating, call_detailed, check_flags, fill, invalid, out, pool, put_out,
    quiet, read, report_faults, text, zeroed,
};
use crate::convert::{level, limit_status};
use crate::store::lasting;

const POOL_FLAGS: u32 =
    HC_POOL_PREFAULT | HC_POOL_ZERO_ON_FREE | HC_POOL_NO_HUGE_PAGES | HC_POOL_PRESSURE_USED;

/// # Safety
/// `config` is NULL or an hc_pool_config of as many bytes as its size says.
unsafe fn pool_config(config: *const hc_pool_config) -> Result<PoolConfig> {
    // SAFETY: as the caller's contract.
    let c = unsafe { read(config) }?;
    check_flags("hc_pool_config.flags", c.flags, POOL_FLAGS)?;
    let thresholds = [c.elevated_pct, c.high_pct, c.critical_pct];
    let default = Thresholds::default();
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    Ok(PoolConfig {
        limit_bytes: c.limit_bytes,
        limit_max_bytes: c.limit_max_bytes,
        pin_limit_bytes: c.pin_limit_bytes,
        // SAFETY: strings in a config are NULL or NUL-terminated, by its contract.
        name: unsafe { text("hc_pool_config.name", c.name) }?.map(str::to_owned),
        thresholds: (thresholds != [0; 3]).then_some(Thresholds {
            elevated_pct: or(c.elevated_pct, default.elevated_pct),
            high_pct: or(c.high_pct, default.high_pct),
            critical_pct: or(c.critical_pct, default.critical_pct),
        }),
        prefault: c.flags & HC_POOL_PREFAULT != 0,
        zero_on_free: c.flags & HC_POOL_ZERO_ON_FREE != 0,
        no_huge_pages: c.flags & HC_POOL_NO_HUGE_PAGES != 0,
        pressure_by_used: c.flags & HC_POOL_PRESSURE_USED != 0,
    })
}

/// A pool as a handle that holds one reference.
fn handle(pool: Pool) -> *mut hc_pool {
    pool.into_raw().cast_mut().cast()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_create(
    config: *const hc_pool_config,
    out: *mut *mut hc_pool,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        report_faults();
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        // SAFETY: the header asks for a whole config.
        let config = unsafe { pool_config(config) }?;
        place.write(handle(Pool::create(&config)?));
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_open(
    name: *const c_char,
    config: *const hc_pool_config,
    out: *mut *mut hc_pool,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        report_faults();
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        // SAFETY: the header asks for a NUL-terminated string.
        let name = unsafe { text("name", name) }?.ok_or_else(|| invalid("name is NULL"))?;
        let config = match config.is_null() {
            true => None,
            // SAFETY: the header asks for NULL or a whole config.
            false => Some(unsafe { pool_config(config) }?),
        };
        match Pool::open(name, config.as_ref())? {
            Some(pool) => {
                place.write(handle(pool));
                Ok(HC_OK)
            }
            None => Ok(HC_NOT_FOUND),
        }
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_retain(pool: *mut hc_pool) -> *mut hc_pool {
    quiet(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        mem::forget(unsafe { self::pool(pool) }?.clone());
        Ok(())
    });
    pool
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_release(pool: *mut hc_pool) {
    if !pool.is_null() {
        quiet(|| {
            // SAFETY: the handle came from Pool::into_raw; its reference ends here.
            drop(unsafe { Pool::from_raw(pool.cast_const().cast()) });
            Ok(())
        });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_set_limit(
    pool: *mut hc_pool,
    limit_bytes: u64,
    err: *mut hc_error,
) -> hc_status {
    let inside = || -> Outcome {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        Ok(limit_status(pool.set_limit(limit_bytes)?))
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_set_thresholds(
    pool: *mut hc_pool,
    elevated_pct: u32,
    high_pct: u32,
    critical_pct: u32,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        pool.set_thresholds(Thresholds { elevated_pct, high_pct, critical_pct })?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_pressure(pool: *const hc_pool) -> i32 {
    if pool.is_null() {
        return HC_PRESSURE_NONE;
    }
    // SAFETY: not NULL; the header asks for a handle that holds a reference.
    level(unsafe { Pool::borrow_raw(pool.cast()) }.pressure())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_wait(
    pool: *mut hc_pool,
    seq: *mut u64,
    timeout_ms: u64,
    level: *mut i32,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { out(level, "level is NULL") }?;
        if seq.is_null() {
            return Err(invalid("seq is NULL"));
        }
        // SAFETY: not NULL; the header asks for the sequence last seen.
        let seq = unsafe { &mut *seq };
        match pool.wait_pressure(seq, Duration::from_millis(timeout_ms)) {
            Some(pressure) => {
                place.write(self::level(pressure));
                Ok(HC_OK)
            }
            None => Ok(HC_TIMEOUT),
        }
    })
}

/// The caller's context of a callback. `drop` runs once, whenever this goes.
pub(crate) struct Context {
    pub(crate) ctx: *mut c_void,
    pub(crate) drop: hc_drop_fn,
}

// SAFETY: the header says that callbacks run on the library's threads; whether what ctx points to
// can bear that is the caller's contract.
unsafe impl Send for Context {}
// SAFETY: as for Send: a logger is called from any thread, by the header's contract.
unsafe impl Sync for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: the header promises to call drop once with ctx; nothing uses ctx after.
            unsafe { drop(self.ctx) }
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_watch(
    pool: *mut hc_pool,
    r#fn: hc_pressure_fn,
    ctx: *mut c_void,
    drop: hc_drop_fn,
    out: *mut *mut hc_watch,
) -> hc_status {
    // Made first: whatever fails below, drop runs.
    let context = Context { ctx, drop };
    call_allocating(move || {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        // SAFETY: the header asks for a place to write to.
        let place = unsafe { self::out(out, "out is NULL") }?;
        let Some(callback) = r#fn else { return Err(invalid("fn is NULL")) };
        let watch = pool.watch(Box::new(move |event: PressureEvent| {
            let context = &context;
            let PressureEvent { level, used_bytes, limit_bytes, .. } = event;
            // SAFETY: the caller's function with the caller's ctx, which lives until drop.
            unsafe { callback(context.ctx, self::level(level), used_bytes, limit_bytes) }
        }))?;
        place.write(Box::into_raw(Box::new(hc_watch { inner: watch })));
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_watch_cancel(watch: *mut hc_watch) {
    if !watch.is_null() {
        quiet(|| {
            // SAFETY: the handle came from hc_pool_watch, and cancelling is what ends it.
            unsafe { Box::from_raw(watch) }.inner.cancel();
            Ok(())
        });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_trim(
    pool: *mut hc_pool,
    target_bytes: u64,
    freed: *mut u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let bytes = unsafe { self::pool(pool) }?.trim(target_bytes)?;
        // SAFETY: the header asks for NULL or a place to write to.
        unsafe { put_out(freed, bytes) };
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_alloc(
    pool: *mut hc_pool,
    len: usize,
    align: usize,
    flags: u32,
) -> *mut c_void {
    // What is usual, without a frame: nothing here can unwind.
    if flags == 0 && !pool.is_null() {
        // SAFETY: the header asks for a handle that holds a reference, and this one is not NULL.
        let borrowed = unsafe { Pool::borrow_raw(pool.cast()) };
        if let Some(block) = borrowed.alloc_quickly(len, align) {
            return block.as_ptr().cast();
        }
        // Known here, so that a register need not keep it.
        // SAFETY: as this function's.
        return unsafe { alloc_checked(pool, len, align, 0) };
    }
    // SAFETY: as this function's.
    unsafe { alloc_checked(pool, len, align, flags) }
}

/// All of [`hc_pool_alloc`]. Of C's calling convention, in which nothing unwinds, so that it is a
/// jump that brings the caller here.
///
/// # Safety
/// As [`hc_pool_alloc`].
#[cold]
#[inline(never)]
unsafe extern "C" fn alloc_checked(
    pool: *mut hc_pool,
    len: usize,
    align: usize,
    flags: u32,
) -> *mut c_void {
    let inside = || -> Result<*mut c_void, Error> {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        check_flags("flags", flags, HC_ALLOC_EVICT | HC_ALLOC_ZERO)?;
        let options =
            AllocOptions { evict: flags & HC_ALLOC_EVICT != 0, zero: flags & HC_ALLOC_ZERO != 0 };
        Ok(pool.alloc(len, align, options)?.as_ptr().cast())
    };
    quiet(inside).unwrap_or(ptr::null_mut())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_free(pool: *mut hc_pool, ptr: *mut c_void) -> hc_status {
    if !pool.is_null() {
        // SAFETY: the header asks for a handle that holds a reference, and this one is not NULL.
        let pool = unsafe { Pool::borrow_raw(pool.cast()) };
        // SAFETY: the header lets nobody use a block that was given back.
        if unsafe { pool.free_quickly(ptr.cast()) } {
            return HC_OK;
        }
    }
    // SAFETY: as this function's.
    unsafe { free_checked(pool, ptr) }
}

/// All of [`hc_pool_free`]; see [`alloc_checked`].
///
/// # Safety
/// As [`hc_pool_free`].
#[cold]
#[inline(never)]
unsafe extern "C" fn free_checked(pool: *mut hc_pool, ptr: *mut c_void) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        if ptr.is_null() {
            return Ok(HC_OK);
        }
        // SAFETY: the header lets nobody use a block that was given back.
        unsafe { pool.free(ptr.cast()) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_config_get(
    pool: *mut hc_pool,
    config: *mut hc_pool_config,
) -> hc_status {
    call_allocating(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let pool = unsafe { self::pool(pool) }?;
        pool.check()?;
        let c = pool.config();
        let thresholds = c.thresholds.unwrap_or_default();
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let value = hc_pool_config {
            limit_bytes: c.limit_bytes,
            name: lasting(c.name.as_deref()),
            elevated_pct: thresholds.elevated_pct,
            high_pct: thresholds.high_pct,
            critical_pct: thresholds.critical_pct,
            flags: flag(c.prefault, HC_POOL_PREFAULT)
                | flag(c.zero_on_free, HC_POOL_ZERO_ON_FREE)
                | flag(c.no_huge_pages, HC_POOL_NO_HUGE_PAGES)
                | flag(c.pressure_by_used, HC_POOL_PRESSURE_USED),
            pin_limit_bytes: c.pin_limit_bytes,
            limit_max_bytes: c.limit_max_bytes,
            ..zeroed()
        };
        // SAFETY: the header asks for a struct of as many bytes as its size says.
        unsafe { fill(config, value) }?;
        Ok(HC_OK)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pool_validate(pool: *mut hc_pool, err: *mut hc_error) -> hc_status {
    let inside = || -> Outcome {
        // SAFETY: the header asks for a handle that holds a reference.
        unsafe { self::pool(pool) }?.validate()?;
        Ok(HC_OK)
    };
    // SAFETY: the header asks for NULL or an hc_error.
    unsafe { call_detailed(err, inside) }
}
