//! Which cells there are: the fractions and bounds that `reference.csv` was made with.

use super::loaded::Loaded;
use crate::trace::Unit;

/// Fractions of every trace.
const FRACTIONS: [f64; 3] = [0.001, 0.01, 0.1];
/// Those of a trace of fewer than [`SMALL_TRACE`] objects, for which the gaps would be wide.
const FRACTIONS_SMALL: [f64; 5] = [0.001, 0.01, 0.03, 0.1, 0.3];
/// Objects from which on a trace is not small.
const SMALL_TRACE: u64 = 100_000;

/// Which of all cells are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Only this unit.
    pub unit: Option<Unit>,
    /// The least capacity in objects of the unit `objects`.
    pub min_objects: u64,
}

/// A capacity of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// What it counts.
    pub unit: Unit,
    /// The fraction of what the trace has.
    pub fraction: f64,
    /// The capacity, in the unit.
    pub capacity: u64,
    /// How many objects that is, on the mean.
    pub objects: u64,
}

/// The capacities of a trace, as `reference.csv` has them. Without sizes only objects count.
#[must_use]
pub fn sizes(trace: &Loaded, wanted: &Wanted) -> Vec<Size> {
    let small = trace.uniques() < SMALL_TRACE;
    let fractions: &[f64] = if small { &FRACTIONS_SMALL } else { &FRACTIONS };
    let mut sizes = Vec::new();
    for unit in [Unit::Objects, Unit::Bytes] {
        let exists = unit == Unit::Objects || trace.has_sizes;
        if !exists || wanted.unit.is_some_and(|only| only != unit) {
            continue;
        }
        for &fraction in fractions {
            let objects = part(trace.uniques(), fraction);
            let capacity = part(trace.whole(unit), fraction);
            if objects >= REFERENCE_LEAST && capacity >= wanted.min_objects {
                sizes.push(Size { unit, fraction, capacity, objects });
            }
        }
    }
    sizes
}

/// Objects that the reference's smallest capacities hold.
const REFERENCE_LEAST: u64 = 50;

fn part(whole: u64, fraction: f64) -> u64 {
    (whole as f64 * fraction).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(objects: usize, size: u32) -> Loaded {
        Loaded {
            sizes: vec![size; objects],
            unique_bytes: objects as u64 * u64::from(size),
            has_sizes: size > 1,
            ..Loaded::default()
        }
    }

    fn capacities(trace: &Loaded, wanted: &Wanted) -> Vec<u64> {
        sizes(trace, wanted).iter().map(|size| size.capacity).collect()
    }

    #[test]
    fn small_traces_have_more_fractions_and_tiny_capacities_are_left_out() {
        let all = Wanted { unit: None, min_objects: 0 };
        assert_eq!(capacities(&trace(186_880, 1), &all), [187, 1_869, 18_688]);
        assert_eq!(capacities(&trace(40_240, 1), &all), [402, 1_207, 4_024, 12_072]);
        assert_eq!(capacities(&trace(1_428, 1), &all), [143, 428]);
        assert_eq!(capacities(&trace(1_428, 10), &all), [143, 428, 1_428, 4_284]);
        let some = Wanted { unit: Some(Unit::Objects), min_objects: 200 };
        assert_eq!(capacities(&trace(1_428, 10), &some), [428]);
    }
}
