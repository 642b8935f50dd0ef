//! One cache under one limit, in a process of its own: filled phase by phase, read back, shrunk.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use hypercache_core::{PolicyKind, StoreConfig};

use super::{Step, policy};
use crate::cache::ours::Ours;
use crate::cache::{Kind, Peek, Spec};
use crate::drive::Subject;
use crate::measure::Resident;
use crate::workload::{KEY_LEN, ValueBytes, key_of, mix};

/// One cache under one limit, in this process; started by `limit`
#[derive(ClapArgs, Clone, Debug)]
pub struct ChildArgs {
    /// Which cache
    #[arg(long, value_enum)]
    cache: Kind,
    /// The budget in bytes
    #[arg(long)]
    limit: u64,
    /// As for `limit`
    #[arg(long, value_delimiter = ',')]
    phases: Vec<String>,
    /// As for `limit`
    #[arg(long)]
    budgets: u64,
    /// As for `limit`; without it, no shrink
    #[arg(long)]
    settle_seconds: Option<u64>,
    /// As for `limit`
    #[arg(long, value_parser = policy)]
    policy: PolicyKind,
}

/// Lengths of a phase's values.
#[derive(Clone, Copy)]
enum Lens {
    Fixed(usize),
    Mixed,
}

impl Lens {
    const MIXED: (usize, usize) = (16, 4096);

    fn parse(text: &str) -> Result<Self> {
        if text == "mixed" {
            return Ok(Self::Mixed);
        }
        match text.parse() {
            Ok(len) if len <= 1 << 20 => Ok(Self::Fixed(len)),
            _ => bail!("phase is {text:?}; a length up to 1,048,576 or \"mixed\" is allowed"),
        }
    }

    fn of(self, id: u64) -> usize {
        match self {
            Self::Fixed(len) => len,
            Self::Mixed => {
                let (least, most) = Self::MIXED;
                least + (mix(id) % (most - least + 1) as u64) as usize
            }
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::Fixed(len) => len,
            Self::Mixed => Self::MIXED.1,
        }
    }
}

/// A phase: its ids and which of them are still there. The bits are made, and touched, before
/// memory is first read.
struct Phase {
    name: String,
    lens: Lens,
    first: u64,
    ids: u64,
    alive: Vec<u64>,
}

impl Phase {
    fn new(name: &str, place: u64, bytes: u64) -> Result<Self> {
        let lens = Lens::parse(name)?;
        let first = (place + 1) << 40;
        let (mut ids, mut sum) = (0, 0);
        while sum < bytes {
            sum += (KEY_LEN + lens.of(first + ids)) as u64;
            ids += 1;
        }
        let alive = vec![u64::MAX; ids.div_ceil(64) as usize];
        Ok(Self { name: name.to_owned(), lens, first, ids, alive })
    }
}

/// Where values are put together and read back into.
struct Scratch {
    values: ValueBytes,
    value: Vec<u8>,
    buf: Vec<u8>,
}

impl Scratch {
    /// The value of an id, recognisable as its own.
    fn value(&mut self, id: u64, len: usize) -> &[u8] {
        self.value.clear();
        self.value.extend_from_slice(self.values.get(id, len));
        let mark = len.min(8);
        self.value[..mark].copy_from_slice(&id.to_le_bytes()[..mark]);
        &self.value
    }
}

/// Measures one cache in this process.
pub fn run_child(args: &ChildArgs) -> Result<()> {
    let mut phases = Vec::new();
    for (place, name) in args.phases.iter().enumerate() {
        phases.push(Phase::new(name, place as u64, args.budgets * args.limit)?);
    }
    let longest = phases.iter().map(|phase| phase.lens.longest()).max().unwrap_or(0);
    let mut scratch = Scratch {
        values: ValueBytes::new(longest, 1),
        value: vec![1; longest],
        buf: vec![1; longest],
    };
    let first_len = phases.first().map_or(64, |phase| match phase.lens {
        Lens::Fixed(len) => len as u64,
        Lens::Mixed => 2056,
    });
    let mut out = std::io::stdout();
    writeln!(out, "progress 0.0")?;
    let steps = phases.len() as f64 + 0.5;

    let mut resident = Resident::begin();
    let spec = Spec::new(args.limit, first_len);
    let cache: Box<dyn Subject> = match args.cache {
        Kind::Ours => {
            let config = StoreConfig { policy: args.policy, ..StoreConfig::default() };
            Box::new(Ours::with(&spec, &config)?)
        }
        Kind::Moka | Kind::Quick | Kind::Foyer | Kind::Lru | Kind::Segcache => {
            args.cache.build(&spec)?
        }
    };
    for at in 0..phases.len() {
        resident.reset_peak();
        let phase = &phases[at];
        let stride = (phase.ids / 128).max(1);
        for nth in 0..phase.ids {
            let id = phase.first + nth;
            cache.set(&key_of(id), scratch.value(id, phase.lens.of(id)));
            if nth % stride == 0 {
                resident.sample();
                let done = at as f64 + 0.7 * nth as f64 / phase.ids as f64;
                writeln!(out, "progress {:.4}", done / steps)?;
            }
        }
        cache.settle();
        let now = resident.sample();
        let (entries, payload) = read_back(&*cache, &mut phases[..=at], &mut scratch)?;
        resident.sample();
        let step = Step {
            name: phases[at].name.clone(),
            limit: args.limit,
            peak: resident.peak(),
            now,
            entries,
            payload,
        };
        writeln!(out, "{}", step.to_line())?;
    }
    if let Some(seconds) = args.settle_seconds {
        shrink(&*cache, args.limit / 4, seconds, &mut resident, &mut phases, &mut scratch)?;
        drop(cache);
        resident.reset_peak();
        let now = resident.sample();
        let name = "released".to_owned();
        let step = Step { name, limit: args.limit, peak: now, now, entries: 0, payload: 0 };
        writeln!(out, "{}", step.to_line())?;
    }
    Ok(())
}

fn shrink(
    cache: &dyn Subject,
    limit: u64,
    seconds: u64,
    resident: &mut Resident,
    phases: &mut [Phase],
    scratch: &mut Scratch,
) -> Result<()> {
    if !cache.resize(limit) {
        return Ok(());
    }
    let mut out = std::io::stdout();
    for (name, wait) in [("shrunk", 0), ("later", seconds)] {
        resident.reset_peak();
        std::thread::sleep(Duration::from_secs(wait));
        let now = resident.sample();
        let (entries, payload) = read_back(cache, phases, scratch)?;
        let name = if wait > 0 { format!("{wait}s-{name}") } else { name.to_owned() };
        let step = Step { name, limit, peak: resident.peak(), now, entries, payload };
        writeln!(out, "{}", step.to_line())?;
    }
    Ok(())
}

/// Reads back, one by one, all that may still be there. An entry with other bytes than were put
/// in is a fault worth stopping for.
fn read_back(
    cache: &dyn Subject,
    phases: &mut [Phase],
    scratch: &mut Scratch,
) -> Result<(u64, u64)> {
    let (mut entries, mut payload) = (0, 0);
    for phase in phases {
        for word in 0..phase.alive.len() {
            let mut left = phase.alive[word];
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let nth = word as u64 * 64 + u64::from(bit);
                let id = phase.first + nth;
                let len = phase.lens.of(id);
                let seen = match nth < phase.ids {
                    true => cache.peek(&key_of(id), &mut scratch.buf),
                    false => Peek::Absent,
                };
                match seen {
                    Peek::Absent => {
                        phase.alive[word] &= !(1 << bit);
                        continue;
                    }
                    Peek::Present => {}
                    Peek::Value(found) => {
                        scratch.value(id, len);
                        if scratch.buf[..found] != scratch.value[..] {
                            bail!("{} returned {found} other bytes for id {id}", cache.name());
                        }
                    }
                }
                entries += 1;
                payload += (KEY_LEN + len) as u64;
            }
        }
    }
    Ok((entries, payload))
}
