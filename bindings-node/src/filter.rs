//! The cuckoo filter as an object of its own.

use std::ffi::{CString, c_void};
use std::ptr;
use std::rc::Rc;

use hypercache_sys as hc;
use napi_sys as n;

use crate::batch::{CODES, Joined, Keys, MOST, TEXT_KEYS};
use crate::js::{Call, Js, Kind, Thrown, Value};
use crate::keys::KeyBuffer;
use crate::open::{Options, numbered, pool, told};
use crate::sized;
use crate::state::State;
use crate::write::outcome;

/// The filter of a number that JavaScript holds.
pub fn filter<'a>(call: Call<'a>, id: Value<'a>) -> Js<*mut hc::hc_filter> {
    let filter = call.state.filters.get(call.i32(id));
    if filter.is_null() {
        Err(call.throw(Kind::Status, "HC_ERR_CLOSED", "the filter is closed"))
    } else {
        Ok(filter)
    }
}

fn config<'a>(call: Call<'a>, pool_id: Value<'a>, object: Value<'a>) -> Js<hc::hc_filter_config> {
    let options = Options::new(call, object);
    let mut config = sized!(hc::hc_filter_config);
    config.capacity = options.natural("capacity", u64::MAX)?;
    config.fpr = options.number("fpr")?;
    config.hash_seed = options.natural("hashSeed", u64::MAX)?;
    if !call.is_undefined(pool_id) {
        config.pool = pool(call, pool_id)?;
    }
    Ok(config)
}

/// `openFilter(pool, options)`: a number.
pub fn open_filter<'a>(call: Call<'a>, [pool_id, object]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let config = config(call, pool_id, object)?;
    let mut opened = ptr::null_mut();
    told(call, |error| {
        // SAFETY: the table holds a reference to the pool; the rest lives for the call.
        unsafe { hc::hc_filter_create(&raw const config, &raw mut opened, error) }
    })?;
    numbered(call, &call.state.filters, opened)
}

type KeyCall = unsafe extern "C" fn(*mut hc::hc_filter, *const c_void, usize) -> hc::hc_status;

fn with_key<'a>(call: Call<'a>, [id, key]: [Value<'a>; 2], function: KeyCall) -> Js<i32> {
    let mut buffer = KeyBuffer::new();
    let key = buffer.read(call, key)?;
    let filter = filter(call, id)?;
    // SAFETY: the table holds a reference to the filter; the key lives for the call.
    Ok(unsafe { function(filter, key.as_ptr().cast(), key.len()) })
}

/// `filterAdd(filter, key)`.
pub fn add<'a>(call: Call<'a>, arguments: [Value<'a>; 2]) -> Js<Value<'a>> {
    let status = with_key(call, arguments, hc::hc_filter_add)?;
    outcome(call, status)
}

/// `filterHas(filter, key)`: false where the key certainly is not in it.
pub fn has<'a>(call: Call<'a>, arguments: [Value<'a>; 2]) -> Js<Value<'a>> {
    let status = with_key(call, arguments, hc::hc_filter_contains)?;
    outcome(call, status)?;
    call.boolean(status == hc::HC_OK)
}

/// `filterAddMany(filter, ...keys)`.
pub fn add_many<'a>(call: Call<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
    let Some((id, keys)) = arguments.split_first() else { return call.undefined() };
    let keys = Keys::read(call, keys)?;
    let filter = filter(call, *id)?;
    for key in keys.slices().iter().take(keys.count()) {
        // SAFETY: the table holds a reference to the filter; the key lives for the call.
        let status = unsafe { hc::hc_filter_add(filter, key.data, key.len) };
        outcome(call, status)?;
    }
    call.undefined()
}

/// `filterHasMany(filter, ...keys)`: an array of what `filterHas` gives.
pub fn has_many<'a>(call: Call<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
    let Some((id, keys)) = arguments.split_first() else { return call.undefined() };
    let keys = Keys::read(call, keys)?;
    answers(call, *id, &keys.slices()[..keys.count()])
}

/// `filterHasManyText(filter, text, count)`: the same for keys that are strings, joined. `undefined`:
/// some are not ASCII, or there is too much of them for this way.
pub fn has_many_text<'a>(call: Call<'a>, [id, text, count]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut joined = Joined::<TEXT_KEYS>::new();
    match joined.read(call, text, CODES, call.i32(count))? {
        Some(keys) => answers(call, id, keys.slices()),
        None => call.undefined(),
    }
}

fn answers<'a>(call: Call<'a>, id: Value<'a>, keys: &[hc::hc_slice]) -> Js<Value<'a>> {
    let filter = filter(call, id)?;
    let mut statuses = [hc::HC_ERR_INTERNAL; MOST];
    // SAFETY: the table holds a reference to the filter; there are as many statuses as keys, and more.
    let status = unsafe {
        hc::hc_filter_contains_many(filter, keys.as_ptr(), keys.len(), statuses.as_mut_ptr())
    };
    outcome(call, status)?;
    let mut values = [call.boolean(false)?; MOST];
    let maybe = call.boolean(true)?;
    for (value, status) in values.iter_mut().zip(&statuses[..keys.len()]) {
        if *status < 0 {
            return Err(call.failed(*status));
        }
        if *status == hc::HC_OK {
            *value = maybe;
        }
    }
    call.call(call.referenced(call.state.collect.get())?, &values[..keys.len()])
}

/// `filterDelete(filter, key)`.
pub fn delete<'a>(call: Call<'a>, arguments: [Value<'a>; 2]) -> Js<Value<'a>> {
    let status = with_key(call, arguments, hc::hc_filter_remove)?;
    outcome(call, status)
}

/// `filterClear(filter)`.
pub fn clear<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let filter = filter(call, id)?;
    // SAFETY: the table holds a reference to the filter.
    outcome(call, unsafe { hc::hc_filter_clear(filter) })
}

/// Saving or loading, on a thread of Node's pool: files may be slow.
struct FileWork {
    /// Kept for as long as the work, which the environment's end may overtake.
    state: Rc<State>,
    work: n::napi_async_work,
    deferred: n::napi_deferred,
    path: CString,
    config: hc::hc_filter_config,
    /// To be saved, or what was loaded: a reference of its own.
    filter: *mut hc::hc_filter,
    saves: bool,
    status: hc::hc_status,
    error: hc::hc_error,
}

impl Drop for FileWork {
    fn drop(&mut self) {
        // SAFETY: both references are this work's own; releasing null does nothing.
        unsafe {
            hc::hc_filter_release(self.filter);
            hc::hc_pool_release(self.config.pool);
        }
    }
}

unsafe extern "C" fn execute(_: n::napi_env, data: *mut c_void) {
    // SAFETY: the work owns its data, which nobody else touches until `complete`.
    let work = unsafe { &mut *data.cast::<FileWork>() };
    let (path, error) = (work.path.as_ptr(), &raw mut work.error);
    // SAFETY: the filter and the pool are references of this work's own.
    work.status = unsafe {
        if work.saves {
            hc::hc_filter_save(work.filter, path, error)
        } else {
            hc::hc_filter_load(path, &raw const work.config, &raw mut work.filter, error)
        }
    };
}

unsafe extern "C" fn complete(env: n::napi_env, _: n::napi_status, data: *mut c_void) {
    // SAFETY: `begin` made the box and gave it to Node, which gives it back once, here.
    let mut work = unsafe { Box::from_raw(data.cast::<FileWork>()) };
    let state = Rc::clone(&work.state);
    // SAFETY: Node calls in the environment that the work was made in, while it lives.
    let call = unsafe { Call::new(env, &state) };
    // SAFETY: the work has ended and is deleted once.
    unsafe { n::napi_delete_async_work(env, work.work) };
    let done = if work.status < 0 {
        let message = work.error.message.map(|byte| byte.cast_unsigned());
        Err(call.failed_with(work.status, &message))
    } else if work.saves {
        call.undefined()
    } else {
        let filter = std::mem::replace(&mut work.filter, ptr::null_mut());
        numbered(call, &call.state.filters, filter)
    };
    match done {
        Ok(value) => call.resolve(work.deferred, value),
        Err(Thrown) => call.reject_with_pending(work.deferred),
    }
}

/// Begins to save or load, and gives the promise.
fn begin<'a>(call: Call<'a>, path: Value<'a>, mut work: Box<FileWork>) -> Js<Value<'a>> {
    const ALLOWED: &str = "a string without NUL characters";
    let text = call.string(path).ok_or_else(|| call.refused("path", path, ALLOWED))?;
    work.path = CString::new(text).map_err(|_| call.outside("path", path, ALLOWED))?;
    let (deferred, promise) = call.promise()?;
    work.deferred = deferred;
    let name = call.text("hypercache.filter")?;
    let work = Box::into_raw(work);
    // SAFETY: the box lives until `complete`; Node writes the handle into it before it returns.
    let begun = unsafe {
        n::napi_create_async_work(
            call.env(),
            ptr::null_mut(),
            name.raw(),
            Some(execute),
            Some(complete),
            work.cast(),
            &raw mut (*work).work,
        ) == n::Status::napi_ok
            && n::napi_queue_async_work(call.env(), (*work).work) == n::Status::napi_ok
    };
    if !begun {
        // SAFETY: Node did not take the work.
        drop(unsafe { Box::from_raw(work) });
        return Err(call.failed(hc::HC_ERR_NO_MEMORY));
    }
    Ok(promise)
}

fn file_work(call: Call<'_>, config: hc::hc_filter_config) -> Box<FileWork> {
    Box::new(FileWork {
        state: call.state.shared(),
        work: ptr::null_mut(),
        deferred: ptr::null_mut(),
        path: CString::default(),
        config,
        filter: ptr::null_mut(),
        saves: false,
        status: hc::HC_OK,
        error: sized!(hc::hc_error),
    })
}

/// `filterSave(filter, path)`: a promise.
pub fn save<'a>(call: Call<'a>, [id, path]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let filter = filter(call, id)?;
    let mut work = file_work(call, sized!(hc::hc_filter_config));
    work.saves = true;
    // SAFETY: the table holds a reference to the filter.
    work.filter = unsafe { hc::hc_filter_retain(filter) };
    begin(call, path, work)
}

/// `filterLoad(path, pool, options)`: a promise of a number.
pub fn load<'a>(call: Call<'a>, [path, pool_id, object]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut config = config(call, pool_id, object)?;
    // SAFETY: the table holds a reference to the pool, if there is one.
    unsafe {
        if !config.pool.is_null() {
            config.pool = hc::hc_pool_retain(config.pool);
        }
    }
    begin(call, path, file_work(call, config))
}
