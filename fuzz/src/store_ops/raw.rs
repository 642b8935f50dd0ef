//! Raw blocks, given back rightly and wrongly. Rule 6.

use super::world::World;
use crate::input::Input;
use hypercache_core::pool::AllocOptions;
use hypercache_core::{ErrorKind, Pool, PoolConfig};

struct Block {
    at: *mut u8,
    len: usize,
    fill: u8,
}

impl Block {
    fn holds(&self) -> bool {
        // SAFETY: the block is this program's, `len` bytes long, and was filled when it was made.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, self.len) };
        bytes.iter().all(|&byte| byte == self.fill)
    }

    fn covers(&self, at: usize) -> bool {
        (self.at as usize..self.at as usize + self.len.max(1)).contains(&at)
    }
}

/// The blocks that are out, and where others were.
#[derive(Default)]
pub struct Blocks {
    live: Vec<Block>,
    freed: Vec<*mut u8>,
    fill: u8,
}

impl Blocks {
    pub fn check(&self) {
        for block in &self.live {
            assert!(block.holds(), "a block of {} bytes was written to", block.len);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

impl World<'_> {
    pub fn alloc(&mut self, input: &mut Input<'_>) {
        const ABSURD: [usize; 5] =
            [usize::MAX, isize::MAX as usize, usize::MAX - 4_095, 1 << 40, 1 << 22];
        let how = input.byte();
        let options = AllocOptions { evict: how & 1 != 0, zero: how & 2 != 0 };
        let align = [0, 1, 16, 64, 4_096, 8, 0, 1 << 20][usize::from(how >> 2 & 7)];
        let align =
            if how >= 224 { [3, 8_192, usize::MAX, 24][usize::from(how & 3)] } else { align };
        let (len, is_absurd) = match input.byte() {
            byte @ 251.. => (ABSURD[usize::from(byte - 251)], true),
            byte @ 0..160 => (usize::from(byte) * 5, false),
            160..220 => (usize::from(input.word()), false),
            _ => (usize::from(input.word()) * 8, false),
        };
        self.log.begin("alloc", || format!("{len} bytes, align {align}, {options:?}"));
        match self.pool.alloc(len, align, options) {
            Ok(block) => {
                self.log.result("allocated", || "");
                let at = block.as_ptr();
                assert!(align <= 4_096 && (align == 0 || align.is_power_of_two()));
                assert!((at as usize).is_multiple_of(if align == 0 { 16 } else { align }));
                let end = at as usize + len.max(1);
                for other in &self.blocks.live {
                    let apart = end <= other.at as usize
                        || other.at as usize + other.len.max(1) <= at as usize;
                    assert!(apart, "two blocks in one place");
                }
                if options.zero {
                    let zero = Block { at, len, fill: 0 };
                    assert!(zero.holds(), "not zeroed");
                }
                self.blocks.freed.retain(|&freed| freed != at);
                self.blocks.fill = self.blocks.fill % 250 + 1;
                let fill = self.blocks.fill;
                // SAFETY: the block is this program's, `len` bytes long.
                unsafe { at.write_bytes(fill, len) };
                self.blocks.live.push(Block { at, len, fill });
                if self.blocks.live.len() > 24 {
                    self.free_block(0);
                }
            }
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.log.result("invalid alignment", || &error);
                assert!(align > 4_096 || (align != 0 && !align.is_power_of_two()), "{error}");
            }
            Err(error) => {
                self.log.result("no room for a block", || &error);
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                // What eviction could make room for is given where it is allowed to.
                let fits = options.evict && !is_absurd && len < 64 << 10;
                assert!(!fits || self.is_tight(len), "{error}; {:?}", self.pool.stats());
            }
        }
    }

    pub fn free(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte());
        if !self.blocks.is_empty() {
            self.free_block(which % self.blocks.live.len());
        }
    }

    pub fn free_block(&mut self, at: usize) {
        let block = self.blocks.live.remove(at);
        self.log.begin("free", || format!("{} bytes", block.len));
        assert!(block.holds(), "a block of {} bytes was written to", block.len);
        // SAFETY: the block is this program's until here; the second free is refused.
        unsafe {
            self.pool.free(block.at).unwrap();
            let again = self.pool.free(block.at).unwrap_err();
            assert_eq!(again.kind(), ErrorKind::Invalid, "{again}");
        }
        self.blocks.freed.push(block.at);
        if self.blocks.freed.len() > 64 {
            self.blocks.freed.remove(0);
        }
    }

    pub fn free_all(&mut self) {
        while !self.blocks.is_empty() {
            self.free_block(0);
        }
    }

    /// Gives back what was never given out. Each is refused and harms nobody.
    pub fn free_wrongly(&mut self, input: &mut Input<'_>) {
        let (kind, number) = (input.below(8), usize::from(input.byte()));
        let some = |pointers: Vec<*mut u8>| {
            (!pointers.is_empty()).then(|| pointers[number % pointers.len()])
        };
        let mut own = [0_u8; 64];
        let mut other = None;
        let wrong = match kind {
            0 => some(self.blocks.freed.clone()),
            // Inside a live block, and behind it.
            1 | 2 => some(self.blocks.live.iter().map(|block| block.at).collect())
                .map(|at| at.wrapping_add([1, 8, 16, 32, 64, 4_096, 16_384, 1 << 20][number % 8])),
            3 => Some(own.as_mut_ptr()),
            // The memory of views and drafts is not the application's.
            4 => some(self.views.iter().map(|(view, _)| view.as_ptr().cast_mut()).collect()),
            5 => some(
                self.drafts
                    .iter_mut()
                    .map(|held| held.draft.data_mut().as_mut_ptr().cast())
                    .collect(),
            ),
            6 => {
                let space = self.pool.space();
                let far = [0, 1, 4_096, 16, 1 << 20, 1 << 30, 1 << 50, usize::MAX / 2];
                Some(space.segments_base().wrapping_add(far[number % 8]))
            }
            _ => {
                let pool = Pool::create(&PoolConfig::new(1 << 20)).unwrap();
                let block = pool.alloc(100, 0, AllocOptions::default()).unwrap();
                other = Some((pool, block));
                Some(block.as_ptr())
            }
        };
        let Some(wrong) = wrong else { return };
        let is_live = |at: &*mut u8| self.blocks.live.iter().any(|block| block.at == *at);
        if is_live(&wrong) || wrong.is_null() {
            return;
        }
        self.log.begin("free wrongly", || format!("kind {kind}, {wrong:?}"));
        // SAFETY: nobody's block begins there, so that the call must refuse it.
        let error = unsafe { self.pool.free(wrong) }.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        // SAFETY: NULL is nothing to give back.
        unsafe { self.pool.free(std::ptr::null_mut()) }.unwrap();
        if let Some((pool, block)) = other {
            // SAFETY: it is this pool's, and nobody else has it.
            unsafe { pool.free(block.as_ptr()) }.unwrap();
            pool.validate().unwrap();
        }
        let inside = self.blocks.live.iter().any(|block| block.covers(wrong as usize));
        self.log.note(if inside { "refused an inner pointer" } else { "refused a pointer" });
        self.blocks.check();
    }
}
