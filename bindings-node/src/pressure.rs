//! Pressure: the library tells of a change of level on a thread of its own, and Node runs the
//! listener on its event loop.
//!
//! A watch does not keep the event loop alive. It ends with the pool's handle or with the
//! environment: the library is told to stop first, and waits for a call that is running; that call
//! only hands over a message and never waits for JavaScript.
//!
//! The function that takes the messages goes when the environment runs its clean-up hooks, the latest
//! first. So a watch has a hook of its own that is registered after the function was made: it ends the
//! watch, and with it the library's use of the function, while that is still there.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;

use hypercache_sys as hc;
use napi_sys as n;

use crate::js::{Call, Js, Value};
use crate::open::pool;
use crate::state::State;
use crate::values;
use crate::write::outcome;

/// The name of a level.
pub const fn name(level: i32) -> &'static str {
    if level < hc::HC_PRESSURE_ELEVATED {
        "none"
    } else if level < hc::HC_PRESSURE_HIGH {
        "elevated"
    } else if level < hc::HC_PRESSURE_CRITICAL {
        "high"
    } else {
        "critical"
    }
}

/// A watch, and the pool's number that it belongs to.
struct Registered {
    pool: i32,
    env: n::napi_env,
    /// Null once it has ended.
    watch: *mut hc::hc_watch,
}

impl Registered {
    fn end(&mut self) {
        // SAFETY: the watch is registered, or null, for which this does nothing.
        unsafe { hc::hc_watch_cancel(std::mem::replace(&mut self.watch, ptr::null_mut())) };
    }
}

/// The environment ends, and the function of the watch will go with it.
unsafe extern "C" fn environment_ends(registered: *mut c_void) {
    // SAFETY: the hook is removed before its watch is forgotten.
    unsafe { (*registered.cast::<Registered>()).end() };
}

/// The watches of an environment.
#[derive(Default)]
pub struct Watches(RefCell<Vec<*mut Registered>>);

impl Watches {
    /// Ends the watches of a pool's number.
    pub fn cancel(&self, id: i32) {
        self.0.borrow_mut().retain(|registered| {
            // SAFETY: what is in the list is alive.
            let kept = unsafe { (**registered).pool } != id;
            if !kept {
                // SAFETY: `watch` made the box, and this is its end; the environment lives, because
                // JavaScript calls.
                unsafe {
                    let data = (*registered).cast();
                    let mut ended = Box::from_raw(*registered);
                    n::napi_remove_env_cleanup_hook(ended.env, Some(environment_ends), data);
                    ended.end();
                }
            }
            kept
        });
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for registered in self.0.get_mut().drain(..) {
            // SAFETY: `watch` made the box; its hook has run, so the watch has ended.
            drop(unsafe { Box::from_raw(registered) });
        }
    }
}

struct Message {
    level: i32,
    used: u64,
    limit: u64,
}

/// Runs on the library's thread.
unsafe extern "C" fn changed(ctx: *mut c_void, level: i32, used: u64, limit: u64) {
    let message = Box::into_raw(Box::new(Message { level, used, limit }));
    // SAFETY: the function is released only by `dropped`, after the last of these calls.
    let status = unsafe {
        n::napi_call_threadsafe_function(
            ctx.cast(),
            message.cast(),
            n::ThreadsafeFunctionCallMode::nonblocking,
        )
    };
    if status != n::Status::napi_ok {
        // SAFETY: Node has not taken the message.
        drop(unsafe { Box::from_raw(message) });
    }
}

unsafe extern "C" fn dropped(ctx: *mut c_void) {
    // SAFETY: the library is done with the function, which was acquired for it once.
    unsafe {
        n::napi_release_threadsafe_function(ctx.cast(), n::ThreadsafeFunctionReleaseMode::release);
    }
}

/// Runs on Node's thread, or without an environment when that has ended.
unsafe extern "C" fn tell(
    env: n::napi_env,
    listener: n::napi_value,
    state: *mut c_void,
    message: *mut c_void,
) {
    // SAFETY: `changed` made the box for this one call.
    let message = unsafe { Box::from_raw(message.cast::<Message>()) };
    if env.is_null() || listener.is_null() {
        return;
    }
    // SAFETY: with an environment, its state lives, and the listener is a value of this call.
    let (call, listener) =
        unsafe { (Call::new(env, &*state.cast::<State>()), Value::from_raw(listener)) };
    let told: Js<()> = (|| {
        let level = call.text(name(message.level))?;
        let used = values::count(call, message.used)?;
        let limit = values::count(call, message.limit)?;
        call.call(listener, &[level, used, limit]).map(drop)
    })();
    if told.is_err() {
        call.uncaught();
    }
}

/// `watch(pool, listener)`: calls the listener with level, used bytes and limit.
pub fn watch<'a>(call: Call<'a>, [id, listener]: [Value<'a>; 2]) -> Js<Value<'a>> {
    let pool = pool(call, id)?;
    let name = call.text("hypercache.pressure")?;
    let mut function = ptr::null_mut();
    // SAFETY: the listener and the name are values of this call; the state outlives the function,
    // which ends with the environment.
    let status = unsafe {
        n::napi_create_threadsafe_function(
            call.env(),
            listener.raw(),
            ptr::null_mut(),
            name.raw(),
            0,
            1,
            ptr::null_mut(),
            None,
            ptr::from_ref(call.state).cast_mut().cast(),
            Some(tell),
            &raw mut function,
        )
    };
    if status != n::Status::napi_ok {
        return Err(call.failed(hc::HC_ERR_NO_MEMORY));
    }
    let mut watch = ptr::null_mut();
    // SAFETY: the function is this environment's own; the table holds a reference to the pool.
    let status = unsafe {
        n::napi_unref_threadsafe_function(call.env(), function);
        hc::hc_pool_watch(pool, Some(changed), function.cast(), Some(dropped), &raw mut watch)
    };
    outcome(call, status)?;
    let registered = Registered { pool: call.i32(id), env: call.env(), watch };
    let registered = Box::into_raw(Box::new(registered));
    // SAFETY: the hook runs before the environment ends, and is removed before the box goes.
    unsafe {
        n::napi_add_env_cleanup_hook(call.env(), Some(environment_ends), registered.cast());
    }
    call.state.watches.0.borrow_mut().push(registered);
    call.undefined()
}

/// `pressure(pool)`: the present level.
pub fn pressure<'a>(call: Call<'a>, [id]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let pool = pool(call, id)?;
    // SAFETY: the table holds a reference to the pool.
    call.text(name(unsafe { hc::hc_pool_pressure(pool) }))
}
