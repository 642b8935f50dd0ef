//! Miss ratios on real traces beside those of libCacheSim, which decides with exact queues, exact
//! ghosts and exact order: what the log, the hashed ghosts and the lazy promotions cost must stay
//! within a point.

use crate::sim::Sim;
use crate::trace::{self, Figure, Request, Trace, TraceFile, Unit};
use hypercache_core::PolicyKind;
use hypercache_core::eviction::AnyPolicy;
use std::io::Write;
use std::sync::Mutex;

/// Policy, options, and the policy of the reference that it must match.
const MATCHES: [(PolicyKind, &str, &str); 4] = [
    (PolicyKind::Fifo, "", "fifo"),
    (PolicyKind::Lru, "", "lru"),
    (PolicyKind::S3Fifo, "threshold=2", "s3fifo"),
    (PolicyKind::S3Fifo, "", "s3fifo-t1"),
];
const TOLERANCE: f64 = 0.010;
const CAPACITY_MIN: u64 = 1000;
/// Longer files take longer than a test should.
const FILE_MAX: u64 = 2_200_000;

struct Point {
    what: String,
    ours: f64,
    reference: f64,
}

#[test]
fn miss_ratios_are_those_of_the_reference() {
    let folder = trace::default_folder();
    if !folder.exists() {
        // Past the capture of the test's output, so that nobody takes this for a check.
        let _ = writeln!(
            std::io::stderr(),
            "NOT CHECKED: miss ratios on traces, because there is no folder {}; HYPERCACHE_TRACES \
             names another",
            folder.display()
        );
        return;
    }
    let figures = trace::reference(&folder).unwrap();
    let files = trace::list(&folder).unwrap();
    let short = files.into_iter().filter(|file| file.bytes <= FILE_MAX).collect();
    let (queue, points) = (Mutex::new(short), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = next(&queue) {
                    let measured = measure(&file, &figures);
                    points.lock().unwrap().extend(measured);
                }
            });
        }
    });
    let points = points.into_inner().unwrap();
    assert!(points.len() >= 100, "only {} points: are the traces there?", points.len());
    let far: Vec<_> = points
        .iter()
        .filter(|point| (point.ours - point.reference).abs() > TOLERANCE)
        .map(|point| format!("{}: {:.4}, not {:.4}\n", point.what, point.ours, point.reference))
        .collect();
    assert!(far.is_empty(), "{} of {} points are off:\n{}", far.len(), points.len(), far.concat());
}

fn next(queue: &Mutex<Vec<TraceFile>>) -> Option<TraceFile> {
    queue.lock().unwrap().pop()
}

fn measure(file: &TraceFile, figures: &[Figure]) -> Vec<Point> {
    let requests: Vec<Request> =
        Trace::open(&file.path).and_then(Iterator::collect).unwrap_or_else(|e| panic!("{e}"));
    let mut points = Vec::new();
    for (kind, options, name) in MATCHES {
        let rows = figures.iter().filter(|figure| {
            figure.trace == file.name
                && figure.policy == name
                && figure.unit == Unit::Objects
                && figure.capacity >= CAPACITY_MIN
        });
        for row in rows {
            let policy = AnyPolicy::new(kind, Some(options)).unwrap();
            let mut sim = Sim::new(policy, row.capacity, row.capacity, row.capacity);
            let misses = requests.iter().filter(|request| !sim.request(request.id, 1)).count();
            points.push(Point {
                what: format!("{} {} {options} at {}", file.name, kind.name(), row.capacity),
                ours: misses as f64 / requests.len() as f64,
                reference: row.miss_ratio,
            });
        }
    }
    points
}
