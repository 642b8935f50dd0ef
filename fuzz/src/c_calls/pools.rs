//! Pools, raw memory, watchers, texts.

use super::args::{Detail, Fault, Struct, Text, name_of, unless};
use super::world::{PoolSlot, World, take_out};
use crate::input::Input;
use hypercache::*;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

const MIB: u64 = 1 << 20;
/// Names of pools and stores, the last ones none.
pub const NAMES: [&str; 6] = ["a", "b", "käse", "n", "", LONG_NAME];
const LONG_NAME: &str = "a name of more than two hundred and fifty-five bytes, which is more than \
     a name may have: a name of more than two hundred and fifty-five bytes, which is more than a \
     name may have: a name of more than two hundred and fifty-five bytes, which is more than it may";

pub fn is_name(name: &str) -> bool {
    (1..256).contains(&name.len())
}

unsafe extern "C" fn on_pressure(_: *mut c_void, level: i32, used: u64, limit: u64) {
    assert!((HC_PRESSURE_NONE..=HC_PRESSURE_CRITICAL).contains(&level) && used <= limit);
}

unsafe extern "C" fn on_drop(ctx: *mut c_void) {
    // SAFETY: the context is a counter that is never freed.
    unsafe { &*ctx.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
}

/// A context whose drops are counted. It is never freed: a second drop must find it.
fn counter() -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(0)))
}

const CONFIG_FAULTS: [Fault; 8] = [
    Fault::SmallStruct,
    Fault::HugeStruct,
    Fault::Tail,
    Fault::Flags,
    Fault::NotUtf8,
    Fault::NullOut,
    Fault::SmallError,
    Fault::NullStruct,
];

/// A pool's configuration, and whether its numbers are in range.
fn config(
    fault: Option<Fault>,
    name: &Text,
    input: &mut Input<'_>,
) -> (hc_pool_config, Struct<hc_pool_config>, bool) {
    let (size, more) = (input.byte(), input.byte());
    let mut value = Struct::<hc_pool_config>::zeroed();
    value.name = name.ptr();
    value.limit_bytes = match size {
        0..200 => MIB * u64::from(size % 4 + 1),
        _ => [0, 1, MIB - 1, (1 << 42) + 1, u64::MAX, 1 << 42, 1 << 40, MIB + 1]
            [usize::from(size & 7)],
    };
    let is_small = value.limit_bytes <= 4 * MIB;
    value.flags = u32::from(more & 15);
    if !is_small {
        // Memory that a machine may not have.
        value.flags &= !HC_POOL_PREFAULT;
    }
    if more & 16 != 0 {
        value.limit_max_bytes =
            [4 * MIB, 1, u64::MAX, 64 * MIB, 1 << 42, 0][usize::from(input.byte()) % 6];
    }
    if more & 32 != 0 {
        value.pin_limit_bytes = [1, 100_000, u64::MAX, 4 * MIB][usize::from(input.byte() & 3)];
    }
    if more & 64 != 0 {
        value.elevated_pct = u32::from(input.byte());
        value.high_pct = u32::from(input.byte() & 0x7F);
    }
    if fault == Some(Fault::Flags) {
        value.flags |= 16 << (size % 28);
    }
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let (elevated, high) = (or(value.elevated_pct, 85), or(value.high_pct, 90));
    let limit = value.limit_bytes;
    let max = match value.limit_max_bytes {
        0 => limit.max(limit.saturating_mul(8).min(32 << 30)),
        max => max,
    };
    let in_range = (MIB..=1 << 42).contains(&limit)
        && (limit..=1 << 42).contains(&max)
        && value.pin_limit_bytes <= max
        && elevated <= high
        && high <= 95;
    let memory = Struct::input(value, fault, input);
    (value, memory, in_range)
}

/// What an attempt at a pool may answer.
fn makes(in_range: bool, limit: u64) -> &'static [hc_status] {
    match (in_range, limit > 4 * MIB) {
        (false, _) => &[HC_ERR_INVALID],
        (true, false) => &[HC_OK, HC_ERR_NO_MEMORY],
        // Address space for it may be short.
        (true, true) => &[HC_OK, HC_ERR_NO_MEMORY],
    }
}

impl World<'_> {
    fn add_pool(&mut self, at: *mut hc_pool, name: Option<String>) {
        if let Some(known) = self.pools.iter_mut().find(|pool| pool.at == at) {
            known.refs += 1;
            return;
        }
        self.pools.push(PoolSlot { at, refs: 1, blocks: Vec::new(), freed: Vec::new(), name });
        if self.pools.len() > 4 {
            self.release_pool(0);
        }
    }

    pub fn pool_create(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &CONFIG_FAULTS);
        let number = input.byte();
        let name = match number {
            0..64 if fault != Some(Fault::NotUtf8) => Text::none(),
            _ => Text::new(fault, NAMES[usize::from(number) % 6]),
        };
        let names_none = name.ptr().is_null() && fault != Some(Fault::NotUtf8);
        let sound_name = names_none || is_name(NAMES[usize::from(number) % 6]);
        let (value, memory, in_range) = config(fault, &name, input);
        self.log.begin("hc_pool_create", || format!("{} {in_range}", value.limit_bytes));
        let mut detail = Detail::read(fault, input);
        let mut pool = null_mut();
        let at = if fault == Some(Fault::NullStruct) { null() } else { memory.ptr() };
        let out = unless(fault == Some(Fault::NullOut), &raw mut pool);
        // SAFETY: what the header leaves to the caller is kept; see the module.
        let status = unsafe { hc_pool_create(at, out, detail.ptr()) };
        detail.check(status);
        self.went(status, fault, None, makes(in_range && sound_name, value.limit_bytes));
        assert_eq!(pool.is_null(), status != HC_OK, "a handle's place");
        if status == HC_OK {
            self.add_pool(pool, None);
        }
    }

    pub fn pool_open(&mut self, input: &mut Input<'_>) {
        let mut faults = CONFIG_FAULTS.to_vec();
        faults.push(Fault::NullText);
        let fault = Fault::read(input, &faults).filter(|&fault| fault != Fault::NullStruct);
        let name = NAMES[usize::from(input.byte()) % 6];
        let text = Text::new(fault, name);
        let wants_config = !input.byte().is_multiple_of(4) || fault.is_some();
        let (value, memory, in_range) = config(fault, &Text::none(), input);
        self.log.begin("hc_pool_open", || format!("\"{name}\" {}", value.limit_bytes));
        let mut detail = Detail::read(fault, input);
        let mut pool = null_mut();
        let at = if wants_config { memory.ptr() } else { null() };
        let out = unless(fault == Some(Fault::NullOut), &raw mut pool);
        // SAFETY: as in `pool_create`.
        let status = unsafe { hc_pool_open(text.ptr(), at, out, detail.ptr()) };
        detail.check(status);
        let open = self.pools.iter().find(|pool| pool.name.as_deref() == Some(name));
        // Stores, views and scans keep pools that have no handle any more.
        let allowed: &[hc_status] = match (is_name(name), open, wants_config) {
            (false, ..) => &[HC_ERR_INVALID],
            (true, None, true) if in_range => &[HC_OK, HC_ERR_INVALID, HC_ERR_NO_MEMORY],
            (true, None, true) => &[HC_ERR_INVALID, HC_OK],
            (true, None, false) => &[HC_NOT_FOUND, HC_OK],
            (true, Some(_), true) => &[HC_OK, HC_ERR_INVALID],
            (true, Some(_), false) => &[HC_OK],
        };
        let expected = open.map(|open| open.at);
        self.went(status, fault, None, allowed);
        assert_eq!(pool.is_null(), status != HC_OK, "a handle's place");
        if status == HC_OK {
            assert!(expected.is_none_or(|open| open == pool), "one name, two pools");
            self.add_pool(pool, Some(name.to_owned()));
        }
    }

    pub fn pool_references(&mut self, input: &mut Input<'_>) {
        let pool = self.pick_pool(input);
        let retains = input.flag();
        self.log.begin(if retains { "hc_pool_retain" } else { "hc_pool_release" }, || pool);
        // SAFETY: NULL is nothing to release, and stays NULL when it is retained.
        unsafe {
            hc_pool_release(null_mut());
            assert!(hc_pool_retain(null_mut()).is_null());
        }
        if retains {
            let slot = &mut self.pools[pool];
            // SAFETY: the handle holds a reference.
            let same = unsafe { hc_pool_retain(slot.at) };
            assert_eq!(same, slot.at);
            slot.refs += 1;
        } else {
            self.release_pool(pool);
        }
    }

    fn release_pool(&mut self, pool: usize) {
        if self.pools[pool].refs == 1 {
            if self.pools.len() == 1 {
                return;
            }
            self.give_blocks_back(Some(pool));
        }
        let slot = &mut self.pools[pool];
        slot.refs -= 1;
        // SAFETY: a reference that was counted.
        unsafe { hc_pool_release(slot.at) };
        if slot.refs == 0 {
            self.pools.remove(pool);
        }
    }

    pub fn pool_set_limit(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::SmallError]);
        let pool = self.pick_pool(input);
        let number = input.byte();
        let bytes = match number {
            0..200 => MIB * u64::from(number % 6 + 1),
            _ => [0, 1, MIB - 1, u64::MAX, 1 << 42, (1 << 42) + 1, MIB + 4_096, MIB]
                [usize::from(number & 7)],
        };
        self.log.begin("hc_pool_set_limit", || bytes);
        let before = self.pool_stats(pool).target_bytes;
        let max = self.pool_config(pool).limit_max_bytes;
        let mut detail = Detail::read(fault, input);
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        // SAFETY: as in `pool_create`.
        let status = unsafe { hc_pool_set_limit(at, bytes, detail.ptr()) };
        detail.check(status);
        let in_range = (MIB..=max).contains(&bytes);
        let allowed: &[_] = if in_range { &[HC_OK, HC_PARTIAL] } else { &[HC_ERR_INVALID] };
        let went = self.went(status, fault, None, allowed);
        let stats = self.pool_stats(pool);
        assert_eq!(stats.target_bytes, if went { bytes } else { before });
        assert!(status != HC_OK || stats.limit_bytes == bytes);
    }

    fn pool_stats(&self, pool: usize) -> hc_pool_stats {
        let mut stats = Struct::<hc_pool_stats>::zeroed();
        stats.size = size_of::<hc_pool_stats>();
        // SAFETY: a handle that holds a reference, and a struct of its size.
        let status = unsafe { hc_pool_stats_get(self.pools[pool].at, &mut stats) };
        assert_eq!(status, HC_OK);
        assert!(stats.used_bytes <= stats.limit_bytes);
        stats
    }

    fn pool_config(&self, pool: usize) -> hc_pool_config {
        let mut config = Struct::<hc_pool_config>::zeroed();
        config.size = size_of::<hc_pool_config>();
        // SAFETY: a handle that holds a reference, and a struct of its size.
        let status = unsafe { hc_pool_config_get(self.pools[pool].at, &mut config) };
        assert_eq!(status, HC_OK);
        config
    }

    pub fn pool_thresholds(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle]);
        let pool = self.pick_pool(input);
        let [a, b, c] = [input.byte(), input.byte(), input.byte()].map(u32::from);
        let c = if c == 255 { u32::MAX } else { c };
        self.log.begin("hc_pool_set_thresholds", || format!("{a} {b} {c}"));
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        // SAFETY: as in `pool_create`.
        let status = unsafe { hc_pool_set_thresholds(at, a, b, c) };
        let sound = 0 < a && a <= b && b <= c && c <= 100;
        self.went(status, fault, None, if sound { &[HC_OK] } else { &[HC_ERR_INVALID] });
    }

    pub fn pool_wait(&mut self, input: &mut Input<'_>) {
        const LEVELS: [i32; 4] =
            [HC_PRESSURE_NONE, HC_PRESSURE_ELEVATED, HC_PRESSURE_HIGH, HC_PRESSURE_CRITICAL];
        let fault = Fault::read(input, &[Fault::NullHandle, Fault::NullOut, Fault::NullValue]);
        let pool = self.pick_pool(input);
        let number = input.byte();
        let mut seq = if number & 4 == 0 { 0 } else { u64::from(number >> 3) };
        let before = seq;
        let mut level = 7_777;
        self.log.begin("hc_pool_wait", || seq);
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        let seq_at = unless(fault == Some(Fault::NullValue), &raw mut seq);
        let level_at = unless(fault == Some(Fault::NullOut), &raw mut level);
        // SAFETY: as in `pool_create`.
        let status = unsafe { hc_pool_wait(at, seq_at, u64::from(number & 1), level_at) };
        self.went(status, fault, None, &[HC_OK, HC_TIMEOUT]);
        if status == HC_OK {
            assert!(LEVELS.contains(&level));
        } else {
            assert_eq!((level, seq), (7_777, before), "written without a change");
        }
        // SAFETY: a handle that holds a reference; NULL has no pressure.
        unsafe {
            assert!(LEVELS.contains(&hc_pool_pressure(self.pools[pool].at)));
            assert_eq!(hc_pool_pressure(null()), HC_PRESSURE_NONE);
        }
    }

    pub fn pool_watch(&mut self, input: &mut Input<'_>) {
        let faults = [Fault::NullHandle, Fault::NullOut, Fault::NullFunction];
        let fault = Fault::read(input, &faults);
        let pool = self.pick_pool(input);
        self.log.begin("hc_pool_watch", || pool);
        let dropped = counter();
        let mut watch = null_mut();
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        let callback: hc_pressure_fn =
            if fault == Some(Fault::NullFunction) { None } else { Some(on_pressure) };
        let ctx = std::ptr::from_ref(dropped).cast_mut().cast();
        let out = unless(fault == Some(Fault::NullOut), &raw mut watch);
        // SAFETY: as in `pool_create`; the context is never freed.
        let status = unsafe { hc_pool_watch(at, callback, ctx, Some(on_drop), out) };
        self.went(status, fault, None, &[HC_OK]);
        assert_eq!(watch.is_null(), status != HC_OK);
        // Also if the registration itself fails.
        assert_eq!(dropped.load(Ordering::SeqCst), u32::from(status != HC_OK), "drops");
        if status == HC_OK {
            self.watches.push((watch, dropped));
            if self.watches.len() > 3 {
                self.cancel(0);
            }
        }
    }

    fn cancel(&mut self, number: u8) {
        if let Some((watch, dropped)) = take_out(&mut self.watches, number) {
            assert_eq!(dropped.load(Ordering::SeqCst), 0, "dropped too early");
            // SAFETY: a watch of hc_pool_watch, cancelled once.
            unsafe { hc_watch_cancel(watch) };
            assert_eq!(dropped.load(Ordering::SeqCst), 1, "a context is dropped once");
        }
    }

    pub fn watch_cancel(&mut self, input: &mut Input<'_>) {
        let number = input.byte();
        self.log.begin("hc_watch_cancel", || number);
        // SAFETY: NULL is nothing to cancel.
        unsafe { hc_watch_cancel(null_mut()) };
        self.cancel(number);
    }

    pub fn pool_trim(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullHandle]);
        let pool = self.pick_pool(input);
        let number = input.byte();
        let target = match number {
            255 => u64::MAX,
            number => u64::from(number) * 20_000,
        };
        self.log.begin("hc_pool_trim", || target);
        let before = self.pool_stats(pool).used_bytes;
        let mut freed = 7_777;
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        let place = unless(number & 1 != 0, &raw mut freed);
        // SAFETY: as in `pool_create`.
        let status = unsafe { hc_pool_trim(at, target, place) };
        if self.went(status, fault, None, &[HC_OK]) && !place.is_null() {
            assert_eq!(freed, before.saturating_sub(self.pool_stats(pool).used_bytes));
        }
    }

    pub fn pool_alloc(&mut self, input: &mut Input<'_>) {
        const ABSURD: [usize; 4] = [usize::MAX, isize::MAX as usize, 1 << 41, usize::MAX - 4_095];
        let pool = self.pick_pool(input);
        let (how, number) = (input.byte(), input.byte());
        let align = match how >> 2 & 15 {
            0..8 => 0,
            8 => 1,
            9 => 64,
            10 => 4_096,
            11 => 3,
            12 => 8_192,
            13 => usize::MAX,
            _ => 16,
        };
        let bad_flags = how >= 224;
        let flags = u32::from(how & 3) | if bad_flags { 4 << (how & 15) } else { 0 };
        let len = match number {
            0..200 => usize::from(number) * 7,
            200..252 => usize::from(number - 199) * 9_000,
            _ => ABSURD[usize::from(number & 3)],
        };
        self.log.begin("hc_pool_alloc", || format!("{len} align {align} flags {flags:#x}"));
        // SAFETY: a handle that holds a reference; NULL has no memory.
        let at = unsafe {
            assert!(hc_pool_alloc(null_mut(), 8, 0, 0).is_null());
            hc_pool_alloc(self.pools[pool].at, len, align, flags).cast::<u8>()
        };
        if at.is_null() {
            return self.log.note("no block");
        }
        self.log.note("block");
        let sound = align == 0 || (align.is_power_of_two() && align <= 4_096);
        assert!(sound && !bad_flags && number < 252, "{len} align {align} flags {flags:#x}");
        assert!((at as usize).is_multiple_of(align.max(1)));
        assert!(align != 0 || (at as usize).is_multiple_of(16));
        let fill = (self.seed % 251) as u8 + 1;
        self.seed += 1;
        // SAFETY: the block is this program's, `len` bytes long.
        unsafe {
            if flags & HC_ALLOC_ZERO != 0 {
                let bytes = std::slice::from_raw_parts(at, len);
                assert!(bytes.iter().all(|&byte| byte == 0), "not zeroed");
            }
            at.write_bytes(fill, len);
        }
        let slot = &mut self.pools[pool];
        slot.freed.retain(|&freed| freed != at);
        slot.blocks.push((at, len, fill));
        if slot.blocks.len() > 16 {
            self.free_block(pool, 0);
        }
    }

    fn free_block(&mut self, pool: usize, block: usize) {
        let slot = &mut self.pools[pool];
        let (at, len, fill) = slot.blocks.remove(block);
        // SAFETY: the block is this program's until here; a second free is refused.
        unsafe {
            let bytes = std::slice::from_raw_parts(at, len);
            assert!(bytes.iter().all(|&byte| byte == fill), "a block was written to");
            assert_eq!(hc_pool_free(slot.at, at.cast()), HC_OK);
            assert_eq!(hc_pool_free(slot.at, at.cast()), HC_ERR_INVALID, "freed twice");
        }
        slot.freed.push(at);
        if slot.freed.len() > 32 {
            slot.freed.remove(0);
        }
    }

    /// All blocks of a pool, or of all.
    pub fn give_blocks_back(&mut self, of: Option<usize>) {
        for pool in 0..self.pools.len() {
            while of.is_none_or(|of| of == pool) && !self.pools[pool].blocks.is_empty() {
                self.free_block(pool, 0);
            }
        }
    }

    pub fn pool_free(&mut self, input: &mut Input<'_>) {
        let pool = self.pick_pool(input);
        let (kind, number) = (input.byte(), usize::from(input.byte()));
        let other = (pool + 1) % self.pools.len();
        let pick = |some: Vec<*mut u8>| (!some.is_empty()).then(|| some[number % some.len()]);
        let live: Vec<*mut u8> = self.pools[pool].blocks.iter().map(|block| block.0).collect();
        let mut own = [0_u64; 8];
        let wrong = match kind {
            0..128 => {
                if !live.is_empty() {
                    self.log.begin("hc_pool_free", || live.len());
                    self.free_block(pool, number % live.len());
                }
                return;
            }
            128..148 => pick(self.pools[pool].freed.clone()),
            148..168 => pick(live.clone()).map(|at| at.wrapping_add(usize::from(kind))),
            168..188 => Some(own.as_mut_ptr().cast()),
            188..208 if other != pool => {
                pick(self.pools[other].blocks.iter().map(|block| block.0).collect())
            }
            208..228 => {
                pick(self.views.iter().map(|held| held.view.data.cast_mut().cast::<u8>()).collect())
            }
            _ => pick(self.drafts.iter().map(|held| held.draft.data.cast::<u8>()).collect()),
        };
        let Some(wrong) = wrong.filter(|at| !at.is_null() && !live.contains(at)) else { return };
        self.log.begin("hc_pool_free", || format!("wrongly, {kind}"));
        // SAFETY: nobody's block of this pool begins there; NULL is nothing.
        unsafe {
            let status = hc_pool_free(self.pools[pool].at, wrong.cast());
            assert_eq!(status, HC_ERR_INVALID, "{}", name_of(status));
            assert_eq!(hc_pool_free(self.pools[pool].at, null_mut()), HC_OK);
            assert_eq!(hc_pool_free(null_mut(), wrong.cast()), HC_ERR_INVALID);
        }
        self.log.note("refused a pointer");
    }

    /// Statistics, configuration, validation.
    pub fn pool_look(&mut self, input: &mut Input<'_>) {
        let faults = [Fault::NullHandle, Fault::SmallStruct, Fault::NullStruct, Fault::HugeStruct];
        // Structs that are filled may be larger than any that is known.
        let fault = Fault::read(input, &faults);
        let expected = fault.filter(|&fault| fault != Fault::HugeStruct);
        let pool = self.pick_pool(input);
        let at = unless(fault == Some(Fault::NullHandle), self.pools[pool].at);
        let is_null = fault == Some(Fault::NullStruct);
        match input.below(3) {
            0 => {
                self.log.begin("hc_pool_stats_get", || pool);
                let mut stats = Struct::<hc_pool_stats>::output(fault, input);
                // SAFETY: as in `pool_create`.
                let status = unsafe { hc_pool_stats_get(at, unless(is_null, stats.ptr_mut())) };
                if self.went(status, expected, None, &[HC_OK]) {
                    let stats = stats.filled();
                    assert!(stats.used_bytes <= stats.limit_bytes && stats.reserved == 0);
                } else {
                    stats.assert_untouched();
                }
            }
            1 => {
                self.log.begin("hc_pool_config_get", || pool);
                let mut config = Struct::<hc_pool_config>::output(fault, input);
                // SAFETY: as in `pool_create`.
                let status = unsafe { hc_pool_config_get(at, unless(is_null, config.ptr_mut())) };
                if self.went(status, expected, None, &[HC_OK]) {
                    let config = config.filled();
                    assert!(config.limit_bytes >= MIB && config.pin_limit_bytes > 0);
                    assert!(config.limit_max_bytes >= config.limit_bytes);
                    assert!(config.elevated_pct <= config.high_pct);
                } else {
                    config.assert_untouched();
                }
            }
            _ => {
                self.log.begin("hc_pool_validate", || pool);
                let fault = match fault {
                    Some(Fault::SmallStruct) => Some(Fault::SmallError),
                    Some(Fault::NullHandle) => fault,
                    _ => None,
                };
                let mut detail = Detail::read(fault, input);
                // SAFETY: as in `pool_create`.
                let status = unsafe { hc_pool_validate(at, detail.ptr()) };
                detail.check(status);
                self.went(status, fault, None, &[HC_OK]);
            }
        }
    }

    pub fn metrics(&mut self, input: &mut Input<'_>) {
        let fault = Fault::read(input, &[Fault::NullOut, Fault::NullBuffer]);
        let short = input.flag();
        self.log.begin("hc_metrics_text", || short);
        let mut len = 7_777;
        if fault.is_some() {
            let out = unless(fault == Some(Fault::NullOut), &raw mut len);
            let cap = usize::from(fault == Some(Fault::NullBuffer));
            // SAFETY: NULL with room, and NULL for the length, are refused.
            let status = unsafe { hc_metrics_text(null_mut(), cap, out) };
            self.went(status, fault, None, &[]);
            return assert_eq!(len, 7_777);
        }
        // SAFETY: no room, and a place for the length.
        let status = unsafe { hc_metrics_text(null_mut(), 0, &mut len) };
        assert_eq!(status, HC_SMALL_BUFFER);
        let mut text = vec![0xEE_u8; if short { len - 1 } else { len + 64 }];
        // SAFETY: room for the text, and a place for the length.
        let status = unsafe { hc_metrics_text(text.as_mut_ptr().cast(), text.len(), &mut len) };
        if status == HC_OK {
            let text = std::str::from_utf8(&text[..len]).expect("metrics are text");
            assert!(!text.contains('\0') && text.ends_with('\n'));
        } else {
            assert_eq!(status, HC_SMALL_BUFFER);
            assert!(text.iter().all(|&byte| byte == 0xEE), "the buffer was touched");
        }
    }

    /// What needs no handle.
    pub fn names(&mut self, input: &mut Input<'_>) {
        let status = input.number() as u32 as i32;
        self.log.begin("hc_status_name", || status);
        // SAFETY: static strings, all of them.
        unsafe {
            let name = CStr::from_ptr(hc_status_name(status)).to_str().expect("a name is text");
            assert!(name.starts_with("HC_"));
            let known = (-12..=12).contains(&status);
            assert_eq!(name != "HC_UNKNOWN", known, "{status}: {name}");
            assert!(!CStr::from_ptr(hc_version_string()).is_empty());
            assert!(CStr::from_ptr(hc_build_info()).to_str().is_ok());
        }
        assert_eq!(hc_version_number() & 0xFF, 0);
    }
}
