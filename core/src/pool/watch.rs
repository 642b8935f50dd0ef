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

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::{from_ref, null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Weak};

use super::pressure::PressureGauge;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{ForkLock, Severity, log};
use crate::memory::host;
use crate::memory::lock::FutexMutex;
use crate::memory::wait::{Condition, Event, Run, start_thread};
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
    pending: Event,
    entries: FutexMutex<Vec<Arc<Entry>>>,
}

struct Entry {
    source: Weak<dyn PressureSource>,
    state: FutexMutex<State>,
    idle: Condition,
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
static NOTIFIER: AtomicPtr<Notifier> = AtomicPtr::new(null_mut());
static STARTING: ForkLock = ForkLock::new();

thread_local! {
    /// The notifier whose thread this is. Needs no destructor, see [`crate::memory::wait`].
    static HERE: Cell<*const Notifier> = const { Cell::new(null()) };
}

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
        let state = FutexMutex::new(state);
        let entry = Arc::new(Entry { source: weak, state, idle: Condition::new() });
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
        if HERE.get() == from_ref(self.notifier) {
            return;
        }
        while state.running {
            self.entry.idle.wait(&mut state, None);
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
        self.pending.set();
    }

    /// Tells all. From the last entry to the first, so that one that is taken out meanwhile has
    /// none skipped; one that comes meanwhile wakes the notifier again.
    fn tell_all(&self) {
        let mut left = self.entries.lock().len();
        while left != 0 {
            left -= 1;
            let entry = self.entries.lock().get(left).cloned();
            if let Some(entry) = entry {
                entry.tell();
            }
        }
    }
}

impl Run for Notifier {
    const NAME: &'static CStr = c"hypercache-note";

    fn run(&'static self) {
        HERE.set(self);
        loop {
            self.pending.wait();
            self.tell_all();
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
        if host::call(|| callback(event)).is_none() {
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
    if host::call(move || drop(callback)).is_none() {
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
    let made = Notifier { process, pending: Event::new(), entries: FutexMutex::new(Vec::new()) };
    let made: &'static Notifier = Box::leak(Box::new(made));
    if let Err(errno) = without_signals(|| start_thread(made)) {
        // SAFETY: leaked above, and no thread that would use it was started.
        drop(unsafe { Box::from_raw(from_ref(made).cast_mut()) });
        let context = "the thread that calls watches back cannot be started";
        return Err(Error::os(ErrorKind::NoMemory, context, errno));
    }
    NOTIFIER.store(from_ref(made).cast_mut(), Ordering::Release);
    Ok(made)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Thresholds;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    struct Source {
        gauge: PressureGauge,
        held: AtomicU64,
    }

    impl PressureSource for Source {
        fn gauge(&self) -> &PressureGauge {
            &self.gauge
        }
        fn used_and_limit(&self) -> (u64, u64) {
            (self.held.load(Ordering::SeqCst), 100)
        }
    }

    impl Source {
        fn new() -> Arc<Self> {
            let gauge = PressureGauge::new(Thresholds::default(), false);
            Arc::new(Self { gauge, held: AtomicU64::new(0) })
        }
        fn set(&self, held: u64) {
            self.held.store(held, Ordering::SeqCst);
            self.gauge.update(held, held, 100);
        }
    }

    /// Counts its drops.
    struct Token(Arc<AtomicUsize>);

    impl Drop for Token {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn telling(send: Sender<PressureEvent>, drops: &Arc<AtomicUsize>) -> Callback {
        let token = Token(drops.clone());
        Box::new(move |event| {
            let _ = &token;
            send.send(event).unwrap();
        })
    }

    fn next(receive: &Receiver<PressureEvent>) -> PressureEvent {
        receive.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn tells_changes_and_drops_once() {
        let source = Source::new();
        source.set(90);
        let (send, receive) = channel();
        let drops = Arc::new(AtomicUsize::new(0));
        let watch = Watch::register(&source, telling(send, &drops)).unwrap();
        // The level at registration is no change.
        source.set(91);
        source.set(99);
        let event = next(&receive);
        assert_eq!(
            event,
            PressureEvent { level: Pressure::Critical, used_bytes: 99, limit_bytes: 100 }
        );
        source.set(0);
        assert_eq!(next(&receive).level, Pressure::None);
        watch.cancel();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        source.set(99);
        assert!(receive.recv_timeout(Duration::from_millis(20)).is_err());
    }

    #[test]
    fn several_changes_are_one_call_with_the_latest() {
        let source = Source::new();
        let (entered_send, entered) = channel();
        let (go, wait) = channel::<()>();
        let mut calls = Vec::new();
        let (calls_send, calls_receive) = channel();
        let watch = Watch::register(
            &source,
            Box::new(move |event| {
                entered_send.send(()).unwrap();
                wait.recv().unwrap();
                calls.push(event.level);
                calls_send.send(calls.clone()).unwrap();
            }),
        )
        .unwrap();
        source.set(86);
        entered.recv().unwrap();
        for held in [91, 96, 0, 99] {
            source.set(held);
        }
        go.send(()).unwrap();
        entered.recv().unwrap();
        go.send(()).unwrap();
        calls_receive.recv().unwrap();
        assert_eq!(calls_receive.recv().unwrap(), [Pressure::Elevated, Pressure::Critical]);
        watch.cancel();
    }

    #[test]
    fn cancelling_waits_for_the_call() {
        let source = Source::new();
        let (send, entered) = channel();
        let done = Arc::new(AtomicBool::new(false));
        let watch = Watch::register(
            &source,
            Box::new({
                let done = done.clone();
                move |_| {
                    send.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    done.store(true, Ordering::SeqCst);
                }
            }),
        )
        .unwrap();
        source.set(99);
        entered.recv().unwrap();
        watch.cancel();
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn may_be_cancelled_from_inside() {
        let source = Source::new();
        let drops = Arc::new(AtomicUsize::new(0));
        let own: Arc<FutexMutex<Option<Watch>>> = Arc::new(FutexMutex::new(None));
        let (send, receive) = channel();
        let token = Token(drops.clone());
        let watch = Watch::register(
            &source,
            Box::new({
                let own = own.clone();
                move |event| {
                    own.lock().take().unwrap().cancel();
                    assert_eq!(token.0.load(Ordering::SeqCst), 0, "dropped while it runs");
                    send.send(event).unwrap();
                }
            }),
        )
        .unwrap();
        *own.lock() = Some(watch);
        source.set(99);
        next(&receive);
        let began = std::time::Instant::now();
        while drops.load(Ordering::SeqCst) == 0 && began.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn survives_a_panic_in_the_callback() {
        let source = Source::new();
        let (send, receive) = channel();
        let watch = Watch::register(
            &source,
            Box::new(move |event| {
                send.send(event).unwrap();
                match event.level {
                    Pressure::Critical => panic!("as the test wants it"),
                    Pressure::High => host::throw_twice(),
                    Pressure::None | Pressure::Elevated => {}
                }
            }),
        )
        .unwrap();
        source.set(99);
        assert_eq!(next(&receive).level, Pressure::Critical);
        source.set(0);
        assert_eq!(next(&receive).level, Pressure::None);
        source.set(91);
        assert_eq!(next(&receive).level, Pressure::High);
        source.set(0);
        assert_eq!(next(&receive).level, Pressure::None);
        drop(watch);
    }

    #[test]
    fn outlives_its_pool() {
        let source = Source::new();
        let drops = Arc::new(AtomicUsize::new(0));
        let (send, receive) = channel();
        let watch = Watch::register(&source, telling(send, &drops)).unwrap();
        source.set(99);
        next(&receive);
        drop(source);
        drop(watch);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_forked_child_starts_its_own_notifier() {
        let source = Source::new();
        let drops = Arc::new(AtomicUsize::new(0));
        let (send, _receive) = channel();
        let inherited = Watch::register(&source, telling(send, &drops)).unwrap();
        // SAFETY: the child only does what the test is about and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(inherited);
            let source = Source::new();
            let (send, receive) = channel();
            let watch = Watch::register(
                &source,
                Box::new(move |event| {
                    let _ = send.send(event);
                }),
            );
            source.set(99);
            let told = receive.recv_timeout(Duration::from_secs(10)).is_ok();
            drop(watch);
            let forgotten = drops.load(Ordering::SeqCst) == 0;
            // SAFETY: ends the child without running anything of its parent's.
            unsafe { libc::_exit(if told && forgotten { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(inherited);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
}
