//! The loops that put requests to a cache.
//!
//! [`paced`] is an open loop: a request is sent at its moment whether or not the one before has
//! come back by then on time, and what it took counts from that moment. A loop that waits for
//! answers and times from the sending instead leaves out, of a cache that stands still for a
//! second, all the requests of that second but one ("coordinated omission": Gil Tene, "How NOT to
//! measure latency", 2015). [`rushed`] is the closed loop: no waiting, as many as go.
//!
//! As in [`crate::drive`], both are compiled around each cache.

use std::hint::black_box;
use std::time::Duration;

use super::plan::{Op, Request};
use crate::cache::Cache;
use crate::measure::{Histogram, Ticker, thread_cpu_ns};
use crate::workload::{ValueBytes, key_of};

/// What a loop needs beside its requests.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What values are cut from.
    pub values: &'a ValueBytes,
    /// No value is longer, in bytes.
    pub longest: usize,
    /// How long entries of [`Op::WriteTtl`] live.
    pub ttl: Duration,
    /// Whether a read that misses stores the value.
    pub fill_misses: bool,
    /// There are more threads than processors: one that waits gives its own away.
    pub crowded: bool,
    /// The clock.
    pub ticker: Ticker,
}

/// What a lane did and saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From the moment a request was meant to be sent to the end of it, in nanoseconds.
    pub response: Histogram,
    /// Requests that count.
    pub requests: u64,
    /// Reads among them.
    pub reads: u64,
    /// Reads that hit.
    pub hits: u64,
    /// Hits whose bytes were compared with what was stored.
    pub checked: u64,
    /// Of these, the ones that were not the same.
    pub wrong: u64,
    /// Writes with a time to live that the cache stored for good.
    pub for_good: u64,
    /// Processor time of the loop, waiting for moments included, in nanoseconds.
    pub cpu_ns: u64,
    /// Its time on the wall, in nanoseconds.
    pub wall_ns: f64,
}

/// One hit in so many is compared byte by byte, after its time was taken.
const CHECKED: u64 = 64;

impl Tally {
    /// Adds what another lane did.
    pub fn merge(&mut self, other: &Self) {
        self.response.merge(&other.response);
        self.requests += other.requests;
        self.reads += other.reads;
        self.hits += other.hits;
        self.checked += other.checked;
        self.wrong += other.wrong;
        self.for_good += other.for_good;
        self.cpu_ns += other.cpu_ns;
        self.wall_ns += other.wall_ns;
    }

    /// Which share of its processor a loop had that never sleeps: less than 1 where others ran.
    #[must_use]
    pub fn had(&self) -> f64 {
        if self.wall_ns > 0.0 { (self.cpu_ns as f64 / self.wall_ns).min(1.0) } else { 1.0 }
    }

    #[inline(always)]
    fn note(&mut self, request: &Request, done: &Done, buf: &[u8], values: &ValueBytes) {
        self.requests += 1;
        match *done {
            Done::Hit(len) => {
                self.reads += 1;
                self.hits += 1;
                if self.hits.is_multiple_of(CHECKED) {
                    self.checked += 1;
                    let stored = values.get(request.id, request.len as usize);
                    self.wrong += u64::from(buf.get(..len) != Some(stored));
                }
            }
            Done::Missed => self.reads += 1,
            Done::Written { for_good } => self.for_good += u64::from(for_good),
        }
    }
}

enum Done {
    Hit(usize),
    Missed,
    Written { for_good: bool },
}

#[inline(always)]
fn perform<C: Cache>(cache: &C, request: &Request, terms: &Terms<'_>, buf: &mut [u8]) -> Done {
    let key = key_of(request.id);
    let value = terms.values.get(request.id, request.len as usize);
    match request.op {
        Op::Read => match cache.get(&key, buf) {
            Some(len) => {
                black_box(&mut *buf);
                Done::Hit(len)
            }
            None => {
                if terms.fill_misses {
                    cache.set(&key, value);
                }
                Done::Missed
            }
        },
        Op::Write => {
            cache.set(&key, value);
            Done::Written { for_good: false }
        }
        Op::WriteTtl => Done::Written { for_good: !cache.set_for(&key, value, terms.ttl) },
        Op::Delete => {
            cache.remove(&key);
            Done::Written { for_good: false }
        }
    }
}

/// Sends requests at their moments from `start` on, a reading of [`Ticker::now`] that may have
/// passed: then it catches up. Returns the reading after the last.
pub fn paced<C: Cache>(
    cache: &C,
    requests: &[Request],
    start: u64,
    terms: &Terms<'_>,
    tally: &mut Tally,
) -> u64 {
    let mut buf = vec![0; terms.longest];
    let (cpu, began) = (thread_cpu_ns(), Ticker::now());
    let mut ended = began;
    for request in requests {
        let due = start.wrapping_add(terms.ticker.ticks(request.at));
        wait(due, terms);
        let done = perform(cache, request, terms, &mut buf);
        ended = Ticker::now();
        if request.counts {
            tally.response.record(terms.ticker.ns(ended.wrapping_sub(due)));
            tally.note(request, &done, &buf, terms.values);
        }
    }
    tally.cpu_ns += thread_cpu_ns() - cpu;
    tally.wall_ns += terms.ticker.ns(ended.wrapping_sub(began));
    ended
}

#[inline(always)]
fn wait(due: u64, terms: &Terms<'_>) {
    loop {
        let left = due.wrapping_sub(Ticker::now()) as i64;
        if left <= 0 {
            return;
        }
        if terms.crowded {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

/// What a closed loop took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rush {
    /// Requests.
    pub requests: u64,
    /// Reads among them.
    pub reads: u64,
    /// Reads that hit.
    pub hits: u64,
    /// The thread's processor time, in nanoseconds.
    pub cpu_ns: u64,
    /// Time on the wall, in nanoseconds.
    pub wall_ns: f64,
}

impl Rush {
    /// Adds what another lane did.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.reads += other.reads;
        self.hits += other.hits;
        self.cpu_ns += other.cpu_ns;
        self.wall_ns += other.wall_ns;
    }

    #[inline(always)]
    fn note(&mut self, done: &Done) {
        self.requests += 1;
        match done {
            Done::Hit(_) => {
                self.reads += 1;
                self.hits += 1;
            }
            Done::Missed => self.reads += 1,
            Done::Written { .. } => {}
        }
    }
}

/// How many requests a closed loop sends between looks at the clock.
const ROUND: usize = 32;

/// Sends requests one after another, from number `first` on and over and over, until `duration` has
/// passed.
pub fn rushed<C: Cache>(
    cache: &C,
    requests: &[Request],
    first: usize,
    duration: Duration,
    terms: &Terms<'_>,
) -> Rush {
    let mut buf = vec![0; terms.longest];
    let mut rush = Rush::default();
    let ticks = terms.ticker.ticks(duration.as_nanos() as f64);
    let cpu = thread_cpu_ns();
    let began = Ticker::now();
    let mut next = first;
    while !requests.is_empty() && Ticker::now().wrapping_sub(began) < ticks {
        for _ in 0..ROUND {
            // A division would cost more than some of the caches.
            if next >= requests.len() {
                next = 0;
            }
            rush.note(black_box(&perform(cache, &requests[next], terms, &mut buf)));
            next += 1;
        }
    }
    rush.wall_ns = terms.ticker.ns(Ticker::now().wrapping_sub(began));
    rush.cpu_ns = thread_cpu_ns() - cpu;
    rush
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::cache::{Null, Peek};

    /// Stands still for a while at one of its reads, and answers all others at once.
    struct Stalling {
        reads: AtomicU64,
        at: u64,
        stall: Duration,
    }

    impl Stalling {
        fn new(at: u64, stall: Duration) -> Self {
            Self { reads: AtomicU64::new(0), at, stall }
        }
    }

    impl Cache for Stalling {
        fn name(&self) -> &'static str {
            "stalling"
        }

        fn get(&self, _key: &[u8], _buf: &mut [u8]) -> Option<usize> {
            if self.reads.fetch_add(1, Ordering::Relaxed) == self.at {
                std::thread::sleep(self.stall);
            }
            Some(0)
        }

        fn set(&self, _key: &[u8], _value: &[u8]) {}

        fn remove(&self, _key: &[u8]) {}

        fn peek(&self, _key: &[u8], _buf: &mut [u8]) -> Peek {
            Peek::Absent
        }
    }

    fn terms(values: &ValueBytes) -> Terms<'_> {
        Terms {
            values,
            longest: 1,
            ttl: Duration::from_secs(1),
            fill_misses: false,
            crowded: false,
            ticker: Ticker::calibrate(),
        }
    }

    /// One read every tenth of a millisecond.
    fn reads(count: u32) -> Vec<Request> {
        (0..count)
            .map(|nth| Request {
                at: f64::from(nth) * 1e5,
                id: 1,
                len: 0,
                op: Op::Read,
                counts: true,
            })
            .collect()
    }

    #[test]
    fn a_stall_is_paid_for_by_every_request_that_fell_into_it() {
        let values = ValueBytes::new(1, 1);
        let cache = Stalling::new(1_000, Duration::from_millis(100));
        let mut tally = Tally::default();
        paced(&cache, &reads(5_000), Ticker::now(), &terms(&values), &mut tally);
        // 1,000 requests were meant for the tenth of a second in which nothing was answered: those
        // of its first half all took more than 50 ms. Of five thousand that is a tenth, where a
        // loop that waits would have seen a single slow one. A busy machine only adds to them.
        let slow = tally.response.at_least(50e6);
        assert!(slow >= 490, "{slow}");
        assert!(tally.response.max() >= 100e6 && tally.response.quantile(0.91) >= 49e6);
        assert_eq!((tally.requests, tally.hits), (5_000, 5_000));
    }

    #[test]
    fn requests_are_not_sent_before_their_moment() {
        let values = ValueBytes::new(1, 1);
        let terms = terms(&values);
        let mut tally = Tally::default();
        let (began, start) = (Instant::now(), Ticker::now());
        let ended = paced(&Null, &reads(200), start, &terms, &mut tally);
        assert!(began.elapsed() >= Duration::from_micros(19_800));
        assert!(terms.ticker.ns(ended - start) >= 19_899e3, "{}", terms.ticker.ns(ended - start));
        // A start in the past is made up for, and its lateness counted.
        let late = Ticker::now() - terms.ticker.ticks(1e9);
        paced(&Null, &reads(10), late, &terms, &mut tally);
        assert!(tally.response.max() >= 0.99e9);
    }

    #[test]
    fn values_that_are_not_what_was_stored_are_noticed() {
        let values = ValueBytes::new(1, 1);
        let mut tally = Tally::default();
        let requests: Vec<Request> =
            reads(1_000).into_iter().map(|read| Request { at: 0.0, len: 1, ..read }).collect();
        let terms = terms(&values);
        let cache = Stalling::new(u64::MAX, Duration::ZERO);
        paced(&cache, &requests, Ticker::now(), &terms, &mut tally);
        assert_eq!(tally.checked, 1_000 / CHECKED);
        assert_eq!(tally.wrong, tally.checked, "an empty value is not the stored byte");
    }

    #[test]
    fn a_closed_loop_ends_by_the_clock() {
        let values = ValueBytes::new(1, 1);
        let rush = rushed(&Null, &reads(100), 0, Duration::from_millis(5), &terms(&values));
        assert!(rush.requests >= 32 && rush.wall_ns >= 4.9e6, "{rush:?}");
        assert_eq!((rush.reads, rush.hits), (rush.requests, rush.requests));
    }

    /// Hits where an id is even, and counts what it is asked.
    #[derive(Default)]
    struct Even(std::sync::Mutex<Vec<u64>>);

    impl Cache for Even {
        fn name(&self) -> &'static str {
            "even"
        }

        fn get(&self, key: &[u8], _buf: &mut [u8]) -> Option<usize> {
            let id = (0..4).find(|&id| key_of(id) == key).unwrap();
            self.0.lock().unwrap().push(id);
            id.is_multiple_of(2).then_some(0)
        }

        fn set(&self, _key: &[u8], _value: &[u8]) {}

        fn remove(&self, _key: &[u8]) {}

        fn peek(&self, _key: &[u8], _buf: &mut [u8]) -> Peek {
            Peek::Absent
        }
    }

    #[test]
    fn a_closed_loop_begins_where_it_is_told_and_counts_hits() {
        let values = ValueBytes::new(1, 1);
        let requests: Vec<Request> =
            reads(4).into_iter().zip(0..).map(|(read, id)| Request { id, ..read }).collect();
        let cache = Even::default();
        let rush = rushed(&cache, &requests, 3, Duration::from_micros(50), &terms(&values));
        assert_eq!((rush.reads, rush.hits), (rush.requests, rush.requests / 2));
        assert_eq!(cache.0.lock().unwrap()[..6], [3, 0, 1, 2, 3, 0]);
    }
}
