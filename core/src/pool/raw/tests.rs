use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicUsize};

/// Segments and runs from one mapping, within a budget of bytes.
struct Double {
    base: *mut u8,
    map: *mut u8,
    map_len: usize,
    shift: u32,
    count: u32,
    raw: Vec<AtomicU8>,
    marks: Vec<AtomicU32>,
    free: FutexMutex<Vec<u32>>,
    used: AtomicUsize,
    held: AtomicUsize,
    limit: usize,
    runs: Vec<(AtomicU32, AtomicU64)>,
    free_runs: FutexMutex<Vec<u32>>,
}

// SAFETY: the pointers are to a mapping that lives as long as the value; all else is Sync.
unsafe impl Sync for Double {}
// SAFETY: as above.
unsafe impl Send for Double {}

const RUNS: u32 = 64;
const RUN_BYTES: usize = 1 << 20;

impl Double {
    fn new(shift: u32, segments: u32) -> Self {
        let span = (segments as usize) << shift;
        let map_len = span + RUNS as usize * RUN_BYTES + (2 << 20);
        // SAFETY: a fresh anonymous mapping.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(map, libc::MAP_FAILED);
        let map = map.cast::<u8>();
        let base = ((map as usize + (2 << 20) - 1) & !((2 << 20) - 1)) as *mut u8;
        Self {
            base,
            map,
            map_len,
            shift,
            count: segments,
            raw: (0..segments).map(|_| AtomicU8::new(0)).collect(),
            marks: (0..segments).map(|_| AtomicU32::new(0)).collect(),
            free: FutexMutex::new((0..segments).rev().collect()),
            used: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            limit: span,
            runs: (0..RUNS).map(|_| (AtomicU32::new(0), AtomicU64::new(0))).collect(),
            free_runs: FutexMutex::new((0..RUNS).rev().collect()),
        }
    }

    fn charge(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                (used + bytes <= self.limit).then_some(used + bytes)
            })
            .is_ok()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, of this length.
        unsafe { libc::munmap(self.map.cast(), self.map_len) };
    }
}

// SAFETY: the mapping is aligned to 2 MiB and lives as long as the value; the lists hand each
// segment and run out once.
unsafe impl SegmentSource for Double {
    fn segments_base(&self) -> *mut u8 {
        self.base
    }
    fn seg_shift(&self) -> u32 {
        self.shift
    }
    fn segments_max(&self) -> u32 {
        self.count
    }
    fn is_raw(&self, segment: u32) -> bool {
        self.raw.get(segment as usize).is_some_and(|raw| raw.load(Ordering::Acquire) == 1)
    }
    fn mark(&self, segment: u64) -> Option<&AtomicU32> {
        self.marks.get(usize::try_from(segment).ok()?)
    }
    fn take_raw_segment(&self) -> Result<Option<u32>> {
        if !self.charge(1 << self.shift) {
            return Ok(None);
        }
        let segment = self.free.lock().pop().unwrap();
        // SAFETY: the segment is the caller's; what it held before must not matter.
        unsafe {
            let start = self.base.add((segment as usize) << self.shift);
            start.write_bytes(0xAA, 1 << self.shift);
        }
        self.marks[segment as usize].store(0, Ordering::SeqCst);
        self.raw[segment as usize].store(1, Ordering::Release);
        Ok(Some(segment))
    }
    fn give_raw_segment(&self, segment: u32) {
        assert_eq!(self.raw[segment as usize].swap(0, Ordering::SeqCst), 1);
        // Whoever has it next counts something there.
        assert_eq!(self.marks[segment as usize].swap((1 << self.shift) - 1, Ordering::SeqCst), 0);
        self.free.lock().push(segment);
        self.used.fetch_sub(1 << self.shift, Ordering::SeqCst);
    }
    fn take_raw_run(&self, bytes: u64) -> Result<Option<u32>> {
        if bytes > RUN_BYTES as u64 {
            return Ok(None);
        }
        let charge = bytes.next_multiple_of(4096);
        if !self.charge(charge as usize) {
            return Ok(None);
        }
        let Some(run) = self.free_runs.lock().pop() else {
            self.used.fetch_sub(charge as usize, Ordering::SeqCst);
            return Ok(None);
        };
        self.runs[run as usize].1.store(charge, Ordering::SeqCst);
        // SAFETY: the run is the caller's.
        unsafe { self.run_addr(run).write_bytes(0, RUN_BYTES) };
        Ok(Some(run))
    }
    fn give_raw_run(&self, run: u32) {
        let charge = self.runs[run as usize].1.swap(0, Ordering::SeqCst);
        self.used.fetch_sub(charge as usize, Ordering::SeqCst);
        self.free_runs.lock().push(run);
    }
    fn run_addr(&self, run: u32) -> *mut u8 {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(((self.count as usize) << self.shift) + run as usize * RUN_BYTES) }
    }
    fn run_charge(&self, run: u32) -> u64 {
        self.runs[run as usize].1.load(Ordering::SeqCst)
    }
    fn run_of_addr(&self, address: *const u8) -> Option<u32> {
        let offset = (address as usize).checked_sub(self.run_addr(0) as usize)?;
        let run = u32::try_from(offset / RUN_BYTES).ok()?;
        (offset.is_multiple_of(RUN_BYTES) && run < RUNS).then_some(run)
    }
    fn run_tag(&self, run: u32) -> &AtomicU32 {
        &self.runs[run as usize].0
    }
    fn hold(&self, bytes: u64) {
        self.held.fetch_add(bytes as usize, Ordering::SeqCst);
    }
    fn unhold(&self, bytes: u64) {
        self.held.fetch_sub(bytes as usize, Ordering::SeqCst);
    }
}

fn made(shift: u32, segments: u32) -> (Double, RawAllocator) {
    (Double::new(shift, segments), RawAllocator::new(1 << shift, false))
}

fn free(raw: &RawAllocator, space: &Double, ptr: NonNull<u8>) -> Result<()> {
    // SAFETY: the tests do not use a block after it.
    unsafe { raw.free(space, ptr, Owner::App) }
}

fn take(raw: &RawAllocator, space: &Double, len: usize, align: usize) -> Option<NonNull<u8>> {
    raw.alloc(space, len, align, Owner::App, false).unwrap()
}

#[test]
fn alignment_holds_for_every_size() {
    for shift in [14, 18, 21] {
        let (space, raw) = made(shift, 64);
        for align in (0..=12).map(|bits| 1_usize << bits).chain([0]) {
            for len in
                [0, 1, 15, 16, 17, 63, 64, 65, 100, 129, 300, 1000, 1025, 3000, 4096, 5000, 70_000]
            {
                let block = take(&raw, &space, len, align).unwrap();
                assert_eq!(block.as_ptr() as usize % align.max(16), 0, "{len} {align}");
                // SAFETY: the block is ours and of so many bytes.
                unsafe { block.write_bytes(0x5A, len) };
                raw.validate(&space).unwrap();
                free(&raw, &space, block).unwrap();
            }
        }
        for align in [3, 12, 24, 8192, usize::MAX] {
            let refused = raw.alloc(&space, 8, align, Owner::App, false).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            assert!(refused.context().contains(&align.to_string()));
        }
        raw.flush(&space);
        raw.validate(&space).unwrap();
        assert_eq!(space.used.load(Ordering::SeqCst), 0);
        assert_eq!(space.held.load(Ordering::SeqCst), 0);
        assert_eq!(raw.counts().app_bytes, 0);
    }
}

#[test]
fn wrong_frees_do_no_harm() {
    let (space, raw) = made(14, 64);
    let invalid = |ptr: *mut u8, word: &str| {
        let refused = free(&raw, &space, NonNull::new(ptr).unwrap()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.context().contains(word), "{refused}");
        raw.validate(&space).unwrap();
    };
    for len in [64, 2_000, 40_000] {
        let block = take(&raw, &space, len, 0).unwrap();
        let other = take(&raw, &space, len, 0).unwrap();
        invalid(block.as_ptr().wrapping_add(8), "");
        invalid(block.as_ptr().wrapping_add(16), "");
        free(&raw, &space, block).unwrap();
        invalid(block.as_ptr(), "freed before");
        free(&raw, &space, other).unwrap();
        let pinned = raw.alloc(&space, len, 0, Owner::Pin, false).unwrap().unwrap();
        invalid(pinned.as_ptr(), "not the application's");
        // SAFETY: not used afterwards.
        unsafe { raw.free(&space, pinned, Owner::Pin) }.unwrap();
    }
    let mut local = 0_u8;
    invalid(&raw mut local, "not memory of this pool");
    invalid(space.base, "");
    invalid(space.base.wrapping_add(64), "");
    // A segment that is not in raw use.
    invalid(space.base.wrapping_add(63 << 14), "not memory of this pool");
    let counts = raw.counts();
    assert_eq!((counts.app_bytes, counts.pin_bytes, counts.app_blocks), (0, 0, 0));
    assert_eq!(counts.created + counts.reused, counts.returned);
}

#[test]
fn zeroed_and_wiped() {
    let space = Double::new(16, 16);
    let raw = RawAllocator::new(1 << 16, true);
    for len in [16, 100, 1_024, 5_000, 100_000] {
        for _ in 0..3 {
            let block = raw.alloc(&space, len, 0, Owner::App, true).unwrap().unwrap();
            // SAFETY: the block is ours and of so many bytes.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), len) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(0xEE);
            free(&raw, &space, block).unwrap();
        }
    }
}

#[test]
fn exhaustion_gives_all_back() {
    let (space, raw) = made(14, 32);
    let mut blocks = Vec::new();
    while let Some(block) = take(&raw, &space, 200, 0) {
        blocks.push(block);
    }
    // The magazine's own segment apart, all is in use.
    assert!(blocks.len() >= 31 * ((16_384 - 64) / 225), "{}", blocks.len());
    raw.validate(&space).unwrap();
    assert_eq!(raw.app_bytes(), blocks.len() as u64 * 224);
    assert!(take(&raw, &space, 9_000, 0).is_none());
    assert!(take(&raw, &space, usize::MAX, 0).is_none());
    assert!(take(&raw, &space, usize::MAX, 64).is_none());
    for block in blocks.drain(..) {
        free(&raw, &space, block).unwrap();
    }
    raw.validate(&space).unwrap();
    // The magazine, the spare, and one that the magazine's blocks hold.
    assert!(space.used.load(Ordering::SeqCst) <= 3 << 14);
    raw.flush(&space);
    raw.validate(&space).unwrap();
    assert_eq!(space.used.load(Ordering::SeqCst), 0);
    let counts = raw.counts();
    assert_eq!(counts.segments, 0);
    assert!(counts.discarded >= counts.created);
}

#[test]
fn reuse_is_counted() {
    let (space, raw) = made(16, 16);
    for _ in 0..100 {
        let block = take(&raw, &space, 64, 0).unwrap();
        free(&raw, &space, block).unwrap();
    }
    let counts = raw.counts();
    assert_eq!((counts.created, counts.reused, counts.returned), (1, 99, 100));
}

#[test]
fn writing_after_free_hands_nothing_out_twice() {
    let (space, raw) = made(14, 32);
    let blocks: Vec<_> = (0..400).map(|_| take(&raw, &space, 64, 0).unwrap()).collect();
    for block in &blocks {
        free(&raw, &space, *block).unwrap();
        // SAFETY: mapped memory that nothing refers to; this is the error under test.
        unsafe { block.cast::<u32>().write(0xFFFF_0001) };
    }
    let mut seen = HashMap::new();
    for _ in 0..1_000 {
        let block = take(&raw, &space, 64, 0).unwrap();
        assert!(seen.insert(block, ()).is_none());
    }
    raw.validate(&space).unwrap();
}

/// One thread's random walk against a list of what it has; `mark` fills its blocks.
fn walk(raw: &RawAllocator, space: &Double, mut state: u64, steps: usize, sizes: &[usize]) {
    let mut mine: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for step in 0..steps {
        let roll = next();
        if !mine.is_empty() && (roll % 100 < 48 || mine.len() > 300) {
            let (block, len, mark) = mine.swap_remove((roll >> 8) as usize % mine.len());
            // SAFETY: the block is ours and of so many bytes.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), len) };
            assert!(bytes.iter().all(|byte| *byte == mark), "a block was somebody else's");
            free(raw, space, block).unwrap();
        } else {
            let len = sizes[(roll >> 8) as usize % sizes.len()];
            let align = if roll & 7 == 0 { 1 << (roll >> 20 & 7) } else { 0 };
            if let Some(block) = take(raw, space, len, align) {
                let mark = step as u8;
                // SAFETY: the block is ours and of so many bytes.
                unsafe { block.write_bytes(mark, len) };
                mine.push((block, len, mark));
            } else {
                raw.flush(space);
            }
        }
        if roll % 1_009 == 0 {
            raw.flush(space);
        }
        if roll % 2_003 == 0 {
            raw.validate(space).unwrap();
        }
    }
    for (block, _, _) in mine {
        free(raw, space, block).unwrap();
    }
}

#[test]
fn threads_do_not_meet_in_a_block() {
    let (space, raw) = made(14, 200);
    let sizes = [1, 16, 40, 64, 64, 64, 100, 250, 700, 1_000, 1_500, 4_000, 9_000];
    std::thread::scope(|scope| {
        for seed in 1..=24_u64 {
            let (space, raw) = (&space, &raw);
            scope.spawn(move || walk(raw, space, seed * 0x9E37_79B9, 20_000, &sizes));
        }
    });
    raw.validate(&space).unwrap();
    raw.flush(&space);
    raw.validate(&space).unwrap();
    assert_eq!(space.used.load(Ordering::SeqCst), 0);
    assert_eq!(space.held.load(Ordering::SeqCst), 0);
    let counts = raw.counts();
    assert_eq!((counts.app_bytes, counts.app_blocks, counts.segments), (0, 0, 0));
}

#[test]
fn of_concurrent_frees_one_wins() {
    let (space, raw) = made(14, 64);
    // Keeps the segment in use: a free that comes after its segment went back cannot be told.
    let _keep = take(&raw, &space, 64, 0).unwrap();
    for _ in 0..2_000 {
        let block = take(&raw, &space, 64, 0).unwrap().as_ptr() as usize;
        let wins = AtomicUsize::new(0);
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    let ptr = NonNull::new(block as *mut u8).unwrap();
                    if free(&raw, &space, ptr).is_ok() {
                        wins.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(wins.load(Ordering::SeqCst), 1);
    }
    raw.validate(&space).unwrap();
}

thread_local! {
    static PAUSE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Where an owner's plain free can be overtaken; tests widen it.
pub(super) fn between_check_and_store() {
    for _ in 0..PAUSE.get() {
        std::hint::spin_loop();
    }
}

type Pause = (std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

thread_local! {
    static LOOKED: std::cell::Cell<Option<Pause>> = const { std::cell::Cell::new(None) };
}

/// Where an owner's magazine may come back while the owner is about to make another.
pub(super) fn between_look_and_making() {
    if let Some((looked, go_on)) = LOOKED.take() {
        looked.send(()).unwrap();
        go_on.recv().unwrap();
    }
}

#[test]
fn a_magazine_that_comes_back_is_not_replaced() {
    let (space, raw) = made(14, 64);
    let (looked, has_looked) = std::sync::mpsc::channel();
    let (thaw, go_on) = std::sync::mpsc::channel();
    let (frozen, is_frozen) = std::sync::mpsc::channel();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let block = take(&raw, &space, 64, 0).unwrap();
            let (ready, is_frozen, pause) = (ready, is_frozen, (looked, go_on));
            ready.send(()).unwrap();
            is_frozen.recv().unwrap();
            LOOKED.set(Some(pause));
            let other = take(&raw, &space, 64, 0).unwrap();
            for block in [block, other] {
                free(&raw, &space, block).unwrap();
            }
        });
        is_ready.recv().unwrap();
        raw.frozen(|_| {
            frozen.send(()).unwrap();
            has_looked.recv().unwrap();
        });
        thaw.send(()).unwrap();
    });
    raw.validate(&space).unwrap();
    raw.flush(&space);
    assert_eq!(space.used.load(Ordering::SeqCst), 0);
}

/// Fails within a few rounds if a pending block is believed without waiting for owners.
#[test]
fn owner_and_another_thread_free_at_once() {
    let (space, raw) = made(14, 64);
    let space = &space;
    let raw = &raw;
    let start = &std::sync::Barrier::new(2);
    let shared = &std::sync::atomic::AtomicPtr::<u8>::new(null_mut());
    let exchange = &FutexMutex::new(Vec::<usize>::new());
    std::thread::scope(|scope| {
        for first in [true, false] {
            scope.spawn(move || {
                // Both have seats, and keep the segments in use.
                let _keep: Vec<_> = (0..8).map(|_| take(raw, space, 64, 0).unwrap()).collect();
                for round in 0..4_000_u32 {
                    if first {
                        let block = take(raw, space, 64, 0).unwrap();
                        shared.store(block.as_ptr(), Ordering::SeqCst);
                        exchange.lock().clear();
                    }
                    start.wait();
                    let block = NonNull::new(shared.load(Ordering::SeqCst)).unwrap();
                    if first {
                        PAUSE.set(round % 400 * 8);
                    }
                    let freed = free(raw, space, block);
                    PAUSE.set(0);
                    if !first && round % 2 == 0 {
                        // Believed while the owner may still be at it.
                        raw.flush(space);
                    }
                    if let Err(refused) = freed {
                        assert_eq!(refused.kind(), ErrorKind::Invalid);
                    }
                    start.wait();
                    // However it went, nobody gets a block that somebody has.
                    let mine: Vec<_> = (0..24).map(|_| take(raw, space, 64, 0).unwrap()).collect();
                    exchange.lock().extend(mine.iter().map(|block| block.as_ptr() as usize));
                    if round % 16 == 0 {
                        raw.flush(space);
                        let more = take(raw, space, 64, 0).unwrap();
                        exchange.lock().push(more.as_ptr() as usize);
                        start.wait();
                        free(raw, space, more).unwrap();
                    } else {
                        start.wait();
                    }
                    if first {
                        let mut all = exchange.lock().clone();
                        all.sort_unstable();
                        let len = all.len();
                        all.dedup();
                        assert_eq!(all.len(), len, "handed out twice");
                    }
                    start.wait();
                    for block in mine {
                        free(raw, space, block).unwrap();
                    }
                    start.wait();
                }
            });
        }
    });
    raw.flush(space);
    raw.validate(space).unwrap();
    assert_eq!(raw.counts().app_blocks, 16);
}

#[test]
fn blocks_travel_between_threads() {
    let (space, raw) = made(16, 64);
    let (send, receive) = std::sync::mpsc::sync_channel::<usize>(100);
    let (space, raw) = (&space, &raw);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..50_000 {
                let block = loop {
                    match take(raw, space, 128, 0) {
                        Some(block) => break block,
                        None => raw.flush(space),
                    }
                };
                send.send(block.as_ptr() as usize).unwrap();
            }
            send.send(0).unwrap();
        });
        scope.spawn(move || {
            while let Some(block) = NonNull::new(receive.recv().unwrap() as *mut u8) {
                free(raw, space, block).unwrap();
            }
        });
    });
    raw.validate(space).unwrap();
    assert_eq!(raw.counts().app_blocks, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Against a list of live blocks: none overlap, all keep their bytes, counts agree,
    /// `validate` holds after each step.
    #[test]
    fn behaves_like_its_model(
        shift in 14_u32..=17,
        segments in 2_u32..24,
        steps in proptest::collection::vec((0_u8..10, 0_usize..20_000, 0_u32..13, any::<u16>()), 1..200),
    ) {
        let (space, raw) = made(shift, segments);
        let mut live: Vec<(usize, usize, u8, bool)> = Vec::new();
        for (index, (kind, len, align, pick)) in steps.into_iter().enumerate() {
            match kind {
                0..=5 => {
                    let len = if kind < 3 { len % 300 } else { len };
                    let owner = if kind == 5 { Owner::Pin } else { Owner::App };
                    let align = if kind == 4 { 1 << align } else { 0 };
                    if let Some(block) = raw.alloc(&space, len, align, owner, false).unwrap() {
                        let at = block.as_ptr() as usize;
                        prop_assert!(at.is_multiple_of(align.max(16)));
                        for &(other, other_len, _, _) in &live {
                            prop_assert!(at + len.max(1) <= other || other + other_len.max(1) <= at);
                        }
                        // SAFETY: the block is ours and of so many bytes.
                        unsafe { block.write_bytes(index as u8, len) };
                        live.push((at, len, index as u8, kind == 5));
                    }
                }
                6..=8 if !live.is_empty() => {
                    let (at, len, mark, pinned) = live.swap_remove(pick as usize % live.len());
                    let block = NonNull::new(at as *mut u8).unwrap();
                    // SAFETY: the block is ours and of so many bytes.
                    let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), len) };
                    prop_assert!(bytes.iter().all(|byte| *byte == mark));
                    let owner = if pinned { Owner::Pin } else { Owner::App };
                    let wrong = if pinned { Owner::App } else { Owner::Pin };
                    // SAFETY: not used afterwards.
                    unsafe {
                        prop_assert!(raw.free(&space, block, wrong).is_err());
                        raw.free(&space, block, owner).unwrap();
                        prop_assert!(raw.free(&space, block, owner).is_err());
                    }
                }
                _ => raw.flush(&space),
            }
            raw.validate(&space).unwrap();
            let counts = raw.counts();
            let apps = live.iter().filter(|block| !block.3).count() as u64;
            prop_assert_eq!(counts.app_blocks, apps);
            prop_assert!(space.held.load(Ordering::SeqCst) == space.used.load(Ordering::SeqCst));
        }
    }
}
