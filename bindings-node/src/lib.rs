//! The native part of HyperCache's package for Node.js.
//!
//! It holds no cache and no rule of one: `libhypercache.so.0` is loaded beside it (see
//! `hypercache-sys`), so that C++ addons, Python and every worker thread of the process see the same
//! pools. What is here turns JavaScript values into bytes and back, for the classes in `lib/`.
//!
//! **Why it looks as it does.** A look-up in the library takes some 40 ns, and a call from
//! JavaScript no less, so what is spent on the way decides. Measured with Node 20, and built
//! accordingly: numbers name handles, because unwrapping an object costs 100 ns more than reading
//! one; functions are properties of one object that JavaScript keeps as constants, so that its
//! compiler calls them directly; strings are read as UTF-16 and written as Latin-1 where they are
//! ASCII; small values go to memory that JavaScript cuts into Buffers itself, because creating one
//! here costs ten times the look-up; values of a batch go back as arguments of a function. The
//! convenience macros of the `napi` crate would cost more than all of it, and beside calls made by
//! hand they would be a second way to do everything: there is only `napi_sys`.
//!
//! **Threads and ends.** Node loads the addon once a thread (environment). Each has its own
//! [`state::State`], which ends with the environment, also when a worker is terminated or the process
//! exits in the middle: handles are given back then, and nothing here keeps an event loop alive.
//! Errors are thrown by a function that JavaScript gives ([`js::Call::throw`]); a panic is caught
//! and thrown as `HC_ERR_INTERNAL`.

mod batch;
mod filter;
mod js;
mod keys;
mod leases;
mod open;
mod pressure;
mod read;
mod state;
mod stats;
mod values;
mod walk;
mod write;

use std::ffi::{CStr, c_void};
use std::ptr;
use std::rc::Rc;

use napi_sys as n;

use js::{Call, Js, Thrown, Value};
use state::{Slab, State, WORDS};

/// A function under a name that JavaScript sees.
type Export = (&'static CStr, n::napi_callback);

macro_rules! exports {
    ($($name:literal => $function:path,)+) => {
        &[$(($name, {
            unsafe extern "C" fn called(
                env: n::napi_env,
                info: n::napi_callback_info,
            ) -> n::napi_value {
                // SAFETY: only Node calls it, with the data that `register` set.
                unsafe { js::run(env, info, $function) }
            }
            Some(called)
        }),)+]
    };
}

macro_rules! exports_of_many {
    ($($name:literal => $function:path,)+) => {
        &[$(($name, {
            unsafe extern "C" fn called(
                env: n::napi_env,
                info: n::napi_callback_info,
            ) -> n::napi_value {
                // SAFETY: only Node calls it, with the data that `register` set.
                unsafe { js::run_many(env, info, |call, given| $function(call, given)) }
            }
            Some(called)
        }),)+]
    };
}

const EXPORTS: &[Export] = exports! {
    c"begin" => begin,
    c"more" => more,
    c"setSlab" => set_slab,
    c"openPool" => open::open_pool,
    c"openStore" => open::open_store,
    c"release" => open::release,
    c"destroy" => open::destroy,
    c"clear" => open::clear,
    c"resizeStore" => open::resize_store,
    c"resizePool" => open::resize_pool,
    c"trim" => open::trim,
    c"setThresholds" => open::set_thresholds,
    c"validate" => open::validate,
    c"storeConfig" => open::store_config,
    c"metricsText" => open::metrics_text,
    c"versions" => open::versions,
    c"get" => read::get,
    c"peek" => read::peek,
    c"getString" => read::get_string,
    c"getBuffer" => read::get_buffer,
    c"load" => read::load,
    c"getManyText" => batch::get_many_text,
    c"setManyText" => batch::set_many_text,
    c"getInto" => read::get_into,
    c"has" => read::has,
    c"mayExist" => read::may_exist,
    c"setKnownKeys" => open::set_known_keys,
    c"entry" => read::entry,
    c"remainingTtl" => read::remaining_ttl,
    c"set" => write::set,
    c"setFor" => write::set_for,
    c"put" => write::put,
    c"delete" => write::delete,
    c"touch" => write::touch,
    c"incr" => write::incr,
    c"claim" => leases::claim,
    c"leasePut" => leases::lease_put,
    c"leaseDrop" => leases::lease_drop,
    c"wait" => leases::wait,
    c"waitsNext" => leases::waits_next,
    c"invalidate" => walk::invalidate,
    c"scan" => walk::scan,
    c"scanNext" => walk::scan_next,
    c"storeStats" => stats::store_stats,
    c"size" => stats::size,
    c"poolStats" => stats::pool_stats,
    c"filterStats" => stats::filter_stats,
    c"latency" => stats::latency,
    c"pressure" => pressure::pressure,
    c"watch" => pressure::watch,
    c"openFilter" => filter::open_filter,
    c"filterAdd" => filter::add,
    c"filterHas" => filter::has,
    c"filterHasManyText" => filter::has_many_text,
    c"filterDelete" => filter::delete,
    c"filterClear" => filter::clear,
    c"filterSave" => filter::save,
    c"filterLoad" => filter::load,
};

const EXPORTS_OF_MANY: &[Export] = exports_of_many! {
    c"getMany" => batch::get_many,
    c"setMany" => batch::set_many,
    c"deleteMany" => batch::delete_many,
    c"filterAddMany" => filter::add_many,
    c"filterHasMany" => filter::has_many,
};

/// `begin(fail, collect, wake, RawKey, checkSlab, words, scratch)`: what JavaScript gives, and holds for
/// the life of the environment. The latest holds.
fn begin<'a>(
    call: Call<'a>,
    [fail, collect, wake, raw_key, check_slab, words, scratch]: [Value<'a>; 7],
) -> Js<Value<'a>> {
    call.keep(words)?;
    call.keep(scratch)?;
    call.state.collect.set(call.keep(collect)?);
    call.state.wake.set(call.keep(wake)?);
    call.state.raw_key.set(call.keep(raw_key)?);
    call.state.check_slab.set(call.keep(check_slab)?);
    let scratch = call.bytes(scratch).ok_or(Thrown)?;
    call.state.scratch.set(Slab { data: scratch.as_mut_ptr(), len: scratch.len(), used: 0 });
    let words = call.memory(words).ok_or(Thrown)?;
    call.state.begin(call.keep(fail)?, words.cast());
    call.number(WORDS as f64)
}

/// `more()`: what calls give when there is more to do.
fn more<'a>(call: Call<'a>, []: [Value<'a>; 0]) -> Js<Value<'a>> {
    call.more()
}

/// `setSlab(bytes)`: the array is held until there is another.
fn set_slab<'a>(call: Call<'a>, [array]: [Value<'a>; 1]) -> Js<Value<'a>> {
    let bytes = call.bytes(array).ok_or(Thrown)?;
    call.let_go(call.state.slab_array.replace(call.keep(array)?));
    call.state.slab.set(Slab { data: bytes.as_mut_ptr(), len: bytes.len(), used: 0 });
    call.undefined()
}

unsafe extern "C" fn ended(_: n::napi_env, state: *mut c_void, _: *mut c_void) {
    // SAFETY: `register` gave this share away, and the environment ends once; no JavaScript runs in it any
    // more, so no function will ask for the state.
    drop(unsafe { Rc::from_raw(state.cast_const().cast::<State>()) });
}

fn register(env: n::napi_env, exports: n::napi_value) -> Option<()> {
    let state = Rc::into_raw(State::new()).cast_mut().cast::<c_void>();
    // SAFETY: the environment is new and has no data of this addon yet.
    let status = unsafe { n::napi_set_instance_data(env, state, Some(ended), ptr::null_mut()) };
    if status != n::Status::napi_ok {
        // SAFETY: Node did not take the share.
        drop(unsafe { Rc::from_raw(state.cast_const().cast::<State>()) });
        return None;
    }
    for (name, function) in EXPORTS.iter().chain(EXPORTS_OF_MANY) {
        let mut made = ptr::null_mut();
        // SAFETY: the name is NUL-terminated, the state lives as long as the environment, and
        // `exports` is the object that Node gives to be filled.
        let status = unsafe {
            n::napi_create_function(
                env,
                name.as_ptr(),
                name.count_bytes() as isize,
                *function,
                state,
                &raw mut made,
            )
        };
        if status != n::Status::napi_ok {
            return None;
        }
        // SAFETY: as above.
        unsafe { n::napi_set_named_property(env, exports, name.as_ptr(), made) };
    }
    Some(())
}

/// What Node calls when it loads the addon in a thread.
///
/// # Safety
/// To be called by Node alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(
    env: n::napi_env,
    exports: n::napi_value,
) -> n::napi_value {
    match register(env, exports) {
        Some(()) => exports,
        None => ptr::null_mut(),
    }
}

/// Which version of Node's interface the addon is made for.
#[unsafe(no_mangle)]
pub extern "C" fn node_api_module_get_api_version_v1() -> i32 {
    8
}
