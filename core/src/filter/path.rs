//! Making room: a path of fingerprints that each move to their other bucket.
//!
//! The path is sought before anything moves, breadth first (MemC3, NSDI'13, and Li et al.,
//! EuroSys'14): the shortest there is, at most [`HOPS`] moves, and when there is none within
//! [`NODES`] buckets nothing has happened. It is walked from its end: each fingerprint is in its
//! new slot before the old one is overwritten, so every key can be found at every moment, at one of
//! the two places or both.
//!
//! The tree needs no links. Each node has four children, so the parent of node `i` is `(i - 2) / 4`
//! and its slot there `(i - 2) % 4`.

use super::shape::{Place, SLOTS};
use super::table::Table;
use std::mem::MaybeUninit;

/// Buckets that are looked at.
const NODES: usize = 2_048;
/// Moves of the longest path: 2, 8, 32, 128, 512 and some of 2,048 nodes.
pub const HOPS: u32 = 5;
/// Stands for a bucket that is on its own path already.
const NOWHERE: u64 = u64::MAX;
const FANOUT: usize = SLOTS as usize;

/// Frees a slot of one of the place's buckets and fills it. The number of moves, or `None`: there
/// is no path, and nothing was changed. What `begin` returns lives while things move.
pub fn make_room<G>(table: &Table, place: Place, begin: impl FnOnce() -> G) -> Option<u32> {
    let lens = table.lens();
    let mut nodes = [const { MaybeUninit::<u64>::uninit() }; NODES];
    let mut len = 0;
    let mut push = |nodes: &mut [MaybeUninit<u64>; NODES], bucket: u64| {
        nodes[len].write(bucket);
        len += 1;
        len
    };
    push(&mut nodes, place.buckets()[0]);
    let mut known = push(&mut nodes, place.buckets()[1]);
    let mut at = 0;
    while at < known {
        // SAFETY: the first `known` nodes were written.
        let bucket = unsafe { nodes[at].assume_init() };
        if bucket != NOWHERE {
            let slots = lens.bucket(bucket);
            if let Some(slot) = slots.iter().position(|&fingerprint| fingerprint == 0) {
                // SAFETY: as above; `at` and all its ancestors are below `known`.
                let path = |node: usize| unsafe { nodes[node].assume_init() };
                let _moving = begin();
                return Some(walk(table, place.fingerprint, at, slot, path));
            }
            if known + FANOUT <= NODES {
                for fingerprint in slots {
                    let other = table.shape().other(bucket, fingerprint);
                    // SAFETY: as above.
                    let path = |node: usize| unsafe { nodes[node].assume_init() };
                    if is_on_path(other, at, path) {
                        known = push(&mut nodes, NOWHERE);
                    } else {
                        lens.prefetch(other);
                        known = push(&mut nodes, other);
                    }
                }
            }
        } else if known + FANOUT <= NODES {
            for _ in 0..FANOUT {
                known = push(&mut nodes, NOWHERE);
            }
        }
        at += 1;
    }
    None
}

/// Whether a bucket is that of a node or of one of its ancestors.
fn is_on_path(bucket: u64, mut node: usize, path: impl Fn(usize) -> u64) -> bool {
    loop {
        if path(node) == bucket {
            return true;
        }
        if node < 2 {
            return false;
        }
        node = (node - 2) / FANOUT;
    }
}

/// Moves everything along the path to `node`, in which `slot` is empty, and puts the new
/// fingerprint at its beginning. Buckets on a path are all different, so what a node's slot held
/// when the path was found it still holds.
fn walk(
    table: &Table,
    fingerprint: u64,
    mut node: usize,
    mut slot: usize,
    path: impl Fn(usize) -> u64,
) -> u32 {
    let mut moves = 0;
    let bucket = path(node);
    // Counts one more slot in use; what is in it is written below.
    table.fill(bucket, slot, 0);
    loop {
        let bucket = path(node);
        if node < 2 {
            table.put(bucket, slot, fingerprint);
            debug_assert!(moves <= HOPS);
            return moves;
        }
        let (parent, from) = ((node - 2) / FANOUT, (node - 2) % FANOUT);
        let moving = table.lens().bucket(path(parent))[from];
        table.put(bucket, slot, moving);
        (node, slot) = (parent, from);
        moves += 1;
    }
}
