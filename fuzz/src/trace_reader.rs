//! The benchmarks' trace reader, on files of any bytes.
//!
//! The rules:
//! 1. a file is read as a reading of its own here says, request by request, up to the first thing
//!    that is wrong; packed or not makes no difference;
//! 2. a failure begins with the file's name, then says the line or record, then what is wrong; it
//!    comes once, and the trace has ended then;
//! 3. memory does not grow with the file: what a reader takes is bounded, but for the window that a
//!    packed file itself declares.

use crate::input::Input;
use crate::trace::{Format, Request, Trace, list, reference};
use crate::{Log, Target};
use std::fs;
use std::path::{Path, PathBuf};

/// See the module.
pub const TARGET: Target = Target {
    name: "trace_reader",
    run,
    reaches: &[
        "oracle",
        "oracle packed",
        "csv",
        "csv packed",
        "damaged oracle",
        "damaged csv",
        "names of files",
        "reference",
        "request",
        "wrong record",
        "wrong line",
        "wrong file",
        "not packed",
        "read to the end",
        "figures",
        "no figures",
    ],
    generated: 6_000,
    len_max: 1_024,
};

/// Requests that are read of one input: packed ones may hold very many.
const REQUESTS_MAX: usize = 100_000;
/// What reading may take beside what the file declares.
const MEMORY_MAX: u64 = 32 << 20;

/// Runs one input.
pub fn run(bytes: &[u8], log: &mut Log) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let rest = input.rest();
    let packed = |level| zstd::encode_all(rest, level).unwrap();
    match how % 8 {
        0 => oracle("t.oracleGeneral", rest, rest, "oracle", log),
        1 => oracle("t.oracleGeneral.bin.zst", &packed(1), rest, "oracle packed", log),
        2 => csv("t.csv", rest, rest, "csv", log),
        3 => csv("t.csv.zst", &packed(3), rest, "csv packed", log),
        4 => damaged("t.oracleGeneral.zst", rest, "damaged oracle", log),
        5 => damaged("t.csv.zst", rest, "damaged csv", log),
        6 => names(rest, log),
        _ => figures(rest, log),
    }
}

/// A folder of this thread, in memory where there is such a place.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let folder = base.join(format!("hypercache-fuzz-{process}-{thread:?}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A file that goes away with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = folder().join(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        if let Some(folder) = self.0.parent() {
            // Others of this process may be in it.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Where a reading ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// "line 3" or "record 3".
    Wrong(String),
    /// Not read further.
    Cut,
}

/// Reads a file; checks rules 2 and 3.
fn read(file: &File, log: &mut Log) -> (Vec<Request>, End) {
    let meter = Meter::new();
    let mut requests = Vec::with_capacity(64);
    let end = match Trace::open(&file.0) {
        Ok(mut trace) => loop {
            match trace.next() {
                Some(Ok(request)) => requests.push(request),
                None => break End::Whole,
                Some(Err(error)) => {
                    let place = place_of(&error.to_string(), &file.0);
                    assert!(trace.next().is_none() && trace.next().is_none(), "it goes on");
                    break End::Wrong(place);
                }
            }
            if requests.len() == REQUESTS_MAX {
                break End::Cut;
            }
        },
        Err(error) => End::Wrong(place_of(&error.to_string(), &file.0)),
    };
    meter.check(&fs::read(&file.0).unwrap());
    match &end {
        End::Whole => log.note("read to the end"),
        End::Wrong(place) => log.result("wrong file", || place),
        End::Cut => log.note("cut"),
    }
    if !requests.is_empty() {
        log.note("request");
    }
    (requests, end)
}

/// The place that a failure names.
fn place_of(error: &str, path: &Path) -> String {
    let Some(rest) = error.strip_prefix(&format!("{}: ", path.display())) else {
        panic!("\"{error}\" does not begin with the file's name")
    };
    let (place, what) = rest.split_once(": ").unwrap_or(("", rest));
    assert!(!what.trim().is_empty(), "\"{error}\" does not say what is wrong");
    assert!(error.len() < 80_000, "a failure of {} bytes", error.len());
    let numbered = ["line ", "record "].iter().any(|word| {
        place.strip_prefix(word).is_some_and(|number| number.parse::<u64>().is_ok_and(|n| n > 0))
    });
    assert!(numbered, "\"{error}\" names no place");
    place.to_owned()
}

fn compare(found: &(Vec<Request>, End), expected: &(Vec<Request>, End)) {
    assert_eq!(found.1, expected.1, "after {} requests", found.0.len());
    assert_eq!(found.0, expected.0);
}

fn oracle(name: &str, bytes: &[u8], plain: &[u8], what: &'static str, log: &mut Log) {
    log.begin(what, || format!("{} bytes", plain.len()));
    let field = |record: &[u8], from: usize, to: usize| {
        record[from..to].iter().rev().fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte))
    };
    let whole = plain.chunks_exact(24);
    let end = match whole.remainder() {
        [] => End::Whole,
        _ => End::Wrong(format!("record {}", plain.len() / 24 + 1)),
    };
    let requests = whole
        .map(|record| Request {
            time: field(record, 0, 4),
            id: field(record, 4, 12),
            size: field(record, 12, 16) as u32,
        })
        .collect();
    let found = read(&File::new(name, bytes), log);
    if found.1 != End::Whole {
        log.note("wrong record");
    }
    compare(&found, &(requests, end));
}

fn csv(name: &str, bytes: &[u8], plain: &[u8], what: &'static str, log: &mut Log) {
    log.begin(what, || format!("{} bytes", plain.len()));
    let found = read(&File::new(name, bytes), log);
    if found.1 != End::Whole {
        log.note("wrong line");
    }
    compare(&found, &csv_slowly(plain));
}

/// CSV as the reader's documentation has it.
fn csv_slowly(bytes: &[u8]) -> (Vec<Request>, End) {
    let mut requests = Vec::new();
    let mut columns: Option<[Option<usize>; 3]> = None;
    for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii_end();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let wrong = End::Wrong(format!("line {}", at + 1));
        let is_first = columns.is_none();
        let text = match std::str::from_utf8(line) {
            Ok(text) => text.to_owned(),
            Err(_) if is_first => String::from_utf8_lossy(line).into_owned(),
            Err(_) => return (requests, wrong),
        };
        let fields: Vec<&str> =
            text.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let columns = *columns.get_or_insert_with(|| columns_of(&fields));
        let [time, Some(id), size] = columns else { return (requests, wrong) };
        if is_first && is_header(&fields) {
            continue;
        }
        if std::str::from_utf8(line).is_err() {
            return (requests, wrong);
        }
        let number = |column: Option<usize>, unset: u64, most: u64| match column {
            None => Some(unset),
            Some(at) => {
                let whole = fields.get(at)?.split('.').next()?;
                whole.parse().ok().filter(|&number: &u64| number <= most)
            }
        };
        let request = (|| {
            let id = *fields.get(id)?;
            (!id.is_empty()).then_some(())?;
            let hash =
                |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
            Some(Request {
                time: number(time, 0, u64::MAX)?,
                id: id.parse().unwrap_or_else(|_| id.bytes().fold(0xCBF2_9CE4_8422_2325, hash)),
                size: number(size, 1, u32::MAX.into())? as u32,
            })
        })();
        match request {
            Some(request) => requests.push(request),
            None => return (requests, wrong),
        }
    }
    (requests, End::Whole)
}

const IDS: [&str; 5] = ["id", "key", "obj", "obj_id", "object"];

fn is_header(fields: &[&str]) -> bool {
    fields.iter().any(|field| IDS.contains(&field.to_ascii_lowercase().as_str()))
}

/// Time, id and size; without an id it is no trace.
fn columns_of(fields: &[&str]) -> [Option<usize>; 3] {
    let find = |names: &[&str]| {
        fields.iter().position(|field| names.contains(&field.to_ascii_lowercase().as_str()))
    };
    if is_header(fields) {
        let sizes = ["size", "obj_size", "bytes", "length"];
        return [find(&["time", "timestamp"]), find(&IDS), find(&sizes)];
    }
    if !fields.iter().any(|field| field.as_bytes().first().is_some_and(u8::is_ascii_digit)) {
        return [None; 3];
    }
    match fields.len() {
        1 => [None, Some(0), None],
        2 => [None, Some(0), Some(1)],
        _ => [Some(0), Some(1), Some(2)],
    }
}

/// What is no sound zstd, or only nearly.
fn damaged(name: &str, bytes: &[u8], what: &'static str, log: &mut Log) {
    log.begin(what, || format!("{} bytes", bytes.len()));
    let (_, end) = read(&File::new(name, bytes), log);
    if matches!(end, End::Wrong(_)) {
        log.note("not packed");
    }
}

/// File names tell the format; folders are listed by them.
fn names(bytes: &[u8], log: &mut Log) {
    let name = String::from_utf8_lossy(bytes);
    let name: String = name.chars().filter(|&c| c != '/' && c != '\0').take(60).collect();
    log.begin("names of files", || format!("\"{name}\""));
    if name.is_empty() || name == "." || name == ".." {
        return;
    }
    let file = File::new(&name, b"");
    let lower = name.to_ascii_lowercase();
    let (stem, packed) = lower.strip_suffix(".zst").map_or((&*lower, false), |stem| (stem, true));
    let ends = |tails: &[&str]| tails.iter().any(|tail| stem.ends_with(tail));
    let expected = if ends(&[".oraclegeneral", ".oraclegeneral.bin"]) {
        Some((Format::OracleGeneral, packed))
    } else if ends(&[".csv"]) {
        Some((Format::Csv, packed))
    } else {
        None
    };
    assert_eq!(Format::of(&file.0), expected);
    match Trace::open(&file.0) {
        // Nothing is a trace without requests, plain or packed.
        Ok(mut trace) => {
            let first = trace.next().map(|result| result.map_err(|error| error.to_string()));
            assert!(first.is_none_or(|result| result.is_err()), "a request of an empty file");
        }
        Err(error) => {
            log.result("wrong file", || &error);
            assert!(error.to_string().starts_with(&file.0.display().to_string()), "{error}");
            assert!(expected.is_none_or(|(_, packed)| packed), "{error}");
        }
    }
    let traces = list(folder()).unwrap();
    let listed = traces.iter().any(|trace| trace.path == file.0);
    let is_table = ["manifest.csv", "reference.csv"].contains(&&*name);
    assert_eq!(listed, expected.is_some() && !is_table, "{name}");
}

fn figures(bytes: &[u8], log: &mut Log) {
    log.begin("reference", || format!("{} bytes", bytes.len()));
    let file = File::new("reference.csv", bytes);
    match reference(folder()) {
        Ok(figures) => {
            log.result("figures", || figures.len());
            assert!(figures.len() <= bytes.len() / 7);
        }
        Err(error) => {
            log.result("no figures", || &error);
            let text = error.to_string();
            assert!(text.starts_with(&file.0.display().to_string()), "{text}");
            assert!(text.contains(": line ") || std::str::from_utf8(bytes).is_err(), "{text}");
        }
    }
}

/// The most memory that the process had at once, from here on. Linux only; elsewhere it sees
/// nothing.
struct Meter {
    before: Option<u64>,
}

impl Meter {
    fn new() -> Self {
        // Sets the mark back to what is used now.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Self { before: Self::mark() }
    }

    fn mark() -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// Rule 3.
    fn check(&self, bytes: &[u8]) {
        let (Some(before), Some(now)) = (self.before, Self::mark()) else { return };
        let allowed = MEMORY_MAX + window(bytes);
        assert!(now <= before + allowed, "reading took {} bytes", now - before);
    }
}

/// The largest window that a zstd frame may declare in these bytes (RFC 8878, 3.1.1.1.2).
fn window(bytes: &[u8]) -> u64 {
    const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    let frames = bytes.windows(6).filter(|at| at.starts_with(&MAGIC));
    let declared = frames.map(|frame| {
        let base = 1_u64 << (10 + (frame[5] >> 3));
        // A single segment's window is its content, at most what blocks of 128 KiB make of the file.
        let single = (bytes.len() as u64) << 17;
        if frame[4] & 0x20 == 0 { base + base / 8 * u64::from(frame[5] & 7) } else { single }
    });
    declared.max().unwrap_or(0).min(1 << 31)
}
