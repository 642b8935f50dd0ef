//! Runs every subcommand with tiny parameters and checks what must hold on any machine, however
//! slow or busy: that it ends well, prints its tables, writes its CSV, and that the figures are
//! possible. Never times. With the feature `peers` the other caches are in it too.

#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::collections::HashMap;
use std::io::Write;
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
                let cells = cells(line);
                assert_eq!(cells.len(), header.len(), "{line}");
                header.iter().zip(cells).map(|(&k, v)| (k.to_owned(), v)).collect()
            })
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The cells of a line of CSV, quoted or not; none of ours has a quote in it.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            _ => cells.last_mut().unwrap().push(letter),
        }
    }
    cells
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
    // The default policy keeps short entries of the first phase through the second.
    for (policy, live_share) in [("default", 0.75), ("s3fifo", 0.9)] {
        limit_holds(policy, live_share);
    }
}

fn limit_holds(policy: &str, live_share: f64) {
    let csv = Scratch::new(&format!("limit-holds-{policy}"));
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
        "--policy",
        policy,
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
            "1024" => assert!(peak <= limit + slack && payload >= live_share * limit, "{row:?}"),
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
fn sessions() {
    let csv = Scratch::new("sessions");
    let sizes = ["--limit", "4MiB", "--entries", "1,5000", "--sets", "20000"];
    run(&[&["sessions", "--csv", csv.path()], &sizes[..]].concat());
    let rows = csv.rows();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(number(&row, "ended"), number(&row, "entries"), "{row:?}");
        assert!(number(&row, "set_p999_ns") <= number(&row, "set_max_ns"), "{row:?}");
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
fn filter() {
    let csv = Scratch::new("filter");
    let tiny = ["--keys", "20000", "--rounds", "1", "--lookups", "100000"];
    let out = run(&[&["filter", "--csv", csv.path()][..], &tiny].concat());
    assert!(out.contains("Filters of 20,000 keys"), "{out}");
    let rows = csv.rows();
    let row = rows.iter().find(|row| row["filter"] == "hypercache").unwrap();
    assert!((13.0..15.0).contains(&number(row, "bits_a_key")), "{row:?}");
    assert!(number(row, "fpr") <= 0.0015, "{row:?}");
    assert!(rows.iter().all(|row| number(row, "hit_ns") > 0.0 && number(row, "add_ns") > 0.0));

    let out = run(&["filter", "--layouts", "--keys", "20000", "--rounds", "1"]);
    assert!(out.contains("two lines") && out.contains("one line"), "{out}");
    let out = run(&["filter", "--check", "2000000"]);
    assert!(out.contains("no key was missed"), "{out}");
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
    let others =
        ["s3fifo", "sieve", "wtinylfu", "lru", "lfu", "fifo", "random", "ttl", "hybrid", "session"];
    for policy in ["default", "adaptive"].into_iter().chain(others) {
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

/// A folder of traces that goes away with it.
struct Traces(PathBuf);

impl Traces {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("hc-bench-traces-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Requests for `objects` objects, the more often the smaller their number, with sizes that are
    /// a function of it.
    fn draw(&self, name: &str, objects: u64, requests: u64, size: impl Fn(u64) -> u64) {
        let mut text = String::from("id,size\n");
        let mut state = 1_u64;
        let mut below = |most: u64| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (state >> 33) % most
        };
        for _ in 0..requests {
            let most = below(objects) + 1;
            let object = below(most);
            text.push_str(&format!("{object},{}\n", size(object)));
        }
        std::fs::write(self.0.join(format!("{name}.csv")), text).unwrap();
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn miss_ratio() {
    let traces = Traces::new("miss-ratio");
    traces.draw("sized", 3_000, 20_000, |object| 50 + object % 7 * 100);
    traces.draw("syn_unsized", 2_000, 20_000, |_| 1);
    std::fs::write(traces.0.join("manifest.csv"), "name,class\nsized,\"web, so to speak\"\n")
        .unwrap();
    let (csv, html) = (Scratch::new("miss-ratio"), Scratch::new("miss-ratio-page"));
    let policies = if cfg!(feature = "peers") {
        "fifo,s3fifo:threshold=2,small=20,lru,moka,quick_cache,foyer-s3fifo,foyer-lfu"
    } else {
        "fifo,s3fifo:threshold=2,small=20,lru"
    };
    let asked = ["--policies", policies, "--csv", csv.path(), "--html", html.path()];
    let run = || run(&[&["miss-ratio", "--traces", traces.path()][..], &asked].concat());

    let out = run();
    for words in ["avoided", "by class of trace", "web, so to speak", "s3fifo:threshold=2;small=20"]
    {
        assert!(out.contains(words), "no {words:?} in\n{out}");
    }
    let rows = csv.rows();
    let contenders = if cfg!(feature = "peers") { 7 } else { 3 };
    // 10 and 30 % of each in objects, and 1, 3, 10 and 30 % of bytes that are not too small.
    let cells = rows.len() / contenders;
    assert!(cells >= 6 && rows.len() == cells * contenders, "{} rows", rows.len());
    for row in &rows {
        let [ratio, bytes] = ["miss_ratio", "byte_miss_ratio"].map(|column| number(row, column));
        assert!((0.05..1.0).contains(&ratio) && (0.05..1.0).contains(&bytes), "{row:?}");
        assert!(row["unit"] == "bytes" || ratio == bytes, "{row:?}");
        // Larger is better in such a trace, whatever the policy.
        let larger = rows.iter().filter(|other| {
            ["trace", "unit", "policy"].iter().all(|&column| row[column] == other[column])
                && number(other, "capacity") > number(row, "capacity")
        });
        for other in larger {
            assert!(number(other, "miss_ratio") < ratio, "{row:?}, {other:?}");
        }
    }
    let page = std::fs::read_to_string(html.path()).unwrap();
    assert!(page.matches("<svg").count() > 4 && page.contains("sized"));

    let text = std::fs::read_to_string(csv.path()).unwrap();
    assert!(run().contains(&format!("0 cells run, {} were there", rows.len())));
    assert_eq!(std::fs::read_to_string(csv.path()).unwrap(), text);
    // As if broken off in the middle of a row.
    std::fs::write(csv.path(), &text[..text.len() - 9]).unwrap();
    assert!(run().contains(&format!("1 cells run, {} were there", rows.len() - 1)));
    assert_eq!(csv.rows().len(), rows.len());
}

#[test]
fn equal_memory() {
    let traces = Traces::new("equal-memory");
    traces.draw("large", 20_000, 60_000, |object| 500 + object % 11 * 100);
    traces.draw("small", 1_000, 5_000, |_| 100);
    let csv = Scratch::new("equal-memory");
    let mut args = vec!["miss-ratio", "--traces", traces.path(), "--equal-memory"];
    args.extend(["--csv", csv.path()]);
    if !cfg!(feature = "peers") {
        args.push("--no-peers");
    }
    let out = run(&args);
    assert!(out.contains("Left out, all of it fits into 8 MiB: small."), "{out}");
    let rows = csv.rows();
    assert_eq!(rows.len(), if cfg!(feature = "peers") { 4 } else { 1 });
    for row in &rows {
        assert_eq!(number(row, "budget"), f64::from(8 << 20));
        assert!((0.05..1.0).contains(&number(row, "miss_ratio")), "{row:?}");
        // The search may end where a library leaps; ours does not.
        let off = number(row, "rss") / f64::from(8 << 20) - 1.0;
        let most = if row["library"].starts_with("hypercache") { 0.03 } else { 0.3 };
        assert!(off.abs() <= most, "{row:?}");
    }
    assert!(run(&args).contains(&format!("0 searches to run, {} were there", rows.len())));
}

/// On recorded traces FIFO through the store is the simulators' FIFO.
#[test]
fn miss_ratios_of_the_real_folder() {
    let folder = hypercache_bench::trace::default_folder();
    if !folder.exists() {
        // Past the capture of the test's output, so that nobody takes this for a check.
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED: the miss-ratio tool on real traces, because there is no folder {}; \
             HYPERCACHE_TRACES names another",
            folder.display()
        );
        return;
    }
    let csv = Scratch::new("miss-ratio-real");
    let folder_path = folder.to_str().unwrap();
    let args = ["--only", "lirs,web07", "--policies", "fifo", "--csv", csv.path()];
    let out = run(&[&["miss-ratio", "--traces", folder_path][..], &args].concat());
    assert!(out.contains("real traces"), "{out}");
    let measured = hypercache_bench::trace::figures(csv.path()).unwrap();
    let reference = hypercache_bench::trace::reference(&folder).unwrap();
    let mut compared = 0;
    for ours in measured {
        let twin = reference.iter().find(|theirs| {
            (&theirs.trace, &theirs.policy, theirs.unit, theirs.capacity)
                == (&ours.trace, &ours.policy, ours.unit, ours.capacity)
        });
        if let Some(twin) = twin {
            compared += 1;
            assert_eq!(ours.fraction, twin.fraction, "{ours}");
            assert!((ours.miss_ratio - twin.miss_ratio).abs() < 0.001, "{ours} {twin}");
        }
    }
    assert!(compared >= 10, "only {compared} cells are in both");
}

/// A folder of a run that goes away with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hc-bench-run-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_whole_run_leaves_its_files() {
    let folder = Folder::new("whole");
    let out = folder.0.to_str().unwrap();
    let tables = folder.0.join("tables.md");
    let asked = ["all", "--quick", "--only", "raw,churn", "--out", out];
    let said = run(&[&asked[..], &["--markdown", tables.to_str().unwrap()]].concat());
    assert!(said.contains("HyperCache against the best") && said.contains("report.html"), "{said}");
    let (page, csv) = (folder.read("report.html"), folder.read("results.csv"));
    assert!(page.contains("<h2>churn</h2>") && page.contains("<h2>raw</h2>"));
    assert!(
        page.contains("cargo xtask bench --quick --only raw,churn") && !page.contains("not whole")
    );
    assert!(csv.starts_with("suite,case,cache,metric,unit,") && csv.lines().count() > 12, "{csv}");
    assert!(folder.read("tables.md").contains("<summary>raw: time"));
    assert_eq!(folder.read("history.jsonl").lines().count(), 1);

    // The same page out of what was kept.
    run(&["all", "--again", "--out", out]);
    assert_eq!(folder.read("report.html"), page);
}

/// Ctrl-C in the middle of a suite.
#[cfg(unix)]
#[test]
fn a_run_that_is_broken_off_leaves_what_it_had() {
    let folder = Folder::new("broken-off");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hypercache-bench"))
        .args(["all", "--only", "churn,speed", "--out", folder.0.to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its first words come when it has begun to listen.
    let mut first = [0; 1];
    std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut first).unwrap();
    // SAFETY: the child has not been waited for, so its number is nobody else's.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) }, 0);
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(130), "{said}");
    assert!(said.contains("Broken off"), "{said}");
    let page = folder.read("report.html");
    assert!(page.contains("not whole") && page.contains("churn was not begun"), "{page}");
    assert!(folder.read("results.json").contains("\"waiting\""));
}

#[test]
fn wrong_arguments_are_named() {
    for (args, named) in [
        (&["speed", "--sizes", "l9"][..], "l9"),
        (&["limit", "--limit", "8 parsecs"], "parsecs"),
        (&["limit", "--budgets", "0"], "--budgets"),
        (&["limit", "--phases", "sixty", "--limit", "1MiB"], "sixty"),
        (&["replay", "--policy", "clever"], "clever"),
        (&["replay", "--trace", "/nowhere.csv"], "/nowhere.csv"),
        (&["replay", "--threads", "0"], "--threads"),
        (&["replay", "--policy-options", "speed=11"], "speed"),
        (&["replay", "--limit", "4096"], "limit_bytes"),
        (&["miss-ratio", "--no-peers", "--traces", "/nowhere"], "/nowhere"),
        (&["miss-ratio", "--policies", "clever"], "clever"),
        (&["miss-ratio", "--policies", "lru:speed=11"], "speed"),
        (&["scenario", "no-such"], "web-cache, session-store"),
        (&["scenario", "--caches", "varnish"], "memcached"),
        (&["scenario", "--seconds", "0"], "--seconds is 0"),
        (&["scenario", "--scale", "0"], "--scale is 0"),
        (&["stress", "--minutes=-1"], "--minutes is -1"),
        (&["stress", "--minutes", "NaN"], "--minutes is NaN"),
        (&["stress", "--threads", "0"], "--threads is 0"),
        (&["gate", "--repeat", "0"], "--repeat"),
        (&["all", "--markdown", "README.md"], "--markdown is README.md"),
        (&["speed", "--rounds", "0"], "--rounds is 0; allowed is 1"),
        (&["speed", "--threads", "1,0"], "--threads is 0"),
        (&["speed", "--live-share", "0"], "--live-share is 0"),
        (&["speed", "--live-share", "1.5"], "--live-share is 1.5"),
        (&["speed", "--values", "64,8192"], "--values is 8192; allowed is 0 to 4096"),
        (&["tail", "--runs", "0"], "--runs is 0"),
        (&["tail", "--growth-runs", "0"], "--growth-runs is 0"),
        (&["tail", "--limit", "64KiB"], "--limit is 65536"),
        (&["dance"], "dance"),
        (&["all", "--only", "dance"], "dance"),
        (&["all", "--again", "--out", "/proc/nowhere"], "/proc/nowhere"),
        #[cfg(not(feature = "profile-cpu"))]
        (&["raw", "--profile", "cpu"], "profile-cpu"),
        #[cfg(not(feature = "peers"))]
        (&["churn", "--caches", "moka"], "built without the feature `peers`"),
        #[cfg(not(feature = "peers"))]
        (&["miss-ratio", "--policies", "moka"], "built without the feature `peers`"),
    ] {
        let program = env!("CARGO_BIN_EXE_hypercache-bench");
        let done = Command::new(program).args(args).output().unwrap();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && err.contains(named), "{args:?}: {err}");
    }
}

/// Every standard scenario, for a fraction of a second.
#[test]
fn scenarios() {
    let csv = Scratch::new("scenarios");
    let caches = if cfg!(feature = "peers") { "moka,quick_cache,hypercache" } else { "hypercache" };
    let tiny = ["--seconds", "0.2", "--scale", "0.02", "--rushes", "2", "--millis", "2"];
    let out = run(&[&["scenario", "--caches", caches, "--csv", csv.path()], &tiny[..]].concat());
    let listed = run(&["scenario", "--list"]);
    let names = ["web-cache", "session-store", "flash-crowd", "morning-rush", "batch-scan"];
    let rows = csv.rows();
    for name in names {
        assert!(out.contains(&format!("{name}: ")) && listed.contains(name), "{out}\n{listed}");
        for cache in caches.split(',').chain(["(loop)"]) {
            let found = |metric: &str| {
                let is_it = |row: &&HashMap<String, String>| {
                    row["scenario"] == name && row["cache"] == cache && row["metric"] == metric
                };
                rows.iter().find(is_it)
            };
            let value = |metric: &str| number(found(metric).unwrap(), "value");
            let by_parts = ["p50", "p95"].map(value);
            assert!(by_parts.is_sorted() && by_parts[0] > 0.0, "{name} {cache}");
            // A fifth of a second has too few requests for what is rare, at the lower rates.
            assert_eq!(found("p99.9").is_none(), name == "session-store", "{name} {cache}");
            let rare = found("p99.9").map_or(0.0, |row| number(row, "value"));
            assert!(rare <= value("max") && value("p50") <= value("max"), "{name} {cache}");
            let has_interval = !found("p95").unwrap()["low"].is_empty();
            assert_eq!(has_interval, name != "session-store", "{name} {cache}");
            assert!(["rate", "cpu", "wall", "capacity"].map(value).iter().all(|&it| it > 0.0));
            if cache != "(loop)" {
                assert!((0.2..=1.0).contains(&value("hits")), "{name} {cache}");
            }
        }
    }
}

/// A file, and what is said of one that is wrong.
#[test]
fn a_scenario_of_ones_own() {
    let file = Scratch::new("scenario-file");
    let text = "about = 'mine'\nlimit = '2MiB'\nthreads = 3\nseconds = 0.05\nwarm_up_seconds = 0\n\
                load = { pattern = 'constant', rate = 20000, arrivals = 'even' }\n\
                keys = { distribution = 'uniform', count = 500 }\n\
                values = { lengths = 'fixed', bytes = 100 }\n\
                mix = { read = 1, write = 1 }\n";
    std::fs::write(file.path(), text).unwrap();
    let csv = Scratch::new("scenario-own");
    let args = ["scenario", file.path(), "--caches", "hypercache", "--csv", csv.path()];
    let out = run(&args);
    assert!(out.contains("mine") && out.contains("20,000 requests a second, 3 threads"), "{out}");
    let rows = csv.rows();
    let hits = rows.iter().find(|row| row["metric"] == "hits").unwrap();
    assert_eq!(number(hits, "value"), 1.0, "all keys fit and were stored");

    std::fs::write(file.path(), text.replace("count", "amount")).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_hypercache-bench")).args(args).output().unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    for word in [file.path(), "amount", "`count`"] {
        assert!(!done.status.success() && err.contains(word), "no {word} in {err}");
    }
}

/// Figures of a suite by case and metric, of HyperCache.
fn figures(csv: &Scratch) -> HashMap<(String, String), f64> {
    let ours = csv.rows().into_iter().filter(|row| row["cache"] == "hypercache");
    ours.map(|row| ((row["case"].clone(), row["metric"].clone()), number(&row, "value"))).collect()
}

#[test]
fn memory() {
    let csv = Scratch::new("memory");
    let parts = "entry,leaks,allocations,views";
    let out = run(&["memory", "--quick", "--csv", csv.path(), "--parts", parts]);
    for title in
        ["Bytes an entry", "Left when", "Calls of the process's allocator", "to make a view"]
    {
        assert!(out.contains(title), "no {title:?} in\n{out}");
    }
    let figures = figures(&csv);
    let of = |case: &str, metric: &str| figures[&(case.to_owned(), metric.to_owned())];
    assert!((104.0..115.0).contains(&of("entry, values of 64 B", "bytes an entry")));
    for ((case, metric), &value) in &figures {
        match metric.as_str() {
            // No operation on an entry asks the process's allocator for memory.
            "calls of the allocator" => assert_eq!(value, 0.0, "{case}"),
            "charged for stores gone" => assert!(value <= f64::from(16 << 10), "{case}: {value}"),
            left if left.ends_with(" left") && left != "resident left" => {
                assert_eq!(value, 0.0, "{case}: {metric}");
            }
            "resident left" => assert!(value <= f64::from(64 << 10), "{case}: {value}"),
            "tables of the pool" => assert!(value <= f64::from(76 << 10), "{case}: {value}"),
            _ => assert!(value >= 0.0, "{case}: {metric}"),
        }
    }
}

/// The suite's own processes.
#[test]
fn stress() {
    let csv = Scratch::new("stress");
    let short = ["--quick", "--minutes", "0.01", "--threads", "30", "--csv", csv.path()];
    // A program of an earlier build may lie there, but only with the feature it is this one's.
    let has_faults = cfg!(feature = "faults");
    let parts = if has_faults { "endurance,herd,faults" } else { "endurance,herd" };
    let out = run(&[&["stress"][..], &short, &["--parts", parts]].concat());
    let figures = figures(&csv);
    let of = |case: &str, metric: &str| figures.get(&(case.to_owned(), metric.to_owned())).copied();
    assert_eq!(of("herd, 30 threads", "loads of a missing key"), Some(1.0));
    assert!(
        of("endurance of 0.6 s, then closed", "operations").is_some_and(|rate| rate > 0.0),
        "{out}"
    );
    for share in [1, 5, 10, 20] {
        let failures = of(&format!("faults, {share} % of them"), "failures");
        assert_eq!(failures.is_some_and(|n| n > 0.0), has_faults, "{out}");
    }
}

/// The folder under `/proc` of a process's child that runs `name`.
fn child_of(parent: u32, name: &str) -> Option<PathBuf> {
    std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).find(|process| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let is_child = after_name.split_whitespace().nth(1) == Some(&parent.to_string());
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        is_child && String::from_utf8_lossy(&line).contains(name)
    })
}

/// Servers that are installed take part, and end even if the program that started them is killed.
#[test]
fn servers_take_part_and_end() {
    use hypercache_bench::cache::loopback::Server;

    for server in Server::ALL {
        if server.installed().is_none() {
            // Past the capture of the test's output, so that nobody takes this for a check.
            let _ = writeln!(std::io::stderr(), "NOT CHECKED: {}", server.absence());
            continue;
        }
        let name = server.name();
        let tiny = ["--scale", "0.01", "--rushes", "1", "--millis", "2", "--caches", name];
        let args = ["scenario", "session-store", "--seconds"];
        let out = run(&[&args[..], &["0.2"], &tiny].concat());
        assert!(out.contains("a round trip through both processes"), "{out}");

        let program = Command::new(env!("CARGO_BIN_EXE_hypercache-bench"))
            .args([&args[..], &["600"], &tiny].concat())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let mut program = program.unwrap();
        let served = loop {
            assert!(program.try_wait().unwrap().is_none(), "{name}: it ended on its own");
            if let Some(child) = child_of(program.id(), server.installed().unwrap()) {
                break child;
            }
        };
        program.kill().unwrap();
        program.wait().unwrap();
        // Whoever inherits it may leave it as a zombie, which has no command line any more.
        let line = served.join("cmdline");
        while !std::fs::read(&line).unwrap_or_default().is_empty() {
            std::thread::yield_now();
        }
    }
}
