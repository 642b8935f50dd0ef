//! Memory for the moment when the process has none.
//!
//! Rust's collections end the process when an allocation fails, and a library must not end its
//! host. The calls that programs make often do not allocate; opening, configuring, scanning and
//! saying what went wrong do, a few hundred bytes at a time. So this crate's allocator is the
//! system's with a reserve behind it: what the system refuses comes from a static array, and calls
//! that would make something that lasts are refused with `HC_ERR_NO_MEMORY` once half of it is
//! taken and the system still has none. The other half is for what passes: messages, temporary
//! lists.
//!
//! The array costs address space only until it is needed. It is handed out front to back and is
//! whole again when everything taken from it has come back; a counter and an offset in one word
//! make that a single compare-exchange, with no lock that a signal or a fork could leave behind.
//!
//! A Rust program that has an allocator of its own links this crate without the feature `reserve`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

const SIZE: usize = 1 << 20;
/// Nothing larger comes from the reserve: who wants so much at once asks for it fallibly.
const LARGEST: usize = 128 << 10;

#[repr(C, align(4096))]
struct Array(UnsafeCell<[u8; SIZE]>);

// SAFETY: bytes of the array are reached only through blocks that `take` has handed out, each to
// one owner.
unsafe impl Sync for Array {}

static ARRAY: Array = Array(UnsafeCell::new([0; SIZE]));
/// Bytes taken from the front in the low half, live blocks in the high half.
static STATE: AtomicU64 = AtomicU64::new(0);

/// A block of the reserve, or null.
#[cold]
fn take(layout: Layout) -> *mut u8 {
    let base = ARRAY.0.get().cast::<u8>();
    let mut state = STATE.load(Ordering::Relaxed);
    loop {
        let (taken, live) = (state as u32 as usize, state >> 32);
        let start = (base.addr() + taken).next_multiple_of(layout.align()) - base.addr();
        let end = start + layout.size();
        if layout.size() > LARGEST || end > SIZE {
            return ptr::null_mut();
        }
        let next = (live + 1) << 32 | end as u64;
        match STATE.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
            // SAFETY: start is below SIZE.
            Ok(_) => return unsafe { base.add(start) },
            Err(now) => state = now,
        }
    }
}

fn is_ours(block: *mut u8) -> bool {
    block.addr().wrapping_sub(ARRAY.0.get().addr()) < SIZE
}

/// Takes a block back.
#[cold]
fn give() {
    let mut state = STATE.load(Ordering::Relaxed);
    loop {
        let live = (state >> 32) - 1;
        let next = if live == 0 { 0 } else { live << 32 | u64::from(state as u32) };
        match STATE.compare_exchange_weak(state, next, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => state = now,
        }
    }
}

/// Whether half of the reserve is taken and the system still has nothing to give.
pub(crate) fn is_low() -> bool {
    if (STATE.load(Ordering::Relaxed) as u32 as usize) < SIZE / 2 {
        return false;
    }
    const PROBE: Layout = Layout::new::<[u8; LARGEST]>();
    // SAFETY: the layout has a size, and a block that the system gives goes back to it at once.
    unsafe {
        let block = System.alloc(PROBE);
        if !block.is_null() {
            System.dealloc(block, PROBE);
        }
        block.is_null()
    }
}

struct Reserving;

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

// SAFETY: every block comes from the system's allocator or, where that has none, from the array,
// in which blocks do not overlap and are aligned; a block's address says which of the two takes it
// back. Nothing here unwinds.
unsafe impl GlobalAlloc for Reserving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's contract.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { take(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = take(layout);
        if !block.is_null() {
            // SAFETY: the block has that many bytes. The array is used again, so it is not zero.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_ours(block) {
            give();
        } else {
            // SAFETY: as the caller's contract; what is not the array's is the system's.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_ours(block) {
            // SAFETY: as the caller's contract; what is not the array's is the system's.
            let moved = unsafe { System.realloc(block, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller vouches for size, which rounded up to the alignment is no overflow.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both blocks have so many bytes and are different; the old one is the
            // caller's to give up.
            unsafe {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_apart_aligned_and_come_back() {
        let layouts = [(1, 1), (100, 8), (64, 64), (5000, 4096), (LARGEST, 16)]
            .map(|(size, align)| Layout::from_size_align(size, align).unwrap());
        for _ in 0..1000 {
            let blocks = layouts.map(take);
            for (block, layout) in blocks.iter().zip(layouts) {
                assert!(!block.is_null() && block.addr() % layout.align() == 0 && is_ours(*block));
            }
            for (left, right) in (0..4).map(|at| (at, at + 1)) {
                let end = blocks[left].addr() + layouts[left].size();
                assert!(end <= blocks[right].addr());
            }
            assert!(!is_low());
            blocks.iter().for_each(|_| give());
        }
        assert!(take(Layout::from_size_align(LARGEST + 1, 1).unwrap()).is_null());
        assert_eq!(STATE.load(Ordering::Relaxed), 0);
    }
}
