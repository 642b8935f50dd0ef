//! Resident memory of this process, huge pages included.

use std::fs;

/// Resident bytes. Exact: `smaps_rollup` walks the page tables, where `statm` reads counters that
/// lag behind by some pages a core. Pages of hugetlbfs, which RSS leaves out, are added.
#[must_use]
pub fn resident_bytes() -> u64 {
    let Ok(text) = fs::read_to_string("/proc/self/smaps_rollup") else {
        return statm_bytes();
    };
    let kib = |field: &str| -> u64 {
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    (kib("Rss:") + kib("Private_Hugetlb:") + kib("Shared_Hugetlb:")) << 10
}

fn statm_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    // SAFETY: takes a number, returns a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * u64::try_from(page).unwrap_or(4096)
}

/// What the machine can give to processes without swapping.
#[must_use]
pub fn available_bytes() -> u64 {
    kib_in("/proc/meminfo", "MemAvailable:").map_or(u64::MAX, |kib| kib << 10)
}

fn kib_in(file: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
}

/// The private mappings of this process, without the allocator's heap and the stacks, which grow
/// and shrink as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Address space.
    pub bytes: u64,
    /// Part of it that is backed by memory of its own.
    pub resident: u64,
}

impl Mappings {
    /// As they are now; empty where the system does not tell.
    #[must_use]
    pub fn now() -> Self {
        Self::of(&fs::read_to_string("/proc/self/smaps").unwrap_or_default())
    }

    fn of(smaps: &str) -> Self {
        let mut all = Self::default();
        let mut counts = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let kib = || second.parse::<u64>().unwrap_or(0) << 10;
            match first {
                "Size:" if counts => all.bytes += kib(),
                "Anonymous:" if counts => all.resident += kib(),
                _ if first.ends_with(':') => {}
                _ => counts = second.ends_with('p') && !line.ends_with(']'),
            }
        }
        all
    }
}

/// Growth of resident memory since a moment, and its peak over the samples taken.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    base: u64,
    peak: u64,
}

impl Resident {
    /// Growth counts from now.
    #[must_use]
    pub fn begin() -> Self {
        Self { base: resident_bytes(), peak: 0 }
    }

    /// The growth now; remembered in the peak.
    pub fn sample(&mut self) -> u64 {
        let growth = resident_bytes().saturating_sub(self.base);
        self.peak = self.peak.max(growth);
        growth
    }

    /// The largest growth sampled.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Forgets the peak.
    pub fn reset_peak(&mut self) {
        self.peak = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_counted_without_heap_and_stack() {
        let smaps = "5500-5600 rw-p 00000000 00:00 0    [heap]\nSize:    132 kB\nAnonymous:  8 kB\n\
                     7f00-7f10 rw-p 00000000 00:00 0 \nSize:    64 kB\nRss: 9 kB\nAnonymous:  4 kB\n\
                     7f10-7f20 r--s 00000000 08:01 7    /a file\nSize:    4 kB\n\
                     7f20-7f30 r-xp 00000000 08:01 7    /a library\nSize:    8 kB\nAnonymous: 0 kB\n";
        assert_eq!(Mappings::of(smaps), Mappings { bytes: 72 << 10, resident: 4 << 10 });
        assert!(Mappings::now().bytes > 0);
    }

    #[test]
    fn touched_memory_shows() {
        let mut resident = Resident::begin();
        let touched = vec![1_u8; 32 << 20];
        assert!(resident.sample() > 30 << 20);
        assert!(resident.peak() > 30 << 20);
        drop(std::hint::black_box(touched));
    }
}
