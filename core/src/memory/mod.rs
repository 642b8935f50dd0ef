//! Memory primitives: what stands between the engine and the operating system.
//!
//! - [`sys`]: address space and pages.
//! - [`slot`], [`guard`]: how a reader says where it is, without a lock and without a fence.
//! - `own`: how a thread finds its slot.
//! - [`barrier`]: how a reclaimer makes every reader's word visible to itself.
//! - [`bias`]: a writer lock that costs its first user no atomic operation.
//! - [`lock`]: the writer lock, one word that may live anywhere in memory.
//! - [`wait`]: conditions, events and threads that allocate nothing where they cannot fail.
//! - [`host`]: how the host's code is called, whatever it does.
//! - [`fork`]: how a child process is told from its parent.
//! - [`copy`]: copies of a few bytes.
//! - [`racy`]: the loads that race with writers by design.

pub mod barrier;
pub mod bias;
pub mod copy;
pub mod fork;
pub mod guard;
pub mod host;
pub mod lock;
mod own;
pub mod racy;
pub mod slot;
pub mod sys;
pub mod wait;
