//! Reads what is written here, and refuses what is wrong by name and place.

use super::{Format, Request, Trace, Unit, list, reference};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A folder that goes away with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hc-trace-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> Result<Vec<Request>, String> {
    Trace::open(path).and_then(Iterator::collect).map_err(|error| error.to_string())
}

fn record(time: u32, id: u64, size: u32) -> Vec<u8> {
    let parts: [&[u8]; 4] =
        [&time.to_le_bytes(), &id.to_le_bytes(), &size.to_le_bytes(), &(-1_i64).to_le_bytes()];
    parts.concat()
}

#[test]
fn oracle_general_plain_and_packed() {
    let folder = Folder::new("oracle");
    let expected: Vec<_> = (0..50_000_u32)
        .map(|n| Request { time: u64::from(n / 7), id: u64::MAX - u64::from(n), size: n })
        .collect();
    let bytes: Vec<u8> =
        expected.iter().flat_map(|r| record(r.time as u32, r.id, r.size)).collect();
    let plain = folder.write("a.oracleGeneral", &bytes);
    assert_eq!(read(&plain).unwrap(), expected);
    let packed = zstd::encode_all(&bytes[..], 3).unwrap();
    assert_eq!(read(&folder.write("b.oracleGeneral.bin.zst", &packed)).unwrap(), expected);
    let two_frames = [packed.clone(), packed.clone()].concat();
    let path = folder.write("c.oracleGeneral.zst", &two_frames);
    assert_eq!(read(&path).unwrap().len(), 100_000);
    let mut trace = Trace::open(&path).unwrap();
    let progress = trace.progress();
    assert_eq!((progress.done(), progress.total()), (0, two_frames.len() as u64));
    assert!(trace.by_ref().all(|request| request.is_ok()));
    assert_eq!(progress.done(), two_frames.len() as u64);
    assert!(trace.next().is_none(), "an ended trace stays ended");
    assert_eq!(read(&folder.write("empty.oracleGeneral", b"")).unwrap(), []);
}

#[test]
fn broken_oracle_general_says_where() {
    let folder = Folder::new("broken");
    let bytes = [record(1, 2, 3), record(4, 5, 6), vec![0; 7]].concat();
    let path = folder.write("cut.oracleGeneral", &bytes);
    assert_eq!(
        read(&path).unwrap_err(),
        format!(
            "{}: record 3: the file ends after 7 of its bytes; whole oracleGeneral records of 24 \
             bytes are expected",
            path.display()
        )
    );
    let mut trace = Trace::open(&path).unwrap();
    assert!(trace.next().unwrap().is_ok() && trace.next().unwrap().is_ok());
    assert!(trace.next().unwrap().is_err() && trace.next().is_none());

    let mut packed = zstd::encode_all(&record(1, 2, 3).repeat(9999)[..], 3).unwrap();
    packed.truncate(packed.len() / 2);
    let path = folder.write("cut.oracleGeneral.zst", &packed);
    let error = read(&path).unwrap_err();
    assert!(error.starts_with(&format!("{}: record ", path.display())), "{error}");
    let path = folder.write("no.oracleGeneral.zst", b"this is no zstd");
    assert!(read(&path).unwrap_err().contains("no.oracleGeneral.zst: record 1: "));

    assert!(read(&folder.0.join("absent.csv")).unwrap_err().contains("absent.csv: No such file"));
    let error = read(&folder.write("what.txt", b"")).unwrap_err();
    assert!(error.contains("what.txt: the name tells no format; it should end in "), "{error}");
    fs::create_dir(folder.0.join("d.csv")).unwrap();
    assert!(read(&folder.0.join("d.csv")).unwrap_err().contains("it is a folder"));
}

#[test]
fn csv_columns() {
    let folder = Folder::new("csv");
    let request = |time, id, size| Request { time, id, size };
    for (text, expected) in [
        ("", vec![]),
        ("# nothing\n\n", vec![]),
        ("time,id,size\n", vec![]),
        ("7\n8\n", vec![request(0, 7, 1), request(0, 8, 1)]),
        ("7,100\n", vec![request(0, 7, 100)]),
        ("1,7,100\n2,8,200", vec![request(1, 7, 100), request(2, 8, 200)]),
        ("1.75,7,100,get\r\n", vec![request(1, 7, 100)]),
        ("# c\n\n Size , KEY\n5,9\n\n# d\n6,10\n", vec![request(0, 9, 5), request(0, 10, 6)]),
        ("op,\"obj_id\",timestamp\nget,\"3\",12\n", vec![request(12, 3, 1)]),
        ("18446744073709551615\n", vec![request(0, u64::MAX, 1)]),
        ("id\na\n", vec![request(0, 0xAF63_DC4C_8601_EC8C, 1)]),
    ] {
        let path = folder.write("t.csv", text.as_bytes());
        assert_eq!(read(&path).unwrap(), expected, "{text:?}");
        let packed = folder.write("t.csv.zst", &zstd::encode_all(text.as_bytes(), 1).unwrap());
        assert_eq!(read(&packed).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn broken_csv_says_where() {
    let folder = Folder::new("broken-csv");
    for (text, expected) in [
        (
            "policy,ratio\na,b\n",
            "line 1: \"policy,ratio\" names no column of ids and is no request; a header with id \
             (and time, size) or lines of time,id,size are expected",
        ),
        (
            "time,id,size\n1,2,3\n1,2,x\n",
            "line 3: size is \"x\"; a number from 0 to 4294967295 is expected",
        ),
        (
            "1,2,4294967296\n",
            "line 1: size is \"4294967296\"; a number from 0 to 4294967295 is expected",
        ),
        ("1,2,3\n\n1,2\n", "line 3: it has 2 fields; the size is expected in field 3"),
        ("1,,3\n", "line 1: the id is empty; a number or a name is expected"),
        ("-5,2,3\n", "line 1: time is \"-5\"; a number from 0 to 18446744073709551615 is expected"),
    ] {
        let path = folder.write("t.csv", text.as_bytes());
        let error = read(&path).unwrap_err();
        assert_eq!(error, format!("{}: {expected}", path.display()), "{text:?}");
    }
    let error = read(&folder.write("t.csv", b"id\n\xFF\xFE\n")).unwrap_err();
    assert!(error.ends_with("line 2: it is not UTF-8; lines of text are expected"), "{error}");
    let error = read(&folder.write("t.csv", &[b'7'; 70_000])).unwrap_err();
    assert!(error.contains("line 1: it is longer than 65536 bytes"), "{error}");
}

#[test]
fn folders_and_references() {
    let folder = Folder::new("folder");
    for name in ["b.oracleGeneral.zst", "a.oracleGeneral.bin", "c.csv", "manifest.csv", "README.md"]
    {
        folder.write(name, b"");
    }
    let row = "web,objects,lru,0.1,10,0.5,0.25";
    let header = "trace,unit,policy,fraction,capacity,miss_ratio,byte_miss_ratio";
    let path = folder.write("reference.csv", format!("{header}\n{row}\n").as_bytes());
    let traces = list(&folder.0).unwrap();
    let names: Vec<_> = traces.iter().map(|trace| (trace.name.as_str(), trace.format)).collect();
    assert_eq!(
        names,
        [("a", Format::OracleGeneral), ("b", Format::OracleGeneral), ("c", Format::Csv)]
    );
    let [figure] = &reference(&folder.0).unwrap()[..] else { panic!("one row is expected") };
    assert_eq!((figure.unit, figure.capacity, figure.miss_ratio), (Unit::Objects, 10, 0.5));
    fs::write(&path, format!("{header}\n{row}\nweb,objects\n")).unwrap();
    let error = reference(&folder.0).unwrap_err().to_string();
    assert!(error.contains("reference.csv: line 3: \"web,objects\" is no row"), "{error}");
    let error = list(folder.0.join("absent")).unwrap_err().to_string();
    assert!(error.contains("absent: ") && error.ends_with("a folder of traces is expected"));
}
