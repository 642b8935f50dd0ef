//! A bug inside the library becomes a status, poisons its shard and reaches the logger; nothing
//! unwinds into the caller and nothing is written to standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Mutex;

use hypercache::*;
use hypercache_core::store::testing::panic_at_write;

static HEARD: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());

unsafe extern "C" fn listen(_: *mut c_void, severity: i32, message: *const c_char) {
    // SAFETY: the header promises a NUL-terminated message.
    let message = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
    HEARD.lock().unwrap().push((severity, message));
}

#[test]
fn a_fault_is_a_status() {
    let mut pool_config = zeroed::<hc_pool_config>();
    pool_config.size = size_of::<hc_pool_config>();
    pool_config.limit_bytes = 4 << 20;
    let mut store_config = zeroed::<hc_store_config>();
    store_config.size = size_of::<hc_store_config>();
    store_config.shards = 1;
    let mut stats = zeroed::<hc_store_stats>();
    stats.size = size_of::<hc_store_stats>();
    let (mut pool, mut store) = (ptr::null_mut(), ptr::null_mut());
    let (key, value) = (c"key".as_ptr().cast(), c"value".as_ptr().cast());
    let (mut buf, mut len) = ([0_u8; 8], 0);
    // SAFETY: as the header asks: whole structs, places to write to, handles with a reference.
    unsafe {
        hc_set_logger(Some(listen), ptr::null_mut(), None, HC_LOG_INFO);
        assert_eq!(hc_pool_create(&pool_config, &mut pool, ptr::null_mut()), HC_OK);
        assert_eq!(hc_store_open(pool, &store_config, &mut store, ptr::null_mut()), HC_OK);
        assert_eq!(hc_set(store, key, 3, value, 5, HC_TTL_DEFAULT), HC_OK);

        panic_at_write(1);
        assert_eq!(hc_set(store, key, 3, value, 5, HC_TTL_DEFAULT), HC_ERR_INTERNAL);
        assert_eq!(hc_set(store, key, 3, value, 5, HC_TTL_DEFAULT), HC_ERR_POISONED);
        let buf: *mut c_void = buf.as_mut_ptr().cast();
        assert_eq!(hc_get(store, key, 3, buf, 8, &mut len), HC_ERR_POISONED);
        assert_eq!(hc_store_stats_get(store, &mut stats), HC_OK);
        assert_eq!((stats.faults, stats.poisoned_shards), (1, 1));

        assert_eq!(hc_clear(store), HC_OK);
        assert_eq!(hc_get(store, key, 3, buf, 8, &mut len), HC_NOT_FOUND);
        assert_eq!(hc_set(store, key, 3, value, 5, HC_TTL_DEFAULT), HC_OK);
        assert_eq!(hc_get(store, key, 3, buf, 8, &mut len), HC_OK);
        assert_eq!(hc_store_stats_get(store, &mut stats), HC_OK);
        assert_eq!((stats.faults, stats.poisoned_shards), (1, 0));
        assert_eq!(hc_pool_validate(pool, ptr::null_mut()), HC_OK);
        hc_store_release(store);
        hc_pool_release(pool);
        hc_set_logger(None, ptr::null_mut(), None, 0);
    }
    let heard = HEARD.lock().unwrap();
    let fault = heard.iter().find(|(_, message)| message.contains("injected fault"));
    assert!(fault.is_some_and(|(severity, _)| *severity == HC_LOG_ERROR), "{heard:?}");
}

/// What HC_INIT does, without the size.
fn zeroed<T: Extensible>() -> T {
    // SAFETY: Extensible promises that zeroes are a value of T.
    unsafe { std::mem::MaybeUninit::zeroed().assume_init() }
}
