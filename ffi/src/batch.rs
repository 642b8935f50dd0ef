//! Many entries in one call.
//!
//! A batch goes to the engine in groups of [`GROUP`] keys through arrays on the stack: enough to
//! overlap the memory accesses, and no allocation a call. Arguments that break the contract are
//! answered in their own status and never reach the engine, so that one bad key does not take the
//! others with it.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use hypercache_core::{BatchEntry, BatchRead, Error, Result, View};

use crate::abi::*;
use crate::boundary::{
    Outcome, Place, array, buffer, bytes, call, key, out_array, put_out, quiet, status_of, store,
};
use crate::convert::{entry_options, put_status, read_put_options};
use crate::read::{CLEARED, peek, show, unpin};

pub(crate) const GROUP: usize = 32;
pub(crate) const NULL_KEYS: &str = "keys is NULL and n is not 0";
pub(crate) const NULL_STATUSES: &str = "statuses is NULL and n is not 0";

/// The sound keys of a group, and which ones they are.
pub(crate) struct Group<'a> {
    keys: [&'a [u8]; GROUP],
    at: [u8; GROUP],
    len: usize,
}

impl<'a> Group<'a> {
    /// # Safety
    /// Every slice points to as many bytes as it says, for the lifetime.
    unsafe fn of(slices: &[hc_slice], statuses: &mut [Place<hc_status>]) -> Self {
        let mut group = Self { keys: [&[]; GROUP], at: [0; GROUP], len: 0 };
        for ((at, slice), status) in (0..).zip(slices).zip(statuses) {
            // SAFETY: as the caller's contract.
            match unsafe { key(slice.data, slice.len) } {
                Ok(key) => {
                    group.keys[group.len] = key;
                    group.at[group.len] = at;
                    group.len += 1;
                }
                Err(error) => {
                    status.write(status_of(error.kind()));
                }
            }
        }
        group
    }

    pub(crate) fn keys(&self) -> &[&'a [u8]] {
        &self.keys[..self.len]
    }

    /// What came of each sound key, with the key's place in the group.
    pub(crate) fn of_keys<T>(
        &self,
        results: impl IntoIterator<Item = T>,
    ) -> impl Iterator<Item = (usize, T)> {
        self.at[..self.len].iter().map(|&at| usize::from(at)).zip(results)
    }
}

/// Looks a batch up, a group at a time. `look_up` gets the number of a group's first key, the group
/// and the statuses of its keys, of which it writes those of the sound ones; a failure of its is
/// that of all keys from this group on.
///
/// # Safety
/// Every slice points to as many bytes as it says.
pub(crate) unsafe fn by_groups(
    slices: &[hc_slice],
    statuses: &mut [Place<hc_status>],
    mut look_up: impl FnMut(usize, &Group, &mut [Place<hc_status>]) -> Result<()>,
) -> Outcome {
    let mut first = 0;
    for slices in slices.chunks(GROUP) {
        let of_group = &mut statuses[first..first + slices.len()];
        // SAFETY: as the caller's contract.
        let group = unsafe { Group::of(slices, of_group) };
        if let Err(error) = look_up(first, &group, of_group) {
            return fail_rest(&mut statuses[first..], error);
        }
        first += slices.len();
    }
    Ok(all_ok(statuses))
}

/// Gives a failure of the store as the status of every key that it kept from being looked up.
fn fail_rest(rest: &mut [Place<hc_status>], error: Error) -> Outcome {
    rest.fill(MaybeUninit::new(status_of(error.kind())));
    Err(error)
}

/// HC_OK if every status is, else HC_PARTIAL.
fn all_ok(statuses: &[Place<hc_status>]) -> hc_status {
    // SAFETY: the callers have written every status of their batch by now.
    let ok = statuses.iter().all(|status| unsafe { status.assume_init() } == HC_OK);
    if ok { HC_OK } else { HC_PARTIAL }
}

const NOTHING: hc_slice = hc_slice { data: std::ptr::null(), len: 0 };

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_get_many(
    store: *mut hc_store,
    keys: *const hc_slice,
    n: usize,
    flags: u32,
    buf: *mut c_void,
    cap: usize,
    values: *mut hc_slice,
    types: *mut u32,
    statuses: *mut hc_status,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for n keys.
        let keys = unsafe { array(keys, n, NULL_KEYS) }?;
        // SAFETY: the header asks for cap writable bytes.
        let mut room = unsafe { buffer(buf, cap) }?;
        // SAFETY: the header asks for room for n values.
        let values = unsafe { out_array(values, n, "values is NULL and n is not 0") }?;
        // SAFETY: the header asks for room for n statuses.
        let statuses = unsafe { out_array(statuses, n, NULL_STATUSES) }?;
        let peek = peek(flags)?;
        values.fill(MaybeUninit::new(NOTHING));
        let look_up = |first: usize, group: &Group, statuses: &mut [Place<hc_status>]| {
            let mut reads = [BatchRead::Miss; GROUP];
            store.get_many(group.keys(), peek, room, &mut reads[..group.len])?;
            let mut taken = 0;
            for (at, read) in group.of_keys(reads) {
                let (mut status, mut value_type) = (HC_OK, 0);
                match read {
                    BatchRead::Hit { offset, len, value_type: of } => {
                        value_type = u32::from(of.0);
                        taken = taken.max(offset + len);
                        let data = room.as_ptr().wrapping_add(offset).cast();
                        values[first + at].write(hc_slice { data, len });
                    }
                    BatchRead::SmallBuffer { len } => {
                        status = HC_SMALL_BUFFER;
                        values[first + at].write(hc_slice { len, ..NOTHING });
                    }
                    BatchRead::Miss => status = HC_NOT_FOUND,
                    BatchRead::Failed(kind) => status = status_of(kind),
                }
                statuses[at].write(status);
                if !types.is_null() {
                    // SAFETY: not NULL, so room for n types by the header; first + at < n.
                    unsafe { types.add(first + at).write(value_type) };
                }
            }
            room = std::mem::take(&mut room).get_mut(taken..).unwrap_or(&mut []);
            Ok(())
        };
        // SAFETY: the header asks for readable keys.
        unsafe { by_groups(keys, statuses, look_up) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_pin_many(
    store: *mut hc_store,
    keys: *const hc_slice,
    n: usize,
    flags: u32,
    views: *mut hc_view,
    statuses: *mut hc_status,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for n keys.
        let keys = unsafe { array(keys, n, NULL_KEYS) }?;
        // SAFETY: the header asks for room for n views.
        let views = unsafe { out_array(views, n, "views is NULL and n is not 0") }?;
        // SAFETY: the header asks for room for n statuses.
        let statuses = unsafe { out_array(statuses, n, NULL_STATUSES) }?;
        let peek = peek(flags)?;
        // Cleared first: unpinning all n is right whatever happens below.
        views.fill(MaybeUninit::new(CLEARED));
        let look_up = |first: usize, group: &Group, statuses: &mut [Place<hc_status>]| {
            let mut pinned: [Option<View>; GROUP] = [const { None }; GROUP];
            let mut failed = [HC_NOT_FOUND; GROUP];
            store.pin_many(group.keys(), peek, &mut pinned[..group.len], &mut |at, error| {
                failed[at] = status_of(error.kind());
            })?;
            for (at, (view, failed)) in group.of_keys(pinned.into_iter().zip(failed)) {
                statuses[at].write(match view {
                    Some(view) => {
                        views[first + at].write(show(view));
                        HC_OK
                    }
                    None => failed,
                });
            }
            Ok(())
        };
        // SAFETY: the header asks for readable keys.
        unsafe { by_groups(keys, statuses, look_up) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_unpin_many(views: *mut hc_view, n: usize) {
    quiet(|| {
        // SAFETY: the header asks for n views, pinned or cleared.
        for view in unsafe { out_array(views, n, "views is NULL and n is not 0") }? {
            // SAFETY: as above: each of the n is a whole hc_view.
            unpin(unsafe { view.assume_init_mut() });
        }
        Ok(())
    });
}

/// # Safety
/// The entry's key and value point to as many bytes as they say, for the lifetime.
unsafe fn batch_entry<'a>(entry: &hc_entry, options: &hc_put_options) -> Result<BatchEntry<'a>> {
    Ok(BatchEntry {
        // SAFETY: as the caller's contract.
        key: unsafe { key(entry.key.data, entry.key.len) }?,
        // SAFETY: as the caller's contract.
        value: unsafe {
            bytes(entry.value.data, entry.value.len, "value.data is NULL and value.len is not 0")
        }?,
        options: entry_options(entry, options)?,
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_put_many(
    store: *mut hc_store,
    entries: *const hc_entry,
    n: usize,
    options: *const hc_put_options,
    statuses: *mut hc_status,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for n entries.
        let entries = unsafe { array(entries, n, "entries is NULL and n is not 0") }?;
        // SAFETY: the header asks for NULL or whole options.
        let options = unsafe { read_put_options(options) }?;
        let mut all = HC_OK;
        for (first, entries) in (0..n).step_by(GROUP).zip(entries.chunks(GROUP)) {
            let mut batch = [BatchEntry::default(); GROUP];
            let (mut index, mut len) = ([0; GROUP], 0);
            let mut group = [HC_OK; GROUP];
            for (at, entry) in entries.iter().enumerate() {
                // SAFETY: the header asks for readable keys and values.
                match unsafe { batch_entry(entry, &options) } {
                    Ok(entry) => {
                        (batch[len], index[len]) = (entry, at);
                        len += 1;
                    }
                    Err(error) => group[at] = status_of(error.kind()),
                }
            }
            let outcome = store.put_many(&batch[..len], &mut |at, outcome| {
                group[index[at]] = match outcome {
                    Ok(outcome) => put_status(outcome).0,
                    Err(error) => status_of(error.kind()),
                };
            });
            for (at, &status) in group[..entries.len()].iter().enumerate() {
                if status != HC_OK {
                    all = HC_PARTIAL;
                }
                if !statuses.is_null() {
                    // SAFETY: not NULL, so room for n statuses by the header; first + at < n.
                    unsafe { statuses.add(first + at).write(status) };
                }
            }
            if let Err(error) = outcome {
                if statuses.is_null() {
                    return Err(error);
                }
                // SAFETY: not NULL, so room for n statuses by the header.
                let statuses = unsafe { out_array(statuses, n, NULL_STATUSES) }?;
                return fail_rest(&mut statuses[first..], error);
            }
        }
        Ok(all)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn hc_delete_many(
    store: *mut hc_store,
    keys: *const hc_slice,
    n: usize,
    deleted: *mut u64,
) -> hc_status {
    call(|| {
        // SAFETY: the header asks for a handle that holds a reference.
        let store = unsafe { self::store(store) }?;
        // SAFETY: the header asks for n keys.
        let slices = unsafe { array(keys, n, NULL_KEYS) }?;
        // There is no status a key: all are checked before any is deleted.
        for slice in slices {
            // SAFETY: the header asks for readable keys.
            unsafe { key(slice.data, slice.len) }?;
        }
        let mut total = 0;
        for slices in slices.chunks(GROUP) {
            let mut group: [&[u8]; GROUP] = [&[]; GROUP];
            for (key, slice) in group.iter_mut().zip(slices) {
                // SAFETY: the header asks for readable keys.
                *key = unsafe { self::key(slice.data, slice.len) }?;
            }
            total += store.delete_many(&group[..slices.len()])?;
        }
        // SAFETY: the header asks for NULL or a place to write to.
        unsafe { put_out(deleted, total) };
        Ok(HC_OK)
    })
}
