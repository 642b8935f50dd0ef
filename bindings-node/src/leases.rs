//! Read-through: claims, leases, and waiting for what another caller loads.
//!
//! Who loads a key is decided by the library, for promises of one thread, for worker threads and for
//! other languages alike; nothing here is a second single flight. A claim never waits. Who is to wait
//! is noted with the library, whose one descriptor for a store the event loop watches: no thread
//! waits, and the watcher does not keep the loop alive (the timer beside each wait does, which ends
//! with the lease).
//!
//! A lease that JavaScript holds ends with the environment if it does not end before: a worker that
//! is terminated while it loads leaves the load to one of those who wait.
//!
//! A watcher has to be closed by the event loop, which takes a turn of it. It therefore owns what it
//! needs, and Node waits for it when the environment ends (an asynchronous clean-up hook).

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;

use hypercache_sys as hc;
use napi_sys as n;

use crate::js::{Call, Js, Value};
use crate::keys::KeyBuffer;
use crate::read::{self, keyed};
use crate::sized;
use crate::state::{Numbers, State};
use crate::values::{self, ValueBuffer};
use crate::write::{ENCODE, MILLIS_MAX, natural, ttl};

/// Words for JavaScript: what a claim or a wait came to, and the number of a lease or a cookie.
const STATUS: usize = 4;
const NUMBER: usize = 5;
/// Whether a value that was passed on is bytes to decode.
const ENCODED: usize = 6;

/// A lease that is held here.
struct Held {
    store: *mut hc::hc_store,
    lease: hc::hc_lease,
}

impl Held {
    fn drop_for(mut self, reason: i32, retry_ms: u64) {
        // SAFETY: the store is a reference of this lease's own.
        unsafe { hc::hc_lease_drop(self.store, &raw mut self.lease, reason, retry_ms) };
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the store is a reference of this lease's own; ending a lease that has ended, and
        // was cleared by that, does nothing.
        unsafe {
            hc::hc_lease_drop(self.store, &raw mut self.lease, hc::HC_DROP_CANCELLED, 0);
            hc::hc_store_release(self.store);
        }
    }
}

/// What an environment holds for read-through.
#[derive(Default)]
pub struct Leases {
    held: RefCell<Numbers<Held>>,
    watchers: RefCell<Vec<(i32, *mut Watcher)>>,
}

impl Leases {
    fn take(&self, number: i32) -> Option<Held> {
        self.held.borrow_mut().take(number)
    }

    /// Ends the watcher of a store's number.
    pub fn forget(&self, id: i32) {
        self.watchers.borrow_mut().retain(|(store, watcher)| {
            if *store == id {
                // SAFETY: a watcher in the list has not been closed.
                unsafe { Watcher::end(*watcher) };
            }
            *store != id
        });
    }
}

/// `claim(store, key, flags)`: the value; or `more`, with the status in the words: bytes in the slab,
/// a lease to load by, or that another caller loads.
pub fn claim<'a>(call: Call<'a>, [id, key, flags]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let mut lease = hc::hc_lease { id: 0, generation: 0 };
    let flags = call.i32(flags).cast_unsigned();
    let (status, found) = read::into_slab(call, |to, room, info| {
        // SAFETY: the table holds a reference to the store; the outputs live for the call.
        unsafe {
            let data = key.as_ptr().cast();
            let lease = &raw mut lease;
            hc::hc_get_or_claim(store, data, key.len(), flags, 0, to, room, info, lease)
        }
    });
    call.state.tell(STATUS, status.cast_unsigned());
    match status {
        hc::HC_OK => read::found(call, found),
        hc::HC_SMALL_BUFFER => {
            call.state.tell(STATUS, hc::HC_OK.cast_unsigned());
            read::large(call, store, key, found)
        }
        hc::HC_CLAIMED => {
            // SAFETY: the table holds a reference to the store.
            let store = unsafe { hc::hc_store_retain(store) };
            let number = call.state.leases.held.borrow_mut().insert(Held { store, lease });
            let Some(number) = number else { return Err(call.failed(hc::HC_ERR_NO_MEMORY)) };
            call.state.tell(NUMBER, number.cast_unsigned());
            call.more()
        }
        failed if failed < 0 => Err(call.failed(failed)),
        _ => call.more(),
    }
}

/// `leasePut(lease, value, ttl, softTtl, type)`: the status; a type says that the value is bytes that
/// JavaScript has encoded. The lease ends, unless JavaScript has to encode the value.
pub fn lease_put<'a>(
    call: Call<'a>,
    [number, value, ttl_value, soft_ttl, kind]: [Value<'a>; 5],
) -> Js<Value<'a>> {
    let mut options = sized!(hc::hc_put_options);
    // What is gone at once still reaches those who wait.
    options.ttl_ms = ttl(call, ttl_value)?.unwrap_or(1);
    options.soft_ttl_ms = natural(call, soft_ttl, "softTtl", MILLIS_MAX)?;
    let mut buffer = ValueBuffer::new();
    let Some(value) = buffer.read(call, value)? else { return call.int(ENCODE) };
    options.r#type = if call.is_undefined(kind) { value.kind } else { call.i32(kind) as u32 };
    let Some(mut held) = call.state.leases.take(call.i32(number)) else {
        return call.int(hc::HC_CONFLICT);
    };
    // SAFETY: the store is a reference of the lease's own; the rest lives for the call.
    let status = unsafe {
        hc::hc_lease_put(
            held.store,
            &raw mut held.lease,
            value.bytes.as_ptr().cast(),
            value.bytes.len(),
            &raw const options,
            ptr::null_mut(),
        )
    };
    call.int(status)
}

/// `leaseDrop(lease, reason, retryMs)`.
pub fn lease_drop<'a>(call: Call<'a>, [number, reason, retry_ms]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let retry_ms = call.f64(retry_ms).unwrap_or(0.0) as u64;
    if let Some(held) = call.state.leases.take(call.i32(number)) {
        held.drop_for(call.i32(reason), retry_ms);
    }
    call.undefined()
}

/// `wait(store, key, cookie)`: has the cookie told when the lease on the key ends. Milliseconds that
/// it lasts at most; -1: nobody holds one, claim again; -2: no room for another wait.
pub fn wait<'a>(call: Call<'a>, [id, key, cookie]: [Value<'a>; 3]) -> Js<Value<'a>> {
    let mut buffer = KeyBuffer::new();
    let (store, key) = keyed(call, id, key, &mut buffer)?;
    let waits = watched(call, call.i32(id), store)?;
    let mut left_ms = 0;
    let cookie = call.f64(cookie).unwrap_or(0.0) as u64;
    // SAFETY: the watcher holds the waits for as long as the store's number is in use.
    match unsafe {
        hc::hc_waits_add(waits, key.as_ptr().cast(), key.len(), cookie, &raw mut left_ms)
    } {
        hc::HC_OK => call.number(left_ms as f64),
        hc::HC_NOT_FOUND => call.int(-1),
        hc::HC_ERR_NO_SPACE => call.int(-2),
        failed => Err(call.failed(failed)),
    }
}

/// `waitsNext(store)`: takes one wait that has ended: its cookie and outcome are in the words
/// (`HC_DONE` as the cookie's own status: there is none), and a value that was passed on is returned.
pub fn waits_next<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let id = call.i32(id);
    let watchers = call.state.leases.watchers.borrow();
    let watcher = watchers.iter().find(|(store, _)| *store == id).map(|(_, watcher)| *watcher);
    drop(watchers);
    let Some(watcher) = watcher else { return call.boolean(false) };
    let (mut cookie, mut outcome, mut view) = (0, hc::HC_DONE, Passed::none());
    // No cookie: what fails before there is one fails for nobody who waits.
    call.state.tell(NUMBER, 0);
    // SAFETY: a watcher in the list has not been closed.
    let status = unsafe {
        let waits = (*watcher).waits;
        hc::hc_waits_next(waits, &raw mut cookie, &raw mut outcome, &raw mut view.0)
    };
    match status {
        hc::HC_OK => {}
        hc::HC_DONE => return call.boolean(false),
        failed => return Err(call.failed(failed)),
    }
    call.state.tell(STATUS, outcome.cast_unsigned());
    call.state.tell(NUMBER, cookie as u32);
    call.state.tell(ENCODED, 0);
    if outcome != hc::HC_OK {
        return call.boolean(true);
    }
    let bytes = view.bytes();
    let value = match values::to_value(call, view.0.r#type, bytes)? {
        Some(value) => value,
        None => {
            call.state.tell(ENCODED, 1);
            call.state.tell(0, view.0.r#type);
            call.buffer(bytes)?
        }
    };
    // In an array, because any value may be passed on, false too.
    let array = call.array()?;
    call.set_element(array, 0, value)?;
    Ok(array)
}

/// A view that is given back with it.
struct Passed(hc::hc_view);

impl Passed {
    const fn none() -> Self {
        // SAFETY: integers and pointers, for which zero is a value: a cleared view.
        Self(unsafe { std::mem::zeroed() })
    }

    fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: a pinned view shows `len` bytes for as long as it is pinned.
        unsafe { std::slice::from_raw_parts(self.0.data.cast(), self.0.len) }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        // SAFETY: the view is pinned or cleared, and nobody has a copy of it.
        unsafe { hc::hc_unpin(&raw mut self.0) };
    }
}

// ---- Watching the descriptor -----------------------------------------------------------------

/// The first field of every handle of libuv; the rest is its own.
#[repr(C)]
struct UvHandle {
    data: *mut c_void,
}

type PollCallback = unsafe extern "C" fn(*mut UvHandle, c_int, c_int);
type CloseCallback = unsafe extern "C" fn(*mut UvHandle);

/// `UV_POLL` of `uv_handle_type`.
const UV_POLL: c_int = 8;
/// `UV_READABLE` of `uv_poll_event`.
const UV_READABLE: c_int = 1;

// Node exports libuv, as part of its ABI.
unsafe extern "C" {
    fn uv_handle_size(kind: c_int) -> usize;
    fn uv_poll_init(event_loop: *mut n::uv_loop_s, handle: *mut UvHandle, fd: c_int) -> c_int;
    fn uv_poll_start(handle: *mut UvHandle, events: c_int, callback: PollCallback) -> c_int;
    fn uv_close(handle: *mut UvHandle, callback: CloseCallback);
    fn uv_unref(handle: *mut UvHandle);
}

/// The waits of one store in one environment, watched by its event loop.
struct Watcher {
    /// Memory for libuv's handle, as large as libuv says.
    handle: Box<[u64]>,
    waits: *mut hc::hc_waits,
    /// A reference of its own: the waits need the store.
    store: *mut hc::hc_store,
    id: i32,
    env: n::napi_env,
    state: *const State,
    hook: n::napi_async_cleanup_hook_handle,
    closing: bool,
}

impl Watcher {
    const fn uv(&mut self) -> *mut UvHandle {
        self.handle.as_mut_ptr().cast()
    }

    /// Begins to close; the event loop ends it.
    ///
    /// # Safety
    /// The watcher has not been closed.
    unsafe fn end(watcher: *mut Self) {
        // SAFETY: the caller's promise.
        let this = unsafe { &mut *watcher };
        if !this.closing {
            this.closing = true;
            // SAFETY: the handle was initialised, and is closed once.
            unsafe { uv_close(this.uv(), closed) };
        }
    }
}

/// The waits of a store, watched from now on.
fn watched(call: Call<'_>, id: i32, store: *mut hc::hc_store) -> Js<*mut hc::hc_waits> {
    let leases = &call.state.leases;
    if let Some((_, watcher)) = leases.watchers.borrow().iter().find(|(one, _)| *one == id) {
        // SAFETY: a watcher in the list has not been closed.
        return Ok(unsafe { (**watcher).waits });
    }
    let mut waits = ptr::null_mut();
    crate::open::told(call, |error| {
        // SAFETY: the table holds a reference to the store.
        unsafe { hc::hc_waits_open(store, &raw mut waits, error) }
    })?;
    // SAFETY: asks libuv for a constant.
    let words = unsafe { uv_handle_size(UV_POLL) }.div_ceil(size_of::<u64>());
    let watcher = Box::into_raw(Box::new(Watcher {
        handle: vec![0; words].into_boxed_slice(),
        waits,
        // SAFETY: the table holds a reference to the store.
        store: unsafe { hc::hc_store_retain(store) },
        id,
        env: call.env(),
        state: ptr::from_ref(call.state),
        hook: ptr::null_mut(),
        closing: false,
    }));
    let mut event_loop = ptr::null_mut();
    // SAFETY: the environment is that of the call; the watcher's memory stays where it is until the
    // loop has closed the handle.
    let begun = unsafe {
        let this = &mut *watcher;
        n::napi_get_uv_event_loop(call.env(), &raw mut event_loop) == n::Status::napi_ok
            && uv_poll_init(event_loop, this.uv(), hc::hc_waits_fd(waits)) == 0
    };
    if !begun {
        // SAFETY: the loop does not know the handle.
        unsafe { drop_watcher(watcher) };
        return Err(call.failed(hc::HC_ERR_NO_MEMORY));
    }
    // SAFETY: the handle is initialised; the watcher outlives it and, by its hook, the environment's
    // loop.
    unsafe {
        let this = &mut *watcher;
        (*this.uv()).data = watcher.cast();
        uv_poll_start(this.uv(), UV_READABLE, readable);
        uv_unref(this.uv());
        let hook = &raw mut this.hook;
        n::napi_add_async_cleanup_hook(call.env(), Some(environment_ends), watcher.cast(), hook);
    }
    leases.watchers.borrow_mut().push((id, watcher));
    Ok(waits)
}

/// Runs on the event loop: waits have ended.
unsafe extern "C" fn readable(handle: *mut UvHandle, _: c_int, _: c_int) {
    // SAFETY: the handle's data is its watcher, which lives until it is closed.
    let watcher = unsafe { &*(*handle).data.cast::<Watcher>() };
    let (env, id) = (watcher.env, watcher.id);
    let mut scope = ptr::null_mut();
    // SAFETY: the loop is that of the environment, which lives while its handles are polled.
    let call = unsafe {
        if n::napi_open_handle_scope(env, &raw mut scope) != n::Status::napi_ok {
            return;
        }
        Call::new(env, &*watcher.state)
    };
    if call.call_from_loop(call.state.wake.get(), id).is_err() {
        call.uncaught();
    }
    // SAFETY: the scope was opened above.
    unsafe { n::napi_close_handle_scope(env, scope) };
}

unsafe extern "C" fn environment_ends(_: n::napi_async_cleanup_hook_handle, watcher: *mut c_void) {
    // SAFETY: the hook is removed when the watcher is closed, so it has not been.
    unsafe { Watcher::end(watcher.cast()) };
}

unsafe extern "C" fn closed(handle: *mut UvHandle) {
    // SAFETY: libuv is done with the handle, and calls this once.
    unsafe { drop_watcher((*handle).data.cast()) };
}

/// # Safety
/// The loop does not know the handle, or no longer.
unsafe fn drop_watcher(watcher: *mut Watcher) {
    // SAFETY: `watched` made the box, and this is its one end.
    let this = unsafe { Box::from_raw(watcher) };
    // SAFETY: waits, reference and hook are the watcher's own.
    unsafe {
        hc::hc_waits_close(this.waits);
        hc::hc_store_release(this.store);
        if !this.hook.is_null() {
            n::napi_remove_async_cleanup_hook(this.hook);
        }
    }
}
