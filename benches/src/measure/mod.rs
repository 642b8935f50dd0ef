//! Clocks, histograms, memory: what is measured with.

mod clock;
mod counting;
mod histogram;
mod memory;
mod place;

pub use clock::{OwnTime, Ticker, cores, pin_to_core, thread_cpu_ns};
pub use counting::{Counting, Heap};
pub use histogram::Histogram;
pub use memory::{Mappings, Resident, available_bytes, resident_bytes};
pub use place::{Place, now_utc};
pub(crate) use place::{commit_of, said_by, unknown};

/// The middle one; the mean of the middle two for an even number; NaN for none.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
