//! Runs every subcommand with tiny parameters and checks what must hold on any machine, however
//! slow or busy: that it ends well, prints its tables, writes its CSV, and that the figures are
//! possible. Never times. With the feature `peers` the other caches are in it too.

#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

/// A CSV file that goes away with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("hc-bench-{name}-{}.csv", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn rows(&self) -> Vec<HashMap<String, String>> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        lines
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                assert_eq!(cells.len(), header.len(), "{line}");
                header.iter().zip(cells).map(|(&k, v)| (k.to_owned(), v.to_owned())).collect()
            })
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(args: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_hypercache-bench")).args(args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{args:?} ended with {}\n{out}\n{err}", done.status);
    out.into_owned()
}

fn number(row: &HashMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is {:?}", row[column]))
}

#[test]
fn speed() {
    let csv = Scratch::new("speed");
    let tiny = ["--sizes", "l2", "--values", "64,4096", "--rounds", "1", "--millis", "1"];
    let out = run(&[&["speed", "--csv", csv.path()][..], &tiny].concat());
    for title in ["Hit", "Miss", "Set of new", "Overwrite", "Zipf", "batches", "Two readers"] {
        assert!(out.contains(title), "no table {title:?} in\n{out}");
    }
    let rows = csv.rows();
    let caches = if cfg!(feature = "peers") { 6 } else { 1 };
    assert!(rows.len() > 8 * caches);
    for row in &rows {
        assert!(number(row, "cpu_ns") > 0.0 && number(row, "wall_ns") > 0.0, "{row:?}");
        let hits = number(row, "hit_share");
        match row["op"].as_str() {
            "miss" | "set" | "overwrite" => assert_eq!(hits, 0.0, "{row:?}"),
            // Peers with few entries a shard may drop some; HyperCache has room for all.
            _ if row["cache"] == "hypercache" && row["op"] != "zipf" => {
                assert_eq!(hits, 1.0, "{row:?}");
            }
            _ => assert!((0.5..=1.0).contains(&hits), "{row:?}"),
        }
    }
}

#[test]
fn tail() {
    let csv = Scratch::new("tail");
    let tiny = ["--limit", "2MiB", "--runs", "2", "--sets", "2000", "--growth", "5000"];
    let out = run(&[&["tail", "--csv", csv.path(), "--growth-runs", "1"][..], &tiny].concat());
    assert!(out.contains("Sets of 256-byte values") && out.contains("Growth from empty"));
    for row in csv.rows() {
        let order = ["p50_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns"].map(|c| number(&row, c));
        assert!(order.is_sorted() && order[0] > 0.0, "{row:?}");
    }
}

#[test]
fn limit() {
    let csv = Scratch::new("limit");
    let limit = 8 << 20;
    let tiny = ["--limit", "8MiB", "--settle-seconds", "0", "--sweep", "2", "--phases", "64,mixed"];
    let out = run(&[&["limit", "--csv", csv.path()][..], &tiny].concat());
    assert!(out.contains("Told to keep to 8.0 MiB"));
    let rows = csv.rows();
    let peers: &[&str] =
        if cfg!(feature = "peers") { &["moka", "foyer", "quick_cache"] } else { &[] };
    for &cache in peers.iter().chain(&["hypercache"]) {
        assert!(rows.iter().any(|row| row["cache"] == cache && row["step"] == "mixed"));
    }
    for row in rows {
        assert!(number(&row, "payload_bytes") <= number(&row, "limit"), "{row:?}");
        assert!(number(&row, "rss_peak") >= number(&row, "rss_now"), "{row:?}");
        if row["cache"] == "hypercache" && row["step"] != "released" {
            assert!(
                number(&row, "rss_peak") <= number(&row, "limit") + f64::from(4 << 20),
                "{row:?}"
            );
            assert!(number(&row, "entries") * 130.0 > 0.0, "{row:?}");
        }
        assert!(number(&row, "limit") <= f64::from(limit) * 1.5, "{row:?}");
    }
}

/// The promise itself, on a pool small enough for every test run: resident memory within the
/// limit and a constant at all times, at most 110 bytes a 64-byte entry, everything included,
/// memory given back by a shrink and by the end.
#[test]
fn the_limit_holds() {
    let csv = Scratch::new("limit-holds");
    run(&[
        "limit",
        "--csv",
        csv.path(),
        "--caches",
        "hypercache",
        "--limit",
        "64MiB",
        "--settle-seconds",
        "1",
        "--sweep",
        "0",
    ]);
    let rows = csv.rows();
    let steps: Vec<&str> = rows.iter().map(|row| row["step"].as_str()).collect();
    assert_eq!(steps, ["64", "1024", "300", "64", "mixed", "shrunk", "1s-later", "released"]);
    let slack = f64::from(4 << 20);
    for row in &rows {
        let (limit, peak) = (number(row, "limit"), number(row, "rss_peak"));
        let (entries, payload) = (number(row, "entries"), number(row, "payload_bytes"));
        match row["step"].as_str() {
            "released" => assert!(peak <= slack, "{row:?}"),
            "64" => assert!(peak <= limit + slack && limit / entries <= 110.0, "{row:?}"),
            "1024" => assert!(peak <= limit + slack && payload >= 0.9 * limit, "{row:?}"),
            _ => assert!(peak <= limit + slack && entries > 0.0, "{row:?}"),
        }
    }
}

#[test]
fn churn() {
    let csv = Scratch::new("churn");
    run(&["churn", "--csv", csv.path(), "--limit", "4MiB", "--budgets", "4"]);
    let rows = csv.rows();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(number(&row, "live_payload") <= number(&row, "limit"), "{row:?}");
        assert!(number(&row, "entries") > 0.0, "{row:?}");
        if row["cache"] == "hypercache" {
            assert!(number(&row, "write_amplification") >= 1.0, "{row:?}");
        }
    }
}

#[test]
fn raw() {
    let csv = Scratch::new("raw");
    run(&["raw", "--csv", csv.path(), "--rounds", "1", "--blocks", "5000", "--lens", "16,64,5000"]);
    let rows = csv.rows();
    assert!(rows.len() >= 18);
    assert!(rows.iter().all(|row| number(row, "cpu_ns") >= 0.0));
}

#[test]
fn replay() {
    let csv = Scratch::new("replay");
    let tiny = ["--requests", "40k", "--keys", "5k", "--limit", "1MiB", "--threads", "2"];
    let out = run(&[&["replay", "--csv", csv.path()][..], &tiny].concat());
    for word in ["requests per second", "hit ratio", "bytes an entry", "pool limit", "RSS growth"] {
        assert!(out.contains(word), "no {word:?} in\n{out}");
    }
    let rows = csv.rows();
    let row = &rows[0];
    assert_eq!(number(row, "requests"), 40_000.0);
    assert_eq!(number(row, "wrong"), 0.0);
    assert!(number(row, "used_bytes") <= number(row, "limit"), "{row:?}");
    assert!((0.05..1.0).contains(&number(row, "hit_ratio")), "{row:?}");
    assert!(number(row, "entries") > 0.0 && number(row, "evicted") > 0.0, "{row:?}");
    assert!(number(row, "rss_growth_peak") <= number(row, "limit") + f64::from(4 << 20), "{row:?}");
}

/// A trace whose hit ratio can be worked out by hand: three rounds over objects that all fit.
#[test]
fn replay_of_a_trace() {
    let trace = Scratch::new("replay-trace");
    let mut text = String::from("time,id,size\n");
    for nth in 0..3_000 {
        text.push_str(&format!("{nth},{},{}\n", nth % 1_000, 1 + nth % 1_000 % 700));
    }
    // Larger than any value the store takes: it is cut, and said so.
    text.push_str("3000,1000,1000000000\n");
    std::fs::write(trace.path(), text).unwrap();
    let csv = Scratch::new("replay-of-trace");
    for policy in ["default", "s3fifo", "sieve", "lru", "lfu", "fifo", "random"] {
        let out = run(&[
            "replay",
            "--trace",
            trace.path(),
            "--limit",
            "8MiB",
            "--policy",
            policy,
            "--csv",
            csv.path(),
        ]);
        assert!(out.contains("1 requests were for values longer"), "{out}");
        let rows = csv.rows();
        assert_eq!(number(&rows[0], "requests"), 3_001.0);
        let ratio = number(&rows[0], "hit_ratio");
        assert!((ratio - 2_000.0 / 3_001.0).abs() < 1e-6, "{policy}: {ratio}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (args, named) in [
        (&["speed", "--sizes", "l9"][..], "l9"),
        (&["limit", "--limit", "8 parsecs"], "parsecs"),
        (&["limit", "--phases", "sixty", "--limit", "1MiB"], "sixty"),
        (&["replay", "--policy", "clever"], "clever"),
        (&["replay", "--trace", "/nowhere.csv"], "/nowhere.csv"),
        (&["replay", "--threads", "0"], "--threads"),
        (&["replay", "--policy-options", "speed=11"], "speed"),
        (&["replay", "--limit", "4096"], "limit_bytes"),
        (&["dance"], "dance"),
        #[cfg(not(feature = "peers"))]
        (&["churn", "--caches", "moka"], "built without the feature `peers`"),
    ] {
        let program = env!("CARGO_BIN_EXE_hypercache-bench");
        let done = Command::new(program).args(args).output().unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && err.contains(named), "{args:?}: {err}");
    }
}
