//! The tables of the claims that the design makes: that the limit is kept, that it costs no time,
//! that the filter is small and exact. A row a cache, a column a claim, made of the figures of a run.
//!
//! They are a choice of cells from the grids, each beside all caches and not only the best. A column
//! that a run has no figure for is left out and named, so that a table never has fewer columns in
//! silence; other libraries that one may look for are named with the reason why they are not here.

use std::fmt::Write;

use super::grid::{CONTROL, OURS};
use super::{Figure, count, digits, ns};

/// A column: its heading, and which figures stand in it.
struct Column {
    heading: &'static str,
    suite: &'static str,
    metric: &'static str,
    /// How the case begins ...
    begins: &'static str,
    /// ... and ends; what is between (such as a limit) is as the form of the run has it.
    ends: &'static str,
    shown: Shown,
}

/// How a value is written.
#[derive(Clone, Copy)]
enum Shown {
    /// As a quotient.
    Ratio,
    /// In bytes or bits.
    Size,
    /// In nanoseconds.
    Nanoseconds,
    /// In microseconds.
    Microseconds,
    /// In per cent.
    Percent,
}

impl Shown {
    fn of(self, value: f64) -> String {
        match self {
            Self::Ratio => digits(value, 3),
            Self::Size => format!("{value:.1}"),
            Self::Nanoseconds => ns(value),
            Self::Microseconds => digits(value / 1e3, 3),
            Self::Percent => digits(value * 100.0, 3),
        }
    }
}

/// A table of claims.
struct Claims {
    title: &'static str,
    /// What the numbers are.
    about: &'static str,
    columns: &'static [Column],
    /// Who is not in it, and why.
    absent: &'static str,
}

const fn column(
    heading: &'static str,
    (suite, metric): (&'static str, &'static str),
    (begins, ends): (&'static str, &'static str),
    shown: Shown,
) -> Column {
    Column { heading, suite, metric, begins, ends, shown }
}

const BY_LIMIT: (&str, &str) = ("limit", "resident by limit");
const TIME: (&str, &str) = ("speed", "time");
const FILTER: (&str, &str) = ("filter", "time");

const CLAIMS: [Claims; 3] = [
    Claims {
        title: "The limit",
        about: "Resident memory by the byte budget that the cache was told, keys of 16 bytes, two to \
                three budgets of new keys; weights are key and value bytes. The last column is one \
                cache while sizes drift.",
        columns: &[
            column("64 B values", BY_LIMIT, ("values of 64 B", ""), Shown::Ratio),
            column(
                "bytes an entry (80 payload)",
                ("limit", "bytes an entry"),
                ("values of 64 B", ""),
                Shown::Size,
            ),
            column("1 KiB", BY_LIMIT, ("values of 1024 B", ""), Shown::Ratio),
            column("mixed 16 B to 4 KiB", BY_LIMIT, ("values of 16 to 4096 B", ""), Shown::Ratio),
            column(
                "after sizes drift 64 -> 1024 -> 300",
                ("memory", "resident by limit"),
                ("drift at ", "phase 3: 300 B"),
                Shown::Ratio,
            ),
        ],
        absent: "cachetools, cachebox and lru-cache are caches of Python and Node, whose memory holds \
                 an interpreter as well: `cargo xtask bench python` and `cargo xtask bench node` compare \
                 with them. memcached is a server, whose memory is not this process's; it takes part in \
                 the latency scenarios. pogocache is C and not linked in.",
    },
    Claims {
        title: "Speed",
        about: "Nanoseconds of the thread's processor time an operation, medians, one thread, values \
                of 64 bytes, bytes in and bytes copied out; the last two columns are single sets of \
                256 bytes into a full cache.",
        columns: &[
            column("hit, fits L2", TIME, ("hit, 64 B, l2", ", 1 thread"), Shown::Nanoseconds),
            column("hit, 16 MiB", TIME, ("hit, 64 B, llc", ", 1 thread"), Shown::Nanoseconds),
            column("hit, 256 MiB", TIME, ("hit, 64 B, dram", ", 1 thread"), Shown::Nanoseconds),
            column(
                "hit in batches of 32, 256 MiB",
                TIME,
                ("hit in batches of 32, 64 B, dram", ", 1 thread"),
                Shown::Nanoseconds,
            ),
            column("miss, 16 MiB", TIME, ("miss, 64 B, llc", ", 1 thread"), Shown::Nanoseconds),
            column(
                "set into full cache, 16 MiB",
                TIME,
                ("set into full, 64 B, llc", ", 1 thread"),
                Shown::Nanoseconds,
            ),
            column(
                "overwrite, 16 MiB",
                TIME,
                ("overwrite, 64 B, llc", ", 1 thread"),
                Shown::Nanoseconds,
            ),
            column(
                "zipf .99 95/5, 16 MiB",
                TIME,
                ("zipf 95/5, 64 B, llc", ", 1 thread"),
                Shown::Nanoseconds,
            ),
            column("p99.9 set", ("tail", "p99.9"), ("set into full, ", ""), Shown::Nanoseconds),
            column(
                "longest set, us",
                ("tail", "max"),
                ("set into full, ", ""),
                Shown::Microseconds,
            ),
        ],
        absent: "dashmap and papaya are maps that evict nothing, and so no caches to compare with.",
    },
    Claims {
        title: "The filter",
        about: "Asked for 0.1 % false positives; the last columns are nanoseconds a key.",
        columns: &[
            column("bits a key", ("filter", "bits a key"), ("size, ", ""), Shown::Size),
            column(
                "false positives, %",
                ("filter", "false positives"),
                ("absent keys, ", ""),
                Shown::Percent,
            ),
            column("look-up", FILTER, ("look-up of a key that is there, ", ""), Shown::Nanoseconds),
            column(
                "look-up, absent",
                FILTER,
                ("look-up of an absent key, ", ""),
                Shown::Nanoseconds,
            ),
            column(
                "look-up, batched",
                FILTER,
                ("look-up in batches, there, ", ""),
                Shown::Nanoseconds,
            ),
            column("insert", FILTER, ("add, ", ""), Shown::Nanoseconds),
            column("delete", FILTER, ("remove, ", ""), Shown::Nanoseconds),
        ],
        absent: "efficient/cuckoofilter is C++ and not linked in. fastbloom cannot delete; an empty \
                 cell is what a filter cannot do.",
    },
];

/// All three, as Markdown; nothing of a table that no figure is of.
pub fn claims(out: &mut String, figures: &[Figure]) {
    for claims in &CLAIMS {
        claims.write(out, figures);
    }
}

impl Claims {
    fn write(&self, out: &mut String, figures: &[Figure]) {
        let keys = most_keys(figures).map(|keys| format!(", {} keys", count(keys)));
        let found: Vec<(&Column, Vec<&Figure>)> = self
            .columns
            .iter()
            .map(|column| (column, column.of(figures, keys.as_deref())))
            .collect();
        let mut caches: Vec<&str> = Vec::new();
        for figure in found.iter().flat_map(|(_, column)| column) {
            if !caches.contains(&figure.cache.as_str()) {
                caches.push(&figure.cache);
            }
        }
        if caches.is_empty() {
            return;
        }
        // Ours is the last row.
        caches.sort_by_key(|cache| *cache == OURS);
        let (there, missing): (Vec<_>, Vec<_>) =
            found.iter().partition(|(_, column)| !column.is_empty());
        let _ = write!(out, "\n## {}\n\n{}", self.title, self.about);
        let keys = keys.filter(|_| self.columns.iter().all(|column| column.suite == "filter"));
        if let Some(keys) = keys {
            let _ = write!(out, " With {}.", keys.trim_start_matches(", "));
        }
        out.push_str("\n\n|");
        for (column, _) in &there {
            let _ = write!(out, " | {}", column.heading);
        }
        let _ = writeln!(out, " |\n|---|{}", "---|".repeat(there.len()));
        for cache in caches {
            let strong = if cache == OURS { "**" } else { "" };
            let _ = write!(out, "| {strong}{cache}{strong}");
            for (column, figures) in &there {
                let value = figures.iter().find(|figure| figure.cache == cache);
                let shown = value.map_or(String::new(), |figure| {
                    format!("{strong}{}{strong}", column.shown.of(figure.value))
                });
                let _ = write!(out, " | {shown}");
            }
            out.push_str(" |\n");
        }
        let _ = write!(out, "\n{}", self.absent);
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|(column, _)| column.heading).collect();
            let _ = write!(out, " This run did not measure: {}.", names.join("; "));
        }
        out.push('\n');
    }
}

impl Column {
    /// Its figures, one a cache: the first of each. `keys` ends the cases of filters.
    fn of<'a>(&self, figures: &'a [Figure], keys: Option<&str>) -> Vec<&'a Figure> {
        let ends = if self.suite == "filter" { keys.unwrap_or(self.ends) } else { self.ends };
        let is_whole =
            |case: &str| self.begins.ends_with(' ') || !ends.is_empty() || case == self.begins;
        let is_it = |figure: &&Figure| {
            (&*figure.suite, &*figure.metric) == (self.suite, self.metric)
                && figure.case.starts_with(self.begins)
                && figure.case.ends_with(ends)
                && is_whole(&figure.case)
                && !figure.cache.starts_with(CONTROL)
        };
        let mut found: Vec<&Figure> = Vec::new();
        for figure in figures.iter().filter(is_it) {
            if found.iter().all(|other| other.cache != figure.cache) {
                found.push(figure);
            }
        }
        found
    }
}

/// The largest number of keys that filters were measured with.
fn most_keys(figures: &[Figure]) -> Option<u64> {
    let keys = |figure: &Figure| {
        let text = figure.case.rsplit_once(", ")?.1.strip_suffix(" keys")?.replace(',', "");
        text.parse().ok()
    };
    figures.iter().filter(|figure| figure.suite == "filter").filter_map(keys).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    fn figure(column: &Column, case: &str, cache: &str, value: f64) -> Figure {
        Figure::new(column.suite, case, cache, column.metric, Unit::Ratio, value)
    }

    /// A run that has every column, of two caches.
    fn figures() -> Vec<Figure> {
        let mut figures = Vec::new();
        for column in CLAIMS.iter().flat_map(|claims| claims.columns) {
            let middle = match column.begins {
                "drift at " => "256.0 MiB, ",
                "set into full, " => "256 B",
                _ => "",
            };
            for (keys, scale) in [("1,000,000 keys", 2.0), ("10,000,000 keys", 1.0)] {
                let (keys, scale) =
                    if column.suite == "filter" { (keys, scale) } else { ("", 1.0) };
                let case = format!("{}{middle}{}{keys}", column.begins, column.ends);
                figures.push(figure(column, &case, OURS, 1.25 * scale));
                figures.push(figure(column, &case, "moka", 2.5 * scale));
                figures.push(figure(column, &case, "(loop)", 0.1));
            }
        }
        figures
    }

    #[test]
    fn every_column_is_found_and_ours_is_the_last_row() {
        let mut out = String::new();
        claims(&mut out, &figures());
        for claims in &CLAIMS {
            assert!(out.contains(&format!("\n## {}\n", claims.title)), "{out}");
            for column in claims.columns {
                assert!(out.contains(&format!(" | {} |", column.heading)), "{out}");
            }
        }
        assert!(!out.contains("did not measure") && !out.contains("(loop)"), "{out}");
        let rows: Vec<&str> = out.lines().filter(|line| line.starts_with("| ")).collect();
        // A header, moka and ours of each.
        assert_eq!(rows.len(), 9, "{out}");
        assert_eq!(rows[1], "| moka | 2.50 | 2.5 | 2.50 | 2.50 | 2.50 |");
        assert_eq!(
            rows[2],
            "| **hypercache** | **1.25** | **1.2** | **1.25** | **1.25** | **1.25** |"
        );
        // The larger filters.
        assert!(
            out.contains("With 10,000,000 keys.") && rows[7].starts_with("| moka | 2.5 | 250 |")
        );
    }

    #[test]
    fn a_column_that_was_not_measured_is_named() {
        let mut figures = figures();
        figures.retain(|figure| !figure.case.contains("1024"));
        let mut out = String::new();
        claims(&mut out, &figures);
        assert!(out.contains("This run did not measure: 1 KiB."), "{out}");
        let mut out = String::new();
        claims(&mut out, &[]);
        assert!(out.is_empty(), "{out}");
    }
}
