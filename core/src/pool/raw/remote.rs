//! Frees by other threads than the block was handed out to: noted first, believed later.
//!
//! A thread that frees its own block reads its state and then writes it, without a locked
//! instruction in between, so another thread's exchange of the same state may be lost. It can be
//! lost only while the owner is at its magazine. Whoever exchanged therefore does nothing with the
//! block but note it. Once a barrier has made the exchange visible to everybody, and every owner
//! has been seen away from its magazine since, a state that is still [`PENDING`] stays so, and the
//! block is free. One that is not was freed by its owner as well, in the same instant.

use std::sync::atomic::{AtomicU8, Ordering};

use super::segment::{Block, FREE, PENDING, class_of_segment, locate};
use super::shape::SHAPES;
use super::{FAULT_TWICE, Owner, RawAllocator, SegmentSource};
use crate::memory::barrier;

/// Blocks that one barrier serves for, at most.
pub(super) const PENDING_MAX: usize = 256;
/// The same in bytes, and at most a segment: what a program has given back and cannot be used yet.
const PENDING_BYTES_MAX: u64 = 64 << 10;

/// Bit of a noted offset that tells the block's owner; offsets are multiples of 16.
const PIN_BIT: u64 = 1;

/// Blocks that are not yet believed to be free.
pub(super) struct Deferred {
    len: usize,
    bytes: u64,
    offsets: [u64; PENDING_MAX],
}

impl Deferred {
    pub const fn new() -> Self {
        Self { len: 0, bytes: 0, offsets: [0; PENDING_MAX] }
    }

    /// Notes one. There is room for one always: see [`RawAllocator::defer`].
    fn add(&mut self, offset: u64, size: u32, owner: Owner) {
        if let Some(place) = self.offsets.get_mut(self.len) {
            *place = offset | if owner == Owner::Pin { PIN_BIT } else { 0 };
            self.len += 1;
            self.bytes += u64::from(size);
        }
    }

    /// All of them, if there are any; leaves none.
    pub fn take(&mut self) -> Option<Self> {
        let batch = Self { len: self.len, bytes: self.bytes, offsets: self.offsets };
        (self.len, self.bytes) = (0, 0);
        (batch.len != 0).then_some(batch)
    }
}

pub(super) fn exchange(state: &AtomicU8, from: u8, to: u8) -> bool {
    state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

impl RawAllocator {
    /// Notes a pending block; makes the whole batch free when there are enough. The caller is not
    /// at its magazine.
    pub(super) fn defer<S: SegmentSource>(
        &self,
        space: &S,
        block: Block,
        class: usize,
        owner: Owner,
    ) {
        let batch = {
            let mut deferred = self.deferred.lock();
            deferred.add(block.0, SHAPES[class].size, owner);
            let most = PENDING_BYTES_MAX.min(self.seg_mask + 1);
            if deferred.len < PENDING_MAX && deferred.bytes < most {
                return;
            }
            deferred.take()
        };
        if let Some(batch) = batch {
            self.believe(space, &batch);
        }
    }

    /// Waits until every owner was seen away from its magazine after everything the calling thread
    /// did before. The caller is not at its own.
    pub(super) fn quiesce(&self) {
        barrier::heavy();
        for seat in &self.seats {
            while seat.busy.load(Ordering::Acquire) != 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Makes those blocks of a batch free that nobody else has freed.
    pub(super) fn believe<S: SegmentSource>(&self, space: &S, batch: &Deferred) {
        self.quiesce();
        for &noted in &batch.offsets[..batch.len] {
            let owner = if noted & PIN_BIT == 0 { Owner::App } else { Owner::Pin };
            // A pending block keeps its segment; one that is no longer pending may not have.
            let Ok((class, block)) = locate(space, self.seg_mask, noted & !PIN_BIT) else {
                continue;
            };
            let shelf = &self.shelves[class];
            let mut guard = shelf.class.lock();
            if class_of_segment(space, block.segment(space)) == class
                && exchange(block.state(space, class), PENDING, FREE)
            {
                self.wipe(space, block, class);
                self.put_back(space, &mut guard, [block]);
            } else {
                shelf.tally.returned[owner as usize].fetch_sub(1, Ordering::Relaxed);
                self.faults.fetch_or(FAULT_TWICE, Ordering::Relaxed);
            }
        }
    }
}
