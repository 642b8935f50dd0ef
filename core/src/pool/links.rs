//! Doubly linked lists through the tables: no memory of their own, every step O(1).
//!
//! All lists are changed under the pool's lock; the links are atomics because readers may look at
//! other fields of the same entries meanwhile.

use super::tables::{ChunkMeta, RunMeta, SEG_NONE, SegMeta};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// An entry that can be in a list.
pub(super) trait Linked {
    fn prev(&self) -> &AtomicU32;
    fn next(&self) -> &AtomicU32;
}

macro_rules! linked {
    ($($entry:ty),*) => {$(
        impl Linked for $entry {
            fn prev(&self) -> &AtomicU32 {
                &self.prev
            }
            fn next(&self) -> &AtomicU32 {
                &self.next
            }
        }
    )*};
}
linked!(SegMeta, RunMeta, ChunkMeta);

/// Both ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub head: u32,
    pub tail: u32,
}

impl List {
    pub const EMPTY: Self = Self { head: SEG_NONE, tail: SEG_NONE };

    pub fn push_front<'a, L: Linked + 'a>(&mut self, id: u32, at: impl Fn(u32) -> &'a L) {
        let entry = at(id);
        entry.prev().store(SEG_NONE, Relaxed);
        entry.next().store(self.head, Relaxed);
        if self.head == SEG_NONE {
            self.tail = id;
        } else {
            at(self.head).prev().store(id, Relaxed);
        }
        self.head = id;
    }

    pub fn push_back<'a, L: Linked + 'a>(&mut self, id: u32, at: impl Fn(u32) -> &'a L) {
        let entry = at(id);
        entry.next().store(SEG_NONE, Relaxed);
        entry.prev().store(self.tail, Relaxed);
        if self.tail == SEG_NONE {
            self.head = id;
        } else {
            at(self.tail).next().store(id, Relaxed);
        }
        self.tail = id;
    }

    pub fn remove<'a, L: Linked + 'a>(&mut self, id: u32, at: impl Fn(u32) -> &'a L) {
        let (prev, next) = (at(id).prev().load(Relaxed), at(id).next().load(Relaxed));
        if prev == SEG_NONE {
            self.head = next;
        } else {
            at(prev).next().store(next, Relaxed);
        }
        if next == SEG_NONE {
            self.tail = prev;
        } else {
            at(next).prev().store(prev, Relaxed);
        }
    }

    pub fn pop_front<'a, L: Linked + 'a>(&mut self, at: impl Fn(u32) -> &'a L) -> Option<u32> {
        let id = self.head;
        if id == SEG_NONE {
            return None;
        }
        self.remove(id, at);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(AtomicU32, AtomicU32);

    impl Linked for Entry {
        fn prev(&self) -> &AtomicU32 {
            &self.0
        }
        fn next(&self) -> &AtomicU32 {
            &self.1
        }
    }

    #[test]
    fn entries_come_and_go_at_both_ends_and_between() {
        let table: Vec<_> = (0..5).map(|_| Entry(AtomicU32::new(9), AtomicU32::new(9))).collect();
        let at = |id: u32| &table[id as usize];
        let mut list = List::EMPTY;
        list.push_back(1, at);
        list.push_front(0, at);
        list.push_back(2, at);
        list.remove(1, at);
        list.push_front(3, at);
        assert_eq!(list.pop_front(at), Some(3));
        assert_eq!(list.pop_front(at), Some(0));
        assert_eq!(list.pop_front(at), Some(2));
        assert_eq!(list.pop_front(at), None);
        assert_eq!(list, List::EMPTY);
    }
}
