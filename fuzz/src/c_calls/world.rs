//! Handles, what is held through them, and which call a byte is.
//!
//! As in [`crate::store_ops`], the numbers of calls are the corpus's.

use super::args::{Fault, Struct, name_of};
use super::filters::{FilterSlot, Known};
use super::loads::{HeldLease, HeldWaits};
use crate::Log;
use crate::input::Input;
use hypercache::*;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

/// Faults that the library has reported.
static FAULTS: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn on_message(_: *mut c_void, severity: i32, message: *const c_char) {
    assert!((HC_LOG_ERROR..=HC_LOG_INFO).contains(&severity));
    if severity == HC_LOG_ERROR {
        FAULTS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the header promises text that ends with NUL.
        eprintln!("{}", unsafe { CStr::from_ptr(message) }.to_string_lossy());
    }
}

/// What was written last under a key.
#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Vec<u8>,
    pub kind: u32,
    pub session: u64,
    pub flags: u32,
    /// Whether it may be over by now.
    pub may_end: bool,
    /// Whether claims may have somebody load it anew before it is over.
    pub reloads: bool,
    /// Evictions that the store had counted before the write.
    pub evicted: u64,
}

/// A pool through its handle.
pub struct PoolSlot {
    pub at: *mut hc_pool,
    pub refs: u32,
    pub blocks: Vec<(*mut u8, usize, u8)>,
    pub freed: Vec<*mut u8>,
    pub name: Option<String>,
}

/// A store through its handle.
pub struct StoreSlot {
    pub at: *mut hc_store,
    pub refs: u32,
    pub is_closed: bool,
    pub known: Known,
    pub entries: HashMap<Vec<u8>, Entry>,
    pub config: hc_store_config,
    pub name: Option<String>,
    /// Its pool's handle as a number, released or not.
    pub pool: usize,
}

/// A view and what it must show; cleared when it was given back.
pub struct HeldView {
    pub view: hc_view,
    pub value: Vec<u8>,
}

/// A draft and what its commit publishes.
pub struct HeldDraft {
    pub draft: hc_draft,
    pub store: *mut hc_store,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub options: hc_put_options,
}

pub struct HeldScan {
    pub scan: *mut hc_scan,
    pub store: *mut hc_store,
    pub is_over: bool,
}

/// Everything that an input works on.
pub struct World<'a> {
    pub log: &'a mut Log,
    pub pools: Vec<PoolSlot>,
    pub stores: Vec<StoreSlot>,
    pub views: Vec<HeldView>,
    pub drafts: Vec<HeldDraft>,
    pub scans: Vec<HeldScan>,
    pub watches: Vec<(*mut hc_watch, &'static AtomicU32)>,
    pub filters: Vec<FilterSlot>,
    pub leases: Vec<HeldLease>,
    pub waits: Vec<HeldWaits>,
    /// Numbers the values.
    pub seed: u64,
    pub written: usize,
}

impl<'a> World<'a> {
    pub fn new(log: &'a mut Log) -> Self {
        FAULTS.store(0, Ordering::SeqCst);
        // SAFETY: the function outlives the process, and wants no context.
        unsafe { hc_set_logger(Some(on_message), null_mut(), None, HC_LOG_INFO) };
        let mut world = Self {
            log,
            pools: Vec::new(),
            stores: Vec::new(),
            views: Vec::new(),
            drafts: Vec::new(),
            scans: Vec::new(),
            watches: Vec::new(),
            filters: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
            seed: 0,
            written: 0,
        };
        world.make_pool_and_store();
        world
    }

    /// A pool and a store with every default, so that there is always one.
    pub fn make_pool_and_store(&mut self) {
        let mut config = Struct::<hc_pool_config>::zeroed();
        config.size = size_of::<hc_pool_config>();
        config.limit_bytes = 1 << 20;
        let mut pool = null_mut();
        // SAFETY: a whole config, and a place for the handle.
        let status = unsafe { hc_pool_create(&config, &mut pool, null_mut()) };
        assert_eq!(status, HC_OK);
        let blocks = Vec::new();
        self.pools.push(PoolSlot { at: pool, refs: 1, blocks, freed: Vec::new(), name: None });
        let mut config = Struct::<hc_store_config>::zeroed();
        config.size = size_of::<hc_store_config>();
        let mut store = null_mut();
        // SAFETY: a handle, a whole config, and a place for the handle.
        let status = unsafe { hc_store_open(pool, &config, &mut store, null_mut()) };
        assert_eq!(status, HC_OK);
        self.add_store(store, pool, config, None);
    }

    pub fn add_store(
        &mut self,
        at: *mut hc_store,
        pool: *mut hc_pool,
        config: hc_store_config,
        name: Option<String>,
    ) {
        self.stores.push(StoreSlot {
            at,
            refs: 1,
            is_closed: false,
            known: Known::Nothing,
            entries: HashMap::new(),
            config,
            name,
            pool: pool as usize,
        });
    }

    /// Runs the next call.
    pub fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..24 => self.set(input),
            24..40 => self.put(input),
            40..56 => self.get(input),
            56..64 => self.get_info(input),
            64..70 => self.take(input),
            70..80 => self.pin(input),
            80..88 => self.unpin(input),
            88..92 => self.contains(input),
            92..98 => self.touch(input),
            98..106 => self.get_many(input),
            106..110 => self.pin_many(input),
            110..112 => self.unpin_many(input),
            112..120 => self.put_many(input),
            120..128 => self.incr(input),
            128..134 => self.delete(input),
            134..138 => self.delete_if(input),
            138..142 => self.delete_many(input),
            142..150 => self.reserve(input),
            150..156 => self.commit(input),
            156..160 => self.abandon(input),
            160..164 => self.invalidate(input),
            164..166 => self.clear(input),
            166..170 => self.scan_open(input),
            170..176 => self.scan_next(input),
            176..178 => self.scan_close(input),
            178..182 => self.pool_create(input),
            182..186 => self.pool_open(input),
            186..190 => self.pool_references(input),
            190..194 => self.pool_set_limit(input),
            194..196 => self.pool_thresholds(input),
            196..198 => self.pool_wait(input),
            198..200 => self.pool_watch(input),
            200..202 => self.watch_cancel(input),
            202..204 => self.pool_trim(input),
            204..210 => self.pool_alloc(input),
            210..216 => self.pool_free(input),
            216..220 => self.pool_look(input),
            220..226 => self.store_open(input),
            226..228 => self.store_find(input),
            228..230 => self.store_destroy(input),
            230..234 => self.store_references(input),
            234..236 => self.store_set_limit(input),
            236..240 => self.store_look(input),
            240..242 => self.metrics(input),
            242 => self.names(input),
            243 => self.fill(input),
            246 | 247 => self.filter(input),
            248..251 => self.claim(input),
            251 => self.get_or_claim(input),
            252 => self.claim_many(input),
            253 => self.lease_put(input),
            254 => self.lease_drop(input),
            255 => self.waits(input),
            244 | 245 => {}
        }
    }

    /// The pool that an input names; there is always one.
    pub fn pick_pool(&self, input: &mut Input<'_>) -> usize {
        usize::from(input.byte()) % self.pools.len()
    }

    /// The store that an input names, a destroyed one too.
    pub fn pick_store(&self, input: &mut Input<'_>) -> usize {
        usize::from(input.byte()) % self.stores.len()
    }

    /// Rules 1, 2 and 8. Whether the call did what it is for.
    pub fn went(
        &mut self,
        status: hc_status,
        fault: Option<Fault>,
        store: Option<usize>,
        allowed: &[hc_status],
    ) -> bool {
        self.log.result(name_of(status), || fault.map_or(String::new(), |f| format!("{f:?}")));
        let is_closed = store.is_some_and(|store| self.stores[store].is_closed);
        match fault {
            Some(fault) => {
                let closed_first = is_closed && status == HC_ERR_CLOSED;
                assert!(status == fault.status() || closed_first, "{fault:?}: {}", name_of(status));
                false
            }
            None if is_closed => {
                // A length may be refused before the store is asked.
                let early = status == HC_ERR_TOO_LARGE && allowed.contains(&status);
                assert!(status == HC_ERR_CLOSED || early, "{}", name_of(status));
                false
            }
            None => {
                assert!(allowed.contains(&status), "{}", name_of(status));
                status >= 0
            }
        }
    }

    /// Everything that holds at every moment.
    pub fn check(&mut self) {
        assert_eq!(FAULTS.load(Ordering::SeqCst), 0, "a fault was reported");
        for pool in &self.pools {
            // SAFETY: the handle holds a reference.
            let status = unsafe { hc_pool_validate(pool.at, null_mut()) };
            assert_eq!(status, HC_OK, "{}", name_of(status));
            for &(at, len, fill) in &pool.blocks {
                // SAFETY: the block is this program's, `len` bytes, written when it was made.
                let bytes = unsafe { std::slice::from_raw_parts(at, len) };
                assert!(bytes.iter().all(|&byte| byte == fill), "a block was written to");
            }
        }
        for store in &self.stores {
            // SAFETY: the handle holds a reference.
            let status = unsafe { hc_store_validate(store.at, null_mut()) };
            assert_eq!(status, HC_OK, "{}", name_of(status));
        }
        self.check_filters();
        for held in &self.views {
            held.check();
        }
    }

    /// Gives everything back, in an order that no garbage collector would be ashamed of.
    pub fn end(mut self) {
        self.check();
        self.give_blocks_back(None);
        self.end_filters();
        self.end_loads(None);
        for scan in std::mem::take(&mut self.scans) {
            // SAFETY: a scan of hc_scan_open, closed once.
            unsafe { hc_scan_close(scan.scan) };
        }
        for mut held in std::mem::take(&mut self.drafts) {
            // SAFETY: a draft of hc_reserve, or a cleared one.
            unsafe { hc_abandon(&mut held.draft) };
        }
        for (watch, dropped) in std::mem::take(&mut self.watches) {
            // SAFETY: a watch of hc_pool_watch, cancelled once.
            unsafe { hc_watch_cancel(watch) };
            assert_eq!(dropped.load(Ordering::SeqCst), 1, "a context is dropped once");
        }
        for pool in std::mem::take(&mut self.pools) {
            for _ in 0..pool.refs {
                // SAFETY: as many references as were taken.
                unsafe { hc_pool_release(pool.at) };
            }
        }
        for store in std::mem::take(&mut self.stores) {
            for _ in 0..store.refs {
                // SAFETY: as many references as were taken.
                unsafe { hc_store_release(store.at) };
            }
        }
        for mut held in std::mem::take(&mut self.views) {
            held.check();
            // SAFETY: a view that was pinned or cleared.
            unsafe { hc_unpin(&mut held.view) };
            assert!(held.view.data.is_null());
        }
        for name in super::pools::NAMES {
            let name = std::ffi::CString::new(name).unwrap_or_default();
            let mut out = null_mut();
            // SAFETY: a string, no config, a place for the handle.
            let status =
                unsafe { hc_pool_open(name.as_ptr(), std::ptr::null(), &mut out, null_mut()) };
            let sound = (1..256).contains(&name.as_bytes().len());
            let expected = if sound { HC_NOT_FOUND } else { HC_ERR_INVALID };
            assert_eq!(status, expected, "a pool outlives its references");
        }
        assert_eq!(FAULTS.load(Ordering::SeqCst), 0, "a fault was reported");
        // SAFETY: NULL is silence.
        unsafe { hc_set_logger(None, null_mut(), None, 0) };
    }
}

impl HeldView {
    pub fn check(&self) {
        if !self.view.data.is_null() {
            assert_eq!(self.view.len, self.value.len());
            // SAFETY: a pinned view's data are readable until it is unpinned.
            let bytes =
                unsafe { std::slice::from_raw_parts(self.view.data.cast::<u8>(), self.view.len) };
            assert!(bytes == &self.value[..], "a view changed");
        }
    }
}

/// Takes one of some out, whichever a number names.
pub fn take_out<T>(from: &mut Vec<T>, number: u8) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    let at = usize::from(number) % from.len();
    Some(from.remove(at))
}
