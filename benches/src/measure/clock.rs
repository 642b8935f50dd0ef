//! Clocks: the thread's own processor time for loops, the time-stamp counter for single calls.
//!
//! On a shared machine wall time measures the neighbours. The kernel's per-thread clock does not,
//! but asking it is a system call of some hundred nanoseconds: right around a loop, far too dear
//! around one call. [`OwnTime`] therefore times each call with the time-stamp counter and asks
//! the kernel only about calls that took suspiciously long.

use std::time::Instant;

/// Processor time of the calling thread, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local of the right type, which the call only writes.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    if status == 0 { now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64 } else { 0 }
}

/// How many processors this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps the calling thread on one core, so that two threads do not share one. Best effort.
pub fn pin_to_core(lane: usize) {
    // SAFETY: all-zero bytes are a valid, empty `cpu_set_t`.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: pid 0 is the calling thread; the set is a local of the size that is passed.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) } != 0 {
        return;
    }
    let cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is below CPU_SETSIZE, the number of bits in the set.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &allowed) })
        .collect();
    if let Some(&core) = cores.get(lane % cores.len().max(1)) {
        // SAFETY: as above: a zeroed set is empty and valid.
        let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `core` came out of a set of the same size.
        unsafe { libc::CPU_SET(core, &mut one) };
        // SAFETY: pid 0 is the calling thread; the set is only read.
        unsafe { libc::sched_setaffinity(0, size, &raw const one) };
    }
}

/// The time-stamp counter and its rate.
#[derive(Clone, Copy, Debug)]
pub struct Ticker {
    ns_per_tick: f64,
    /// What a pair of readings costs, in ticks: subtracted from every interval.
    overhead: u64,
}

impl Ticker {
    /// Calibrates against the monotonic clock for 20 ms.
    #[must_use]
    pub fn calibrate() -> Self {
        let (began, first) = (Instant::now(), Self::now());
        while began.elapsed().as_millis() < 20 {
            std::hint::spin_loop();
        }
        let (last, elapsed) = (Self::now(), began.elapsed());
        let ns_per_tick = elapsed.as_nanos() as f64 / (last - first).max(1) as f64;
        let overhead = (0..10_000)
            .map(|_| {
                let start = Self::now();
                Self::now() - start
            })
            .min()
            .unwrap_or(0);
        Self { ns_per_tick, overhead }
    }

    /// The counter now. Waits for what came before, so that work is not counted after it.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[must_use]
    pub fn now() -> u64 {
        // SAFETY: every x86-64 processor has both instructions; neither touches memory.
        unsafe {
            std::arch::x86_64::_mm_lfence();
            std::arch::x86_64::_rdtsc()
        }
    }

    /// The clock now, in nanoseconds.
    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    #[must_use]
    pub fn now() -> u64 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a local of the right type, which the call only writes.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }

    /// Nanoseconds of an interval, without what taking it cost.
    #[inline]
    #[must_use]
    pub fn ns(&self, ticks: u64) -> f64 {
        ticks.saturating_sub(self.overhead) as f64 * self.ns_per_tick
    }

    /// Ticks of so many nanoseconds.
    #[must_use]
    pub fn ticks(&self, ns: f64) -> u64 {
        (ns / self.ns_per_tick) as u64
    }
}

/// Times single calls in the thread's own processor time.
///
/// A call is timed with the time-stamp counter. If it took more than 4 microseconds (a switch to
/// another thread and back takes at least that), the thread may have been switched away: then the
/// kernel's clock says how much processor time has passed since the last time it was asked, the
/// counter says how much of that came before the call, and the difference is the call's own. So
/// preemption is subtracted exactly, page faults and interrupts stay in, and the kernel is asked
/// about one call in a thousand.
#[derive(Debug)]
pub struct OwnTime {
    ticker: Ticker,
    suspicious: u64,
    base_ticks: u64,
    base_cpu: u64,
    ask_cost: f64,
    asked: u64,
    since: u32,
}

impl OwnTime {
    const REFRESH: u32 = 4096;

    /// For the calling thread only.
    #[must_use]
    pub fn new(ticker: Ticker) -> Self {
        let mut costs: Vec<f64> = (0..101)
            .map(|_| {
                let first = thread_cpu_ns();
                (thread_cpu_ns() - first) as f64
            })
            .collect();
        let ask_cost = super::median(&mut costs);
        let mut own = Self {
            ticker,
            suspicious: ticker.ticks(4_000.0),
            base_ticks: 0,
            base_cpu: 0,
            ask_cost,
            asked: 0,
            since: 0,
        };
        own.rebase();
        own
    }

    /// Runs the call and returns its own processor time in nanoseconds.
    #[inline]
    pub fn time(&mut self, call: impl FnOnce()) -> f64 {
        let start = Ticker::now();
        call();
        let ticks = Ticker::now() - start;
        if ticks > self.suspicious {
            return self.corrected(start, ticks);
        }
        self.since += 1;
        if self.since == Self::REFRESH {
            self.rebase();
        }
        self.ticker.ns(ticks)
    }

    /// How many calls were looked into.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked
    }

    #[cold]
    fn corrected(&mut self, start: u64, ticks: u64) -> f64 {
        let cpu = (thread_cpu_ns() - self.base_cpu) as f64;
        let before = (start - self.base_ticks) as f64 * self.ticker.ns_per_tick;
        let own = cpu - before - self.ask_cost;
        self.asked += 1;
        self.rebase();
        // The counter is an upper bound; a call that was looked into was not shorter than what
        // makes it suspicious unless it was switched away, and then not shorter than nothing.
        own.clamp(0.0, self.ticker.ns(ticks))
    }

    fn rebase(&mut self) {
        self.since = 0;
        self.base_cpu = thread_cpu_ns();
        self.base_ticks = Ticker::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_leaves_sleep_out() {
        let mut own = OwnTime::new(Ticker::calibrate());
        let slept = own.time(|| std::thread::sleep(std::time::Duration::from_millis(20)));
        assert!(slept < 5e6, "{slept} ns of processor time while asleep");
        assert_eq!(own.asked(), 1);
    }
}
