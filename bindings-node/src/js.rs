//! Node's C interface, as far as it is used here: one call of the addon, its values, its errors.
//!
//! Everything is a direct call of `napi_sys`. A [`Call`] exists only while Node runs one of our
//! functions, on the thread of its environment, and a [`Value`] only within that call: this is what
//! the `SAFETY` sentences below rest on.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use napi_sys as n;

use crate::state::State;

/// A JavaScript exception is pending: the function returns, and Node throws it.
#[derive(Debug)]
pub struct Thrown;

/// What a function of the addon gives.
pub type Js<T> = Result<T, Thrown>;

/// A JavaScript value of the present call.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Value<'a>(n::napi_value, PhantomData<&'a ()>);

/// What kind of error JavaScript sees.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A failure of the library, by its status's name.
    Status = 0,
    /// A `TypeError`.
    Type = 1,
    /// A `RangeError`.
    Range = 2,
}

/// A call of one of our functions: its environment and the addon's state there.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    env: n::napi_env,
    /// What the addon keeps for this environment.
    pub state: &'a State,
}

/// A buffer's bytes: borrowed from JavaScript for the call.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    data: *mut u8,
    len: usize,
    call: PhantomData<&'a ()>,
}

impl<'a> Bytes<'a> {
    /// How many there are.
    pub const fn len(self) -> usize {
        self.len
    }

    /// Where they begin.
    pub const fn as_mut_ptr(self) -> *mut u8 {
        self.data
    }

    /// The bytes to read. Other threads may write them meanwhile if the buffer is shared; then it is
    /// not known which bytes are read, as everywhere in JavaScript.
    pub fn as_slice(self) -> &'a [u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: Node gave `len` bytes at `data`, which live as long as the array that the call
        // holds; nothing of JavaScript runs while the slice is in use.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Runs a function of at most `N` arguments; those that were not given are `undefined`.
///
/// # Safety
/// To be called by Node alone, as a callback whose data is the environment's [`State`].
#[inline]
pub unsafe fn run<const N: usize, F>(
    env: n::napi_env,
    info: n::napi_callback_info,
    function: F,
) -> n::napi_value
where
    F: for<'a> Fn(Call<'a>, [Value<'a>; N]) -> Js<Value<'a>>,
{
    let mut count = N;
    let mut given = [ptr::null_mut(); N];
    let mut data = ptr::null_mut();
    // SAFETY: Node calls with an environment and info of its own, and writes at most N values.
    unsafe {
        n::napi_get_cb_info(
            env,
            info,
            &raw mut count,
            given.as_mut_ptr(),
            ptr::null_mut(),
            &raw mut data,
        );
    }
    // SAFETY: the caller promises that the data is the state; it lives until the environment ends.
    let call = Call { env, state: unsafe { &*data.cast::<State>() } };
    guarded(call, || function(call, given.map(|value| Value(value, PhantomData))))
}

/// The most arguments of a function that takes as many as are given.
pub const MANY: usize = 72;

/// Runs a function of up to [`MANY`] arguments.
///
/// # Safety
/// As for [`run`].
#[inline]
pub unsafe fn run_many<F>(
    env: n::napi_env,
    info: n::napi_callback_info,
    function: F,
) -> n::napi_value
where
    F: for<'a, 'b> Fn(Call<'a>, &'b [Value<'a>]) -> Js<Value<'a>>,
{
    let mut count = MANY;
    let mut given = [MaybeUninit::<n::napi_value>::uninit(); MANY];
    let mut data = ptr::null_mut();
    // SAFETY: as in `run`; Node fills all MANY values.
    let given: &[Value<'_>] = unsafe {
        let values = given.as_mut_ptr().cast();
        n::napi_get_cb_info(env, info, &raw mut count, values, ptr::null_mut(), &raw mut data);
        std::slice::from_raw_parts(values.cast_const().cast(), count.min(MANY))
    };
    // SAFETY: as in `run`.
    let call = Call { env, state: unsafe { &*data.cast::<State>() } };
    guarded(call, || function(call, given))
}

/// Turns a pending exception into what Node expects for it, and a panic into an exception.
#[inline]
fn guarded<'a>(call: Call<'a>, function: impl FnOnce() -> Js<Value<'a>>) -> n::napi_value {
    match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(value)) => value.0,
        Ok(Err(Thrown)) => ptr::null_mut(),
        Err(_) => {
            let _ = call.throw(Kind::Status, "HC_ERR_INTERNAL", "a fault was caught in the addon");
            ptr::null_mut()
        }
    }
}

/// Calls of Node that write one output; their failure (which means that an exception is pending or
/// that the value is of another type) leaves the initial value.
macro_rules! out {
    ($call:expr, $function:ident, $initial:expr $(, $argument:expr)*) => {{
        let mut value = $initial;
        // SAFETY: the environment is that of the call, values are the call's, and the output is
        // written before the function returns.
        let status = unsafe { n::$function($call.env $(, $argument)*, &raw mut value) };
        (status == n::Status::napi_ok).then_some(value)
    }};
}

impl<'a> Call<'a> {
    /// A call for code that Node runs outside of our functions.
    ///
    /// # Safety
    /// `env` is the live environment of this thread, in a handle scope, and `state` is its own.
    pub const unsafe fn new(env: n::napi_env, state: &'a State) -> Self {
        Self { env, state }
    }

    /// The environment.
    pub const fn env(self) -> n::napi_env {
        self.env
    }

    const fn value(self, raw: n::napi_value) -> Value<'a> {
        Value(raw, PhantomData)
    }

    fn made(self, value: Option<n::napi_value>) -> Js<Value<'a>> {
        value.map(|raw| self.value(raw)).ok_or(Thrown)
    }

    // ---- Errors ------------------------------------------------------------------------------

    /// Throws an error, made by the function that JavaScript gave for it.
    #[cold]
    pub fn throw(self, kind: Kind, code: &str, message: &str) -> Thrown {
        let kind = self.int(kind as i32);
        let code = self.text(code);
        let message = self.text(message);
        if let (Ok(kind), Ok(code), Ok(message)) = (kind, code, message)
            && let Ok(fail) = self.referenced(self.state.fail())
        {
            let _ = self.call(fail, &[kind, code, message]);
        }
        Thrown
    }

    /// Throws a failure of the library.
    #[cold]
    pub fn failed(self, status: i32) -> Thrown {
        self.failed_with(status, &[])
    }

    /// Throws a failure of the library with the message that it wrote.
    #[cold]
    pub fn failed_with(self, status: i32, message: &[u8]) -> Thrown {
        let text = hypercache_bindings::status::describe(status, message);
        self.throw(Kind::Status, hypercache_bindings::status::name(status), &text)
    }

    /// Throws a `TypeError`.
    #[cold]
    pub fn wrong_type(self, message: &str) -> Thrown {
        self.throw(Kind::Type, "ERR_INVALID_ARG_TYPE", message)
    }

    /// Throws a `RangeError`.
    #[cold]
    pub fn out_of_range(self, message: &str) -> Thrown {
        self.throw(Kind::Range, "ERR_OUT_OF_RANGE", message)
    }

    // ---- Values in ---------------------------------------------------------------------------

    /// The value's type, one of `napi_sys::ValueType`.
    #[inline]
    pub fn type_of(self, value: Value<'a>) -> i32 {
        out!(self, napi_typeof, n::ValueType::napi_undefined, value.0)
            .unwrap_or(n::ValueType::napi_undefined)
    }

    /// Whether it is `undefined`.
    #[inline]
    pub fn is_undefined(self, value: Value<'a>) -> bool {
        self.type_of(value) == n::ValueType::napi_undefined
    }

    /// A number as JavaScript's own code passes it; 0 for anything else.
    #[inline]
    pub fn i32(self, value: Value<'a>) -> i32 {
        out!(self, napi_get_value_int32, 0, value.0).unwrap_or(0)
    }

    /// A number.
    #[inline]
    pub fn f64(self, value: Value<'a>) -> Option<f64> {
        out!(self, napi_get_value_double, 0.0, value.0)
    }

    /// A boolean; false for anything else.
    #[inline]
    pub fn bool(self, value: Value<'a>) -> bool {
        out!(self, napi_get_value_bool, false, value.0).unwrap_or(false)
    }

    /// A bigint of 64 bits with its sign.
    pub fn bigint_i64(self, value: Value<'a>) -> Option<i64> {
        let mut lossless = false;
        let mut word = 0;
        // SAFETY: both outputs are written before the function returns.
        let status = unsafe {
            n::napi_get_value_bigint_int64(self.env, value.0, &raw mut word, &raw mut lossless)
        };
        (status == n::Status::napi_ok && lossless).then_some(word)
    }

    /// A bigint of 64 bits without a sign.
    pub fn bigint_u64(self, value: Value<'a>) -> Option<u64> {
        let mut lossless = false;
        let mut word = 0;
        // SAFETY: both outputs are written before the function returns.
        let status = unsafe {
            n::napi_get_value_bigint_uint64(self.env, value.0, &raw mut word, &raw mut lossless)
        };
        (status == n::Status::napi_ok && lossless).then_some(word)
    }

    /// How many words of 64 bits a bigint takes.
    pub fn bigint_words(self, value: Value<'a>) -> Option<usize> {
        let mut words = 0;
        let (sign, nowhere) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: without sign and words, Node writes only how many words there are.
        let status = unsafe {
            n::napi_get_value_bigint_words(self.env, value.0, sign, &raw mut words, nowhere)
        };
        (status == n::Status::napi_ok).then_some(words)
    }

    /// Copies a string's UTF-16 units to the buffer, as many as fit, and a zero behind them. Gives
    /// how many; None for what is no string. A buffer filled to all but the last may have been too
    /// short.
    #[inline]
    pub fn utf16(self, value: Value<'a>, buffer: &mut [MaybeUninit<u16>]) -> Option<usize> {
        let mut len = 0;
        // SAFETY: Node writes at most `buffer.len()` units, the zero included.
        let status = unsafe {
            n::napi_get_value_string_utf16(
                self.env,
                value.0,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut len,
            )
        };
        (status == n::Status::napi_ok).then_some(len)
    }

    /// How many UTF-16 units a string has.
    pub fn utf16_len(self, value: Value<'a>) -> Option<usize> {
        out!(self, napi_get_value_string_utf16, 0, value.0, ptr::null_mut(), 0)
    }

    /// A string.
    pub fn string(self, value: Value<'a>) -> Option<String> {
        let len = self.utf16_len(value)?;
        let mut units = vec![0_u16; len + 1];
        // SAFETY: a `u16` that is initialised is a valid `MaybeUninit<u16>`, and only units are
        // written.
        let buffer = unsafe { std::slice::from_raw_parts_mut(units.as_mut_ptr().cast(), len + 1) };
        let len = self.utf16(value, buffer)?;
        Some(String::from_utf16_lossy(units.get(..len)?))
    }

    /// The bytes of a `Uint8Array` (a Buffer is one); None for anything else.
    #[inline]
    pub fn bytes(self, value: Value<'a>) -> Option<Bytes<'a>> {
        let mut kind = 0;
        let mut len = 0;
        let mut data = ptr::null_mut();
        // SAFETY: the outputs are written before the function returns; those that are not asked
        // for may be null.
        let status = unsafe {
            n::napi_get_typedarray_info(
                self.env,
                value.0,
                &raw mut kind,
                &raw mut len,
                &raw mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        let fits = status == n::Status::napi_ok && kind == n::TypedarrayType::uint8_array;
        fits.then_some(Bytes { data: data.cast(), len, call: PhantomData })
    }

    /// The memory of a typed array of any kind, in bytes from its start.
    pub fn memory(self, value: Value<'a>) -> Option<*mut c_void> {
        let mut data = ptr::null_mut();
        // SAFETY: as in `bytes`.
        let status = unsafe {
            n::napi_get_typedarray_info(
                self.env,
                value.0,
                ptr::null_mut(),
                ptr::null_mut(),
                &raw mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        (status == n::Status::napi_ok).then_some(data)
    }

    /// The length of an array; None for anything else.
    pub fn array_len(self, value: Value<'a>) -> Option<u32> {
        if !out!(self, napi_is_array, false, value.0)? {
            return None;
        }
        out!(self, napi_get_array_length, 0, value.0)
    }

    /// An element of an array.
    pub fn element(self, array: Value<'a>, index: u32) -> Js<Value<'a>> {
        self.made(out!(self, napi_get_element, ptr::null_mut(), array.0, index))
    }

    /// A property of an object, `undefined` if it has none.
    pub fn property(self, object: Value<'a>, name: &str) -> Js<Value<'a>> {
        let name = self.text(name)?;
        self.made(out!(self, napi_get_property, ptr::null_mut(), object.0, name.0))
    }

    /// Whether the object was made by the constructor.
    pub fn is_instance(self, object: Value<'a>, constructor: Value<'a>) -> bool {
        out!(self, napi_instanceof, false, object.0, constructor.0).unwrap_or(false)
    }

    /// The text that `String(value)` gives.
    pub fn to_text(self, value: Value<'a>) -> Js<String> {
        let text = self.made(out!(self, napi_coerce_to_string, ptr::null_mut(), value.0))?;
        self.string(text).ok_or(Thrown)
    }

    /// The value as a message shows it: in short, and without running any code of its own.
    pub fn shown(self, value: Value<'a>) -> String {
        const MOST: usize = 40;
        match self.type_of(value) {
            n::ValueType::napi_string => {
                let text = self.string(value).unwrap_or_default();
                match text.char_indices().nth(MOST) {
                    Some((end, _)) => format!("{:?}...", &text[..end]),
                    None => format!("{text:?}"),
                }
            }
            n::ValueType::napi_number => {
                self.f64(value).unwrap_or(f64::NAN).to_string().replace("inf", "Infinity")
            }
            n::ValueType::napi_bigint => match (self.bigint_i64(value), self.bigint_u64(value)) {
                (Some(integer), _) => format!("{integer}n"),
                (None, Some(integer)) => format!("{integer}n"),
                (None, None) => "a bigint of more than 64 bits".to_owned(),
            },
            n::ValueType::napi_boolean => self.bool(value).to_string(),
            n::ValueType::napi_undefined => "undefined".to_owned(),
            n::ValueType::napi_null => "null".to_owned(),
            n::ValueType::napi_symbol => "a symbol".to_owned(),
            n::ValueType::napi_function => "a function".to_owned(),
            _ if self.array_len(value).is_some() => "an array".to_owned(),
            _ => "an object".to_owned(),
        }
    }

    /// Refuses a value of a kind that its place does not take: `allowed` says what it takes.
    #[cold]
    pub fn refused(self, name: &str, value: Value<'a>, allowed: &str) -> Thrown {
        self.wrong_type(&format!("{name} is {}; {allowed} is allowed", self.shown(value)))
    }

    /// Refuses a value of the right kind that is outside of its range.
    #[cold]
    pub fn outside(self, name: &str, value: Value<'a>, allowed: &str) -> Thrown {
        self.out_of_range(&format!("{name} is {}; {allowed} is allowed", self.shown(value)))
    }

    // ---- Values out --------------------------------------------------------------------------

    /// `undefined`.
    #[inline]
    pub fn undefined(self) -> Js<Value<'a>> {
        self.made(out!(self, napi_get_undefined, ptr::null_mut()))
    }

    /// `null`.
    pub fn null(self) -> Js<Value<'a>> {
        self.made(out!(self, napi_get_null, ptr::null_mut()))
    }

    /// The global object, which no cache holds: it tells JavaScript that there is more to do.
    #[inline]
    pub fn more(self) -> Js<Value<'a>> {
        self.made(out!(self, napi_get_global, ptr::null_mut()))
    }

    /// A boolean.
    #[inline]
    pub fn boolean(self, value: bool) -> Js<Value<'a>> {
        self.made(out!(self, napi_get_boolean, ptr::null_mut(), value))
    }

    /// A number.
    #[inline]
    pub fn int(self, value: i32) -> Js<Value<'a>> {
        self.made(out!(self, napi_create_int32, ptr::null_mut(), value))
    }

    /// A number.
    #[inline]
    pub fn number(self, value: f64) -> Js<Value<'a>> {
        self.made(out!(self, napi_create_double, ptr::null_mut(), value))
    }

    /// A bigint.
    pub fn bigint(self, value: i64) -> Js<Value<'a>> {
        self.made(out!(self, napi_create_bigint_int64, ptr::null_mut(), value))
    }

    /// A bigint.
    pub fn bigint_unsigned(self, value: u64) -> Js<Value<'a>> {
        self.made(out!(self, napi_create_bigint_uint64, ptr::null_mut(), value))
    }

    /// A bigint in decimal, by JavaScript's own constructor.
    pub fn bigint_decimal(self, decimal: &str) -> Js<Value<'a>> {
        let constructor = self.property(self.more()?, "BigInt")?;
        self.call(constructor, &[self.text(decimal)?])
    }

    /// A string of UTF-8 bytes; what is not UTF-8 becomes U+FFFD.
    #[inline]
    pub fn utf8(self, bytes: &[u8]) -> Js<Value<'a>> {
        let data = bytes.as_ptr().cast();
        let len = bytes.len() as isize;
        let made = if bytes.is_ascii() {
            out!(self, napi_create_string_latin1, ptr::null_mut(), data, len)
        } else {
            out!(self, napi_create_string_utf8, ptr::null_mut(), data, len)
        };
        match made {
            Some(raw) => Ok(self.value(raw)),
            None => self.long_utf8(bytes),
        }
    }

    /// What Node refused as UTF-8, by its bytes, may be short enough by its UTF-16 units. Node throws
    /// nothing of its own where it is not.
    #[cold]
    fn long_utf8(self, bytes: &[u8]) -> Js<Value<'a>> {
        if out!(self, napi_is_exception_pending, false) == Some(true) {
            return Err(Thrown);
        }
        if !bytes.is_ascii() {
            let units: Vec<u16> = String::from_utf8_lossy(bytes).encode_utf16().collect();
            let (data, len) = (units.as_ptr(), units.len() as isize);
            if let Some(raw) = out!(self, napi_create_string_utf16, ptr::null_mut(), data, len) {
                return Ok(self.value(raw));
            }
        }
        let len = bytes.len();
        Err(self.throw(
            Kind::Range,
            "ERR_STRING_TOO_LONG",
            &format!("the text has {len} bytes, which no string can hold; read it with getBuffer"),
        ))
    }

    /// A string.
    pub fn text(self, text: &str) -> Js<Value<'a>> {
        self.utf8(text.as_bytes())
    }

    /// A Buffer with a copy of the bytes.
    pub fn buffer(self, bytes: &[u8]) -> Js<Value<'a>> {
        let data = bytes.as_ptr().cast();
        let mut made = ptr::null_mut();
        // SAFETY: Node copies the bytes before it returns; the place of the copy is not asked for.
        let status = unsafe {
            n::napi_create_buffer_copy(self.env, bytes.len(), data, ptr::null_mut(), &raw mut made)
        };
        self.made((status == n::Status::napi_ok).then_some(made))
    }

    /// An empty array.
    pub fn array(self) -> Js<Value<'a>> {
        self.made(out!(self, napi_create_array, ptr::null_mut()))
    }

    /// Sets an element of an array.
    pub fn set_element(self, array: Value<'a>, index: u32, value: Value<'a>) -> Js<()> {
        // SAFETY: all three are values of this call.
        let status = unsafe { n::napi_set_element(self.env, array.0, index, value.0) };
        if status == n::Status::napi_ok { Ok(()) } else { Err(Thrown) }
    }

    /// An empty object.
    pub fn object(self) -> Js<Value<'a>> {
        self.made(out!(self, napi_create_object, ptr::null_mut()))
    }

    /// Sets a property of an object.
    pub fn set(self, object: Value<'a>, name: &str, value: Value<'a>) -> Js<()> {
        let name = self.text(name)?;
        // SAFETY: all three are values of this call.
        let status = unsafe { n::napi_set_property(self.env, object.0, name.0, value.0) };
        if status == n::Status::napi_ok { Ok(()) } else { Err(Thrown) }
    }

    /// Calls a function without a receiver.
    #[inline]
    pub fn call(self, function: Value<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
        let receiver = self.undefined()?;
        let values = arguments.as_ptr().cast();
        self.made(out!(
            self,
            napi_call_function,
            ptr::null_mut(),
            receiver.0,
            function.0,
            arguments.len(),
            values
        ))
    }

    /// Makes an object of a class.
    pub fn instance(self, class: Value<'a>, arguments: &[Value<'a>]) -> Js<Value<'a>> {
        let values = arguments.as_ptr().cast();
        self.made(out!(self, napi_new_instance, ptr::null_mut(), class.0, arguments.len(), values))
    }

    /// Calls a function that was kept, with a number, from outside of JavaScript.
    pub fn call_from_loop(self, function: n::napi_ref, number: i32) -> Js<()> {
        let (function, receiver) = (self.referenced(function)?, self.more()?);
        let arguments = [self.int(number)?.0];
        // SAFETY: all are values of the handle scope that the caller has opened. Without an
        // asynchronous context of its own, Node takes that of the loop.
        let status = unsafe {
            n::napi_make_callback(
                self.env,
                ptr::null_mut(),
                receiver.0,
                function.0,
                arguments.len(),
                arguments.as_ptr(),
                ptr::null_mut(),
            )
        };
        if status == n::Status::napi_ok { Ok(()) } else { Err(Thrown) }
    }

    /// Reports the exception that is pending as one that nobody caught.
    pub fn uncaught(self) {
        if let Some(error) = out!(self, napi_get_and_clear_last_exception, ptr::null_mut()) {
            // SAFETY: the exception is a value of this environment.
            unsafe { n::napi_fatal_exception(self.env, error) };
        }
    }

    // ---- What outlives the call --------------------------------------------------------------

    /// Keeps an object until the environment ends.
    pub fn keep(self, value: Value<'a>) -> Js<n::napi_ref> {
        out!(self, napi_create_reference, ptr::null_mut(), value.0, 1).ok_or(Thrown)
    }

    /// Ends what was kept, if there was anything.
    pub fn let_go(self, reference: n::napi_ref) {
        if !reference.is_null() {
            // SAFETY: the reference is one of this environment, and its owner forgets it.
            unsafe { n::napi_delete_reference(self.env, reference) };
        }
    }

    /// What was kept.
    #[inline]
    pub fn referenced(self, reference: n::napi_ref) -> Js<Value<'a>> {
        if reference.is_null() {
            return Err(Thrown);
        }
        self.made(out!(self, napi_get_reference_value, ptr::null_mut(), reference))
    }

    /// A promise and the other end of it.
    pub fn promise(self) -> Js<(n::napi_deferred, Value<'a>)> {
        let mut deferred = ptr::null_mut();
        let promise = out!(self, napi_create_promise, ptr::null_mut(), &raw mut deferred);
        Ok((deferred, self.made(promise)?))
    }

    /// Fulfils a promise.
    pub fn resolve(self, deferred: n::napi_deferred, value: Value<'a>) {
        // SAFETY: the deferred is of a promise of this environment and is used once.
        unsafe { n::napi_resolve_deferred(self.env, deferred, value.0) };
    }

    /// Rejects a promise with the exception that is pending.
    pub fn reject_with_pending(self, deferred: n::napi_deferred) {
        let error = out!(self, napi_get_and_clear_last_exception, ptr::null_mut());
        if let Some(error) = error {
            // SAFETY: as in `resolve`.
            unsafe { n::napi_reject_deferred(self.env, deferred, error) };
        }
    }
}

impl Value<'_> {
    /// A value that Node has passed.
    ///
    /// # Safety
    /// It lives as long as the call that it is used in.
    pub const unsafe fn from_raw(raw: n::napi_value) -> Self {
        Self(raw, PhantomData)
    }

    /// The raw handle, for calls of Node that have no wrapper here.
    pub const fn raw(self) -> n::napi_value {
        self.0
    }
}
