//! What a figure is beside its baseline.

use std::collections::{HashMap, HashSet};

use super::Record;
use crate::report::{Figure, Repeats, Unit};

/// Beyond this a figure that repeats has got worse: one per cent.
pub const LIMIT: f64 = 0.01;
/// Beyond this it has got much worse.
pub const MUCH: f64 = 0.10;
/// Within this it is the same. Figures of one build are equal to the last digit; another build of
/// the same source may lay a table out differently.
const SAME: f64 = 0.002_5;
/// Beyond this, and outside both intervals, a time has got worse.
const ROUGH: f64 = 0.05;

/// What a change means, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Less of what less is better of.
    Better,
    /// No change worth a word.
    Same,
    /// Worse, within the limit.
    Notice,
    /// Worse where nothing gates, or not measured any more.
    Warning,
    /// Worse than the limit allows: the gate is closed.
    Error,
    /// The same, by more than a tenth.
    Critical,
}

impl Severity {
    /// Whether it closes the gate.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        match self {
            Self::Better | Self::Same | Self::Notice | Self::Warning => false,
            Self::Error | Self::Critical => true,
        }
    }

    /// In a table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Same => "same",
            Self::Notice => "a little worse",
            Self::Warning => "warning",
            Self::Error => "WORSE",
            Self::Critical => "MUCH WORSE",
        }
    }
}

/// One figure beside its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The figure now.
    pub now: Figure,
    /// What it was.
    pub before: f64,
    /// What that means.
    pub severity: Severity,
}

impl Verdict {
    /// The change as a share of what it was; infinite from nothing to something.
    #[must_use]
    pub fn change(&self) -> f64 {
        change(self.before, self.now.value)
    }

    /// In a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { now, before, .. } = self;
        format!(
            "{}, {}: {} was {}, is {} ({})",
            now.suite,
            now.case,
            now.metric,
            shown(*before, now.unit),
            shown(now.value, now.unit),
            shown_change(self.change())
        )
    }
}

/// A run beside its baseline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Every figure that both have.
    pub verdicts: Vec<Verdict>,
    /// Figures that the baseline does not have.
    pub new: Vec<Figure>,
    /// Figures that only the baseline has.
    pub gone: Vec<Figure>,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
}

impl Comparison {
    /// Compares. `apart` says why instructions cannot be; then they are left out.
    #[must_use]
    pub fn of(now: &[Figure], before: &Record, apart: Option<&str>) -> Self {
        let counts = |figure: &&Figure| apart.is_none() || figure.unit != Unit::Instructions;
        let then: HashMap<Key, &Figure> =
            before.figures.iter().filter(counts).map(|figure| (key(figure), figure)).collect();
        let mut compared = Self::default();
        for figure in now.iter().filter(counts) {
            match then.get(&key(figure)) {
                Some(before) => compared.verdicts.push(Verdict {
                    severity: judge(before, figure),
                    before: before.value,
                    now: figure.clone(),
                }),
                None => compared.new.push(figure.clone()),
            }
        }
        let keys: HashSet<Key> = now.iter().map(key).collect();
        let is_gone = |figure: &&Figure| !keys.contains(&key(figure));
        compared.gone = before.figures.iter().filter(counts).filter(is_gone).cloned().collect();
        compared.not_compared.extend(apart.map(str::to_owned));
        compared
    }

    /// Whether a figure that gates got worse.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.severity.is_closed())
    }

    /// Verdicts of this severity.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(Severity) -> bool) -> usize {
        self.verdicts.iter().filter(|verdict| wanted(verdict.severity)).count()
    }
}

/// What makes two figures one: the name, and the place on the axis.
type Key = (String, Option<u64>);

fn key(figure: &Figure) -> Key {
    (figure.name(), figure.at.map(f64::to_bits))
}

fn change(before: f64, now: f64) -> f64 {
    match before.total_cmp(&now) {
        std::cmp::Ordering::Equal => 0.0,
        _ if before == 0.0 => f64::INFINITY.copysign(now),
        _ => now / before - 1.0,
    }
}

fn judge(before: &Figure, now: &Figure) -> Severity {
    let change = change(before.value, now.value);
    let worse = if now.unit.more_is_better() { -change } else { change };
    match (now.repeats, now.unit) {
        // A call that never allocated must not begin to.
        (Repeats::Exactly, Unit::Count) => match worse {
            _ if worse > MUCH => Severity::Critical,
            _ if worse > 0.0 => Severity::Error,
            _ if worse < 0.0 => Severity::Better,
            _ => Severity::Same,
        },
        (Repeats::Exactly, _) => match worse {
            _ if worse > MUCH => Severity::Critical,
            _ if worse > LIMIT => Severity::Error,
            _ if worse > SAME => Severity::Notice,
            _ if worse < -SAME => Severity::Better,
            _ => Severity::Same,
        },
        (Repeats::Roughly, _) => match (before.interval, now.interval) {
            (Some(was), Some(is)) if was.1 < is.0 || is.1 < was.0 => match worse {
                _ if worse > ROUGH => Severity::Warning,
                _ if worse < -ROUGH => Severity::Better,
                _ => Severity::Same,
            },
            _ => Severity::Same,
        },
    }
}

/// A value in its unit, with the digits that a per cent shows in.
#[must_use]
pub fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count if value == 0.0 => "0".to_owned(),
        Unit::Count => format!("{value:.4}"),
        Unit::Ns | Unit::PerSecond | Unit::Bytes | Unit::Instructions => crate::report::mean(value),
        Unit::Share | Unit::Faults | Unit::Ratio => format!("{value:.4}"),
    }
}

/// "+2.3 %"; empty for none.
#[must_use]
pub fn shown_change(change: f64) -> String {
    if change == 0.0 {
        return String::new();
    }
    if change.is_infinite() {
        return "from none".to_owned();
    }
    format!("{:+.2} %", change * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{instructions, origin};
    use super::*;

    fn severity(before: f64, now: f64) -> Severity {
        judge(&instructions("get", before), &instructions("get", now))
    }

    #[test]
    fn a_per_cent_closes_the_gate() {
        assert_eq!(severity(1000.0, 1000.0), Severity::Same);
        assert_eq!(severity(1000.0, 1002.0), Severity::Same);
        assert_eq!(severity(1000.0, 1009.0), Severity::Notice);
        assert_eq!(severity(1000.0, 1011.0), Severity::Error);
        assert_eq!(severity(1000.0, 1020.0), Severity::Error);
        assert_eq!(severity(1000.0, 1101.0), Severity::Critical);
        assert_eq!(severity(1000.0, 900.0), Severity::Better);
        let closed = |severity: Severity| severity.is_closed();
        assert!(closed(Severity::Error) && closed(Severity::Critical));
        assert!(!closed(Severity::Warning) && !closed(Severity::Notice));
    }

    #[test]
    fn one_allocation_closes_it() {
        let of = |value| Figure::new("counts", "get", "h", "a", Unit::Count, value).exact();
        assert_eq!(judge(&of(0.0), &of(0.0)), Severity::Same);
        assert_eq!(judge(&of(0.0), &of(0.000_05)), Severity::Critical);
        assert_eq!(judge(&of(2.0), &of(2.000_5)), Severity::Error);
        assert_eq!(judge(&of(2.0), &of(1.0)), Severity::Better);
    }

    #[test]
    fn times_only_warn() {
        let of = |samples: &[f64]| {
            Figure::new("speed", "get", "h", "time", Unit::Ns, 0.0).of_samples(samples)
        };
        let was = of(&[10.0, 10.1, 10.2, 10.3, 10.4, 10.5]);
        let slow = of(&[20.0, 20.1, 20.2, 20.3, 20.4, 20.5]);
        assert_eq!(judge(&was, &slow), Severity::Warning);
        assert_eq!(judge(&slow, &was), Severity::Better);
        assert_eq!(judge(&was, &was), Severity::Same);
        // Without samples there is nothing to say.
        assert_eq!(judge(&of(&[1.0]), &of(&[9.0])), Severity::Same);
        let more = |unit| {
            let of = |value: f64| Figure::new("s", "c", "h", "m", unit, value).exact();
            judge(&of(1.0), &of(1.5))
        };
        assert_eq!((more(Unit::Share), more(Unit::Ratio)), (Severity::Better, Severity::Critical));
    }

    #[test]
    fn what_came_and_went_is_named() {
        let before =
            Record::new(origin(), vec![instructions("get", 100.0), instructions("old", 5.0)]);
        let now = [instructions("get", 103.0), instructions("new", 7.0)];
        let compared = Comparison::of(&now, &before, None);
        assert!(compared.is_closed());
        assert_eq!(compared.verdicts.len(), 1);
        assert_eq!(
            compared.verdicts[0].sentence(),
            "counts, get: instructions was 100.0, is 103.0 (+3.00 %)"
        );
        assert_eq!((&*compared.new[0].case, &*compared.gone[0].case), ("new", "old"));
    }

    #[test]
    fn places_on_the_axis_are_apart() {
        let at = |threads: f64, value| instructions("get", value).at(threads);
        let before = Record::new(origin(), vec![at(1.0, 100.0), at(2.0, 300.0)]);
        let compared = Comparison::of(&[at(1.0, 100.0), at(2.0, 400.0)], &before, None);
        let seen: Vec<Severity> = compared.verdicts.iter().map(|one| one.severity).collect();
        assert_eq!(seen, [Severity::Same, Severity::Critical]);
        assert!(compared.gone.is_empty() && compared.new.is_empty());
    }

    #[test]
    fn another_compiler_compares_no_instructions() {
        let bytes = |value| Figure::new("counts", "e", "h", "b", Unit::Bytes, value).exact();
        let before = Record::new(origin(), vec![instructions("get", 100.0), bytes(88.0)]);
        let now = [instructions("get", 200.0), bytes(96.0)];
        let compared = Comparison::of(&now, &before, Some("rustc differs"));
        assert_eq!(compared.verdicts.len(), 1);
        assert_eq!(compared.verdicts[0].severity, Severity::Error);
        assert!(compared.new.is_empty() && compared.gone.is_empty());
        assert_eq!(compared.not_compared, ["rustc differs"]);
    }
}
