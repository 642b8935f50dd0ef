//! Callbacks that are told of changes of a pool's pressure level.
//!
//! One thread a process, the *notifier*, calls them all. It is started by the first watch, never
//! before, and lives as long as the process; a watch and the notifier's stack are the only memory
//! of the engine on the process's heap that is made after a pool was opened, and only when a watch
//! is asked for. A change of level wakes it without a lock: it may happen anywhere, also under the
//! locks of the engine.
//!
//! Invariants:
//! - One call at a time for a watch, never with a lock held. Only changes are told; several
//!   changes before the call are told as one, with the latest level.
//! - [`Watch::cancel`] returns when no call runs any more, and its callback has been dropped then;
//!   from inside the callback itself it returns at once, and the callback is dropped after it has
//!   returned.
//! - A callback is dropped exactly once. One that panics is reported and called again next time.
//! - A forked child has no notifier. The first watch made there starts one; watches it inherited
//!   are forgotten, not dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;

use parking_lot::{Condvar, Mutex};

use super::pressure::PressureGauge;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{ForkLock, Severity, log};
use crate::types::Pressure;

/// What a callback is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureEvent {
    /// The level now.
    pub level: Pressure,
    /// Bytes charged to the pool.
    pub used_bytes: u64,
    /// Its limit in force.
    pub limit_bytes: u64,
}

/// A pool as the notifier sees it.
pub(crate) trait PressureSource: Send + Sync {
    /// Its gauge.
    fn gauge(&self) -> &PressureGauge;
    /// Used bytes and the limit in force.
    fn used_and_limit(&self) -> (u64, u64);
}

/// What is called.
pub type Callback = Box<dyn FnMut(PressureEvent) + Send>;

struct Notifier {
    process: u32,
    thread: OnceLock<Thread>,
    pending: AtomicBool,
    entries: Mutex<Vec<Arc<Entry>>>,
}

struct Entry {
    source: Weak<dyn PressureSource>,
    state: Mutex<State>,
    idle: Condvar,
}

struct State {
    /// Taken out while it is called.
    callback: Option<Callback>,
    told: Pressure,
    running: bool,
    cancelled: bool,
}

/// The notifier of this process, or of its parent. Never freed: whoever changes a level may be
/// about to wake it.
static NOTIFIER: AtomicPtr<Notifier> = AtomicPtr::new(std::ptr::null_mut());
static STARTING: ForkLock = ForkLock::new();

/// A registered callback. Dropping it cancels it.
#[must_use = "dropping a watch cancels it"]
pub struct Watch {
    entry: Arc<Entry>,
    notifier: &'static Notifier,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Tells `callback` of every change of the level of `source` from now on.
    ///
    /// The watch does not keep the pool alive.
    pub(crate) fn register(
        source: &Arc<impl PressureSource + 'static>,
        callback: Callback,
    ) -> Result<Self> {
        let notifier = notifier()?;
        let weak: Weak<dyn PressureSource> = Arc::downgrade(source) as _;
        // First watched, then the level: a change after this look at it wakes the notifier.
        source.gauge().set_watched();
        let told = source.gauge().level();
        let state = State { callback: Some(callback), told, running: false, cancelled: false };
        let entry =
            Arc::new(Entry { source: weak, state: Mutex::new(state), idle: Condvar::new() });
        notifier.entries.lock().push(entry.clone());
        // A change before it was in the list may have found nobody to tell.
        notifier.wake();
        Ok(Self { entry, notifier })
    }

    /// Ends the watch. Returns once no call is running, except from inside the callback itself.
    ///
    /// Hold no lock that the callback takes.
    pub fn cancel(self) {
        drop(self);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.notifier.process != std::process::id() {
            // The parent's: its locks may be held by threads that do not exist here.
            std::mem::forget(self.entry.clone());
            return;
        }
        self.notifier.entries.lock().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        let mut state = self.entry.state.lock();
        state.cancelled = true;
        if let Some(callback) = state.callback.take() {
            drop(state);
            drop_quietly(callback);
            return;
        }
        let own = self.notifier.thread.get().map(Thread::id);
        if own == Some(std::thread::current().id()) {
            return;
        }
        while state.running {
            self.entry.idle.wait(&mut state);
        }
    }
}

/// Wakes the notifier, if there is one: some level has changed. Takes no lock.
pub(crate) fn poke() {
    // SAFETY: the pointer is null or that of a notifier, none of which is ever freed.
    if let Some(notifier) = unsafe { NOTIFIER.load(Ordering::Acquire).as_ref() } {
        notifier.wake();
    }
}

impl Notifier {
    fn wake(&self) {
        self.pending.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self) {
        loop {
            while !self.pending.swap(false, Ordering::SeqCst) {
                std::thread::park();
            }
            let entries = self.entries.lock().clone();
            for entry in entries {
                entry.tell();
            }
        }
    }
}

impl Entry {
    /// Calls back if the level is another one than was told last.
    fn tell(&self) {
        let Some(source) = self.source.upgrade() else { return };
        let mut state = self.state.lock();
        let level = source.gauge().level();
        if state.told == level {
            return;
        }
        let Some(mut callback) = state.callback.take() else { return };
        state.told = level;
        state.running = true;
        drop(state);
        let (used_bytes, limit_bytes) = source.used_and_limit();
        let event = PressureEvent { level, used_bytes, limit_bytes };
        if catch_unwind(AssertUnwindSafe(|| callback(event))).is_err() {
            log(Severity::Error, "a pressure callback panicked; it stays registered");
        }
        let mut state = self.state.lock();
        if state.cancelled {
            drop(state);
            drop_quietly(callback);
            state = self.state.lock();
        } else {
            state.callback = Some(callback);
        }
        state.running = false;
        drop(state);
        self.idle.notify_all();
    }
}

/// Drops what belongs to the host, whose drop may panic.
fn drop_quietly(callback: Callback) {
    if catch_unwind(AssertUnwindSafe(move || drop(callback))).is_err() {
        log(Severity::Error, "a pressure callback panicked while it was dropped");
    }
}

/// The notifier of this process, started if need be.
fn notifier() -> Result<&'static Notifier> {
    let _guard = STARTING.lock();
    let process = std::process::id();
    // SAFETY: the pointer is null or that of a notifier, none of which is ever freed.
    if let Some(notifier) = unsafe { NOTIFIER.load(Ordering::Acquire).as_ref() }
        && notifier.process == process
    {
        return Ok(notifier);
    }
    let made = Arc::new(Notifier {
        process,
        thread: OnceLock::new(),
        pending: AtomicBool::new(false),
        entries: Mutex::new(Vec::new()),
    });
    let body = made.clone();
    let spawned = without_signals(|| {
        std::thread::Builder::new().name("hypercache-note".into()).spawn(move || body.run())
    });
    let handle = spawned.map_err(|refusal| {
        Error::os(
            ErrorKind::NoMemory,
            "the thread that calls watches back cannot be started",
            refusal.raw_os_error().unwrap_or(0),
        )
    })?;
    let _ = made.thread.set(handle.thread().clone());
    let raw = Arc::into_raw(made);
    NOTIFIER.store(raw.cast_mut(), Ordering::Release);
    // SAFETY: the count that `into_raw` left behind is never given back.
    Ok(unsafe { &*raw })
}

/// Runs `start` with every signal blocked, which the started thread inherits: the host's signal
/// handlers run on the host's threads.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: `sigset_t` is plain bits, for which zero is a value.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are live locals of this call; the calls write nothing else.
    let blocked = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) == 0
    };
    let out = start();
    if blocked {
        // SAFETY: `before` was filled in by the call above.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut())
        };
    }
    out
}
