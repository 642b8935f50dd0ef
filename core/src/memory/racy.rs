//! Loads that race with writers by design.
//!
//! Rust's memory model has no atomic vector load, and gives a plain load that races no meaning.
//! These loads are therefore made where it has no say: in assembly. What they return is only a
//! hint: a match of tags is checked by an atomic load of the slot, and what [`touch`] reads is
//! thrown away.

/// Bit i is set where `words[i] & mask == wanted`, for 16 half-words (32 bytes) at `words`.
///
/// # Safety
/// 32 bytes at `words` must be mapped and readable.
#[inline(always)]
#[must_use]
pub unsafe fn match_u16x16(words: *const u8, mask: u16, wanted: u16) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::asm;
        use std::arch::x86_64::{
            __m128i, _mm_and_si128, _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_set1_epi16,
        };
        let (low, high): (__m128i, __m128i);
        // SAFETY: the caller promises that 32 bytes are readable; the instructions load only.
        unsafe {
            asm!(
                "movdqu {low}, [{words}]",
                "movdqu {high}, [{words} + 16]",
                words = in(reg) words,
                low = out(xmm_reg) low,
                high = out(xmm_reg) high,
                options(nostack, preserves_flags, readonly)
            );
        }
        // SAFETY: SSE2 is part of x86_64.
        unsafe {
            let mask = _mm_set1_epi16(mask.cast_signed());
            let wanted = _mm_set1_epi16(wanted.cast_signed());
            let low = _mm_cmpeq_epi16(_mm_and_si128(low, mask), wanted);
            let high = _mm_cmpeq_epi16(_mm_and_si128(high, mask), wanted);
            _mm_movemask_epi8(_mm_packs_epi16(low, high)).cast_unsigned()
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        let words = words.cast::<std::sync::atomic::AtomicU16>();
        let mut bits = 0;
        for i in 0..16 {
            // SAFETY: the caller promises that 32 bytes are readable, and each half-word is only
            // ever accessed as an atomic.
            let word = unsafe { &*words.add(i) }.load(std::sync::atomic::Ordering::Relaxed);
            bits |= u32::from(word & mask == wanted) << i;
        }
        bits
    }
}

/// Waits until the byte at `place` is in the cache, and discards it.
///
/// # Safety
/// The byte must be mapped and readable; it may be written by others meanwhile.
#[inline(always)]
pub unsafe fn touch(place: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller promises that the byte is readable; the instruction only loads.
    unsafe {
        std::arch::asm!(
            "movzx {scratch:e}, byte ptr [{place}]",
            place = in(reg) place,
            scratch = out(reg) _,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

/// Asks for the cache line at `place`; does nothing where the architecture has no such hint.
#[inline(always)]
pub fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
