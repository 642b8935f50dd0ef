//! The few figures that a reader looks for first, if a run has them.

use super::Figure;
use super::grid::{Match, Row, grids};

/// One of them: what it is called, and which figure it is.
#[derive(Clone, Copy, Debug)]
pub struct Headline {
    /// In words.
    pub words: &'static str,
    /// The suite.
    pub suite: &'static str,
    /// The case.
    pub case: &'static str,
    /// The metric.
    pub metric: &'static str,
}

const fn headline(
    words: &'static str,
    suite: &'static str,
    case: &'static str,
    metric: &'static str,
) -> Headline {
    Headline { words, suite, case, metric }
}

/// In the order they are shown. Quick and full runs have the same cases where both have one.
pub const HEADLINES: &[Headline] = &[
    headline("Memory by limit, 64 B values", "limit", "values of 64 B", "resident by limit"),
    headline(
        "Memory by limit, mixed values",
        "limit",
        "values of 16 to 4096 B",
        "resident by limit",
    ),
    headline("Bytes an entry of 80", "limit", "values of 64 B", "bytes an entry"),
    headline("Hit, 64 B, fits L2", "speed", "hit, 64 B, l2, 1 thread", "time"),
    headline("Hit, 64 B, 16 MiB", "speed", "hit, 64 B, llc, 1 thread", "time"),
    headline("Hit, 64 B, 256 MiB", "speed", "hit, 64 B, dram, 1 thread", "time"),
    headline(
        "Hit in batches of 32, a key, 256 MiB",
        "speed",
        "hit in batches of 32, 64 B, dram, 1 thread",
        "time",
    ),
    headline("Hit, two threads, 16 MiB", "speed", "hit, 64 B, llc, 2 threads", "time"),
    headline("Miss, 16 MiB", "speed", "miss, 64 B, llc, 1 thread", "time"),
    headline(
        "Set into a full cache, 16 MiB",
        "speed",
        "set into full, 64 B, llc, 1 thread",
        "time",
    ),
    headline("Overwrite, 16 MiB", "speed", "overwrite, 64 B, llc, 1 thread", "time"),
    headline("Zipf 0.99, 95 % reads, 16 MiB", "speed", "zipf 95/5, 64 B, llc, 1 thread", "time"),
    headline("p99.9 of sets into a full cache", "tail", "set into full, 256 B", "p99.9"),
    headline("The slowest set", "tail", "set into full, 256 B", "max"),
    headline("Raw memory, one alloc and free", "raw", "freed at once, 64 B, 1 thread", "time"),
    headline(
        "Filter, look-up of a key",
        "filter",
        "look-up of a key that is there, 1,000,000 keys",
        "time",
    ),
];

/// A headline that this run has.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// In words.
    pub words: &'static str,
    /// The row that has it.
    pub row: Row<'a>,
    /// Ours against the best of the others.
    pub versus: Match<'a>,
}

/// Those that a run has, with another cache beside ours.
#[must_use]
pub fn found(figures: &[Figure]) -> Vec<Found<'_>> {
    let grids = grids(figures);
    let find = |wanted: &Headline| {
        let of =
            |grid: &&super::Grid<'_>| (grid.suite, grid.metric) == (wanted.suite, wanted.metric);
        let row = grids.iter().find(of)?.rows.iter().find(|row| row.case == wanted.case)?.clone();
        Some(Found { words: wanted.words, versus: row.versus()?, row })
    };
    HEADLINES.iter().filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::SUITES;

    #[test]
    fn headlines_are_of_suites_that_there_are() {
        for headline in HEADLINES {
            assert!(SUITES.iter().any(|suite| suite.name == headline.suite), "{}", headline.words);
        }
    }
}
