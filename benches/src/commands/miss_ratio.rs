//! `miss-ratio`: policies and libraries on a folder of traces, beside its `reference.csv`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};

use super::{shown_as_typed, typed};
use crate::miss_ratio::contender::{Contender, Peer, Shards};
use crate::miss_ratio::grid::Wanted;
use crate::miss_ratio::results::Results;
use crate::miss_ratio::run::{self, Plan};
use crate::miss_ratio::summary::{self, Cells, Sizes};
use crate::miss_ratio::{equal, page, picture};
use crate::report::grid::OURS;
use crate::report::progress;
use crate::suite::{self, Extent, Findings};
use crate::trace::{self, Figure, TraceFile, Unit};

/// Compare miss ratios on a folder of traces, with libraries and with its reference.csv
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Folder of traces [default: what HYPERCACHE_TRACES names, else ../shared/traces]
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Policies with their options, and libraries, such as s3fifo:threshold=2,lru,moka
    /// [default: every policy of the store, moka, quick_cache and foyer]
    #[arg(long, value_name = "LIST")]
    policies: Option<String>,
    /// No other libraries
    #[arg(long)]
    no_peers: bool,
    /// Only capacities in this unit
    #[arg(long, value_enum)]
    unit: Option<UnitArg>,
    /// The least capacity in objects
    #[arg(long, value_name = "N", default_value_t = 100)]
    min_objects: u64,
    /// Only recorded traces: none whose name begins with syn_
    #[arg(long)]
    real_only: bool,
    /// Only traces whose name contains one of these
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// At most so many shards, a power of two; the reference's policies have one
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "default_shards")]
    shards: u32,
    /// As many shards as the store chooses
    #[arg(long)]
    default_shards: bool,
    /// Cells at once [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write a row for every cell to this file, and leave out those whose row is there
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with a curve for each trace to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw the summary and the curves of the real traces into files of this folder
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Hit ratios in the same resident memory instead of the same capacity
    #[arg(long, conflicts_with_all = ["html", "pictures", "unit", "min_objects"])]
    equal_memory: bool,
}

/// What a capacity counts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum UnitArg {
    /// Every object 1.
    Objects,
    /// Every object its size.
    Bytes,
}
shown_as_typed!(UnitArg);

/// Traces that the quick form of the suite replays: short ones that differ.
const QUICK: &str = "lirs_cs,lirs_gli,web07,cpu_gcc";
/// The default policy and the libraries.
const COMPARED: &str = "default,moka,quick_cache,foyer-s3fifo";

/// The default policy beside the libraries, capacities in objects; all recorded traces in the full
/// form. Without a folder of traces nothing is measured.
pub fn suite(plan: &suite::Plan, findings: &mut Findings) -> Result<()> {
    let folder = trace::default_folder();
    if !folder.exists() {
        let folder = folder.display();
        findings.note(format!("Not measured: no traces in {folder} (HYPERCACHE_TRACES)."));
        return Ok(());
    }
    let policies = if cfg!(feature = "peers") { COMPARED } else { "default" };
    let mut options = vec!["--policies", policies, "--unit", "objects", "--real-only"];
    if plan.extent == Extent::Quick {
        options.extend(["--only", QUICK]);
    }
    let args: Args = typed(&options)?;
    let asked = args.plan(&folder)?;
    let mut results = Results::open(None)?;
    let bar = progress(1, "miss ratios");
    let done = run::run(&asked, &mut results, &bar);
    bar.finish_and_clear();
    for note in done?.notes {
        findings.note(note);
    }
    for row in results.rows() {
        let ours = !Peer::ALL.iter().any(|peer| peer.name() == row.policy);
        let cache = if ours { OURS } else { &row.policy };
        let case = format!("{}, {} % of objects", row.trace, row.fraction * 100.0);
        let unit = crate::report::Unit::Faults;
        let figure =
            crate::report::Figure::new("hits", &case, cache, "miss ratio", unit, row.miss_ratio);
        findings.figure(figure.at(row.fraction * 100.0));
    }
    Ok(())
}

/// Runs what is missing and prints the tables.
pub fn run(args: &Args) -> Result<()> {
    let folder = args.traces.clone().unwrap_or_else(trace::default_folder);
    let plan = args.plan(&folder)?;
    if args.equal_memory {
        return equal::run(&equal::Plan {
            files: plan.files,
            policies: args.policies.clone(),
            with_peers: !args.no_peers,
            threads: plan.threads,
            csv: args.csv.clone(),
        });
    }
    let mut results = Results::open(args.csv.as_deref())?;
    let bar = progress(1, "miss ratios");
    let done = run::run(&plan, &mut results, &bar);
    bar.finish_and_clear();
    let done = done?;
    println!("{} cells run, {} were there", done.run, done.found);
    for note in &done.notes {
        println!("note: {note}");
    }
    report(args, &folder, &asked_for(results.rows(), &plan))
}

impl Args {
    fn plan(&self, folder: &Path) -> Result<Plan> {
        let contenders = self.contenders()?;
        let threads = match self.threads {
            Some(0) => bail!("--threads is 0; at least 1 is allowed"),
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let unit = self.unit.map(|unit| match unit {
            UnitArg::Objects => Unit::Objects,
            UnitArg::Bytes => Unit::Bytes,
        });
        let wanted = Wanted { unit, min_objects: self.min_objects };
        Ok(Plan { files: self.files(folder)?, contenders, wanted, threads })
    }

    fn contenders(&self) -> Result<Vec<Contender>> {
        let shards = if self.default_shards { Shards::Chosen } else { Shards::AtMost(self.shards) };
        let with_peers = !self.no_peers;
        let contenders = match &self.policies {
            Some(list) => Contender::parse_list(list, shards)?,
            None => Contender::all(shards, with_peers),
        };
        let is_peer = |one: &Contender| matches!(one, Contender::Peer(_));
        let needs_peers = contenders.iter().any(is_peer) || self.equal_memory && with_peers;
        if needs_peers && !cfg!(feature = "peers") {
            bail!(
                "this program was built without the feature `peers`; --no-peers and --policies \
                 leave other libraries out"
            );
        }
        Ok(contenders)
    }

    fn files(&self, folder: &Path) -> Result<Vec<TraceFile>> {
        let mut files = trace::list(folder)
            .context("--traces or HYPERCACHE_TRACES names a folder of traces")?;
        files.retain(|file| {
            let named =
                self.only.is_empty() || self.only.iter().any(|part| file.name.contains(part));
            named && (!self.real_only || summary::is_real(&file.name))
        });
        if files.is_empty() {
            bail!("{}: there are no such traces in it", folder.display());
        }
        Ok(files)
    }
}

fn report(args: &Args, folder: &Path, measured: &[Figure]) -> Result<()> {
    let reference =
        if folder.join("reference.csv").exists() { trace::reference(folder)? } else { Vec::new() };
    let cells = Cells::new(measured, &reference);
    let sizes = Sizes::new(reference.iter().chain(measured));
    let classes: BTreeMap<_, _> = trace::classes(folder)?.into_iter().collect();
    summary::print(&cells, &classes, &sizes);
    if let Some(path) = &args.html {
        let page = page::page(&cells, &classes);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
        println!("page: {}", path.display());
    }
    if let Some(folder) = &args.pictures {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let pictures = [
            ("miss-ratio-summary.svg", picture::summary(&cells)),
            ("miss-ratio-traces.svg", picture::traces(&cells)),
        ];
        for (name, picture) in pictures {
            let path = folder.join(name);
            std::fs::write(&path, picture)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("picture: {}", path.display());
        }
    }
    Ok(())
}

/// Of all rows of the file, also those of earlier runs with other policies, the ones of the
/// traces and capacities asked for.
fn asked_for(rows: &[Figure], plan: &Plan) -> Vec<Figure> {
    let asked = |row: &&Figure| {
        plan.files.iter().any(|file: &TraceFile| file.name == row.trace)
            && plan.wanted.unit.is_none_or(|unit| unit == row.unit)
            && row.capacity >= plan.wanted.min_objects
    };
    rows.iter().filter(asked).cloned().collect()
}
