//! The raw allocator's part of checking every invariant of a pool.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::segment::{
    Block, CACHED, CHAINED, FRESH, LIVE, PENDING, SEG_NONE, address, block_at, header_of, state_of,
};
use super::shape::{CLASSES, SHAPES};
use super::{Class, Magazine, RawAllocator, SegmentSource};
use crate::error::{Error, ErrorKind, Result};

impl RawAllocator {
    /// Checks every segment, chain and magazine. Holds allocation up while it runs.
    pub fn validate<S: SegmentSource>(&self, space: &S) -> Result<()> {
        self.frozen(|magazines| {
            let guards: Vec<_> = self.shelves.iter().map(|shelf| shelf.class.lock()).collect();
            let mut cached = [0_u64; CLASSES];
            for magazine in magazines.iter().filter_map(|magazine| NonNull::new(*magazine)) {
                // SAFETY: it is frozen, so it is not dissolved while this looks at it.
                check_magazine(space, unsafe { magazine.as_ref() }, &mut cached)?;
            }
            let mut segments = 0;
            for (guard, cached) in guards.iter().zip(cached) {
                segments += u64::from(guard.segments);
                check_class(space, guard, cached)?;
            }
            check(segments == self.segments.load(Ordering::Relaxed), || {
                format!("the raw classes have {segments} segments; another number is counted")
            })
        })
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Internal, what())) }
}

/// Checks a frozen magazine, and counts its blocks.
fn check_magazine<S: SegmentSource>(
    space: &S,
    magazine: &Magazine,
    cached: &mut [u64; CLASSES],
) -> Result<()> {
    for (class, (stack, shape)) in magazine.stacks.iter().zip(&SHAPES).enumerate() {
        let len = stack.len.load(Ordering::Relaxed);
        check(len <= u32::from(stack.cached), || {
            format!("a magazine has {len} blocks of {} bytes", shape.size)
        })?;
        cached[class] += u64::from(len);
        for block in &magazine.blocks[stack.cached_at as usize..][..len as usize] {
            let block = Block::at(space, block.load(Ordering::Relaxed), shape);
            let segment = block.segment(space);
            let sound = segment < space.segments_max()
                && space.is_raw(segment)
                && header_of(space, segment).class() == class
                && block_at(space, segment, block.number, shape.size).offset == block.offset
                && block.state(space).load(Ordering::Relaxed) & !FRESH == CACHED;
            check(sound, || {
                format!("a magazine holds block {:#x}, which is not free", block.offset)
            })?;
        }
    }
    Ok(())
}

/// Checks one class: its lists, chains, states and counts.
fn check_class<S: SegmentSource>(space: &S, class: &Class, in_magazines: u64) -> Result<()> {
    let size = SHAPES[class.number].size;
    let mut cached = 0;
    let mut segments = 0;
    for (list, is_full) in [(class.partial, false), (class.full, true), (class.spare, false)] {
        let mut previous = SEG_NONE;
        let mut segment = list;
        while segment != SEG_NONE {
            let sound = |holds: bool, what: &str| {
                check(holds, || format!("raw segment {segment} of {size}-byte blocks: {what}"))
            };
            segments += 1;
            sound(segments <= class.segments, "its list does not end")?;
            sound(segment < space.segments_max() && space.is_raw(segment), "it is in other use")?;
            let header = header_of(space, segment);
            sound(header.class() == class.number, "it is of another class")?;
            sound(header.is_full(class.blocks) == is_full, "it is on the wrong list")?;
            if list == class.spare {
                let (chained, carved) = (&header.chained, &header.carved);
                let equal = chained.load(Ordering::Relaxed) == carved.load(Ordering::Relaxed);
                sound(equal, "a spare one has blocks in use")?;
            } else {
                sound(header.prev.load(Ordering::Relaxed) == previous, "its links disagree")?;
            }
            cached += check_blocks(space, class, segment, &sound)?;
            previous = segment;
            segment =
                if list == class.spare { SEG_NONE } else { header.next.load(Ordering::Relaxed) };
        }
    }
    check(segments == class.segments, || {
        let counted = class.segments;
        format!("{segments} raw segments of {size}-byte blocks are listed, {counted} counted")
    })?;
    check(cached == in_magazines, || {
        format!("{cached} blocks of {size} bytes are cached, {in_magazines} in magazines")
    })
}

/// Checks a segment's chain and states; how many blocks are cached.
fn check_blocks<S: SegmentSource>(
    space: &S,
    class: &Class,
    segment: u32,
    sound: &dyn Fn(bool, &str) -> Result<()>,
) -> Result<u64> {
    let header = header_of(space, segment);
    let carved = header.carved.load(Ordering::Relaxed);
    let chained = header.chained.load(Ordering::Relaxed);
    let lost = header.lost.load(Ordering::Relaxed);
    sound(carved <= class.blocks, "more blocks are in use than fit")?;
    let mut in_chain = 0;
    let mut link = header.chain.load(Ordering::Relaxed);
    while link != 0 && in_chain <= chained {
        let number = link - 1;
        sound(number < carved, "its chain leaves the blocks")?;
        let state = state_of(space, segment, number).load(Ordering::Relaxed);
        sound(state & !FRESH == CHAINED, "its chain holds a block in use")?;
        in_chain += 1;
        let block = block_at(space, segment, number, SHAPES[class.number].size);
        // SAFETY: the block is free and under the class's lock, and has 16 bytes or more.
        link = unsafe { address(space, block.offset).cast::<u32>().read() };
    }
    sound(in_chain == chained, "its chain is of another length than counted")?;
    let (mut free, mut cached) = (0, 0);
    for number in 0..carved {
        let state = state_of(space, segment, number).load(Ordering::Relaxed);
        match state & !FRESH {
            CHAINED => free += 1,
            CACHED => cached += 1,
            PENDING => {}
            _ => sound(state & LIVE != 0, "a block has an unknown state")?,
        }
    }
    sound(free == chained + lost, "blocks are free and on no chain")?;
    Ok(cached)
}
