//! What is not the usual case: no magazine, an empty or full one, another thread's block, a run.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::magazine::{Magazine, Seat, add};
use super::remote::exchange;
use super::segment::{
    Block, FREE, INTERNAL, LIVE, Misplaced, NO_SEAT, ORIGIN, PENDING, PIN, address, live, locate,
    offset_of,
};
use super::shape::{CACHED_CLASSES, CLASSES, SHAPES, class_of};
use super::{ALIGN_DEFAULT, ALIGN_MAX, Owner, RawAllocator, SEATS, SegmentSource};
use crate::error::{Error, ErrorKind, Result};

impl RawAllocator {
    /// The class of a block, `None` for a run.
    fn class_for(&self, len: usize, align: usize) -> Result<Option<usize>> {
        let mut class = class_of(len.max(1));
        if align != 0 && (!align.is_power_of_two() || align > ALIGN_MAX) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("align is {align}; 0 or a power of two up to {ALIGN_MAX} is allowed"),
            ));
        }
        if align > ALIGN_DEFAULT {
            if len > self.block_max as usize {
                return Ok(None);
            }
            class = class_of(len.max(1).next_multiple_of(align));
            // Sizes are multiples of a quarter of the power of two below them, so a multiple of
            // the alignment is at most seven steps away.
            while class < CLASSES && !(SHAPES[class].size as usize).is_multiple_of(align) {
                class += 1;
            }
        }
        Ok((class < CLASSES && SHAPES[class].size <= self.block_max).then_some(class))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slowly<S: SegmentSource>(
        &self,
        slot: Option<usize>,
        space: &S,
        len: usize,
        align: usize,
        owner: Owner,
        zero: bool,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(class) = self.class_for(len, align)? else {
            return self.alloc_run(space, len, owner);
        };
        let block = match slot {
            Some(slot) if slot < SEATS && class < CACHED_CLASSES => {
                self.alloc_seated(space, slot, class, owner)
            }
            Some(_) | None => self.alloc_locked(space, class, owner),
        };
        self.report();
        if let Ok(Some(block)) = block
            && zero
        {
            // SAFETY: the block is the caller's alone from here on, and of `len` bytes or more.
            unsafe { block.write_bytes(0, len) };
        }
        block
    }

    /// A block for an owner whose stack is empty, or who has no magazine.
    fn alloc_seated<S: SegmentSource>(
        &self,
        space: &S,
        slot: usize,
        class: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let seat = &self.seats[slot];
        let _seated = seat.sit();
        let magazine = match seat.magazine() {
            Some(magazine) => magazine,
            None => {
                #[cfg(test)]
                super::tests::between_look_and_making();
                match self.make_magazine(space, seat)? {
                    Some(magazine) => magazine,
                    None => return self.alloc_locked(space, class, owner),
                }
            }
        };
        let stack = magazine.stack(self.plan.of_class[class]);
        let found = self.take_out(space, seat, stack, owner);
        if found.is_some() {
            return Ok(found);
        }
        let mut len = 0;
        let mut guard = self.shelves[class].class.lock();
        let fresh =
            self.draw(space, &mut guard, u32::from(stack.numbers().cap).div_ceil(2), |block| {
                stack.place(len).store(block.0, Ordering::Relaxed);
                len += 1;
            })?;
        stack.settle(len);
        drop(guard);
        if owner == Owner::App {
            add(&stack.numbers().created, fresh);
        }
        Ok(self.take_out(space, seat, stack, owner))
    }

    fn alloc_locked<S: SegmentSource>(
        &self,
        space: &S,
        class: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let shelf = &self.shelves[class];
        let mut found = None;
        let mut guard = shelf.class.lock();
        let fresh = self.draw(space, &mut guard, 1, |block| found = Some(block))?;
        let Some(block) = found else { return Ok(None) };
        block.state(space, class).store(live(owner, NO_SEAT), Ordering::Relaxed);
        drop(guard);
        shelf.tally.taken[owner as usize].fetch_add(1, Ordering::Relaxed);
        if owner == Owner::App {
            shelf.tally.created.fetch_add(fresh, Ordering::Relaxed);
        }
        Ok(Some(address(space.segments_base(), block.0)))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly<S: SegmentSource>(
        &self,
        slot: Option<usize>,
        space: &S,
        ptr: NonNull<u8>,
        owner: Owner,
    ) -> Result<()> {
        let offset = offset_of(space.segments_base(), ptr.as_ptr());
        let (class, block) = match locate(space, self.seg_mask, offset) {
            Ok(found) => found,
            Err(Misplaced::Outside) => return self.free_run(space, ptr, owner),
            Err(Misplaced::Foreign) => return Err(foreign(ptr)),
            Err(Misplaced::Interior) => {
                let what = format!("ptr is {ptr:p}, where no allocation begins");
                return Err(Error::new(ErrorKind::Invalid, what));
            }
        };
        let state = block.state(space, class);
        let shelf = &self.shelves[class];
        loop {
            let was = state.load(Ordering::Relaxed);
            let origin = was & ORIGIN;
            if was & !ORIGIN != live(owner, 0) || origin == INTERNAL {
                return Err(not_live(ptr, was));
            }
            if slot == Some(origin as usize) && origin < NO_SEAT {
                // The thread's own: under its mark nobody believes another's free of it.
                let seat = &self.seats[origin as usize];
                let seated = seat.sit();
                if state.load(Ordering::Relaxed) != was {
                    continue;
                }
                self.free_seated(space, seat, class, block, owner);
                drop(seated);
                break;
            }
            if origin == NO_SEAT {
                let mut guard = shelf.class.lock();
                if !exchange(state, was, FREE) {
                    continue;
                }
                self.wipe(space, block, class);
                shelf.tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
                self.put_back(space, &mut guard, [block]);
                break;
            }
            if exchange(state, was, PENDING) {
                shelf.tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
                self.defer(space, block, class, owner);
                break;
            }
        }
        self.report();
        Ok(())
    }

    /// Frees a live block that the calling thread got at its seat, at which it is.
    fn free_seated<S: SegmentSource>(
        &self,
        space: &S,
        seat: &Seat,
        class: usize,
        block: Block,
        owner: Owner,
    ) {
        let shelf = &self.shelves[class];
        let Some(magazine) = seat.magazine() else {
            // Frozen: the state must not change but under the class's lock.
            let mut guard = shelf.class.lock();
            block.state(space, class).store(FREE, Ordering::Relaxed);
            shelf.tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
            return self.put_back(space, &mut guard, [block]);
        };
        block.state(space, class).store(FREE, Ordering::Relaxed);
        let stack = magazine.stack(self.plan.of_class[class]);
        let room = stack.room().unwrap_or_else(|| {
            // The oldest go, of which the one on top is one as a rule: the latest are warm.
            let len = stack.len();
            let go = len - len / 2;
            let at = |index| stack.place(index).load(Ordering::Relaxed);
            let mut guard = shelf.class.lock();
            self.put_back(space, &mut guard, stack.blocks().take(1 + go));
            for index in go..len {
                stack.place(index - go).store(at(index), Ordering::Relaxed);
            }
            stack.settle(len - go)
        });
        stack.push(room, block.0);
        if owner == Owner::Pin {
            add(&stack.numbers().pins_returned, 1);
        }
    }

    /// Zeroes a free block that is in the caller's hands, in a pool that wants it.
    pub(super) fn wipe<S: SegmentSource>(&self, space: &S, block: Block, class: usize) {
        if self.wipe {
            // SAFETY: the block is free and in the caller's hands, the calling thread's alone.
            unsafe {
                address(space.segments_base(), block.0).write_bytes(0, SHAPES[class].size as usize)
            };
        }
    }

    /// A magazine for the seat, whose owner is the calling thread; `None` if there is no room for
    /// one, or magazines are frozen.
    fn make_magazine<S: SegmentSource>(&self, space: &S, seat: &Seat) -> Result<Option<Magazine>> {
        if self.wipe {
            return Ok(None);
        }
        // Whoever freezes holds the lock all the time, so that none appears meanwhile.
        let Some(_not_frozen) = self.freezer.try_lock() else { return Ok(None) };
        // It was frozen when the caller looked, and is back.
        if let Some(magazine) = seat.magazine() {
            return Ok(Some(magazine));
        }
        let seg_bytes = self.seg_mask + 1;
        let mut found = None;
        let class = class_of(Magazine::bytes(seg_bytes));
        let mut guard = self.shelves[class].class.lock();
        self.draw(space, &mut guard, 1, |block| found = Some(block))?;
        let Some(block) = found else { return Ok(None) };
        block.state(space, class).store(live(Owner::App, INTERNAL), Ordering::Relaxed);
        drop(guard);
        let place = address(space.segments_base(), block.0);
        // SAFETY: the block is large enough, as aligned as its size is, and nobody else's.
        let magazine = unsafe { Magazine::make(place, &self.plan, seg_bytes) };
        seat.magazine.store(Magazine::as_ptr(Some(magazine)), Ordering::Release);
        Ok(Some(magazine))
    }

    /// Puts all blocks of a frozen magazine back, and then the magazine.
    pub(super) fn dissolve<S: SegmentSource>(&self, space: &S, magazine: Magazine) {
        for (at, shelf) in self.plan.of_class.iter().zip(&self.shelves) {
            let stack = magazine.stack(*at);
            let mut guard = shelf.class.lock();
            self.put_back(space, &mut guard, stack.blocks());
            shelf.tally.absorb(&stack.counted());
        }
        let offset = offset_of(space.segments_base(), Magazine::as_ptr(Some(magazine)));
        if let Ok((class, block)) = locate(space, self.seg_mask, offset) {
            let mut guard = self.shelves[class].class.lock();
            block.state(space, class).store(FREE, Ordering::Relaxed);
            self.put_back(space, &mut guard, [block]);
        }
    }

    fn alloc_run<S: SegmentSource>(
        &self,
        space: &S,
        len: usize,
        owner: Owner,
    ) -> Result<Option<NonNull<u8>>> {
        let Some(run) = space.take_raw_run(len as u64)? else { return Ok(None) };
        let charge = space.run_charge(run);
        space.hold(charge);
        self.run_tally.taken[owner as usize].fetch_add(1, Ordering::Relaxed);
        if owner == Owner::App {
            self.run_tally.created.fetch_add(1, Ordering::Relaxed);
        }
        self.run_bytes[owner as usize].fetch_add(charge, Ordering::Relaxed);
        let place = NonNull::new(space.run_addr(run));
        // Release: whoever frees it finds the run as the space made it.
        space.run_tag(run).store(u32::from(live(owner, NO_SEAT)), Ordering::Release);
        Ok(place)
    }

    fn free_run<S: SegmentSource>(&self, space: &S, ptr: NonNull<u8>, owner: Owner) -> Result<()> {
        let run = space.run_of_addr(ptr.as_ptr()).ok_or_else(|| foreign(ptr))?;
        let live = u32::from(live(owner, NO_SEAT));
        space
            .run_tag(run)
            .compare_exchange(live, 0, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|found| not_live(ptr, found as u8))?;
        let charge = space.run_charge(run);
        self.run_tally.returned[owner as usize].fetch_add(1, Ordering::Relaxed);
        self.run_bytes[owner as usize].fetch_sub(charge, Ordering::Relaxed);
        self.discarded.fetch_add(1, Ordering::Relaxed);
        space.give_raw_run(run);
        space.unhold(charge);
        Ok(())
    }
}

#[cold]
fn foreign(ptr: NonNull<u8>) -> Error {
    let what = format!("ptr is {ptr:p}, which is not memory of this pool's allocations");
    Error::new(ErrorKind::Invalid, what)
}

#[cold]
fn not_live(ptr: NonNull<u8>, state: u8) -> Error {
    let why = if state & LIVE == 0 {
        "was freed before"
    } else if state & ORIGIN == INTERNAL || state & PIN != 0 {
        "is not the application's to free"
    } else {
        "is an allocation, not a copy that a view holds"
    };
    Error::new(ErrorKind::Invalid, format!("ptr is {ptr:p}, which {why}"))
}
