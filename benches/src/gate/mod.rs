//! The regression gate: what every run of one build repeats, compared with a run that is kept.
//!
//! Three things repeat: the instructions of a fixed number of operations, which callgrind counts;
//! the bytes that an entry takes; the allocations of a call. They do not depend on how busy the
//! machine is or how fast, so that a change of one per cent is a change of the code. Times do
//! depend on it: they are shown beside those of the baseline's own build, in turns ([`turns`]),
//! and decide nothing.
//!
//! Instructions are counted by running callgrind on a program of ours (`hypercache-counted`,
//! built here) that does all that is counted inside one function. That takes valgrind and nothing
//! else: no second program to install whose version must match a library's, no header of valgrind
//! at build time.
//!
//! Instructions change with the compiler, with the C library's choice of a `memcpy` and with
//! valgrind, so a baseline says with what it was made ([`origin`]). Where that is not what is here,
//! the baseline's commit is built and counted here; where that cannot be, it is said. Bytes and
//! allocations are the same under all of them and are always compared.

pub mod annotate;
pub mod compare;
pub mod counted;
pub mod history;
pub mod origin;
pub mod record;
pub mod repeat;
pub mod show;
pub mod turns;

pub use compare::{Comparison, Severity, Verdict};
pub use counted::{Checkout, Program};
pub use origin::Origin;
pub use record::Record;
