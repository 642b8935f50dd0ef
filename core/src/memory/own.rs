//! A word of each thread's own: where its seat is.
//!
//! What the language offers for this is, in a shared library, reached by a call, around which
//! nothing stays in registers; and the first such call of a thread may have to allocate, which ends
//! the process when there is no memory. This word is in the *initial-exec* model (Drepper, "ELF
//! Handling For Thread-Local Storage"): its place is an offset from the thread pointer that the
//! dynamic linker finds out once, two instructions that need no memory. The library's few
//! thread-local words then come out of the space that the C library sets aside in every thread for
//! this; glibc has more than a kilobyte for all libraries that are loaded late.
//!
//! Where there is no assembly for it, the language's way has to do.

use super::guard::Seat;

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", not(miri)))]
mod place {
    use super::super::guard::{NOBODY, Seat};
    use std::arch::{asm, global_asm};

    /// The word's symbol, which is this version's own. A test of this crate may be linked with the
    /// crate itself, and must not share it.
    #[cfg(not(test))]
    macro_rules! word {
        () => {
            concat!("hypercache_core_own_seat_", env!("CARGO_PKG_VERSION"))
        };
    }
    #[cfg(test)]
    macro_rules! word {
        () => {
            concat!("hypercache_core_own_seat_in_test_", env!("CARGO_PKG_VERSION"))
        };
    }

    global_asm!(
        ".pushsection .tdata,\"awT\",@progbits",
        ".balign 8",
        concat!(".globl \"", word!(), "\""),
        concat!(".hidden \"", word!(), "\""),
        concat!(".type \"", word!(), "\", @object"),
        concat!(".size \"", word!(), "\", 8"),
        concat!("\"", word!(), "\":"),
        ".quad {nobody}",
        ".popsection",
        nobody = sym NOBODY,
    );

    #[inline(always)]
    pub fn get() -> &'static Seat {
        let seat: *const Seat;
        // SAFETY: loads the word above, which is there and initialized in every thread.
        unsafe {
            asm!(
                concat!("mov {seat}, qword ptr [rip + \"", word!(), "\"@GOTTPOFF]"),
                "mov {seat}, qword ptr fs:[{seat}]",
                seat = out(reg) seat,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        // SAFETY: the word holds a `&'static Seat` always: NOBODY's, or what `set` was given.
        unsafe { &*seat }
    }

    pub fn set(seat: &'static Seat) {
        // SAFETY: stores to the word above, which is this thread's alone.
        unsafe {
            asm!(
                concat!("mov {at}, qword ptr [rip + \"", word!(), "\"@GOTTPOFF]"),
                "mov qword ptr fs:[{at}], {seat}",
                at = out(reg) _,
                seat = in(reg) std::ptr::from_ref(seat),
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", not(miri))))]
mod place {
    use super::super::guard::{NOBODY, Seat};
    use std::cell::Cell;

    thread_local! {
        static SEAT: Cell<&'static Seat> = const { Cell::new(&NOBODY) };
    }

    #[inline(always)]
    pub fn get() -> &'static Seat {
        SEAT.get()
    }

    pub fn set(seat: &'static Seat) {
        SEAT.set(seat);
    }
}

/// The word. Needs no destructor.
pub(super) struct Own;

impl Own {
    /// The calling thread's seat, or nobody's.
    #[inline(always)]
    pub fn get(&self) -> &'static Seat {
        place::get()
    }

    /// Makes `seat` the calling thread's.
    pub fn set(&self, seat: &'static Seat) {
        place::set(seat);
    }

    /// Makes `seat` the calling thread's; returns the one before.
    pub fn replace(&self, seat: &'static Seat) -> &'static Seat {
        let before = self.get();
        self.set(seat);
        before
    }
}
