//! Byte sizes as text: `"64MiB"`, `"1.5GiB"`, `"1000000"`, and `"25%"` of the memory there is.
//!
//! What a share is taken of is the least memory limit of the process's control group and those
//! above it (version 2, as containers set it), or the machine's memory where that is less.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Units by their lower-case names. Decimal ones are decimal: 1 MB is 1,000,000 bytes.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Why a text is no byte size; says what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError(String);

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SizeError {}

fn refuse<T>(text: &str, why: &str) -> Result<T, SizeError> {
    let shown: String = text.chars().take(40).collect();
    let forms = "a size is a number of bytes, or text such as \"64MiB\", \"1.5GiB\", \"500MB\" or \
                 \"25%\" (of the memory of this machine or container)";
    Err(SizeError(format!("{shown:?} is no byte size: {why}; {forms}")))
}

/// The number of bytes that a text names, rounded down.
///
/// # Errors
/// Names the text and what is allowed. Sizes end at 2^63 - 1; shares are above 0 and at most 100 %.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let trimmed = text.trim();
    if let Some(share) = trimmed.strip_suffix('%') {
        let Some(share) = number(share.trim_end()) else {
            return refuse(text, "the share is not a number");
        };
        if !(share > 0.0 && share <= 100.0) {
            return refuse(text, "a share is more than 0% and at most 100%");
        }
        let Some(memory) = memory_limit() else {
            return refuse(text, "how much memory there is cannot be told here");
        };
        return Ok((memory as f64 * share / 100.0) as u64);
    }
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(split);
    let unit = unit.trim_start().to_ascii_lowercase();
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return refuse(text, "units are B, KiB, MiB, GiB, TiB and, decimal, KB, MB, GB, TB");
    };
    let most = u64::MAX >> 1;
    let bytes = match (digits.parse::<u64>(), number(digits)) {
        // Exact, where floats would round.
        (Ok(whole), _) => whole.checked_mul(*scale),
        (Err(_), Some(value)) if value < most as f64 => Some((value * *scale as f64) as u64),
        (Err(_), Some(_)) => None,
        (Err(_), None) => return refuse(text, "it does not begin with a number"),
    };
    match bytes.filter(|&bytes| bytes <= most) {
        Some(bytes) => Ok(bytes),
        None => refuse(text, "it is more than 2^63 - 1"),
    }
}

/// A plain decimal number: digits with at most one point between or before them.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

/// How much memory this process may take, in bytes: the least limit of its control group and those
/// above it, or the machine's memory where that is less. None where neither can be read.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    memory_limit_below(Path::new("/"))
}

/// [`memory_limit`] with the system's files below `root`.
fn memory_limit_below(root: &Path) -> Option<u64> {
    match (group_limit(root), machine_memory(root)) {
        (Some(group), Some(machine)) => Some(group.min(machine)),
        (group, machine) => group.or(machine),
    }
}

/// The least `memory.max` from the process's group up to the root of the groups.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // Beside groups of version 1, those of version 2 are mounted one level deeper.
    ["sys/fs/cgroup", "sys/fs/cgroup/unified"].iter().find_map(|mount| {
        let mount = root.join(mount);
        let mut group: PathBuf = mount.join(own);
        let mut least = None;
        while group.starts_with(&mount) {
            let limit = fs::read_to_string(group.join("memory.max")).ok();
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
            least = match (least, limit) {
                (Some(a), Some(b)) => Some(u64::min(a, b)),
                (a, b) => a.or(b),
            };
            if !group.pop() {
                break;
            }
        }
        least
    })
}

fn machine_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{memory_limit, memory_limit_below, parse};
    use proptest::prelude::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            (" 64 mib ", 64 << 20),
            ("1.5GiB", 3 << 29),
            (".5KiB", 512),
            ("500MB", 500_000_000),
            ("2tb", 2_000_000_000_000),
            ("17 B", 17),
            ("9223372036854775807", u64::MAX >> 1),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_text_and_what_is_allowed() {
        for (text, why) in [
            ("", "begin with a number"),
            ("MiB", "begin with a number"),
            ("-1", "units are"),
            ("64M", "units are"),
            ("1e9", "units are"),
            ("1.2.3KiB", "begin with a number"),
            ("9223372036854775808", "2^63"),
            ("99999999999TiB", "2^63"),
            ("99999999999999999999999.0", "2^63"),
            ("0%", "more than 0%"),
            ("101%", "at most 100%"),
            ("-5%", "not a number"),
            ("inf%", "not a number"),
            ("%", "not a number"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(error.starts_with(&format!("{text:?}")) && error.contains("64MiB"), "{error}");
        }
    }

    #[test]
    fn a_share_is_of_the_memory_there_is() {
        let all = memory_limit().unwrap();
        assert!(all > 1 << 20);
        assert_eq!(parse("100%"), Ok(all));
        assert!(parse("12.5 %").unwrap().abs_diff(all / 8) <= 1);
    }

    /// A folder that is removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            Self(path)
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_least_limit_holds() {
        let root = Folder::new("hypercache-groups");
        root.write("proc/meminfo", "MemFree: 1 kB\nMemTotal:       1000000 kB\n");
        assert_eq!(memory_limit_below(&root.0), Some(1_024_000_000));

        root.write("proc/self/cgroup", "3:cpu:/x\n0::/outer/inner\n");
        assert_eq!(memory_limit_below(&root.0), Some(1_024_000_000));

        root.write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
        root.write("sys/fs/cgroup/outer/memory.max", "1000\n");
        assert_eq!(memory_limit_below(&root.0), Some(1000));

        root.write("sys/fs/cgroup/outer/inner/memory.max", "500\n");
        root.write("sys/fs/memory.max", "1\n");
        assert_eq!(memory_limit_below(&root.0), Some(500));

        root.write("sys/fs/cgroup/outer/inner/memory.max", "9999999999999\n");
        root.write("sys/fs/cgroup/outer/memory.max", "max\n");
        assert_eq!(memory_limit_below(&root.0), Some(1_024_000_000));
        assert_eq!(memory_limit_below(Path::new("/nowhere")), None);
    }

    proptest! {
        #[test]
        fn whole_numbers_are_exact(bytes in 0..u64::MAX >> 1) {
            prop_assert_eq!(parse(&bytes.to_string()), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
