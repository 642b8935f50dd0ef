//! The floor: what a look-up from Node costs at least.
//!
//! Each function reads a string key, asks the library, and gives the value back, with the direct
//! calls of Node's interface that this takes and nothing else: one store that is always open, keys
//! that are always short strings, values of one type, no errors. The package does the same work and
//! whatever a package has to do besides; the benchmark measures both in one run.
#![allow(missing_docs, reason = "a tool of the benchmark")]

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use hypercache_sys as hc;
use napi_sys as n;

static STORE: AtomicPtr<hc::hc_store> = AtomicPtr::new(ptr::null_mut());

const ROOM: usize = 1_024;

/// The arguments of a call, and its key.
struct Asked<const N: usize> {
    arguments: [n::napi_value; N],
    key: [MaybeUninit<u8>; ROOM],
    key_len: usize,
}

/// # Safety
/// To be called with what Node passed.
#[inline(always)]
unsafe fn asked<const N: usize>(env: n::napi_env, info: n::napi_callback_info) -> Asked<N> {
    let mut asked =
        Asked { arguments: [ptr::null_mut(); N], key: [MaybeUninit::uninit(); ROOM], key_len: 0 };
    let mut count = N;
    // SAFETY: the environment is the caller's; all outputs are as large as they say.
    unsafe {
        let arguments = asked.arguments.as_mut_ptr();
        let (none, nothing) = (ptr::null_mut(), ptr::null_mut());
        n::napi_get_cb_info(env, info, &raw mut count, arguments, none, nothing);
        let key = asked.key.as_mut_ptr().cast();
        let len = &raw mut asked.key_len;
        n::napi_get_value_string_utf8(env, asked.arguments[0], key, ROOM, len);
    }
    asked
}

/// # Safety
/// The buffer has `room` bytes.
#[inline(always)]
unsafe fn get<const N: usize>(asked: &Asked<N>, to: *mut c_void, room: usize) -> usize {
    let mut len = 0;
    // SAFETY: the store is open for as long as the benchmark runs, and the key was written.
    unsafe {
        let key = asked.key.as_ptr().cast();
        let store = STORE.load(Relaxed);
        let _ = hc::hc_get(store, key, asked.key_len, to, room, &raw mut len);
    }
    len
}

unsafe extern "C" fn get_string(env: n::napi_env, info: n::napi_callback_info) -> n::napi_value {
    let mut value = [MaybeUninit::<u8>::uninit(); ROOM];
    let mut made = ptr::null_mut();
    // SAFETY: Node calls; the value is as long as the library says.
    unsafe {
        let asked = asked::<1>(env, info);
        let len = get(&asked, value.as_mut_ptr().cast(), ROOM);
        n::napi_create_string_latin1(env, value.as_ptr().cast(), len as isize, &raw mut made);
    }
    made
}

unsafe extern "C" fn get_number(env: n::napi_env, info: n::napi_callback_info) -> n::napi_value {
    let mut value = 0_i64;
    let mut made = ptr::null_mut();
    // SAFETY: Node calls; the value has 8 bytes.
    unsafe {
        let asked = asked::<1>(env, info);
        get(&asked, (&raw mut value).cast(), 8);
        n::napi_create_int64(env, value, &raw mut made);
    }
    made
}

unsafe extern "C" fn has(env: n::napi_env, info: n::napi_callback_info) -> n::napi_value {
    let mut made = ptr::null_mut();
    // SAFETY: Node calls; the key was written.
    unsafe {
        let asked = asked::<1>(env, info);
        let key = asked.key.as_ptr().cast();
        let there = hc::hc_contains(STORE.load(Relaxed), key, asked.key_len) == hc::HC_OK;
        n::napi_get_boolean(env, there, &raw mut made);
    }
    made
}

unsafe extern "C" fn get_into(env: n::napi_env, info: n::napi_callback_info) -> n::napi_value {
    let mut made = ptr::null_mut();
    // SAFETY: Node calls; the target has as many bytes as Node says.
    unsafe {
        let asked = asked::<2>(env, info);
        let (mut to, mut room) = (ptr::null_mut(), 0);
        n::napi_get_buffer_info(env, asked.arguments[1], &raw mut to, &raw mut room);
        let len = get(&asked, to, room);
        n::napi_create_uint32(env, len as u32, &raw mut made);
    }
    made
}

/// The keys of a batch.
const BATCH: usize = 32;
/// The longest key and value of a batch, in bytes.
const EACH: usize = 64;

/// `getMany(collect, ...keys)`: the strings of 32 keys, as arguments of a function that collects them.
unsafe extern "C" fn get_many(env: n::napi_env, info: n::napi_callback_info) -> n::napi_value {
    let mut given = [ptr::null_mut(); BATCH + 1];
    let mut keys = [MaybeUninit::<[u8; EACH]>::uninit(); BATCH];
    let mut slices = [hc::hc_slice { data: ptr::null(), len: 0 }; BATCH];
    let mut found = slices;
    let mut values = [MaybeUninit::<[u8; EACH]>::uninit(); BATCH];
    let mut statuses = [0; BATCH];
    let mut made = [ptr::null_mut(); BATCH];
    let (mut count, mut array, mut receiver) = (BATCH + 1, ptr::null_mut(), ptr::null_mut());
    // SAFETY: Node calls with a function and 32 short keys, all of which are there.
    unsafe {
        let none = ptr::null_mut();
        n::napi_get_cb_info(env, info, &raw mut count, given.as_mut_ptr(), none, none.cast());
        for ((value, key), slice) in given[1..].iter().zip(&mut keys).zip(&mut slices) {
            let bytes = key.as_mut_ptr().cast();
            n::napi_get_value_string_utf8(env, *value, bytes, EACH, &raw mut slice.len);
            slice.data = bytes.cast_const().cast();
        }
        let _ = hc::hc_get_many(
            STORE.load(Relaxed),
            slices.as_ptr(),
            BATCH,
            0,
            values.as_mut_ptr().cast(),
            BATCH * EACH,
            found.as_mut_ptr(),
            ptr::null_mut(),
            statuses.as_mut_ptr(),
        );
        for (slice, value) in found.iter().zip(&mut made) {
            let len = slice.len as isize;
            n::napi_create_string_latin1(env, slice.data.cast(), len, value);
        }
        n::napi_get_undefined(env, &raw mut receiver);
        let (function, all) = (given[0], made.as_ptr());
        n::napi_call_function(env, receiver, function, BATCH, all, &raw mut array);
    }
    array
}

/// `open(name)`: the pool and store of this name.
unsafe extern "C" fn open(env: n::napi_env, info: n::napi_callback_info) -> n::napi_value {
    // SAFETY: Node calls; the name is NUL-terminated, and the outputs live for the calls.
    unsafe {
        let asked = asked::<1>(env, info);
        let name = asked.key.as_ptr().cast();
        let (mut pool, mut store) = (ptr::null_mut(), ptr::null_mut());
        if hc::hc_pool_open(name, ptr::null(), &raw mut pool, ptr::null_mut()) == hc::HC_OK
            && hc::hc_store_find(pool, name, &raw mut store) == hc::HC_OK
        {
            STORE.store(store, Relaxed);
        }
        let mut opened = ptr::null_mut();
        n::napi_get_boolean(env, !STORE.load(Relaxed).is_null(), &raw mut opened);
        opened
    }
}

const EXPORTS: [(&CStr, n::napi_callback); 6] = [
    (c"open", Some(open)),
    (c"getString", Some(get_string)),
    (c"getNumber", Some(get_number)),
    (c"has", Some(has)),
    (c"getInto", Some(get_into)),
    (c"getMany", Some(get_many)),
];

/// What Node calls when it loads the addon.
///
/// # Safety
/// To be called by Node alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(
    env: n::napi_env,
    exports: n::napi_value,
) -> n::napi_value {
    for (name, function) in EXPORTS {
        let mut made = ptr::null_mut();
        let len = name.count_bytes() as isize;
        // SAFETY: the names are NUL-terminated, and `exports` is the object that Node gives.
        unsafe {
            let none = ptr::null_mut();
            n::napi_create_function(env, name.as_ptr(), len, function, none, &raw mut made);
            n::napi_set_named_property(env, exports, name.as_ptr(), made);
        }
    }
    exports
}
