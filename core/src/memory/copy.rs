//! Copies of a few bytes without a call.
//!
//! A call of `memcpy` costs as much as copying a short key does. Lengths that are common go as
//! pieces that overlap where the length is no multiple of theirs.

/// Copies bytes that do not overlap; made for values: 32 to 64 bytes go without a call.
///
/// # Safety
/// `len` bytes at `from` are readable, `len` bytes at `to` writable, and the two do not overlap.
#[inline(always)]
pub unsafe fn value(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len.wrapping_sub(32) <= 32 {
        use std::arch::x86_64::{_mm_loadu_si128, _mm_storeu_si128};
        // SAFETY: SSE2 is part of x86_64; with 32 <= len <= 64 the four pieces lie inside the
        // ranges that the caller promises.
        unsafe {
            let (from_end, to_end) = (from.add(len - 32), to.add(len - 32));
            let first = _mm_loadu_si128(from.cast());
            let second = _mm_loadu_si128(from.add(16).cast());
            let third = _mm_loadu_si128(from_end.cast());
            let fourth = _mm_loadu_si128(from_end.add(16).cast());
            _mm_storeu_si128(to.cast(), first);
            _mm_storeu_si128(to.add(16).cast(), second);
            _mm_storeu_si128(to_end.cast(), third);
            _mm_storeu_si128(to_end.add(16).cast(), fourth);
        }
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
}

/// [`value`], made for keys: 8 to 16 bytes go without a call.
///
/// # Safety
/// As [`value`].
#[inline(always)]
pub unsafe fn key(from: *const u8, to: *mut u8, len: usize) {
    if len.wrapping_sub(8) <= 8 {
        // SAFETY: with 8 <= len <= 16 both pieces lie inside the ranges that the caller promises.
        unsafe {
            let first = from.cast::<u64>().read_unaligned();
            let last = from.add(len - 8).cast::<u64>().read_unaligned();
            to.cast::<u64>().write_unaligned(first);
            to.add(len - 8).cast::<u64>().write_unaligned(last);
        }
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_length() {
        let from: Vec<u8> = (1..=200).collect();
        for len in 0..=200 {
            for copy in [super::value, super::key] {
                let mut to = vec![0; 201];
                // SAFETY: both buffers are longer than `len`.
                unsafe { copy(from.as_ptr(), to.as_mut_ptr(), len) };
                assert_eq!(to[..len], from[..len]);
                assert!(to[len..].iter().all(|&byte| byte == 0));
            }
        }
    }
}
