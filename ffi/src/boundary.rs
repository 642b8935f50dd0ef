//! Where C meets Rust: catching faults, checking pointers, reading and filling structs.
//!
//! The checks are those that the engine cannot make because they are about C: NULL, a length that
//! no object can have, a struct compiled from an older or newer header. Whatever they let through
//! is an ordinary Rust value.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Once;

use hypercache_core::log::{Severity, log};
use hypercache_core::{Error, ErrorKind, Filter, Pool, Result, Store, types};

use crate::abi::*;

/// What the inside of a call answers: a status of 0 or more, or a failure.
pub(crate) type Outcome = Result<hc_status>;

/// No struct of this interface will ever be larger; a `size` beyond it is not one.
const STRUCT_SIZE_MAX: usize = 4096;

pub(crate) const fn status_of(kind: ErrorKind) -> hc_status {
    match kind {
        ErrorKind::Invalid => HC_ERR_INVALID,
        ErrorKind::Unsupported => HC_ERR_UNSUPPORTED,
        ErrorKind::TooLarge => HC_ERR_TOO_LARGE,
        ErrorKind::NoSpace => HC_ERR_NO_SPACE,
        ErrorKind::NoMemory => HC_ERR_NO_MEMORY,
        ErrorKind::Closed => HC_ERR_CLOSED,
        ErrorKind::Forked => HC_ERR_FORKED,
        ErrorKind::Io => HC_ERR_IO,
        ErrorKind::Corrupt => HC_ERR_CORRUPT,
        ErrorKind::Poisoned => HC_ERR_POISONED,
        ErrorKind::Internal => HC_ERR_INTERNAL,
        ErrorKind::Deadlock => HC_ERR_DEADLOCK,
    }
}

/// Runs a call's inside. The engine has marked what a fault left unsound before it gets here, so
/// that carrying on is right.
#[inline(always)]
fn caught<T>(inside: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(inside)) {
        Ok(result) => result,
        Err(payload) => Err(fault(payload)),
    }
}

#[cold]
#[inline(never)]
fn fault(payload: Box<dyn std::any::Any + Send>) -> Error {
    let error = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => Error::new(ErrorKind::Internal, *text),
        (None, Some(text)) => Error::new(ErrorKind::Internal, text.as_str()),
        (None, None) => Error::fixed(ErrorKind::Internal, "a fault was caught in this call"),
    };
    // A payload's own destructor may unwind; losing its few bytes is the lesser evil.
    std::mem::forget(payload);
    error
}

/// Sends what a fault of this library has to say to the logger instead of standard error. Faults
/// of others, in a Rust program that links this crate, are left to whoever was told of them before.
pub(crate) fn report_faults() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // a hook cannot be set now
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |fault| {
            let Some(at) = fault.location().filter(|at| is_ours(at.file())) else {
                return before(fault);
            };
            let said = fault.payload_as_str().unwrap_or("no message");
            log(Severity::Error, &format!("fault at {}:{}: {said}", at.file(), at.line()));
        }));
    });
}

/// Whether a source file is one of the library's two crates.
fn is_ours(file: &str) -> bool {
    ["core/src/", "ffi/src/"].iter().any(|start| file.starts_with(start))
        || ["hypercache-core", "hypercache-ffi"].iter().any(|name| file.contains(name))
}

/// Runs a call that reports a status only.
#[inline(always)]
pub(crate) fn call(inside: impl FnOnce() -> Outcome) -> hc_status {
    match caught(inside) {
        Ok(status) => status,
        Err(error) => status_of(error.kind()),
    }
}

/// Refuses a call that would make something that lasts when the process has no memory left.
fn check_memory() -> Result<()> {
    #[cfg(feature = "reserve")]
    if crate::reserve::is_low() {
        return Err(Error::fixed(ErrorKind::NoMemory, "the process has no memory left"));
    }
    Ok(())
}

/// [`call`] for calls that allocate.
pub(crate) fn call_allocating(inside: impl FnOnce() -> Outcome) -> hc_status {
    call(|| check_memory().and_then(|()| inside()))
}

/// Runs a call that answers with something else than a status; a failure is `None`.
#[inline(always)]
pub(crate) fn quiet<T>(inside: impl FnOnce() -> Result<T>) -> Option<T> {
    caught(inside).ok()
}

/// Runs a call that allocates, and fills an `hc_error` when it fails.
///
/// # Safety
/// `err` is NULL or points to an `hc_error` whose `size` is set.
pub(crate) unsafe fn call_detailed(
    err: *mut hc_error,
    inside: impl FnOnce() -> Outcome,
) -> hc_status {
    // SAFETY: the caller passes NULL or an hc_error, whose size can be read.
    if !err.is_null() && unsafe { struct_size(err) }.is_err() {
        return HC_ERR_INVALID;
    }
    match caught(|| check_memory().and_then(|()| inside())) {
        Ok(status) => status,
        Err(error) => {
            let status = status_of(error.kind());
            if !err.is_null() {
                let mut filled = zeroed::<hc_error>();
                filled.status = status;
                filled.os_error = error.os_error();
                fill_text(&mut filled.message, error.context());
                // SAFETY: not NULL, and its size was checked above.
                unsafe { fill(err, filled) }.unwrap_or(());
            }
            status
        }
    }
}

/// Copies text into a C array: cut at the end of a character if it is too long, always ended by
/// a NUL.
pub(crate) fn fill_text(out: &mut [c_char], text: &str) {
    let room = out.len().saturating_sub(1);
    let end = text.floor_char_boundary(room);
    for (to, from) in out.iter_mut().zip(text.as_bytes()[..end].iter()) {
        *to = *from as c_char;
    }
    if let Some(last) = out.get_mut(end) {
        *last = 0;
    }
}

// ---- Arguments -------------------------------------------------------------------------------

#[cold]
#[inline(never)]
pub(crate) fn invalid(context: &'static str) -> Error {
    Error::fixed(ErrorKind::Invalid, context)
}

#[cold]
#[inline(never)]
pub(crate) fn unsupported(context: &'static str) -> Error {
    Error::fixed(ErrorKind::Unsupported, context)
}

/// Checks that no unknown flag is set.
#[inline(always)]
pub(crate) fn check_flags(argument: &'static str, flags: u32, known: u32) -> Result<()> {
    if flags & !known == 0 { Ok(()) } else { Err(unknown_flags(argument, flags, known)) }
}

#[cold]
#[inline(never)]
fn unknown_flags(argument: &'static str, flags: u32, known: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{argument} is {flags:#x}; this library knows the bits {known:#x}"),
    )
}

/// The pool behind a handle, borrowed.
///
/// # Safety
/// `pool` is NULL or a handle that holds a reference for the whole call.
#[inline(always)]
pub(crate) unsafe fn pool(pool: *const hc_pool) -> Result<impl Deref<Target = Pool>> {
    if pool.is_null() {
        return Err(invalid("pool is NULL"));
    }
    // SAFETY: a handle is what Pool::into_raw gave, and the caller holds a reference to it.
    Ok(unsafe { Pool::borrow_raw(pool.cast()) })
}

/// The store behind a handle, borrowed.
///
/// # Safety
/// `store` is NULL or a handle that holds a reference for the whole call.
#[inline(always)]
pub(crate) unsafe fn store(store: *const hc_store) -> Result<impl Deref<Target = Store>> {
    if store.is_null() {
        return Err(invalid("store is NULL"));
    }
    // SAFETY: a handle is what Store::into_raw gave, and the caller holds a reference to it.
    Ok(unsafe { Store::borrow_raw(store.cast()) })
}

/// The filter behind a handle, borrowed.
///
/// # Safety
/// `filter` is NULL or a handle that holds a reference for the whole call.
#[inline(always)]
pub(crate) unsafe fn filter(filter: *const hc_filter) -> Result<impl Deref<Target = Filter>> {
    if filter.is_null() {
        return Err(invalid("filter is NULL"));
    }
    // SAFETY: a handle is what Filter::into_raw gave, and the caller holds a reference to it.
    Ok(unsafe { Filter::borrow_raw(filter.cast()) })
}

/// A place for a result.
///
/// # Safety
/// `out` is NULL or writable for the lifetime, and nobody else uses it meanwhile.
#[inline(always)]
pub(crate) unsafe fn out<'a, T>(out: *mut T, message: &'static str) -> Result<&'a mut Place<T>> {
    if out.is_null() {
        return Err(invalid(message));
    }
    // SAFETY: not NULL, and writable by the caller's contract; MaybeUninit asks for no value.
    Ok(unsafe { &mut *out.cast() })
}

/// Memory that a result goes to; what it holds now is of no account.
pub(crate) type Place<T> = MaybeUninit<T>;

/// Writes through a pointer that may be NULL.
///
/// # Safety
/// `out` is NULL or writable.
#[inline(always)]
pub(crate) unsafe fn put_out<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL, and writable by the caller's contract.
        unsafe { out.write(value) }
    }
}

/// A key. Longer ones than any key are refused here, before a slice of them is made.
///
/// # Safety
/// `key` points to `len` bytes that nobody changes for the lifetime, or `len` is 0.
#[inline(always)]
pub(crate) unsafe fn key<'a>(key: *const c_void, len: usize) -> Result<&'a [u8]> {
    if len > types::KEY_LEN_MAX {
        return Err(long_key(len));
    }
    // SAFETY: as the caller's contract.
    unsafe { bytes(key, len, "key is NULL and key_len is not 0") }
}

#[cold]
#[inline(never)]
fn long_key(len: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("key_len is {len}; 0 to {} is allowed", types::KEY_LEN_MAX),
    )
}

/// What most calls begin with.
///
/// # Safety
/// As [`store`] and [`key`].
#[inline(always)]
pub(crate) unsafe fn store_and_key<'a>(
    store: *const hc_store,
    key: *const c_void,
    key_len: usize,
) -> Result<(impl Deref<Target = Store>, &'a [u8])> {
    // SAFETY: as the caller's contract.
    Ok(unsafe { (self::store(store)?, self::key(key, key_len)?) })
}

/// Bytes that the caller lends.
///
/// # Safety
/// `data` points to `len` bytes that nobody changes for the lifetime, or `len` is 0.
#[inline(always)]
pub(crate) unsafe fn bytes<'a>(
    data: *const c_void,
    len: usize,
    null: &'static str,
) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(invalid(null));
    }
    if len > isize::MAX as usize {
        return Err(invalid("a length is larger than any object"));
    }
    // SAFETY: not NULL, no longer than an object can be, and readable by the caller's contract.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// The caller's buffer. A capacity beyond any object's is cut to that.
///
/// # Safety
/// `buf` points to `cap` writable bytes that nobody else uses for the lifetime, or `cap` is 0.
#[inline(always)]
pub(crate) unsafe fn buffer<'a>(buf: *mut c_void, cap: usize) -> Result<&'a mut [MaybeUninit<u8>]> {
    if cap == 0 {
        return Ok(&mut []);
    }
    if buf.is_null() {
        return Err(invalid("buf is NULL and cap is not 0"));
    }
    // SAFETY: not NULL, no longer than an object can be, writable by the caller's contract.
    Ok(unsafe { slice::from_raw_parts_mut(buf.cast(), cap.min(isize::MAX as usize)) })
}

/// An array of the caller's. NULL is an error unless `n` is 0.
///
/// # Safety
/// `items` points to `n` values that nobody changes for the lifetime, or `n` is 0.
pub(crate) unsafe fn array<'a, T>(
    items: *const T,
    n: usize,
    null: &'static str,
) -> Result<&'a [T]> {
    if n == 0 {
        return Ok(&[]);
    }
    if items.is_null() {
        return Err(invalid(null));
    }
    if n > isize::MAX as usize / size_of::<T>() {
        return Err(invalid("n is larger than any array"));
    }
    // SAFETY: not NULL, no longer than an array can be, readable by the caller's contract.
    Ok(unsafe { slice::from_raw_parts(items, n) })
}

/// An array of results. NULL is an error unless `n` is 0.
///
/// # Safety
/// `items` points to room for `n` values that nobody else uses for the lifetime, or `n` is 0.
pub(crate) unsafe fn out_array<'a, T>(
    items: *mut T,
    n: usize,
    null: &'static str,
) -> Result<&'a mut [Place<T>]> {
    if n == 0 {
        return Ok(&mut []);
    }
    if items.is_null() {
        return Err(invalid(null));
    }
    if n > isize::MAX as usize / size_of::<T>() {
        return Err(invalid("n is larger than any array"));
    }
    // SAFETY: not NULL, no longer than an array can be, writable by the caller's contract.
    Ok(unsafe { slice::from_raw_parts_mut(items.cast(), n) })
}

/// Text that the caller lends; NULL is `None`.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that nobody changes for the lifetime.
pub(crate) unsafe fn text<'a>(
    argument: &'static str,
    text: *const c_char,
) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so NUL-terminated by the caller's contract.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Error::new(ErrorKind::Invalid, format!("{argument} is not UTF-8"))),
    }
}

// ---- Structs that may grow -------------------------------------------------------------------

/// A struct of zeroes.
pub(crate) fn zeroed<T: Extensible>() -> T {
    // SAFETY: Extensible promises that zeroes are a value of T.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The size that the caller was compiled with, checked against the first release's.
///
/// # Safety
/// `ptr` is NULL or points to an extensible struct whose `size` is set.
unsafe fn struct_size<T: Extensible>(ptr: *const T) -> Result<usize> {
    if ptr.is_null() {
        return Err(Error::new(ErrorKind::Invalid, format!("{} is NULL", T::NAME)));
    }
    // SAFETY: Extensible promises that `size` comes first; it is set by the caller's contract.
    let size = unsafe { ptr.cast::<usize>().read_unaligned() };
    if size < T::FIRST {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "{}.size is {size}; at least {} is allowed (HC_INIT sets it)",
                T::NAME,
                T::FIRST
            ),
        ));
    }
    Ok(size)
}

/// Reads a struct that an older or newer header may have laid out: what it lacks is zero, what
/// this library does not know must be zero.
///
/// # Safety
/// `ptr` is NULL or points to an extensible struct of as many bytes as its `size` says.
pub(crate) unsafe fn read<T: Extensible>(ptr: *const T) -> Result<T> {
    // SAFETY: as the caller's contract.
    let size = unsafe { struct_size(ptr) }?;
    let known = size_of::<T>();
    let refused = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    if size > STRUCT_SIZE_MAX {
        return refused(format!("{}.size is {size}; no release has such a struct", T::NAME));
    }
    let mut value = zeroed::<T>();
    // SAFETY: the source has `size` bytes by the caller's contract, the target `known`; T is plain
    // data of which every bit pattern is a value.
    unsafe {
        let target = (&raw mut value).cast::<u8>();
        target.copy_from_nonoverlapping(ptr.cast::<u8>(), size.min(known));
    }
    for at in known..size {
        // SAFETY: `at` is below the size that the caller vouches for.
        if unsafe { ptr.cast::<u8>().add(at).read() } != 0 {
            return refused(format!(
                "{} has a field at byte {at} that this library does not know",
                T::NAME
            ));
        }
    }
    Ok(value)
}

/// Fills the part of a struct that both the caller and this library know, and sets its `size` to
/// the bytes filled.
///
/// # Safety
/// `ptr` is NULL or points to an extensible struct of as many writable bytes as its `size` says.
pub(crate) unsafe fn fill<T: Extensible>(ptr: *mut T, value: T) -> Result<()> {
    // SAFETY: as the caller's contract.
    let filled = unsafe { struct_size(ptr) }?.min(size_of::<T>());
    // SAFETY: the target has at least `filled` bytes, the source too; `size` is the first field.
    unsafe {
        ptr.cast::<u8>().copy_from_nonoverlapping((&raw const value).cast::<u8>(), filled);
        ptr.cast::<usize>().write_unaligned(filled);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(size: usize) -> [u8; 128] {
        let mut bytes = [0; 128];
        bytes[..8].copy_from_slice(&size.to_ne_bytes());
        bytes
    }

    fn read_config(bytes: &[u8; 128]) -> Result<hc_pool_config> {
        // SAFETY: every size that the tests write is at most the array's, or refused unread.
        unsafe { read(bytes.as_ptr().cast()) }
    }

    #[test]
    fn sizes() {
        let kind = |size: usize| read_config(&config(size)).map(|_| ()).map_err(|e| e.kind());
        assert_eq!(kind(0), Err(ErrorKind::Invalid));
        assert_eq!(kind(55), Err(ErrorKind::Invalid));
        assert_eq!(kind(56), Ok(()));
        assert_eq!(kind(128), Ok(()));
        assert_eq!(kind(1 << 40), Err(ErrorKind::Unsupported));
        let mut future = config(128);
        future[127] = 1;
        assert_eq!(read_config(&future).map(|_| ()).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(read_config(&future).map(|_| ()).unwrap_err().context().contains("byte 127"));
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let mut out = [1; 6];
        fill_text(&mut out, "abcdé");
        let text: Vec<u8> = out.iter().map(|&c| c as u8).collect();
        assert_eq!(&text[..5], b"abcd\0");
        fill_text(&mut out, "");
        assert_eq!(out[0], 0);
    }

    #[test]
    fn faults_become_a_status() {
        assert_eq!(call(|| panic!("a test's own")), HC_ERR_INTERNAL);
        let mut err = zeroed::<hc_error>();
        err.size = size_of::<hc_error>();
        // SAFETY: err is a whole hc_error with its size set.
        let status = unsafe { call_detailed(&mut err, || panic!("a {} own", "test's")) };
        assert_eq!((status, err.status), (HC_ERR_INTERNAL, HC_ERR_INTERNAL));
        // SAFETY: fill_text ends the message with a NUL.
        let message = unsafe { CStr::from_ptr(err.message.as_ptr()) };
        assert_eq!(message.to_str(), Ok("a test's own"));
    }
}
