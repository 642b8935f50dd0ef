//! A whole run beside one that was kept under a name.
//!
//! The rules are the gate's: what repeats exactly must not get worse, times are told of where both
//! intervals are apart. Only our own figures are compared, and only of suites that this run has.

use anyhow::{Result, bail, ensure};

use crate::gate::compare::{shown, shown_change};
use crate::gate::counted::SUITE;
use crate::gate::record::file_of;
use crate::gate::{Checkout, Comparison, Origin, Record, Severity, annotate, show};
use crate::report::Table;
use crate::report::grid::{OURS, placed};
use crate::report::run::Run;

/// A run that was kept, and its name.
#[derive(Debug)]
pub struct Against<'a> {
    name: &'a str,
    record: Record,
}

/// Keeps a run.
pub fn save(name: &str, run: &Run) -> Result<()> {
    let own = Checkout::own()?;
    let path = kept_at(name, &own)?;
    Record::new(Origin::of(&own.root), ours(run)).save(&path)?;
    println!("  Saved:    {}", path.display());
    Ok(())
}

/// Where a run of this name is kept. The repository's baseline is the gate's.
pub fn kept_at(name: &str, own: &Checkout) -> Result<std::path::PathBuf> {
    let path = file_of(name, own)?;
    ensure!(
        !path.starts_with(own.root.join("benches")),
        "--save-baseline is {name:?}, which `cargo xtask bench gate` keeps; another name is allowed"
    );
    Ok(path)
}

fn ours(run: &Run) -> Vec<crate::report::Figure> {
    run.figures.iter().filter(|figure| figure.cache == OURS).cloned().collect()
}

impl<'a> Against<'a> {
    /// Reads it; it must be of the same extent, since other sizes are other figures.
    pub fn load(name: &'a str, is_quick: bool) -> Result<Self> {
        let record = Record::load(&file_of(name, &Checkout::own()?)?)?;
        let has_more = record.figures.iter().any(|figure| figure.suite != SUITE);
        if has_more && record.origin.is_quick() != is_quick {
            bail!("--baseline is {name:?}, which is of the other form: with `--quick` or without");
        }
        Ok(Self { name, record })
    }

    /// Compares and prints what changed.
    ///
    /// # Errors
    /// Something that repeats exactly got worse.
    pub fn compare(&self, run: &Run) -> Result<()> {
        let mut before = self.record.clone();
        before.figures.retain(|figure| run.suites.iter().any(|part| part.name == figure.suite));
        let here = Origin::of(&Checkout::own()?.root);
        let apart = here.tools.difference(&before.origin.tools);
        let apart = apart.map(|apart| format!("instructions depend on the tools, and {apart}"));
        let compared = Comparison::of(&ours(run), &before, apart.as_deref());
        let title = format!("Changed beside `{}` ({})", self.name, before.origin.shown());
        let header = ["<suite", "<case", "<what", "baseline", "now", "change", "<"];
        let mut table = Table::new(title, &header);
        for verdict in compared.verdicts.iter().filter(|one| one.severity != Severity::Same) {
            let now = &verdict.now;
            table.row(vec![
                now.suite.clone(),
                placed(&now.suite, &now.case, now.at),
                now.metric.clone(),
                shown(verdict.before, now.unit),
                shown(now.value, now.unit),
                shown_change(verdict.change()),
                verdict.severity.word().to_owned(),
            ]);
        }
        table.note("Times gate nothing; they are here where the intervals of both runs are apart.");
        table.print();
        if annotate::is_wanted() {
            for line in annotate::lines(&compared) {
                println!("{line}");
            }
        }
        println!("{}", show::closing(&compared, self.name));
        ensure!(!compared.is_closed(), "what repeats exactly got worse than in `{}`", self.name);
        Ok(())
    }
}
