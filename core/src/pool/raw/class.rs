//! The segments of a size class, under the class's lock.

use std::sync::atomic::Ordering;

use super::magazine::Tally;
use super::segment::{
    Block, Layout, SEG_NONE, carve, dissolve, found, header_of, link, map, unlink, unmap,
};
use super::{RawAllocator, SegmentSource};
use crate::error::Result;
use crate::memory::lock::FutexMutex;

/// A class's lock, and what is counted without a magazine.
pub(super) struct Shelf {
    pub class: FutexMutex<Class>,
    pub tally: Tally,
}

/// What a class's lock protects.
pub(super) struct Class {
    pub layout: Layout,
    /// Segments with a free block.
    pub partial: u32,
    /// Segments without.
    pub full: u32,
    /// A segment in which every block is free.
    pub spare: u32,
    /// All of them.
    pub segments: u32,
}

impl Shelf {
    pub fn new(class: usize, seg_bytes: u64) -> Self {
        Self {
            class: FutexMutex::new(Class {
                layout: Layout::new(class, seg_bytes),
                partial: SEG_NONE,
                full: SEG_NONE,
                spare: SEG_NONE,
                segments: 0,
            }),
            tally: Tally::default(),
        }
    }
}

impl RawAllocator {
    /// Draws up to `wanted` free blocks of a class, one at least if one is to be had; returns how
    /// many of them nobody had before. A new segment is taken only for the first.
    pub(super) fn draw<S: SegmentSource>(
        &self,
        space: &S,
        class: &mut Class,
        wanted: u32,
        mut each: impl FnMut(Block),
    ) -> Result<u64> {
        let (mut drawn, mut fresh) = (0, 0);
        while drawn < wanted {
            if class.partial == SEG_NONE && class.spare != SEG_NONE {
                let spare = std::mem::replace(&mut class.spare, SEG_NONE);
                link(space, &mut class.partial, spare);
            }
            if class.partial == SEG_NONE && (drawn != 0 || !self.take_segment(space, class)?) {
                break;
            }
            let segment = class.partial;
            drawn += unmap(space, segment, &class.layout, wanted - drawn, &mut each);
            let carved = carve(space, segment, &class.layout, wanted - drawn, &mut each);
            drawn += carved;
            fresh += u64::from(carved);
            if !header_of(space, segment).is_full(&class.layout) {
                break;
            }
            unlink(space, &mut class.partial, segment);
            link(space, &mut class.full, segment);
        }
        Ok(fresh)
    }

    /// Puts free blocks of the class back into their segments.
    pub(super) fn put_back<S: SegmentSource>(
        &self,
        space: &S,
        class: &mut Class,
        blocks: impl IntoIterator<Item = Block>,
    ) {
        let mut blocks = blocks.into_iter();
        let mut next = blocks.next();
        while let Some(first) = next {
            let segment = first.segment(space);
            let header = header_of(space, segment);
            if header.is_full(&class.layout) {
                unlink(space, &mut class.full, segment);
                link(space, &mut class.partial, segment);
            }
            next = map(space, segment, &class.layout, first, &mut blocks);
            if header.is_empty() {
                unlink(space, &mut class.partial, segment);
                if class.spare == SEG_NONE {
                    class.spare = segment;
                } else {
                    self.give_segment(space, class, segment);
                }
            }
        }
    }

    /// Gives the class's spare segment back.
    pub(super) fn give_spare<S: SegmentSource>(&self, space: &S, class: &mut Class) {
        let spare = std::mem::replace(&mut class.spare, SEG_NONE);
        if spare != SEG_NONE {
            self.give_segment(space, class, spare);
        }
    }

    /// Takes a segment for the class; false if the limit is reached.
    fn take_segment<S: SegmentSource>(&self, space: &S, class: &mut Class) -> Result<bool> {
        let Some(segment) = space.take_raw_segment()? else { return Ok(false) };
        space.hold(self.seg_mask + 1);
        self.segments.fetch_add(1, Ordering::Relaxed);
        found(space, segment, &class.layout);
        class.segments += 1;
        link(space, &mut class.partial, segment);
        Ok(true)
    }

    /// Gives a segment back that is on no list and has no block in use.
    fn give_segment<S: SegmentSource>(&self, space: &S, class: &mut Class, segment: u32) {
        let blocks = dissolve(space, segment);
        self.discarded.fetch_add(u64::from(blocks), Ordering::Relaxed);
        self.segments.fetch_sub(1, Ordering::Relaxed);
        class.segments -= 1;
        space.give_raw_segment(segment);
        space.unhold(self.seg_mask + 1);
    }
}
