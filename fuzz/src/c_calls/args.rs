//! Arguments as C passes them, sound and wrong.

use crate::input::Input;
use hypercache::*;
use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NullHandle,
    NullOut,
    NullStruct,
    NullText,
    NullKey,
    NullValue,
    NullArray,
    NullBuffer,
    NullFunction,
    LongKey,
    LongValue,
    LongArray,
    NotUtf8,
    BadType,
    SmallStruct,
    SmallError,
    HugeStruct,
    Tail,
    Reserved,
    Later,
    Range,
    Flags,
    Enumerator,
}

impl Fault {
    /// One of some, or usually none.
    pub fn read(input: &mut Input<'_>, some: &[Self]) -> Option<Self> {
        match input.byte() {
            0..176 => None,
            byte => Some(some[usize::from(byte - 176) % some.len()]),
        }
    }

    /// What the header answers.
    pub const fn status(self) -> hc_status {
        match self {
            Self::NullHandle
            | Self::NullOut
            | Self::NullStruct
            | Self::NullText
            | Self::NullKey
            | Self::NullValue
            | Self::NullArray
            | Self::NullBuffer
            | Self::NullFunction
            | Self::LongKey
            | Self::LongValue
            | Self::LongArray
            | Self::NotUtf8
            | Self::BadType
            | Self::SmallStruct
            | Self::Range
            | Self::SmallError => HC_ERR_INVALID,
            Self::HugeStruct
            | Self::Tail
            | Self::Reserved
            | Self::Later
            | Self::Flags
            | Self::Enumerator => HC_ERR_UNSUPPORTED,
        }
    }
}

/// A pointer, or NULL where that is what is wrong.
pub fn unless<T>(is_null: bool, ptr: *mut T) -> *mut T {
    if is_null { std::ptr::null_mut() } else { ptr }
}

/// A struct in memory of exactly as many bytes as its `size` says, so that AddressSanitizer sees
/// every read and write beyond.
pub struct Struct<T> {
    memory: Box<[u64]>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Extensible> Struct<T> {
    /// Zeroes, as `HC_INIT` makes it.
    pub fn zeroed() -> T {
        // SAFETY: Extensible promises that zeroes are a value of T.
        unsafe { MaybeUninit::<T>::zeroed().assume_init() }
    }

    /// One that a call reads.
    pub fn input(value: T, fault: Option<Fault>, input: &mut Input<'_>) -> Self {
        let bytes = match (fault, input.below(8)) {
            (Some(Fault::Tail), _) => T::FIRST + 24,
            (None, 6) => T::FIRST + 8,
            (None, 7) => 4_096,
            _ => T::FIRST,
        };
        let mut made = Self::of(bytes, 0);
        // SAFETY: the memory has FIRST bytes or more, and T is plain data.
        unsafe {
            let from = (&raw const value).cast::<u8>();
            made.memory.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from, T::FIRST);
        }
        if fault == Some(Fault::Tail) {
            made.memory[bytes / 8 - 1] = 1 << (input.byte() & 63);
        }
        made.set_size(bytes, fault, input);
        made
    }

    /// One that a call fills.
    pub fn output(fault: Option<Fault>, input: &mut Input<'_>) -> Self {
        let bytes = T::FIRST + [0, 8, 64, 0][usize::from(input.byte() & 3)];
        let mut made = Self::of(bytes, 0x5A5A_5A5A_5A5A_5A5A);
        made.set_size(bytes, fault, input);
        made
    }

    fn of(bytes: usize, word: u64) -> Self {
        let memory = vec![word; bytes.div_ceil(8)].into_boxed_slice();
        Self { memory, kind: std::marker::PhantomData }
    }

    fn set_size(&mut self, bytes: usize, fault: Option<Fault>, input: &mut Input<'_>) {
        self.memory[0] = match fault {
            Some(Fault::SmallStruct | Fault::SmallError) => {
                [0, 8, T::FIRST - 1, 1][usize::from(input.byte() & 3)]
            }
            Some(Fault::HugeStruct) => {
                [4_097, usize::MAX, 1 << 40, isize::MAX as usize][usize::from(input.byte() & 3)]
            }
            _ => bytes,
        } as u64;
    }

    pub fn ptr(&self) -> *const T {
        self.memory.as_ptr().cast()
    }

    pub fn ptr_mut(&mut self) -> *mut T {
        self.memory.as_mut_ptr().cast()
    }

    /// What a call has filled it with. Rule 4: as much as both sides know, and the rest stays.
    pub fn filled(&self) -> T {
        assert_eq!(self.memory[0], T::FIRST as u64, "the bytes filled");
        let tail = &self.memory[T::FIRST / 8..];
        assert!(tail.iter().all(|&word| word == 0x5A5A_5A5A_5A5A_5A5A), "written behind a struct");
        // SAFETY: the memory has FIRST bytes or more, all initialised, and T is plain data.
        unsafe { self.ptr().read() }
    }

    /// Rule 4: a call that fails fills nothing.
    pub fn assert_untouched(&self) {
        let rest = &self.memory[1..];
        assert!(rest.iter().all(|&word| word == 0x5A5A_5A5A_5A5A_5A5A), "a struct was written to");
    }
}

/// An `hc_error`, or NULL.
pub struct Detail(Option<Struct<hc_error>>, Option<Fault>);

impl Detail {
    pub fn read(fault: Option<Fault>, input: &mut Input<'_>) -> Self {
        let fault = fault.filter(|&fault| fault == Fault::SmallError);
        let wanted = fault.is_some() || input.flag();
        Self(wanted.then(|| Struct::output(fault, input)), fault)
    }

    pub fn ptr(&mut self) -> *mut hc_error {
        self.0.as_mut().map_or(std::ptr::null_mut(), Struct::ptr_mut)
    }

    /// Rule 3.
    pub fn check(&self, status: hc_status) -> Option<String> {
        let made = self.0.as_ref()?;
        if status >= 0 || self.1 == Some(Fault::SmallError) {
            made.assert_untouched();
            return None;
        }
        let error = made.filled();
        assert_eq!(error.status, status);
        // SAFETY: c_char and u8 are the same to read.
        let message = error.message.map(|c| c as u8);
        let text = CStr::from_bytes_until_nul(&message).expect("a message ends with NUL");
        let text = text.to_str().expect("a message is UTF-8");
        assert!(!text.is_empty(), "a failure without a sentence");
        Some(text.to_owned())
    }
}

/// Text for C, or what is wrong with it.
pub struct Text(Option<CString>);

impl Text {
    pub fn new(fault: Option<Fault>, text: &str) -> Self {
        match fault {
            Some(Fault::NullText) => Self(None),
            Some(Fault::NotUtf8) => Self(Some(c"na\xFFme".to_owned())),
            _ => Self(CString::new(text).ok()),
        }
    }

    pub fn none() -> Self {
        Self(None)
    }

    pub fn ptr(&self) -> *const c_char {
        self.0.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
    }
}

/// A status by its name.
pub fn name_of(status: hc_status) -> &'static str {
    // SAFETY: the header promises a static string.
    let name = unsafe { CStr::from_ptr(hc_status_name(status)) };
    name.to_str().expect("a status has a name")
}
