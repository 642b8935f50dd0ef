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
    fn touched_memory_shows() {
        let mut resident = Resident::begin();
        let touched = vec![1_u8; 32 << 20];
        assert!(resident.sample() > 30 << 20);
        assert!(resident.peak() > 30 << 20);
        drop(std::hint::black_box(touched));
    }
}
