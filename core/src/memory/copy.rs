//! Copies of a few bytes without a call.
//!
//! A call of `memcpy` costs as much as copying a short key does. Lengths that are common go as
//! pieces that overlap where the length is no multiple of theirs.

/// Copies bytes that do not overlap; made for values: 32 to 512 bytes go without a call.
///
/// # Safety
/// `len` bytes at `from` are readable, `len` bytes at `to` writable, and the two do not overlap.
#[inline(always)]
pub unsafe fn value(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        if len.wrapping_sub(32) <= 32 {
            // SAFETY: with 32 <= len <= 64 both halves lie inside the ranges that the caller
            // promises.
            unsafe {
                let (first, last) = (load_32(from), load_32(from.add(len - 32)));
                store_32(to, first);
                store_32(to.add(len - 32), last);
            }
            return;
        }
        if len.wrapping_sub(64) <= 448 {
            // SAFETY: every piece begins at least 32 bytes before the end of the ranges that the
            // caller promises.
            unsafe {
                let last = load_32(from.add(len - 32));
                let mut at = 0;
                while at < len - 32 {
                    store_32(to.add(at), load_32(from.add(at)));
                    at += 32;
                }
                store_32(to.add(len - 32), last);
            }
            return;
        }
    }
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
}

#[cfg(target_arch = "x86_64")]
type Piece = [std::arch::x86_64::__m128i; 2];

/// # Safety
/// 32 bytes at `from` are readable.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_32(from: *const u8) -> Piece {
    // SAFETY: SSE2 is part of x86_64; the caller's promise.
    unsafe {
        [
            std::arch::x86_64::_mm_loadu_si128(from.cast()),
            std::arch::x86_64::_mm_loadu_si128(from.add(16).cast()),
        ]
    }
}

/// # Safety
/// 32 bytes at `to` are writable.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn store_32(to: *mut u8, piece: Piece) {
    // SAFETY: SSE2 is part of x86_64; the caller's promise.
    unsafe {
        std::arch::x86_64::_mm_storeu_si128(to.cast(), piece[0]);
        std::arch::x86_64::_mm_storeu_si128(to.add(16).cast(), piece[1]);
    }
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
        let from: Vec<u8> = (0..700_u32).map(|i| (i % 255 + 1) as u8).collect();
        for len in 0..=from.len() {
            for copy in [super::value, super::key] {
                let mut to = vec![0; from.len() + 1];
                // SAFETY: both buffers are longer than `len`.
                unsafe { copy(from.as_ptr(), to.as_mut_ptr(), len) };
                assert_eq!(to[..len], from[..len]);
                assert!(to[len..].iter().all(|&byte| byte == 0));
            }
        }
    }
}
