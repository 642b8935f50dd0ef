//! Waiting for another thread, in the C library's and the kernel's own terms.
//!
//! What the standard library and parking_lot offer for this keeps something for each thread that
//! waits, with a destructor to run at the thread's end; registering one allocates, and glibc ends
//! the process where it cannot. A condition and an event need nothing but a word each (Drepper,
//! "Futexes are tricky"), and a thread that runs in the library's name is made by the C library.

use super::host;
use super::lock::FutexGuard;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Sleeps while the word holds `seen`, at most until `deadline`. May return early.
pub fn sleep(word: &AtomicU32, seen: u32, deadline: Option<Instant>) {
    let left = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        libc::timespec {
            tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(left.subsec_nanos().cast_signed()),
        }
    });
    // SAFETY: word and timeout outlive the call; the kernel only reads them.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            seen,
            left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
        );
    }
}

/// Wakes at most so many of those that sleep on the word.
pub fn wake(word: &AtomicU32, most: i32) {
    // SAFETY: the kernel takes the address as a key and does not write to it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            most,
        );
    }
}

/// Something under a lock may have changed. The word counts the changes told.
#[derive(Debug, Default)]
pub struct Condition(AtomicU32);

impl Condition {
    /// One that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Gives the lock up until [`Condition::notify_all`] is called, or `deadline` is past, or for
    /// no reason; look again at what you wait for.
    pub fn wait<T: ?Sized>(&self, guard: &mut FutexGuard<'_, T>, deadline: Option<Instant>) {
        // Read under the lock: a change that is made after this look counts on afterwards.
        let seen = self.0.load(Ordering::Relaxed);
        FutexGuard::unlocked(guard, || sleep(&self.0, seen, deadline));
    }

    /// Wakes all who wait. Call it after the change was made under the lock.
    pub fn notify_all(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        wake(&self.0, i32::MAX);
    }
}

/// One bit that one thread waits for, and any may set without a lock.
#[derive(Debug, Default)]
pub struct Event(AtomicU32);

const CLEAR: u32 = 0;
const SET: u32 = 1;
const ASLEEP: u32 = 2;

impl Event {
    /// A clear one.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(CLEAR))
    }

    /// Sets it. What was done before is seen by whoever [`Event::wait`] lets go on.
    pub fn set(&self) {
        if self.0.swap(SET, Ordering::SeqCst) == ASLEEP {
            wake(&self.0, 1);
        }
    }

    /// Waits until it is set, and clears it. One thread only.
    pub fn wait(&self) {
        let exchange =
            |from, to| self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        while exchange(SET, CLEAR).is_err() {
            // Fails where it was set just now, or is marked already; then so does the sleep.
            let _ = exchange(CLEAR, ASLEEP);
            sleep(&self.0, ASLEEP, None);
        }
    }
}

/// What a thread of the library's own does.
pub trait Run: Sync + 'static {
    /// Its name, as the system's tools show it; up to 15 bytes.
    const NAME: &'static CStr;
    /// Does it. Where this returns or unwinds, the thread ends.
    fn run(&'static self);
}

/// Bytes of its stack: what the standard library gives its own.
const STACK_BYTES: usize = 2 << 20;

/// Has `what` run on a thread of its own, which nobody joins. Fails with the system's error number;
/// nothing is run then.
pub fn start_thread<R: Run>(what: &'static R) -> Result<(), i32> {
    extern "C" fn begin<R: Run>(what: *mut c_void) -> *mut c_void {
        // SAFETY: a short name that ends with a zero byte; the call copies it.
        unsafe { libc::prctl(libc::PR_SET_NAME, R::NAME.as_ptr()) };
        // SAFETY: made from a `&'static R` below, and `R` may be used by any thread.
        let what = unsafe { &*what.cast_const().cast::<R>() };
        // Nothing may unwind from here; nobody is left to be told.
        let _ = host::call(|| what.run());
        std::ptr::null_mut()
    }
    let mut how = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let context = std::ptr::from_ref(what).cast_mut().cast::<c_void>();
    // SAFETY: the attributes are initialized before they are used and destroyed last; the thread's
    // number is written only; `begin` is given what it expects, and never unwinds.
    let refused = unsafe {
        let mut refused = libc::pthread_attr_init(how.as_mut_ptr());
        if refused == 0 {
            libc::pthread_attr_setdetachstate(how.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
            libc::pthread_attr_setstacksize(how.as_mut_ptr(), STACK_BYTES);
            refused = libc::pthread_create(thread.as_mut_ptr(), how.as_ptr(), begin::<R>, context);
            libc::pthread_attr_destroy(how.as_mut_ptr());
        }
        refused
    };
    if refused == 0 { Ok(()) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use super::super::lock::FutexMutex;
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_condition_wakes_all_and_minds_the_time() {
        let shared = Arc::new((FutexMutex::new(0_u32), Condition::default()));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let mut round = shared.0.lock();
                    while *round < 100 {
                        shared.1.wait(&mut round, None);
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            *shared.0.lock() += 1;
            shared.1.notify_all();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let deadline = Instant::now() + Duration::from_millis(5);
        let mut round = shared.0.lock();
        while Instant::now() < deadline {
            shared.1.wait(&mut round, Some(deadline));
        }
        assert_eq!(*round, 100);
    }

    struct Echo {
        asked: Event,
        told: Event,
    }

    impl Run for Echo {
        const NAME: &'static CStr = c"hypercache-echo";

        fn run(&'static self) {
            for _ in 0..1_000 {
                self.asked.wait();
                self.told.set();
            }
            panic!("as the test wants it");
        }
    }

    #[test]
    fn no_event_is_lost() {
        static ECHO: Echo = Echo { asked: Event::new(), told: Event::new() };
        start_thread(&ECHO).unwrap();
        for _ in 0..1_000 {
            ECHO.asked.set();
            ECHO.told.wait();
        }
        ECHO.asked.set();
        // Set twice is set once.
        ECHO.asked.set();
        ECHO.asked.wait();
    }
}
