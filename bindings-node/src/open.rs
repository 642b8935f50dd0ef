//! Opening pools and stores, and what is done to them as wholes.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use hypercache_bindings::{bytes, policy};
use hypercache_sys as hc;
use napi_sys::ValueType;

use crate::js::{Call, Js, Thrown, Value};
use crate::read::store;
use crate::sized;
use crate::values;
use crate::write::{MILLIS_MAX, natural, outcome, ttl};

/// Options by name, as the caller gave them.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    call: Call<'a>,
    object: Value<'a>,
}

impl<'a> Options<'a> {
    /// The options of an object.
    pub const fn new(call: Call<'a>, object: Value<'a>) -> Self {
        Self { call, object }
    }

    /// An option as it is.
    pub fn get(self, name: &str) -> Js<Value<'a>> {
        self.call.property(self.object, name)
    }

    /// An integer; 0 if it is not given.
    pub fn natural(self, name: &str, most: u64) -> Js<u64> {
        natural(self.call, self.get(name)?, name, most)
    }

    /// A size in bytes, as a number or as text; 0 if it is not given.
    pub fn size(self, name: &str) -> Js<u64> {
        size(self.call, self.get(name)?, name)
    }

    /// A number; 0 if it is not given.
    pub fn number(self, name: &str) -> Js<f64> {
        let value = self.get(name)?;
        match self.call.type_of(value) {
            ValueType::napi_undefined => Ok(0.0),
            ValueType::napi_number => self.call.f64(value).ok_or(Thrown),
            _ => Err(self.call.refused(name, value, "a number")),
        }
    }

    /// A switch.
    pub fn flag(self, name: &str, flag: u32) -> Js<u32> {
        let value = self.get(name)?;
        match self.call.type_of(value) {
            ValueType::napi_undefined => Ok(0),
            ValueType::napi_boolean => Ok(if self.call.bool(value) { flag } else { 0 }),
            _ => Err(self.call.refused(name, value, "true or false")),
        }
    }

    /// Text for the library; None if it is not given.
    pub fn text(self, name: &str) -> Js<Option<CString>> {
        let value = self.get(name)?;
        if self.call.is_undefined(value) {
            return Ok(None);
        }
        let Some(text) = self.call.string(value) else {
            return Err(self.call.refused(name, value, "a string"));
        };
        match CString::new(text) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.call.outside(name, value, "a string without NUL characters")),
        }
    }
}

const A_SIZE: &str = "a number of bytes, or text such as \"64MiB\",";

/// A size in bytes, as a number or as text; 0 if it is `undefined`.
fn size<'a>(call: Call<'a>, value: Value<'a>, name: &str) -> Js<u64> {
    match call.type_of(value) {
        ValueType::napi_string => {
            let text = call.string(value).ok_or(Thrown)?;
            bytes::parse(&text).map_err(|error| call.out_of_range(&format!("{name}: {error}")))
        }
        ValueType::napi_undefined | ValueType::napi_number | ValueType::napi_bigint => {
            natural(call, value, name, u64::MAX >> 1)
        }
        _ => Err(call.refused(name, value, A_SIZE)),
    }
}

fn pointer(text: Option<&CString>) -> *const std::ffi::c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// What JavaScript calls the options that the library's messages name.
const NAMES: [(&str, &str); 20] = [
    ("limit_bytes", "maxBytes"),
    ("limit_max_bytes", "maxBytesEver"),
    ("pin_limit_bytes", "pinLimit"),
    ("floor_bytes", "minBytes"),
    ("value_len_max", "maxValueBytes"),
    ("limit_entries", "maxEntries"),
    ("policy_options", "policyOptions"),
    ("hash_seed", "hashSeed"),
    ("jitter_pct", "ttlJitter"),
    ("default_ttl_ms", "ttl"),
    ("soft_ttl_ms", "softTtl"),
    ("idle_ttl_ms", "idleTtl"),
    ("stale_if_error_ms", "staleIfError"),
    ("negative_ttl_ms", "absentTtl"),
    ("lease_ms", "leaseTime"),
    ("filter_fpr", "filterFpr"),
    ("elevated_pct", "elevated"),
    ("high_pct", "high"),
    ("critical_pct", "critical"),
    ("default_ttl", "ttl"),
];

/// A message of the library with the options' names as JavaScript has them.
fn message(error: &hc::hc_error) -> String {
    let bytes = error.message.map(|byte| byte.cast_unsigned());
    let said = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut text = String::new();
    for piece in String::from_utf8_lossy(said).split_inclusive(|letter| !is_word(letter)) {
        let word = piece.trim_end_matches(|letter| !is_word(letter));
        let name = NAMES.iter().find(|(name, _)| *name == word).map_or(word, |(_, name)| name);
        text.push_str(name);
        text.push_str(&piece[word.len()..]);
    }
    text
}

/// Runs a call that fills an error, and throws what it says.
pub fn told<'a>(
    call: Call<'a>,
    function: impl FnOnce(*mut hc::hc_error) -> hc::hc_status,
) -> Js<i32> {
    let mut error = sized!(hc::hc_error);
    let status = function(&raw mut error);
    if status < 0 { Err(call.failed_with(status, message(&error).as_bytes())) } else { Ok(status) }
}

/// The pool of a number that JavaScript holds.
pub fn pool<'a>(call: Call<'a>, id: Value<'a>) -> Js<*mut hc::hc_pool> {
    let pool = call.state.pools.get(call.i32(id));
    if pool.is_null() {
        Err(call.throw(crate::js::Kind::Status, "HC_ERR_CLOSED", "the pool is closed"))
    } else {
        Ok(pool)
    }
}

/// `openPool(options)`: a number. With a name, the pool of that name; without `maxBytes`, only one
/// that is there.
pub fn open_pool<'a>(call: Call<'a>, [object]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let options = Options::new(call, object);
    let name = options.text("name")?;
    let mut config = sized!(hc::hc_pool_config);
    config.limit_bytes = options.size("maxBytes")?;
    config.limit_max_bytes = options.size("maxBytesEver")?;
    config.pin_limit_bytes = options.size("pinLimit")?;
    config.elevated_pct = options.natural("elevated", 100)? as u32;
    config.high_pct = options.natural("high", 100)? as u32;
    config.critical_pct = options.natural("critical", 100)? as u32;
    config.flags = options.flag("prefault", hc::HC_POOL_PREFAULT)?
        | options.flag("zeroOnFree", hc::HC_POOL_ZERO_ON_FREE)?
        | options.flag("noHugePages", hc::HC_POOL_NO_HUGE_PAGES)?
        | options.flag("pressureOfUsed", hc::HC_POOL_PRESSURE_USED)?;
    let no_size = call.is_undefined(options.get("maxBytes")?);
    let mut opened = ptr::null_mut();
    let status = told(call, |error| {
        // SAFETY: config, name, output and error live for the call.
        unsafe {
            match &name {
                Some(name) => {
                    let config = if no_size { ptr::null() } else { &raw const config };
                    hc::hc_pool_open(name.as_ptr(), config, &raw mut opened, error)
                }
                None => hc::hc_pool_create(&raw const config, &raw mut opened, error),
            }
        }
    })?;
    if status == hc::HC_NOT_FOUND {
        let name = name.unwrap_or_default();
        let message = format!("there is no pool {name:?}; give maxBytes to create it");
        return Err(call.throw(crate::js::Kind::Status, "HC_NOT_FOUND", &message));
    }
    numbered(call, &call.state.pools, opened)
}

/// Keeps a handle and gives its number.
pub fn numbered<'a, T>(
    call: Call<'a>,
    table: &crate::state::Table<T>,
    handle: *mut T,
) -> Js<Value<'a>> {
    let handle = NonNull::new(handle).ok_or_else(|| call.failed(hc::HC_ERR_INTERNAL))?;
    match table.insert(handle) {
        Some(number) => call.int(number),
        None => Err(call.failed(hc::HC_ERR_NO_MEMORY)),
    }
}

/// `openStore(pool, options, find)`: a number. To find is to open only what is there.
pub fn open_store<'a>(call: Call<'a>, [pool_id, object, find]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let pool = pool(call, pool_id)?;
    let options = Options::new(call, object);
    let name = options.text("name")?;
    if call.bool(find) {
        let mut found = ptr::null_mut();
        // SAFETY: the table holds a reference to the pool; the name is NUL-terminated. What is
        // found is given back: opening it compares the options.
        let status = unsafe {
            let status = hc::hc_store_find(pool, pointer(name.as_ref()), &raw mut found);
            hc::hc_store_release(found);
            status
        };
        if status == hc::HC_NOT_FOUND {
            let name = name.unwrap_or_default();
            let message = format!("there is no cache {name:?}; give maxBytes to create it");
            return Err(call.throw(crate::js::Kind::Status, "HC_NOT_FOUND", &message));
        }
    }
    let policy_options = options.text("policyOptions")?;
    let mut config = sized!(hc::hc_store_config);
    config.name = pointer(name.as_ref());
    config.policy_options = pointer(policy_options.as_ref());
    config.limit_bytes = options.size("maxBytes")?;
    config.floor_bytes = options.size("minBytes")?;
    config.value_len_max = options.size("maxValueBytes")?;
    config.limit_entries = options.natural("maxEntries", u64::MAX)?;
    config.shards = options.natural("shards", u32::MAX.into())? as u32;
    config.hash_seed = options.natural("hashSeed", u64::MAX)?;
    config.jitter_pct = options.natural("ttlJitter", 100)? as u32;
    config.lease_ms = options.natural("leaseTime", MILLIS_MAX)?;
    config.soft_ttl_ms = options.natural("softTtl", MILLIS_MAX)?;
    config.idle_ttl_ms = options.natural("idleTtl", u32::MAX.into())?;
    config.stale_if_error_ms = options.natural("staleIfError", MILLIS_MAX)?;
    let absent_ttl = options.natural("absentTtl", MILLIS_MAX)?;
    // In C, 0 is the default; here it says that nothing is remembered.
    let is_given = !call.is_undefined(options.get("absentTtl")?);
    config.negative_ttl_ms = if is_given { absent_ttl.max(1) } else { 0 };
    config.filter_fpr = options.number("filterFpr")?;
    config.flags = options.flag("latency", hc::HC_STORE_LATENCY)?
        | options.flag("noEarlyRefresh", hc::HC_STORE_NO_EARLY)?;
    config.default_ttl_ms = match ttl(call, options.get("ttl")?)? {
        Some(hc::HC_TTL_KEEP) => {
            return Err(call.refused("ttl", options.get("ttl")?, "a number of milliseconds"));
        }
        Some(ttl) => ttl,
        // As in lru-cache: a ttl of 0 is no ttl.
        None => hc::HC_TTL_NEVER,
    };
    if let Some(name) = options.text("policy")? {
        let name = name.to_string_lossy();
        config.policy =
            policy::parse(&name).map_err(|error| call.out_of_range(&format!("policy: {error}")))?;
    }
    let mut opened = ptr::null_mut();
    told(call, |error| {
        // SAFETY: the table holds a reference to the pool; the rest lives for the call.
        unsafe { hc::hc_store_open(pool, &raw const config, &raw mut opened, error) }
    })?;
    numbered(call, &call.state.stores, opened)
}

/// `release(kind, number)`: gives a handle back: a store, a pool, a filter or a walk.
pub fn release<'a>(call: Call<'a>, [kind, id]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let id = call.i32(id);
    match call.i32(kind) {
        0 => {
            call.state.leases.forget(id);
            call.state.stores.release(id);
        }
        1 => {
            call.state.watches.cancel(id);
            call.state.pools.release(id);
        }
        2 => call.state.filters.release(id),
        _ => call.state.scans.release(id),
    }
    call.undefined()
}

/// `destroy(store)`.
pub fn destroy<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    // SAFETY: the table holds a reference to the store.
    unsafe { hc::hc_store_destroy(store) };
    call.undefined()
}

/// `setKnownKeys(store, filter)`: `undefined` for none.
pub fn set_known_keys<'a>(call: Call<'a>, [id, filter_id]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let filter = if call.is_undefined(filter_id) {
        ptr::null_mut()
    } else {
        crate::filter::filter(call, filter_id)?
    };
    // SAFETY: the tables hold references to both.
    outcome(call, unsafe { hc::hc_store_set_known_keys(store, filter) })
}

/// `clear(store)`.
pub fn clear<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    // SAFETY: the table holds a reference to the store.
    outcome(call, unsafe { hc::hc_clear(store) })
}

/// A size that has to be given.
fn given_size<'a>(call: Call<'a>, value: Value<'a>, name: &str) -> Js<u64> {
    if call.is_undefined(value) {
        return Err(call.refused(name, value, A_SIZE));
    }
    size(call, value, name)
}

/// `resizeStore(store, maxBytes)`.
pub fn resize_store<'a>(call: Call<'a>, [id, bytes]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let bytes = given_size(call, bytes, "maxBytes")?;
    let store = store(call, id)?;
    // SAFETY: the table holds a reference to the store.
    outcome(call, unsafe { hc::hc_store_set_limit(store, bytes) })
}

/// `resizePool(pool, maxBytes)`.
pub fn resize_pool<'a>(call: Call<'a>, [id, bytes]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let bytes = given_size(call, bytes, "maxBytes")?;
    let pool = pool(call, id)?;
    // SAFETY: the table holds a reference to the pool.
    let status = told(call, |error| unsafe { hc::hc_pool_set_limit(pool, bytes, error) })?;
    call.int(status)
}

/// `trim(pool, bytes)`: how many bytes that freed.
pub fn trim<'a>(call: Call<'a>, [id, bytes]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let bytes = size(call, bytes, "bytes")?;
    let pool = pool(call, id)?;
    let mut freed = 0;
    // SAFETY: the table holds a reference to the pool.
    outcome(call, unsafe { hc::hc_pool_trim(pool, bytes, &raw mut freed) })?;
    values::count(call, freed)
}

/// `setThresholds(pool, elevated, high, critical)`.
pub fn set_thresholds<'a>(
    call: Call<'a>,
    [id, elevated, high, critical]: [Value<'a>; 4],
) -> Js<Value<'a>> {
    let pool = pool(call, id)?;
    let share = |value, name| natural(call, value, name, 100).map(|share| share as u32);
    let (elevated, high) = (share(elevated, "elevated")?, share(high, "high")?);
    let critical = share(critical, "critical")?;
    // SAFETY: the table holds a reference to the pool.
    outcome(call, unsafe { hc::hc_pool_set_thresholds(pool, elevated, high, critical) })
}

/// `validate(kind, number)`: checks every invariant of a store, a pool or a filter.
pub fn validate<'a>(call: Call<'a>, [kind, id]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let status = match call.i32(kind) {
        0 => {
            let store = store(call, id)?;
            // SAFETY: the table holds a reference to the store.
            told(call, |error| unsafe { hc::hc_store_validate(store, error) })?
        }
        1 => {
            let pool = pool(call, id)?;
            // SAFETY: the table holds a reference to the pool.
            told(call, |error| unsafe { hc::hc_pool_validate(pool, error) })?
        }
        _ => {
            let filter = crate::filter::filter(call, id)?;
            // SAFETY: the table holds a reference to the filter.
            told(call, |error| unsafe { hc::hc_filter_validate(filter, error) })?
        }
    };
    call.int(status)
}

/// `storeConfig(store)`: what is in force, defaults filled in.
pub fn store_config<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let store = store(call, id)?;
    let mut config = sized!(hc::hc_store_config);
    // SAFETY: the table holds a reference to the store.
    outcome(call, unsafe { hc::hc_store_config_get(store, &raw mut config) })?;
    let object = call.object()?;
    call.set(object, "maxBytes", values::count(call, config.limit_bytes)?)?;
    call.set(object, "minBytes", values::count(call, config.floor_bytes)?)?;
    call.set(object, "maxValueBytes", values::count(call, config.value_len_max)?)?;
    call.set(object, "maxEntries", values::count(call, config.limit_entries)?)?;
    call.set(object, "shards", values::count(call, config.shards.into())?)?;
    call.set(object, "policy", call.text(policy::name(config.policy))?)?;
    let forever = [hc::HC_TTL_DEFAULT, hc::HC_TTL_NEVER].contains(&config.default_ttl_ms);
    let ttl = if forever { f64::INFINITY } else { config.default_ttl_ms as f64 };
    call.set(object, "ttl", call.number(ttl)?)?;
    call.set(object, "softTtl", values::count(call, config.soft_ttl_ms)?)?;
    call.set(object, "staleIfError", values::count(call, config.stale_if_error_ms)?)?;
    if !config.name.is_null() {
        // SAFETY: the library's strings are NUL-terminated and stay as long as the process.
        let name = unsafe { std::ffi::CStr::from_ptr(config.name) };
        call.set(object, "name", call.utf8(name.to_bytes())?)?;
    }
    Ok(object)
}

/// `metricsText()`.
pub fn metrics_text<'a>(call: Call<'a>, []: [Value<'a>; 0]) -> Js<Value<'a>> {
    let mut text: Vec<MaybeUninit<u8>> = Vec::with_capacity(16 << 10);
    loop {
        let mut len = 0;
        let room = text.spare_capacity_mut();
        // SAFETY: there is room for so many bytes.
        let status =
            unsafe { hc::hc_metrics_text(room.as_mut_ptr().cast(), room.len(), &raw mut len) };
        match status {
            hc::HC_OK => {
                // SAFETY: the library has written `len` bytes.
                let text = unsafe { std::slice::from_raw_parts(text.as_ptr().cast(), len) };
                return call.utf8(text);
            }
            // It may be longer the next time.
            hc::HC_SMALL_BUFFER => text = Vec::with_capacity(len + (len >> 2)),
            failed => return Err(call.failed(failed)),
        }
    }
}

/// `versions()`: of the library that was loaded.
pub fn versions<'a>(call: Call<'a>, []: [Value<'a>; 0]) -> Js<Value<'a>> {
    let object = call.object()?;
    // SAFETY: both are static and NUL-terminated.
    let (version, build) = unsafe {
        (
            std::ffi::CStr::from_ptr(hc::hc_version_string()),
            std::ffi::CStr::from_ptr(hc::hc_build_info()),
        )
    };
    call.set(object, "version", call.utf8(version.to_bytes())?)?;
    call.set(object, "build", call.utf8(build.to_bytes())?)?;
    Ok(object)
}
