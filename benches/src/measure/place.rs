//! Where and with what figures were made: machine, commit, toolchain.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What a figure depends on beside the code that was meant to be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The processor's name, as the kernel has it.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: u32,
    /// Caches of the first processor, such as "L1d 32K, L2 1024K, L3 36608K".
    pub caches: String,
    /// Memory of the machine, in bytes.
    pub memory: u64,
    /// The kernel and its version.
    pub kernel: String,
    /// Whether the kernel gives huge pages: "always", "madvise", "never".
    pub huge_pages: String,
    /// The commit of the source tree; "-dirty" behind it where files differ from it.
    pub commit: String,
    /// The compiler.
    pub toolchain: String,
    /// What it compiled for, and how: "x86_64-unknown-linux-gnu, release".
    pub target: String,
    /// Whether other caches are built in.
    pub peers: bool,
}

impl Place {
    /// This machine and this program. What cannot be found out is "unknown".
    #[must_use]
    pub fn here() -> Self {
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            processors: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            memory: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib << 10),
            kernel: said_by(Command::new("uname").args(["-s", "-r", "-m"]))
                .unwrap_or_else(|_| unknown()),
            huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
                .ok()
                .and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()))
                .unwrap_or_else(unknown),
            commit: commit().unwrap_or_else(unknown),
            toolchain: env!("BUILT_WITH").to_owned(),
            target: format!("{}, {}", env!("BUILT_FOR"), env!("BUILT_AS")),
            peers: cfg!(feature = "peers"),
        }
    }
}

/// What cannot be found out.
pub(crate) fn unknown() -> String {
    "unknown".to_owned()
}

/// The value behind the first line of a file that begins with `name`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn caches(folder: &Path) -> String {
    let read = |index: usize, name: &str| {
        let text = fs::read_to_string(folder.join(format!("index{index}")).join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    let of = |index: usize| {
        let suffix = match read(index, "type")?.as_str() {
            "Instruction" => return None,
            "Data" => "d",
            _ => "",
        };
        Some(format!("L{}{suffix} {}", read(index, "level")?, read(index, "size")?))
    };
    let found: Vec<String> = (0..8).filter_map(of).collect();
    if found.is_empty() { unknown() } else { found.join(", ") }
}

/// The commit of the tree at `root`, and whether files differ from it; `None` where `root` is not a
/// checkout of its own (a copy of the tree inside a checkout is not that checkout).
pub(crate) fn commit_of(root: &Path) -> Option<(String, bool)> {
    let git = |args: &[&str]| said_by(Command::new("git").arg("-C").arg(root).args(args)).ok();
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok() != root.canonicalize().ok() {
        return None;
    }
    let files = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some((git(&["rev-parse", "HEAD"])?, !files.is_empty()))
}

/// The commit of the tree that the program was built from.
fn commit() -> Option<String> {
    let (mut commit, changed) = commit_of(Path::new(env!("CARGO_MANIFEST_DIR")).parent()?)?;
    commit.truncate(12);
    Some(if changed { format!("{commit}-dirty") } else { commit })
}

/// What a program prints until its end, without the space around it.
///
/// # Errors
/// It cannot be run, or fails.
pub(crate) fn said_by(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let out =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    if !out.status.success() {
        let complaint = String::from_utf8_lossy(&out.stderr);
        bail!("{shown} failed ({})\n{}", out.status, complaint.trim_end());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Now, in UTC, as "2026-02-29 13:05:09 UTC".
#[must_use]
pub fn now_utc() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(since)
}

/// Days become a date as in Howard Hinnant's "chrono-compatible low-level date algorithms": years
/// begin in March, so that the leap day is a year's last.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year}-{month:02}-{date:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_868_800), "2000-03-01 00:00:00 UTC");
        assert_eq!(utc(1_709_164_800), "2024-02-29 00:00:00 UTC");
        assert_eq!(utc(4_102_444_799), "2099-12-31 23:59:59 UTC");
    }

    #[test]
    fn this_place_is_known() {
        let place = Place::here();
        assert!(place.processors > 0);
        assert!(place.toolchain.starts_with("rustc "), "{}", place.toolchain);
        assert!(place.target.contains("-"), "{}", place.target);
    }
}
