//! The comparison as a table.

use super::compare::{Comparison, Severity, shown, shown_change};
use super::{Record, history};
use crate::report::{Figure, Repeats, Table, Unit};

/// Runs of the history that the last column shows.
const BARS: usize = 20;

/// Prints what was measured beside the baseline, and how it came there.
pub fn print(title: &str, figures: &[Figure], compared: &Comparison, runs: &[Record]) {
    let mut table =
        Table::new(title, &["<case", "<what", "baseline", "now", "change", "<", "<trend"]);
    let mut none = 0;
    let mut last = None;
    for figure in figures {
        let verdict = compared.verdicts.iter().find(|verdict| verdict.now == *figure);
        let severity = verdict.map_or(Severity::Same, |verdict| verdict.severity);
        // Calls that allocate nothing and never did are all the same row.
        if figure.unit == Unit::Count && figure.value == 0.0 && severity == Severity::Same {
            none += 1;
            continue;
        }
        if last.replace(figure.unit).is_some_and(|last| last != figure.unit) {
            table.rule();
        }
        let trend = history::trend(runs, figure);
        let trend = &trend[trend.len().saturating_sub(BARS)..];
        let cells = vec![
            figure.case.clone(),
            figure.metric.clone(),
            verdict.map_or_else(|| "-".to_owned(), |verdict| shown(verdict.before, figure.unit)),
            shown(figure.value, figure.unit),
            verdict.map_or_else(String::new, |verdict| shown_change(verdict.change())),
            word(severity, figure),
            if trend.len() > 1 { history::bars(trend) } else { String::new() },
        ];
        if severity.is_closed() {
            table.strong(cells)
        } else {
            table.row(cells)
        };
    }
    if none > 0 {
        table.note(format!("{none} of the cases allocate nothing."));
    }
    for figure in &compared.gone {
        table.note(format!("Gone since the baseline: {}, {}.", figure.case, figure.metric));
    }
    table.print();
}

fn word(severity: Severity, figure: &Figure) -> String {
    match (severity, figure.repeats) {
        (Severity::Same, _) => String::new(),
        (_, Repeats::Exactly | Repeats::Roughly) => severity.word().to_owned(),
    }
}

/// The last lines: what could not be compared, and the sum.
#[must_use]
pub fn closing(compared: &Comparison, baseline: &str) -> String {
    let worse = compared.count(Severity::is_closed);
    let better = compared.count(|severity| severity == Severity::Better);
    let mut text = String::new();
    for why in &compared.not_compared {
        text.push_str(&format!("Not compared: {why}\n"));
    }
    let all = compared.verdicts.len();
    text.push_str(&format!(
        "{all} figures compared with `{baseline}`: {worse} worse, {better} better"
    ));
    if !compared.new.is_empty() {
        text.push_str(&format!(", {} without a baseline", compared.new.len()));
    }
    text
}
