//! The one error type of the engine.
//!
//! A failure is an [`Error`]: a kind that a program acts on and a sentence that a person acts on.
//! Ordinary outcomes (a miss, a conflict, a declined entry) are not errors: they are variants of
//! the call's own result type.

use std::fmt;

/// What kind of failure it is. Boundaries match this exhaustively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument is outside its documented range.
    Invalid,
    /// A known feature that this build does not have, or an option it does not know.
    Unsupported,
    /// The entry could never fit into the store.
    TooLarge,
    /// The budget is held by views, drafts or raw memory, none of which eviction can give back.
    NoSpace,
    /// The operating system refused memory.
    NoMemory,
    /// The store or pool was destroyed.
    Closed,
    /// The handle belongs to the parent process.
    Forked,
    /// A file operation failed.
    Io,
    /// A file fails its checks.
    Corrupt,
    /// The shard is out of service after a caught fault, until the store is cleared.
    Poisoned,
    /// A broken invariant or a caught fault.
    Internal,
    /// The caller would wait for itself.
    Deadlock,
}

/// A failure: a kind and one English sentence that names the argument, its value and what is
/// allowed.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    os_error: i32,
    context: Context,
}

#[derive(Clone, PartialEq, Eq)]
enum Context {
    Static(&'static str),
    Owned(Box<str>),
}

/// The result of a call that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure whose sentence is known at compile time; allocates nothing.
    #[must_use]
    pub const fn fixed(kind: ErrorKind, context: &'static str) -> Self {
        Self { kind, os_error: 0, context: Context::Static(context) }
    }

    /// A failure whose sentence names values.
    #[must_use]
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, os_error: 0, context: Context::Owned(context.into().into_boxed_str()) }
    }

    /// A refusal of the operating system, with its `errno`.
    #[must_use]
    pub const fn os(kind: ErrorKind, context: &'static str, os_error: i32) -> Self {
        Self { kind, os_error, context: Context::Static(context) }
    }

    /// A failure of a file operation; the sentence names the file.
    #[must_use]
    pub fn io(context: impl Into<String>, error: &std::io::Error) -> Self {
        Self { os_error: error.raw_os_error().unwrap_or(0), ..Self::new(ErrorKind::Io, context) }
    }

    /// What a program acts on.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// `errno` of the refused system call, 0 if none was involved.
    #[must_use]
    pub const fn os_error(&self) -> i32 {
        self.os_error
    }

    /// The sentence for a person.
    #[must_use]
    pub fn context(&self) -> &str {
        match &self.context {
            Context::Static(text) => text,
            Context::Owned(text) => text,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.context())?;
        if self.os_error != 0 {
            write!(f, " (system error {})", self.os_error)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.kind)
    }
}

impl std::error::Error for Error {}
