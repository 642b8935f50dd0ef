//! The raw allocator's part of checking every invariant of a pool.

use std::sync::atomic::Ordering;

use super::class::Class;
use super::magazine::Magazine;
use super::segment::{
    FREE, LIVE, PENDING, SEG_NONE, block_at, class_of_segment, from_end, header_of, word_of,
};
use super::shape::{CLASSES, SHAPES, divides};
use super::{RawAllocator, SegmentSource};
use crate::error::{Error, ErrorKind, Result};

impl RawAllocator {
    /// Checks every segment, chain and magazine. Holds allocation up while it runs.
    pub fn validate<S: SegmentSource>(&self, space: &S) -> Result<()> {
        self.frozen(|magazines| {
            let guards: Vec<_> = self.shelves.iter().map(|shelf| shelf.class.lock()).collect();
            let mut cached = [0_u64; CLASSES];
            for magazine in magazines.iter().flatten() {
                self.check_magazine(space, *magazine, &mut cached)?;
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

    /// Checks a frozen magazine, and counts its blocks.
    fn check_magazine<S: SegmentSource>(
        &self,
        space: &S,
        magazine: Magazine,
        cached: &mut [u64; CLASSES],
    ) -> Result<()> {
        for (class, (at, shape)) in self.plan.of_class.iter().zip(&SHAPES).enumerate() {
            let stack = magazine.stack(*at);
            let len = stack.len();
            check(len <= stack.numbers().cap as usize, || {
                format!("a magazine has {len} blocks of {} bytes", shape.size)
            })?;
            for block in stack.blocks() {
                cached[class] += 1;
                let segment = block.segment(space);
                let from_end = from_end((1 << space.seg_shift()) - 1, block.0);
                let sound = class_of_segment(space, segment) == class
                    && space.is_raw(segment)
                    && divides(shape.divisor, from_end)
                    && block.state(space, class).load(Ordering::Relaxed) == FREE;
                check(sound, || {
                    format!("a magazine holds block {:#x}, which is not free", block.0)
                })?;
            }
        }
        Ok(())
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Internal, what())) }
}

/// Checks one class: its lists, chains, states and counts.
fn check_class<S: SegmentSource>(space: &S, class: &Class, in_magazines: u64) -> Result<()> {
    let size = SHAPES[class.layout.class].size;
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
            let marked = class_of_segment(space, segment);
            sound(marked == class.layout.class, "it is of another class")?;
            sound(header.is_full(&class.layout) == is_full, "it is on the wrong list")?;
            if list == class.spare {
                sound(header.is_empty(), "a spare one has blocks in use")?;
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

/// Checks a segment's map and states; how many free blocks are not in the map.
fn check_blocks<S: SegmentSource>(
    space: &S,
    class: &Class,
    segment: u32,
    sound: &dyn Fn(bool, &str) -> Result<()>,
) -> Result<u64> {
    let header = header_of(space, segment);
    let carved = header.carved.load(Ordering::Relaxed);
    sound(carved <= class.layout.blocks, "more blocks are in use than fit")?;
    let size = class.layout.shape().size;
    let (mut in_map, mut elsewhere) = (0, 0);
    for number in 0..carved {
        let word = word_of(space, segment, &class.layout, number / 64).load(Ordering::Relaxed);
        let mapped = word >> (number % 64) & 1 == 1;
        in_map += u32::from(mapped);
        let block = block_at(space, segment, number, size);
        let state = block.state(space, class.layout.class).load(Ordering::Relaxed);
        match state {
            FREE => elsewhere += u64::from(!mapped),
            PENDING => sound(!mapped, "a pending block is in the map")?,
            _ => sound(state & LIVE != 0 && !mapped, "a block in use is in the map")?,
        }
    }
    let free = header.free.load(Ordering::Relaxed);
    sound(in_map == free, "its map has another number of blocks than is counted")?;
    sound(header.is_sound(space, segment, &class.layout), "its map begins after a free block")?;
    Ok(elsewhere)
}
