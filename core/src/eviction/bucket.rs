//! Buckets of eight words, half a cache line each: what tables of ghosts are made of.
//!
//! A fingerprint has one bucket, chosen by its high bits; the number of buckets need not be a power
//! of two. The high bits of a word are a *tag*, low bits of the fingerprint; what the bits below
//! it say is the table's business. An empty word is 0.

use crate::memory::racy;

/// Words in a bucket.
pub(super) const BUCKET: usize = 8;

/// Words of memory for so many ghosts: whole buckets.
pub(super) fn words(ghosts: u64) -> usize {
    let most = usize::MAX as u64 / 64;
    ghosts.min(most).next_multiple_of(BUCKET as u64) as usize
}

/// Asks the processor for the bucket of this fingerprint.
#[inline(always)]
pub(super) fn prefetch(memory: &[u32], fingerprint: u32) {
    if let Some(bucket) = bucket(memory, fingerprint) {
        racy::prefetch(bucket.as_ptr().cast());
    }
}

#[inline]
fn first(len: usize, fingerprint: u32) -> usize {
    let buckets = (len / BUCKET) as u64;
    // Beyond 2^32 buckets only the first ones are used: 128 GiB of ghosts in one shard.
    ((u64::from(fingerprint) * buckets.min(1 << 32)) >> 32) as usize * BUCKET
}

#[inline]
fn bucket(memory: &[u32], fingerprint: u32) -> Option<&[u32]> {
    let first = first(memory.len(), fingerprint);
    memory.get(first..first + BUCKET)
}

/// The bucket of this fingerprint; `None` where there is no memory.
#[inline]
pub(super) fn bucket_mut(memory: &mut [u32], fingerprint: u32) -> Option<&mut [u32; BUCKET]> {
    let first = first(memory.len(), fingerprint);
    memory.get_mut(first..)?.first_chunk_mut()
}

/// Bit i is set where word i has the tag of `wanted`: the bits from `BELOW` on.
#[inline(always)]
pub(super) fn same_tags<const BELOW: i32>(bucket: &[u32; BUCKET], wanted: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of x86_64, and both loads lie inside the bucket.
    unsafe {
        use std::arch::x86_64::{
            _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_ps, _mm_set1_epi32,
            _mm_srli_epi32, _mm_xor_si128,
        };
        let wanted = _mm_set1_epi32(wanted.cast_signed());
        let half = |at: usize| {
            let words = _mm_loadu_si128(bucket.as_ptr().add(at).cast());
            let other = _mm_srli_epi32::<BELOW>(_mm_xor_si128(words, wanted));
            let same = _mm_cmpeq_epi32(other, _mm_set1_epi32(0));
            _mm_movemask_ps(_mm_castsi128_ps(same)).cast_unsigned()
        };
        half(0) | half(4) << 4
    }
    #[cfg(not(target_arch = "x86_64"))]
    bucket
        .iter()
        .enumerate()
        .fold(0, |same, (at, word)| same | u32::from((word ^ wanted) >> BELOW == 0) << at)
}
