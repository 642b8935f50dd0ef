//! Address space and pages: the only place that asks the operating system for memory.
//!
//! A [`Reservation`] is one mapping. Nothing of it is unmapped before it is dropped, so a pointer
//! into it never faults once its pages were committed, whatever became of them since; giving
//! memory back is `MADV_DONTNEED`, after which the pages read as zeros.
//!
//! The mapping is readable, writable and not accounted (`MAP_NORESERVE`). Where the system accounts
//! it all the same (strict overcommit), it is mapped without access, and committing a range opens
//! it: then the system may refuse, and [`Reservation::commit`] says so. In either form the pool has
//! charged the bytes before it commits them.
//!
//! Tests make the n-th charge, commit or reservation of a thread fail: `testing::fail_after`.

use crate::error::{Error, ErrorKind, Result};
use std::sync::OnceLock;

/// Bytes of a huge page, and the alignment of every reservation.
pub const HUGE_BYTES: u64 = 2 << 20;

/// Bytes of a page of this system.
#[must_use]
pub fn page_bytes() -> u64 {
    static PAGE: OnceLock<u64> = OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf reads a constant of the system.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4_096)
    })
}

/// Whether asking for huge pages can have any effect: pages of 4 KiB (others have huge pages of
/// other sizes) and transparent huge pages not switched off.
#[must_use]
pub fn has_huge_pages() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        page_bytes() == 4_096
            && std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
                .is_ok_and(|modes| !modes.contains("[never]"))
    })
}

/// Asks the system which ranges are backed by huge pages (`PAGEMAP_SCAN`, Linux 6.7 and later): a
/// microsecond for one that is, ten for one that is not.
#[derive(Debug)]
pub struct HugeProbe(std::fs::File);

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 0xC060_6610;
const PAGE_IS_HUGE: u64 = 1 << 6;

impl HugeProbe {
    /// A probe, if the system has it.
    #[must_use]
    pub fn open() -> Option<Self> {
        std::fs::File::open("/proc/self/pagemap").ok().map(Self)
    }

    /// Whether the huge-page-sized range at `offset` is backed by a huge page; `None` where the
    /// system cannot say.
    #[must_use]
    pub fn is_huge(&self, memory: &Reservation, offset: u64) -> Option<bool> {
        use std::os::fd::AsRawFd;
        let start = memory.at(offset) as u64;
        let mut region = [0_u64; 3];
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            flags: 0,
            start,
            end: start + HUGE_BYTES,
            walk_end: 0,
            regions: region.as_mut_ptr() as u64,
            regions_len: 1,
            max_pages: 0,
            category_inverted: 0,
            category_mask: PAGE_IS_HUGE,
            category_anyof_mask: 0,
            return_mask: PAGE_IS_HUGE,
        };
        // SAFETY: the call reads the arguments, writes them and at most one region of three words,
        // and only looks at the page tables of the range.
        let found = unsafe { libc::ioctl(self.0.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
        match found {
            0 => Some(false),
            1 => Some(region[0] == start && region[1] == start + HUGE_BYTES),
            _ => None,
        }
    }
}

/// What a range is to be backed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Huge pages where the system has some.
    Huge,
    /// Small pages only: nobody may fill the range up behind our back.
    Small,
}

/// A range of addresses, aligned to [`HUGE_BYTES`], with pages that come and go.
#[derive(Debug)]
pub struct Reservation {
    map: *mut u8,
    map_bytes: usize,
    base: *mut u8,
    bytes: u64,
    closed: bool,
}

// SAFETY: it owns its mapping, and its methods only pass ranges of it to the system, which any
// thread may do; who may touch which bytes is the pool's to say.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `bytes` of address space; fails with [`ErrorKind::NoMemory`].
    pub fn new(bytes: u64) -> Result<Self> {
        let refused =
            |errno| Error::os(ErrorKind::NoMemory, "the system refused address space", errno);
        if faults::strike() {
            return Err(refused(libc::ENOMEM));
        }
        let map_bytes = bytes
            .checked_add(HUGE_BYTES)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| refused(libc::ENOMEM))?;
        let (map, closed) = map_open(map_bytes)
            .map(|map| (map, false))
            .or_else(|_| map_range(map_bytes, libc::PROT_NONE).map(|map| (map, true)))
            .map_err(refused)?;
        let skipped = map.align_offset(HUGE_BYTES as usize);
        // SAFETY: the mapping is HUGE_BYTES longer than asked for, so the next aligned address is
        // inside it.
        let base = unsafe { map.add(skipped) };
        Ok(Self { map, map_bytes, base, bytes, closed })
    }

    /// The first byte.
    #[inline(always)]
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes a range usable. Idempotent. The caller has charged it.
    pub fn commit(&self, offset: u64, bytes: u64) -> Result<()> {
        let refused = |errno| Error::os(ErrorKind::NoMemory, "the system refused memory", errno);
        if faults::strike() {
            return Err(refused(libc::ENOMEM));
        }
        if self.closed { self.protect(offset, bytes, true).map_err(refused) } else { Ok(()) }
    }

    /// Gives the pages of a range back; they read as zeros afterwards. False: the system declined
    /// and all is as it was.
    #[must_use]
    pub fn decommit(&self, offset: u64, bytes: u64) -> bool {
        match self.madvise(offset, bytes, libc::MADV_DONTNEED) {
            Ok(()) => true,
            // A host that locks its memory (mlockall) has to say that it means it.
            Err(libc::EINVAL) => self.madvise(offset, bytes, libc::MADV_DONTNEED_LOCKED).is_ok(),
            Err(_) => false,
        }
    }

    /// Tells what a range is to be backed by. False: the system declined.
    #[must_use]
    pub fn advise(&self, offset: u64, bytes: u64, advice: Advice) -> bool {
        let advice = match advice {
            Advice::Huge => libc::MADV_HUGEPAGE,
            Advice::Small => libc::MADV_NOHUGEPAGE,
        };
        self.madvise(offset, bytes, advice).is_ok()
    }

    /// Has every page of a committed range backed now.
    pub fn populate(&self, offset: u64, bytes: u64) -> Result<()> {
        loop {
            match self.madvise(offset, bytes, libc::MADV_POPULATE_WRITE) {
                Ok(()) => return Ok(()),
                Err(libc::EINTR | libc::EAGAIN) => {}
                // A system older than the call.
                Err(libc::EINVAL) => {
                    for page in (offset..offset + bytes).step_by(4_096) {
                        self.touch(page);
                    }
                    return Ok(());
                }
                Err(errno) => {
                    let context = "the system refused to back the memory asked for in advance";
                    return Err(Error::os(ErrorKind::NoMemory, context, errno));
                }
            }
        }
    }

    /// Has the page at `offset` backed: writes a zero there. The range is committed, reads as zeros
    /// and is the caller's.
    pub fn touch(&self, offset: u64) {
        // SAFETY: the byte lies in a committed range that the caller owns. Volatile, because an
        // idle read-modify-write may be compiled to a load, which maps the zero page instead.
        unsafe { self.at(offset).write_volatile(0) };
    }

    /// Whether the huge-page-sized range at `offset`, of which only the first page was touched
    /// yet, is backed by a huge page: then all of it is resident.
    #[must_use]
    pub fn is_huge(&self, offset: u64) -> bool {
        let mut resident = [0_u8; (HUGE_BYTES / 4_096) as usize];
        // SAFETY: the range lies in the mapping, and `resident` has a byte for each of its pages
        // (huge pages are used with pages of 4 KiB only, see `has_huge_pages`).
        let done = unsafe {
            libc::mincore(self.at(offset).cast(), HUGE_BYTES as usize, resident.as_mut_ptr())
        };
        done == 0 && resident.iter().all(|page| page & 1 == 1)
    }

    /// Opens a range or closes it to every access.
    fn protect(&self, offset: u64, bytes: u64, open: bool) -> Result<(), i32> {
        let access = if open { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
        debug_assert!(offset + bytes <= self.bytes);
        // SAFETY: the range lies in the mapping that this object owns.
        let done = unsafe { libc::mprotect(self.at(offset).cast(), bytes as usize, access) };
        if done == 0 { Ok(()) } else { Err(errno()) }
    }

    fn madvise(&self, offset: u64, bytes: u64, advice: libc::c_int) -> Result<(), i32> {
        debug_assert!(offset + bytes <= self.bytes);
        // SAFETY: the range lies in the mapping that this object owns; none of the advices used
        // here unmaps it, and the pool decommits only what nobody uses.
        let done = unsafe { libc::madvise(self.at(offset).cast(), bytes as usize, advice) };
        if done == 0 { Ok(()) } else { Err(errno()) }
    }

    #[inline(always)]
    fn at(&self, offset: u64) -> *mut u8 {
        self.base.wrapping_add(offset as usize)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and nothing refers to it any more: the pool is
        // dropped last of all that lives in it.
        unsafe { libc::munmap(self.map.cast(), self.map_bytes) };
    }
}

fn map_open(bytes: usize) -> Result<*mut u8, i32> {
    #[cfg(any(test, feature = "testing"))]
    if testing::accounts_strictly() {
        return Err(libc::ENOMEM);
    }
    map_range(bytes, libc::PROT_READ | libc::PROT_WRITE)
}

fn map_range(bytes: usize, access: libc::c_int) -> Result<*mut u8, i32> {
    // SAFETY: a fresh anonymous mapping at an address of the system's choice.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            access,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if map == libc::MAP_FAILED { Err(errno()) } else { Ok(map.cast()) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Where injected failures strike.
pub(crate) mod faults {
    /// Whether the operation at hand is to fail.
    #[cfg(not(any(test, feature = "testing")))]
    #[inline(always)]
    pub(crate) const fn strike() -> bool {
        false
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) use super::testing::strike;
}

/// Hooks for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use super::Reservation;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    thread_local! {
        static COUNTDOWN: Cell<u64> = const { Cell::new(0) };
        static STRUCK: Cell<bool> = const { Cell::new(false) };
        static SHARE: Cell<Share> = const { Cell::new(Share { below: 0, dice: 0, failures: 0 }) };
    }
    static PROTECT: AtomicBool = AtomicBool::new(false);
    static STRICT: AtomicBool = AtomicBool::new(false);

    /// Makes the `n`-th charge, commit or reservation of the calling thread from now on fail, once
    /// (1: the next). 0: none. A thread's own, so that tests do not hit each other.
    pub fn fail_after(n: u64) {
        COUNTDOWN.set(n);
        STRUCK.set(false);
    }

    /// Whether the failure asked for has taken place since [`fail_after`].
    #[must_use]
    pub fn has_failed() -> bool {
        STRUCK.get()
    }

    /// Which operations fail by chance.
    #[derive(Clone, Copy)]
    struct Share {
        /// Those whose throw is below.
        below: u64,
        dice: u64,
        failures: u64,
    }

    /// Makes this share (0 to 1) of the calling thread's charges, commits and reservations fail from
    /// now on; which of them, follows from `seed`.
    pub fn fail_share(share: f64, seed: u64) {
        SHARE.set(Share { below: (share * 2_f64.powi(64)) as u64, dice: seed | 1, failures: 0 });
    }

    /// How many have failed since [`fail_share`].
    #[must_use]
    pub fn failures() -> u64 {
        SHARE.get().failures
    }

    fn strikes_by_chance() -> bool {
        let mut share = SHARE.get();
        // A linear congruential generator (Knuth's MMIX), of which the upper bits are compared.
        share.dice = share.dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        let strikes = share.dice < share.below;
        share.failures += u64::from(strikes);
        SHARE.set(share);
        strikes
    }

    pub(crate) fn strike() -> bool {
        let left = COUNTDOWN.get();
        if left == 0 {
            return SHARE.get().below != 0 && strikes_by_chance();
        }
        COUNTDOWN.set(left - 1);
        STRUCK.set(left == 1);
        left == 1
    }

    /// Takes all access away from segments that become free, until they are handed out again: a
    /// read that comes too late faults. Process-wide; switch it on before the first pool.
    ///
    /// A reader that touches an entry before it announces it must not do so under this switch.
    pub fn protect_reclaimed(on: bool) {
        PROTECT.store(on, Ordering::SeqCst);
    }

    /// Behave as on a system that accounts every mapping that may be written (strict overcommit).
    pub fn account_strictly(on: bool) {
        STRICT.store(on, Ordering::SeqCst);
    }

    pub(crate) fn accounts_strictly() -> bool {
        STRICT.load(Ordering::Relaxed)
    }

    /// Whether [`protect_reclaimed`] is on.
    #[must_use]
    pub fn protects_reclaimed() -> bool {
        PROTECT.load(Ordering::Relaxed)
    }

    impl Reservation {
        /// Opens a range, or closes it to every access, under [`protect_reclaimed`].
        pub(crate) fn guard_range(&self, offset: u64, bytes: u64, open: bool) {
            if protects_reclaimed() {
                assert_eq!(self.protect(offset, bytes, open), Ok(()), "mprotect for a test");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_reads_as_zeros_and_gives_back() {
        let space = Reservation::new(64 << 20).unwrap();
        assert_eq!(space.base() as u64 % HUGE_BYTES, 0);
        space.commit(4_096, 8_192).unwrap();
        let byte = space.at(4_096);
        // SAFETY: committed above, and owned by this test.
        unsafe {
            assert_eq!(byte.read(), 0);
            byte.write(7);
            assert!(space.decommit(4_096, 4_096));
            assert_eq!(byte.read(), 0);
        }
        space.populate(0, 1 << 20).unwrap();
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert_eq!(Reservation::new(1 << 50).unwrap_err().kind(), ErrorKind::NoMemory);
        assert_eq!(Reservation::new(u64::MAX).unwrap_err().kind(), ErrorKind::NoMemory);
    }

    #[test]
    fn a_share_of_the_operations_fails() {
        let space = Reservation::new(1 << 20).unwrap();
        for share in [0.01, 0.2] {
            testing::fail_share(share, 7);
            let failed = (0..10_000).filter(|_| space.commit(0, 4_096).is_err()).count();
            assert_eq!(testing::failures(), failed as u64);
            assert!((failed as f64 / 1e4 / share - 1.0).abs() < 0.3, "{failed} of 10,000");
        }
        testing::fail_share(0.0, 0);
        assert!((0..1_000).all(|_| space.commit(0, 4_096).is_ok()));
    }

    #[test]
    fn the_nth_operation_fails_once() {
        let space = Reservation::new(1 << 20).unwrap();
        testing::fail_after(2);
        assert!(space.commit(0, 4_096).is_ok());
        assert!(!testing::has_failed());
        assert_eq!(space.commit(0, 4_096).unwrap_err().kind(), ErrorKind::NoMemory);
        assert!(testing::has_failed());
        assert!(space.commit(0, 4_096).is_ok());
    }

    #[test]
    fn a_huge_page_is_told_from_small_ones() {
        let space = Reservation::new(4 * HUGE_BYTES).unwrap();
        assert!(!space.is_huge(0));
        if !has_huge_pages() {
            return;
        }
        assert!(space.advise(0, HUGE_BYTES, Advice::Small));
        space.touch(0);
        assert!(!space.is_huge(0));
    }
}
