//! What is counted: the calls that programs make most, each on a cache in a state of its own.

use std::ffi::c_void;
use std::hint::black_box;
use std::mem::MaybeUninit;

use hypercache as hc;
use hypercache_core::{Copied, PolicyKind, Result};

use crate::inputs::{KEY_LEN, Key, VALUE_LEN, drawn, key_of, of_range};
use crate::subject::{SEED, Subject};
use crate::work::{After, Calls, OnNewKeys, Work};

/// Operations of a case: enough that what happens once in a thousand weighs what it weighs.
pub const OPS: usize = 20_480;
/// Entries of a store that is read.
const ENTRIES: u64 = 20_000;
/// Keys of a batch.
const BATCH: usize = 32;
/// Ids from here on are never stored before a case stores them.
const NEW: u64 = 1 << 40;
/// Limit of a store that is kept full.
const FULL: u64 = 4 << 20;

const NO_FLAGS: u32 = 0;
/// The patience of a claim: none.
const AT_ONCE: u64 = 0;

/// A case.
pub struct Case {
    pub name: &'static str,
    pub make: fn() -> Result<Box<dyn Work>>,
}

/// All cases, in the order in which they are counted.
pub const CASES: &[Case] = &[
    Case { name: "get, hit", make: get_hit },
    Case { name: "get, hit, from Rust", make: get_hit_from_rust },
    Case { name: "get, miss", make: get_miss },
    Case { name: "get_many, hits", make: get_many },
    Case { name: "pin and unpin", make: pin },
    Case { name: "claim, hit", make: claim_hit },
    Case { name: "get_or_claim, hit", make: get_or_claim_hit },
    Case { name: "claim, miss, and put", make: claim_miss },
    Case { name: "set into full", make: set_into_full },
    Case { name: "overwrite", make: overwrite },
    Case { name: "set with a time to live", make: set_with_ttl },
    Case { name: "delete", make: delete },
    Case { name: "incr", make: incr },
    Case { name: "filter, present", make: filter_present },
    Case { name: "filter, absent", make: filter_absent },
    Case { name: "filter, batch", make: filter_batch },
    Case { name: "filter, add and remove", make: filter_add_and_remove },
];

/// A key as C takes it.
fn raw(key: &Key) -> *const c_void {
    key.as_ptr().cast()
}

/// A key as a C batch takes it.
fn slice(key: &Key) -> hc::hc_slice {
    hc::hc_slice { data: raw(key), len: KEY_LEN }
}

fn work(work: impl Work + 'static) -> Result<Box<dyn Work>> {
    Ok(Box::new(work))
}

/// All zeroes, which is a value of each of the header's plain structs.
fn zeroed<T: Copy>() -> T {
    // SAFETY: asked here for structs of the header only, which C programs begin so too.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn get_hit() -> Result<Box<dyn Work>> {
    gets(drawn(OPS, ENTRIES), hc::HC_OK)
}

fn get_miss() -> Result<Box<dyn Work>> {
    gets(of_range(NEW..NEW + OPS as u64), hc::HC_NOT_FOUND)
}

fn gets(keys: Vec<Key>, expected: i32) -> Result<Box<dyn Work>> {
    let store = Subject::filled(ENTRIES, PolicyKind::Default)?.handle();
    let get = black_box(hc::hc_get as unsafe extern "C" fn(_, _, _, _, _, _) -> _);
    let mut buf = [0_u8; VALUE_LEN];
    let mut len = 0_usize;
    work(Calls {
        keys,
        call: move |key: &Key| {
            let buf = buf.as_mut_ptr().cast();
            // SAFETY: the handle holds a reference; key, buffer and length are good for the call.
            unsafe { get(store, raw(key), KEY_LEN, buf, VALUE_LEN, &raw mut len) == expected }
        },
    })
}

fn get_hit_from_rust() -> Result<Box<dyn Work>> {
    let subject = Subject::filled(ENTRIES, PolicyKind::Default)?;
    let mut buf = [MaybeUninit::uninit(); VALUE_LEN];
    work(Calls {
        keys: drawn(OPS, ENTRIES),
        call: move |key: &Key| {
            matches!(subject.store.copy(key, &mut buf), Ok(Copied::Hit { len: VALUE_LEN, .. }))
        },
    })
}

/// Reads of a batch at a time; ops counts keys.
struct Batches<F> {
    keys: Vec<Key>,
    call: F,
}

impl<F: FnMut(&[hc::hc_slice; BATCH]) -> bool> Work for Batches<F> {
    fn run(&mut self) {
        let mut went_well = 0;
        let (batches, _) = self.keys.as_chunks::<BATCH>();
        for batch in batches {
            went_well += usize::from((self.call)(&batch.each_ref().map(slice)));
        }
        assert_eq!(went_well, batches.len(), "batches that did what they were meant to");
    }
}

fn get_many() -> Result<Box<dyn Work>> {
    let store = Subject::filled(ENTRIES, PolicyKind::Default)?.handle();
    let get = black_box(hc::hc_get_many as unsafe extern "C" fn(_, _, _, _, _, _, _, _, _) -> _);
    let mut buf = [0_u8; BATCH * VALUE_LEN];
    let mut values = [slice(&[0; KEY_LEN]); BATCH];
    let mut statuses = [0_i32; BATCH];
    work(Batches {
        keys: drawn(OPS, ENTRIES),
        call: move |keys: &[hc::hc_slice; BATCH]| {
            // SAFETY: the handle holds a reference; all arrays are of the batch's length.
            let status = unsafe {
                get(
                    store,
                    keys.as_ptr(),
                    BATCH,
                    NO_FLAGS,
                    buf.as_mut_ptr().cast(),
                    buf.len(),
                    values.as_mut_ptr(),
                    std::ptr::null_mut(),
                    statuses.as_mut_ptr(),
                )
            };
            status == hc::HC_OK
        },
    })
}

fn pin() -> Result<Box<dyn Work>> {
    let store = Subject::filled(ENTRIES, PolicyKind::Default)?.handle();
    let pin = black_box(hc::hc_pin as unsafe extern "C" fn(_, _, _, _, _) -> _);
    let unpin = black_box(hc::hc_unpin as unsafe extern "C" fn(_));
    let mut view: hc::hc_view = zeroed();
    work(Calls {
        keys: drawn(OPS, ENTRIES),
        call: move |key: &Key| {
            // SAFETY: the handle holds a reference; key and view are good for the call.
            let status = unsafe { pin(store, raw(key), KEY_LEN, NO_FLAGS, &raw mut view) };
            // SAFETY: the view was just pinned, or is still clear.
            unsafe { unpin(&raw mut view) };
            status == hc::HC_OK
        },
    })
}

fn claim_hit() -> Result<Box<dyn Work>> {
    let store = Subject::filled(ENTRIES, PolicyKind::Default)?.handle();
    let claim = black_box(hc::hc_claim as unsafe extern "C" fn(_, _, _, _, _, _, _) -> _);
    let unpin = black_box(hc::hc_unpin as unsafe extern "C" fn(_));
    let mut view: hc::hc_view = zeroed();
    let mut lease: hc::hc_lease = zeroed();
    work(Calls {
        keys: drawn(OPS, ENTRIES),
        call: move |key: &Key| {
            let (view, lease) = (&raw mut view, &raw mut lease);
            // SAFETY: the handle holds a reference; key, view and lease are good for the call.
            let status = unsafe { claim(store, raw(key), KEY_LEN, NO_FLAGS, AT_ONCE, view, lease) };
            // SAFETY: the view was just pinned, or is still clear.
            unsafe { unpin(view) };
            status == hc::HC_OK
        },
    })
}

fn get_or_claim_hit() -> Result<Box<dyn Work>> {
    let store = Subject::filled(ENTRIES, PolicyKind::Default)?.handle();
    let get =
        black_box(hc::hc_get_or_claim as unsafe extern "C" fn(_, _, _, _, _, _, _, _, _) -> _);
    let mut buf = [0_u8; VALUE_LEN];
    let mut info: hc::hc_info = zeroed();
    let mut lease: hc::hc_lease = zeroed();
    work(Calls {
        keys: drawn(OPS, ENTRIES),
        call: move |key: &Key| {
            let buf = buf.as_mut_ptr().cast();
            let (info, lease) = (&raw mut info, &raw mut lease);
            // SAFETY: the handle holds a reference; the rest is good for the call.
            let status = unsafe {
                get(store, raw(key), KEY_LEN, NO_FLAGS, AT_ONCE, buf, VALUE_LEN, info, lease)
            };
            status == hc::HC_OK
        },
    })
}

fn claim_miss() -> Result<Box<dyn Work>> {
    let store = full()?.handle();
    let claim = black_box(hc::hc_claim as unsafe extern "C" fn(_, _, _, _, _, _, _) -> _);
    let put = black_box(hc::hc_lease_put as unsafe extern "C" fn(_, _, _, _, _, _) -> _);
    let value = [7_u8; VALUE_LEN];
    let mut view: hc::hc_view = zeroed();
    let mut lease: hc::hc_lease = zeroed();
    work(OnNewKeys::new(NEW, OPS, move |key: &Key| {
        let (view, lease) = (&raw mut view, &raw mut lease);
        // SAFETY: the handle holds a reference; key, view and lease are good for the call.
        let claimed = unsafe { claim(store, raw(key), KEY_LEN, NO_FLAGS, AT_ONCE, view, lease) };
        let (value, options, version) =
            (value.as_ptr().cast(), std::ptr::null(), std::ptr::null_mut());
        // SAFETY: as above; the lease was just granted.
        let stored = unsafe { put(store, lease, value, VALUE_LEN, options, version) };
        claimed == hc::HC_CLAIMED && stored == hc::HC_OK
    }))
}

/// A store that has evicted for some time.
fn full() -> Result<Subject> {
    let subject = Subject::new(FULL, PolicyKind::Default)?;
    subject.fill(0..2 * FULL / (KEY_LEN + VALUE_LEN) as u64, VALUE_LEN)?;
    Ok(subject)
}

fn set_into_full() -> Result<Box<dyn Work>> {
    let mut set = setting(&full()?, hc::HC_TTL_DEFAULT);
    work(OnNewKeys::new(NEW, OPS, move |key: &Key| set(key)))
}

fn overwrite() -> Result<Box<dyn Work>> {
    let mut set = setting(&Subject::filled(ENTRIES, PolicyKind::Default)?, hc::HC_TTL_DEFAULT);
    work(Calls { keys: drawn(OPS, ENTRIES), call: move |key: &Key| set(key) })
}

fn set_with_ttl() -> Result<Box<dyn Work>> {
    // Longer than any run takes: nothing expires on the way.
    let mut set = setting(&full()?, 86_400_000);
    work(OnNewKeys::new(NEW, OPS, move |key: &Key| set(key)))
}

fn setting(subject: &Subject, ttl_ms: u64) -> impl FnMut(&Key) -> bool + use<> {
    let store = subject.handle();
    let set = black_box(hc::hc_set as unsafe extern "C" fn(_, _, _, _, _, _) -> _);
    let value = [7_u8; VALUE_LEN];
    move |key| {
        let value = value.as_ptr().cast();
        // SAFETY: the handle holds a reference; key and value are good for the call.
        unsafe { set(store, raw(key), KEY_LEN, value, VALUE_LEN, ttl_ms) == hc::HC_OK }
    }
}

fn delete() -> Result<Box<dyn Work>> {
    let subject = Subject::filled(OPS as u64, PolicyKind::Default)?;
    let mut set = setting(&subject, hc::HC_TTL_DEFAULT);
    let store = subject.handle();
    let delete = black_box(hc::hc_delete as unsafe extern "C" fn(_, _, _) -> _);
    let keys = of_range(0..OPS as u64);
    let again = keys.clone();
    work(After {
        before: move || assert!(again.iter().all(&mut set), "sets that were admitted"),
        work: Calls {
            keys,
            call: move |key: &Key| {
                // SAFETY: the handle holds a reference; the key is good for the call.
                unsafe { delete(store, raw(key), KEY_LEN) == hc::HC_OK }
            },
        },
    })
}

fn incr() -> Result<Box<dyn Work>> {
    const COUNTERS: u64 = 1_000;
    let store = Subject::new(FULL, PolicyKind::Default)?.handle();
    let incr = black_box(hc::hc_incr as unsafe extern "C" fn(_, _, _, _, _, _, _) -> _);
    let mut sum = 0_i64;
    work(Calls {
        keys: drawn(OPS, COUNTERS),
        call: move |key: &Key| {
            let (ttl, sum) = (hc::HC_TTL_DEFAULT, &raw mut sum);
            // SAFETY: the handle holds a reference; key and sum are good for the call.
            unsafe { incr(store, raw(key), KEY_LEN, 1_i64, 0_i64, ttl, sum) == hc::HC_OK }
        },
    })
}

/// A filter with the keys of the ids `0..ENTRIES` in it.
fn filter() -> *mut hc::hc_filter {
    let mut config: hc::hc_filter_config = zeroed();
    config.size = size_of::<hc::hc_filter_config>();
    config.capacity = 2 * ENTRIES;
    config.hash_seed = SEED;
    let mut made = std::ptr::null_mut();
    let no_error = std::ptr::null_mut();
    // SAFETY: config and place are locals of their types, initialised as the header asks.
    let status = unsafe { hc::hc_filter_create(&raw const config, &raw mut made, no_error) };
    assert_eq!(status, hc::HC_OK, "the filter was made");
    for id in 0..ENTRIES {
        // SAFETY: the filter was just made; the key is good for the call.
        let status = unsafe { hc::hc_filter_add(made, raw(&key_of(id)), KEY_LEN) };
        assert_eq!(status, hc::HC_OK, "the key was added");
    }
    made
}

fn filter_present() -> Result<Box<dyn Work>> {
    let (filter, look) = (filter(), look_up());
    work(Calls {
        keys: drawn(OPS, ENTRIES),
        // SAFETY: the filter is never released; the key is good for the call.
        call: move |key: &Key| unsafe { look(filter, raw(key), KEY_LEN) == hc::HC_OK },
    })
}

fn filter_absent() -> Result<Box<dyn Work>> {
    let (filter, look) = (filter(), look_up());
    work(Calls {
        keys: of_range(NEW..NEW + OPS as u64),
        call: move |key: &Key| {
            // SAFETY: the filter is never released; the key is good for the call.
            let status = unsafe { look(filter, raw(key), KEY_LEN) };
            // One in a thousand is a false positive.
            status == hc::HC_NOT_FOUND || status == hc::HC_OK
        },
    })
}

type LookUp = unsafe extern "C" fn(*mut hc::hc_filter, *const c_void, usize) -> i32;

fn look_up() -> LookUp {
    black_box(hc::hc_filter_contains as LookUp)
}

fn filter_batch() -> Result<Box<dyn Work>> {
    let filter = filter();
    let look = black_box(hc::hc_filter_contains_many as unsafe extern "C" fn(_, _, _, _) -> _);
    let mut statuses = [0_i32; BATCH];
    work(Batches {
        keys: drawn(OPS, ENTRIES),
        call: move |keys: &[hc::hc_slice; BATCH]| {
            // SAFETY: the filter is never released; both arrays are of the batch's length.
            unsafe { look(filter, keys.as_ptr(), BATCH, statuses.as_mut_ptr()) == hc::HC_OK }
        },
    })
}

fn filter_add_and_remove() -> Result<Box<dyn Work>> {
    let filter = filter();
    let add = black_box(hc::hc_filter_add as unsafe extern "C" fn(_, _, _) -> _);
    let remove = black_box(hc::hc_filter_remove as unsafe extern "C" fn(_, _, _) -> _);
    work(Calls {
        keys: of_range(NEW..NEW + OPS as u64),
        call: move |key: &Key| {
            // SAFETY: the filter is never released; the key is good for the calls.
            let added = unsafe { add(filter, raw(key), KEY_LEN) };
            // SAFETY: as above.
            let removed = unsafe { remove(filter, raw(key), KEY_LEN) };
            added == hc::HC_OK && removed == hc::HC_OK
        },
    })
}
