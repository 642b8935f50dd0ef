//! How often the process's heap is asked for memory, and how much of it is out.
//!
//! Counts exist only where [`Counting`] is the program's allocator, which it is in
//! `hypercache-bench-counting` and nowhere else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static CALLS: AtomicU64 = AtomicU64::new(0);
static GIVEN: AtomicU64 = AtomicU64::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);
static BLOCKS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with a count of what it is asked for.
#[derive(Debug)]
pub struct Counting;

fn given(bytes: usize) {
    CALLS.fetch_add(1, Relaxed);
    BLOCKS.fetch_add(1, Relaxed);
    GIVEN.fetch_add(bytes as u64, Relaxed);
}

// SAFETY: every block is the system's, and goes back to the system under the layout it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        given(layout.size());
        // SAFETY: as the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        given(layout.size());
        // SAFETY: as the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        GIVEN.fetch_add(size as u64, Relaxed);
        TAKEN.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as the caller's contract.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS.fetch_sub(1, Relaxed);
        TAKEN.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as the caller's contract.
        unsafe { System.dealloc(block, layout) };
    }
}

/// What the heap was asked for, by all threads together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Calls that asked for memory, growing and shrinking of blocks included.
    pub calls: u64,
    /// Blocks that are out.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Heap {
    /// Up to now; all zero in a program whose allocator does not count.
    #[must_use]
    pub fn now() -> Self {
        let taken = TAKEN.load(Relaxed);
        Self {
            calls: CALLS.load(Relaxed),
            blocks: BLOCKS.load(Relaxed),
            bytes: GIVEN.load(Relaxed).wrapping_sub(taken),
        }
    }

    /// Whether this program's allocator counts.
    #[must_use]
    pub fn is_counted() -> bool {
        let before = Self::now();
        drop(std::hint::black_box(Box::new(1_u8)));
        Self::now() != before
    }
}
