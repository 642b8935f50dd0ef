//! Where the library says what went wrong: nowhere, until the host gives it a logger.
//!
//! A library inside somebody's process does not write to its standard error. Faults and warnings
//! go to one logger for the process, given by the host, silent by default.
//!
//! Replacing the logger must return only when no call of the old one runs any more, since what it
//! captured goes away then. There are two static places for a logger, used in turn; a call counts
//! itself in the place *before* it checks that the place is open, and whoever replaces closes the
//! place before it reads the count: one of the two sees the other, and no lock is held while the
//! logger runs. No lock at all is what keeps a forked child going, too: a count that belonged to
//! threads of the parent is wiped when the child first sets a logger.

use crate::memory::host;
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// How serious a message is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A fault: please report it.
    Error,
    /// Something the host should know about.
    Warn,
    /// Something a curious person may want to know.
    Info,
}

/// What takes the messages.
pub type Logger = Box<dyn Fn(Severity, &str) + Send + Sync>;

/// No logger is in force.
const NOBODY: usize = usize::MAX;

struct Place {
    /// Calls that may be running here.
    running: AtomicU32,
    /// 1 while calls may start here.
    open: AtomicU32,
    logger: UnsafeCell<Option<Logger>>,
}

// SAFETY: `logger` is written only by the holder of `SETTING` while the place is closed and nobody
// is counted in it, and read only by those who are counted in it and then found it open.
unsafe impl Sync for Place {}

impl Place {
    const fn new() -> Self {
        Self { running: AtomicU32::new(0), open: AtomicU32::new(0), logger: UnsafeCell::new(None) }
    }
}

static PLACES: [Place; 2] = [Place::new(), Place::new()];
static CURRENT: AtomicUsize = AtomicUsize::new(NOBODY);
/// The most verbose severity asked for, plus one; 0: silent.
static VERBOSITY: AtomicU8 = AtomicU8::new(0);
static SETTING: ForkLock = ForkLock::new();
/// The process whose calls `Place::running` counts.
static COUNTED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Sends messages up to `max` to `logger` from now on; `None` is silence again.
///
/// Returns once no call of the old logger is running, and drops it. From inside a logger this
/// does nothing, because it could never return: the old one stays, the new one is dropped.
pub fn set_logger(logger: Option<Logger>, max: Severity) {
    if INSIDE.with(Cell::get) {
        return;
    }
    let guard = SETTING.lock();
    let me = std::process::id();
    if COUNTED.swap(me, Ordering::Relaxed) != me {
        for place in &PLACES {
            // Calls of the parent's threads, which do not exist here.
            place.running.store(0, Ordering::SeqCst);
        }
    }
    VERBOSITY.store(0, Ordering::Relaxed);
    let old = CURRENT.swap(NOBODY, Ordering::SeqCst);
    let dropped = PLACES.get(old).and_then(|place| {
        place.open.store(0, Ordering::SeqCst);
        while place.running.load(Ordering::SeqCst) != 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        // SAFETY: the place is closed and nobody is counted in it, so nobody reads it; `SETTING`
        // is held, so nobody else writes it.
        unsafe { (*place.logger.get()).take() }
    });
    if let Some(logger) = logger {
        let next = usize::from(old == 0);
        let place = &PLACES[next];
        // A call that was late may still be counted here for an instant, on its way out.
        while place.running.load(Ordering::SeqCst) != 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        // SAFETY: the place has been closed since its logger was taken out of it, so that whoever
        // counts itself here now leaves without reading; `SETTING` is held.
        unsafe { *place.logger.get() = Some(logger) };
        place.open.store(1, Ordering::SeqCst);
        CURRENT.store(next, Ordering::SeqCst);
        VERBOSITY.store(max as u8 + 1, Ordering::Relaxed);
    }
    drop(guard);
    // Last, and without the lock: it is the host's code.
    let _ = host::call(move || drop(dropped));
}

/// Whether anybody listens to `severity`; spares the making of a message that nobody wants.
#[must_use]
pub fn enabled(severity: Severity) -> bool {
    (severity as u8) < VERBOSITY.load(Ordering::Relaxed)
}

/// Reports `message`. Hold no lock that the host could wait for.
///
/// What a logger itself causes to be reported is dropped, and so is its panic.
pub fn log(severity: Severity, message: &str) {
    if !enabled(severity) || INSIDE.with(Cell::get) {
        return;
    }
    let Some(place) = PLACES.get(CURRENT.load(Ordering::SeqCst)) else {
        return;
    };
    place.running.fetch_add(1, Ordering::SeqCst);
    if place.open.load(Ordering::SeqCst) == 1 {
        // SAFETY: counted first and found open afterwards: whoever closes the place waits for the
        // count, so the logger stays where it is until this call has left.
        if let Some(logger) = unsafe { (*place.logger.get()).as_ref() } {
            INSIDE.with(|inside| inside.set(true));
            let _ = host::call(|| logger(severity, message));
            INSIDE.with(|inside| inside.set(false));
        }
    }
    place.running.fetch_sub(1, Ordering::SeqCst);
}

/// A lock for rare, short work whose holder is a process: a forked child takes over what another
/// thread of its parent held at that moment.
pub(crate) struct ForkLock(AtomicU32);

impl ForkLock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn lock(&self) -> ForkGuard<'_> {
        let me = std::process::id();
        loop {
            let holder = self.0.load(Ordering::Relaxed);
            if holder != me
                && self
                    .0
                    .compare_exchange_weak(holder, me, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return ForkGuard(self);
            }
            std::thread::yield_now();
        }
    }
}

pub(crate) struct ForkGuard<'a>(&'a ForkLock);

impl Drop for ForkGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// The logger is the process's: what tests it runs as one test.
    #[test]
    fn replaced_only_when_idle_and_silent_by_default() {
        assert!(!enabled(Severity::Error));
        log(Severity::Error, "nobody hears this");

        let heard = Arc::new(AtomicU32::new(0));
        let counter = heard.clone();
        set_logger(
            Some(Box::new(move |severity, text| {
                assert!(severity <= Severity::Warn);
                counter.fetch_add(u32::try_from(text.len()).unwrap(), Ordering::SeqCst);
                // Neither may recurse nor hang.
                log(Severity::Error, "from inside");
                set_logger(None, Severity::Error);
            })),
            Severity::Warn,
        );
        log(Severity::Info, "too verbose");
        log(Severity::Warn, "abc");
        log(Severity::Error, "de");
        assert_eq!(heard.load(Ordering::SeqCst), 5);

        set_logger(Some(Box::new(|_, _| panic!("a logger that panics"))), Severity::Info);
        assert_eq!(Arc::strong_count(&heard), 1);
        log(Severity::Info, "survives");
        set_logger(Some(Box::new(|_, _| host::throw_twice())), Severity::Info);
        log(Severity::Info, "survives what the payload does");

        for _ in 0..50 {
            struct Dropped(Arc<AtomicBool>, Arc<AtomicBool>);
            impl Drop for Dropped {
                fn drop(&mut self) {
                    assert!(!self.1.load(Ordering::SeqCst), "dropped while it runs");
                    self.0.store(true, Ordering::SeqCst);
                }
            }
            let (gone, busy) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let held = Dropped(gone.clone(), busy);
            set_logger(
                Some(Box::new(move |_, _| {
                    held.1.store(true, Ordering::SeqCst);
                    std::thread::yield_now();
                    held.1.store(false, Ordering::SeqCst);
                })),
                Severity::Info,
            );
            let talker = std::thread::spawn(|| {
                for _ in 0..100 {
                    log(Severity::Info, "talk");
                }
            });
            std::thread::yield_now();
            set_logger(None, Severity::Error);
            assert!(gone.load(Ordering::SeqCst));
            talker.join().unwrap();
        }
    }
}
