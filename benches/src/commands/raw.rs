//! `raw`: blocks under a pool's budget, through the C interface, against the C library's `malloc`.

use std::ffi::c_void;
use std::hint::black_box;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use hypercache as hc;

use super::typed;
use crate::drive::{rotated, threads as with_threads};
use crate::measure::{median, pin_to_core, thread_cpu_ns};
use crate::report::{Csv, Figure, Table, Unit, ns, progress};
use crate::suite::{Extent, Findings, Plan};
use crate::workload::Rng;

/// Compare raw memory of a pool with malloc and free
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Length of the blocks, in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [64])]
    lens: Vec<usize>,
    /// Rounds a cell; its figure is their median
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// Blocks a round
    #[arg(long, default_value_t = 1_000_000)]
    blocks: u64,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// Something that hands out blocks.
trait Heap: Send + Sync {
    fn name(&self) -> &'static str;
    fn alloc(&self, len: usize) -> *mut u8;
    /// The block came from `alloc` of the same heap and is not used afterwards.
    fn free(&self, block: *mut u8);
}

/// The C library's functions. Both heaps are called by address, as a program calls a function of a
/// shared library: nothing of one is compiled into the loop.
struct Malloc {
    malloc: unsafe extern "C" fn(usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

impl Malloc {
    fn new() -> Self {
        Self { malloc: black_box(libc::malloc), free: black_box(libc::free) }
    }
}

impl Heap for Malloc {
    fn name(&self) -> &'static str {
        "malloc"
    }

    #[inline]
    fn alloc(&self, len: usize) -> *mut u8 {
        // SAFETY: any length is allowed.
        unsafe { (self.malloc)(len).cast() }
    }

    #[inline]
    fn free(&self, block: *mut u8) {
        // SAFETY: the trait's contract: it came from `malloc` and is not used afterwards.
        unsafe { (self.free)(block.cast::<c_void>()) };
    }
}

/// A pool through the C interface.
struct Ours {
    pool: *mut hc::hc_pool,
    alloc: unsafe extern "C" fn(*mut hc::hc_pool, usize, usize, u32) -> *mut c_void,
    free: unsafe extern "C" fn(*mut hc::hc_pool, *mut c_void) -> hc::hc_status,
}

// SAFETY: the header allows a pool from many threads at once; it is released by `drop` only, which
// has the value to itself.
unsafe impl Send for Ours {}
// SAFETY: as above.
unsafe impl Sync for Ours {}

impl Ours {
    fn new(limit: u64) -> Result<Self> {
        let pool = hypercache_core::Pool::create(&hypercache_core::PoolConfig::new(limit))?;
        Ok(Self {
            // The same object: a handle of the C interface is the engine's in its raw form.
            pool: pool.into_raw().cast_mut().cast(),
            alloc: black_box(hc::hc_pool_alloc),
            free: black_box(hc::hc_pool_free),
        })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // SAFETY: the reference that `new` took, given back once.
        unsafe { hc::hc_pool_release(self.pool) };
    }
}

impl Heap for Ours {
    fn name(&self) -> &'static str {
        "hypercache"
    }

    #[inline]
    fn alloc(&self, len: usize) -> *mut u8 {
        // SAFETY: the pool lives as long as `self`.
        unsafe { (self.alloc)(self.pool, len, 0, 0).cast() }
    }

    #[inline]
    fn free(&self, block: *mut u8) {
        // SAFETY: the trait's contract: it came from this pool and is not used afterwards.
        let _ = unsafe { (self.free)(self.pool, block.cast()) };
    }
}

/// In which order blocks come and go.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Each is freed at once.
    Pairs,
    /// A thousand, then all freed in the same order.
    Batches,
    /// A random one of 4,096 is replaced.
    Replace,
}

impl Pattern {
    const ALL: [Self; 3] = [Self::Pairs, Self::Batches, Self::Replace];

    fn name(self) -> &'static str {
        match self {
            Self::Pairs => "freed at once",
            Self::Batches => "1000 made then freed",
            Self::Replace => "1 of 4096 replaced",
        }
    }
}

/// Blocks of some lengths, beside malloc.
pub fn suite(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let seed = plan.seed.to_string();
    let mut options = vec!["--seed", &seed];
    match plan.extent {
        Extent::Quick => options.extend(["--rounds", "6", "--blocks", "200000"]),
        Extent::Full => options.extend(["--lens", "16,64,256,4096"]),
    }
    measure(&typed(&options)?, findings)
}

/// Runs the comparison and prints a table.
pub fn run(args: &Args) -> Result<()> {
    measure(args, &mut Findings::default())
}

fn measure(args: &Args, findings: &mut Findings) -> Result<()> {
    let heaps: Vec<Box<dyn Loops>> = vec![Box::new(Malloc::new()), Box::new(Ours::new(256 << 20)?)];
    let mut csv =
        Csv::create(args.csv.as_deref(), &["pattern", "len", "threads", "heap", "cpu_ns"])?;
    let mut header = vec!["<blocks", "bytes", "threads"];
    header.extend(heaps.iter().map(|heap| heap.name()));
    header.push("ratio");
    let mut table = Table::new("Raw memory: one alloc and one free", &header);
    let cells = args.lens.len() * Pattern::ALL.len() * 2;
    let bar = progress((cells * heaps.len()) as u64 * u64::from(args.rounds), "raw");
    for &len in &args.lens {
        for pattern in Pattern::ALL {
            for threads in [1, 2] {
                let mut times: Vec<Vec<f64>> = vec![Vec::new(); heaps.len()];
                for round in 0..args.rounds {
                    for at in rotated(heaps.len(), round) {
                        let seed = args.seed + u64::from(round);
                        let heap = &*heaps[at];
                        times[at].push(lanes(heap, pattern, len, args.blocks, threads, seed));
                        bar.inc(1);
                    }
                }
                let case = format!("{}, {len} B, {}", pattern.name(), with_threads(threads));
                for (heap, times) in heaps.iter().zip(&times) {
                    let figure = Figure::new("raw", &case, heap.name(), "time", Unit::Ns, 0.0);
                    findings.figure(figure.of_samples(times));
                }
                let figures: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
                let mut row = vec![pattern.name().to_owned(), len.to_string(), threads.to_string()];
                for (heap, &figure) in heaps.iter().zip(&figures) {
                    row.push(ns(figure));
                    csv.row(&[
                        pattern.name().to_owned(),
                        len.to_string(),
                        threads.to_string(),
                        heap.name().to_owned(),
                        format!("{figure:.2}"),
                    ])?;
                }
                row.push(format!("{:.2}x", figures[0] / figures[1]));
                table.row(row);
            }
        }
    }
    bar.finish_and_clear();
    table.note(format!(
        "Nanoseconds of the thread's processor time, median of {} rounds; both touch the block.",
        args.rounds
    ));
    let pressure = pressure_cost(args.blocks)?;
    let case = "reading a pool's pressure";
    findings.figure(Figure::new("raw", case, "hypercache", "time", Unit::Ns, pressure));
    table.note(format!("Reading a pool's pressure: {} ns.", ns(pressure)));
    table.print();
    Ok(())
}

fn pressure_cost(calls: u64) -> Result<f64> {
    let pool = hypercache_core::Pool::create(&hypercache_core::PoolConfig::new(1 << 20))?;
    let began = thread_cpu_ns();
    for _ in 0..calls {
        black_box(black_box(&pool).pressure());
    }
    Ok((thread_cpu_ns() - began) as f64 / calls.max(1) as f64)
}

fn lanes(
    heap: &dyn Loops,
    pattern: Pattern,
    len: usize,
    blocks: u64,
    threads: usize,
    seed: u64,
) -> f64 {
    if threads == 1 {
        return heap.run(pattern, len, blocks, seed);
    }
    let total: f64 = std::thread::scope(|scope| {
        let run = |lane: usize| {
            scope.spawn(move || {
                pin_to_core(lane);
                heap.run(pattern, len, blocks, seed + lane as u64)
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN)).sum()
    });
    total / threads as f64
}

/// A heap with loops compiled around it.
trait Loops: Heap {
    /// Processor nanoseconds of one alloc and one free.
    fn run(&self, pattern: Pattern, len: usize, blocks: u64, seed: u64) -> f64;
}

impl<H: Heap> Loops for H {
    fn run(&self, pattern: Pattern, len: usize, blocks: u64, seed: u64) -> f64 {
        let slots = match pattern {
            Pattern::Pairs => 1,
            Pattern::Batches => 1_000,
            Pattern::Replace => 4_096,
        };
        let mut rng = Rng::new(seed);
        let mut held: Vec<*mut u8> = (0..slots).map(|_| touched(self, len)).collect();
        let began = thread_cpu_ns();
        match pattern {
            Pattern::Pairs => {
                for _ in 0..blocks {
                    self.free(touched(self, len));
                }
            }
            Pattern::Batches => {
                for _ in 0..blocks / slots {
                    held.drain(..).for_each(|block| self.free(block));
                    held.extend((0..slots).map(|_| touched(self, len)));
                }
            }
            Pattern::Replace => {
                for _ in 0..blocks {
                    let slot = rng.below(slots) as usize;
                    self.free(held[slot]);
                    held[slot] = touched(self, len);
                }
            }
        }
        let cpu = thread_cpu_ns() - began;
        held.into_iter().for_each(|block| self.free(block));
        cpu as f64 / blocks.max(1) as f64
    }
}

#[inline]
fn touched<H: Heap + ?Sized>(heap: &H, len: usize) -> *mut u8 {
    let block = black_box(heap.alloc(len));
    if !block.is_null() && len > 0 {
        // SAFETY: a block that is not null has `len` bytes, at least one, that are ours alone.
        unsafe { block.write_volatile(1) };
    }
    block
}
