//! Tests of the pool beneath the stores: memory, limits, waiting, names. Here is what they share.

mod handles;
mod limits;
mod memory;
mod sequences;
mod waiting;

use super::space::{SegId, Space};
use super::*;
use crate::error::ErrorKind;
use crate::memory::guard::{Guard, Inside};
use crate::memory::lock::FutexMutex;
use crate::memory::sys::{self, testing::fail_after};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32};

const MIB: u64 = 1 << 20;

fn pool(limit: u64) -> Pool {
    Pool::create(&PoolConfig::new(limit)).unwrap()
}

/// Pages of a range that have memory.
fn resident(from: *mut u8, bytes: u64) -> u64 {
    let mut pages = vec![0_u8; (bytes / 4_096) as usize];
    // SAFETY: the range is mapped, and `pages` has a byte for each of its pages.
    let done = unsafe { libc::mincore(from.cast(), bytes as usize, pages.as_mut_ptr()) };
    assert_eq!(done, 0);
    pages.iter().filter(|&&page| page & 1 == 1).count() as u64
}

/// Bytes of all segments that have memory.
fn resident_segments(space: &Space) -> u64 {
    resident(space.segments_base(), u64::from(space.segments_max()) * space.seg_bytes()) * 4_096
}

fn fill(space: &Space, id: SegId, byte: u8) {
    // SAFETY: the test holds the segment.
    unsafe { space.seg_addr(id).write_bytes(byte, space.seg_bytes() as usize) };
}

fn fill_run(space: &Space, id: RunId, byte: u8) {
    // SAFETY: the test holds the run.
    unsafe { space.run_addr(id).write_bytes(byte, space.run_charge(id) as usize) };
}

fn check(pool: &Pool) {
    pool.validate().unwrap();
    let (limit, used) = pool.space().limit_and_used();
    assert!(used <= limit, "{used} of {limit}");
}

/// Harvests until nothing waits. Other tests' readers may be in the way for a moment.
fn harvest_all(space: &Space) {
    for _ in 0..10_000 {
        if space.waiting_bytes() == 0 {
            return;
        }
        space.harvest(true);
        std::thread::yield_now();
    }
    panic!("{} bytes wait", space.waiting_bytes());
}

/// A store that is a queue of segments and runs.
struct Fake {
    space: *const Space,
    id: u32,
    name: Option<String>,
    floor: u64,
    hits: AtomicU64,
    open: AtomicBool,
    /// Frees by `give` instead of `retire`.
    gives: AtomicBool,
    held: FutexMutex<VecDeque<u32>>,
}

// SAFETY: the space is Sync and outlives the fake in every test.
unsafe impl Send for Fake {}

// SAFETY: as above.
unsafe impl Sync for Fake {}

impl Fake {
    fn new(pool: &Pool, id: u32, floor: u64) -> Arc<Self> {
        let fake = Arc::new(Self {
            space: pool.space(),
            id,
            name: Some(format!("fake {id}")),
            floor,
            hits: AtomicU64::new(0),
            open: AtomicBool::new(true),
            gives: AtomicBool::new(false),
            held: FutexMutex::default(),
        });
        let weak: std::sync::Weak<Self> = Arc::downgrade(&fake);
        pool.tenants().register(weak, id);
        fake
    }

    fn space(&self) -> &Space {
        // SAFETY: see above.
        unsafe { &*self.space }
    }

    fn bytes_of(&self, id: u32) -> u64 {
        if id < RUN_BASE { self.space().seg_bytes() } else { self.space().run_charge(id) }
    }

    fn take(&self) -> bool {
        match self.space().take_segment(Use::Log).unwrap() {
            Some(id) => {
                fill(self.space(), id, self.id as u8);
                self.held.lock().push_back(id);
                true
            }
            None => false,
        }
    }

    fn take_run(&self, bytes: u64) -> bool {
        match self.space().take_run(bytes).unwrap() {
            Some(id) => {
                fill_run(self.space(), id, self.id as u8);
                self.held.lock().push_back(id);
                true
            }
            None => false,
        }
    }
}

impl Tenant for Fake {
    fn reclaim(&self, bytes: u64) -> u64 {
        let mut given = 0;
        while given < bytes {
            let Some(id) = self.held.lock().pop_front() else { break };
            given += self.bytes_of(id);
            match (id < RUN_BASE, self.gives.load(Ordering::Relaxed)) {
                (true, false) => self.space().retire_segment(id),
                (true, true) => self.space().give_segment(id),
                (false, false) => self.space().retire_run(id),
                (false, true) => self.space().give_run(id),
            }
        }
        given
    }
    fn used_bytes(&self) -> u64 {
        self.held.lock().iter().map(|&id| self.bytes_of(id)).sum()
    }
    fn floor_bytes(&self) -> u64 {
        self.floor
    }
    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    fn validate(&self) -> Result<()> {
        Ok(())
    }
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
    fn id(&self) -> u32 {
        self.id
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
