//! The tables of a run as Markdown, for documents.

use std::fmt::Write;

use super::grid::{Grid, Match, Tally, Verdict, grids, placed};
use super::run::{Part, Run};
use super::{claims, headline};

/// Where the tables of a document begin and end; what else stands on those lines is free.
pub const MARKERS: (&str, &str) = ("<!-- tables", "<!-- end of tables");

/// A document with the tables of a run in the place of those between its markers; the tables alone
/// where there is no document. `None`: the document has no markers, and its text would be lost.
#[must_use]
pub fn into_document(document: &str, run: &Run) -> Option<String> {
    let tables = markdown(run);
    let begin = document.find(MARKERS.0).and_then(|at| Some(at + document[at..].find('\n')? + 1));
    let parts = begin.and_then(|begin| {
        let end = begin + document[begin..].find(MARKERS.1)?;
        Some((&document[..begin], &document[end..]))
    });
    match parts {
        Some((before, after)) => Some(format!("{before}\n{tables}\n{after}")),
        None => document.trim().is_empty().then_some(tables),
    }
}

/// All tables: where the figures are from, the headlines, the claims, lost cells, every grid.
#[must_use]
pub fn markdown(run: &Run) -> String {
    let mut out = String::new();
    let place = &run.place;
    let _ = write!(
        out,
        "Measured by `{}` at commit `{}`, {}: {}, {} processors, {}, huge pages {}; {}.\n\n",
        run.command,
        place.commit,
        run.began.split(' ').next().unwrap_or_default(),
        place.processor,
        place.processors,
        place.kernel,
        place.huge_pages,
        place.toolchain
    );
    let headlines = headline::found(&run.figures);
    if !headlines.is_empty() {
        out.push_str("| | HyperCache | best of the others | times better |\n|---|---|---|---|\n");
        for found in &headlines {
            let Match { ours, best, .. } = found.versus;
            row(
                &mut out,
                &[
                    found.words.to_owned(),
                    ours.unit.show(ours.value),
                    format!("{} ({})", best.unit.show(best.value), best.cache),
                    found.versus.shown(),
                ],
            );
        }
    }
    claims::claims(&mut out, &run.figures);
    let grids = grids(&run.figures);
    lost(&mut out, &grids);
    out.push_str("\n## All figures\n");
    for part in &run.suites {
        for grid in grids.iter().filter(|grid| grid.suite == part.name) {
            table(&mut out, grid);
        }
        notes(&mut out, part);
    }
    let is_of_a_part = |grid: &&Grid<'_>| run.suites.iter().any(|part| part.name == grid.suite);
    for grid in grids.iter().filter(|grid| !is_of_a_part(grid)) {
        table(&mut out, grid);
    }
    out
}

fn row(out: &mut String, cells: &[String]) {
    for cell in cells {
        let _ = write!(out, "| {} ", cell.replace('|', "\\|"));
    }
    out.push_str("|\n");
}

fn lost(out: &mut String, grids: &[Grid<'_>]) {
    let matches: Vec<Match<'_>> = grids.iter().flat_map(Grid::matches).collect();
    let tally = Tally::of(matches.iter().copied());
    if tally.cells() == 0 {
        return;
    }
    let _ = write!(
        out,
        "\n## Lost cells\n\nOf {} cells {} are better than the best of the others, {} even (within \
         3 %, or intervals that overlap), {} lost; in {} nobody can tell, because the control, a loop without a cache, took half as \
         long as the best or longer.\n\n",
        tally.cells(),
        tally.won,
        tally.even,
        tally.lost,
        tally.unclear
    );
    let mut lost: Vec<&Match<'_>> =
        matches.iter().filter(|found| found.verdict == Verdict::Lost).collect();
    if lost.is_empty() {
        return;
    }
    lost.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    out.push_str("| suite | case | metric | HyperCache | best of the others | times better |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for found in lost {
        let Match { ours, best, .. } = found;
        row(
            out,
            &[
                ours.suite.clone(),
                placed(&ours.suite, &ours.case, ours.at),
                ours.metric.clone(),
                ours.unit.show(ours.value),
                format!("{} ({})", best.unit.show(best.value), best.cache),
                found.shown(),
            ],
        );
    }
}

/// What a suite tells the reader: a figure may mean less without it.
fn notes(out: &mut String, part: &Part) {
    if part.notes.is_empty() {
        return;
    }
    let _ = write!(out, "\nNotes on {}:\n\n", part.name);
    for note in &part.notes {
        let _ = writeln!(out, "- {note}");
    }
}

fn table(out: &mut String, grid: &Grid<'_>) {
    let compared = grid.matches().next().is_some();
    let rows = grid.rows.len();
    let _ = write!(
        out,
        "\n<details><summary>{}: {} ({rows} rows)</summary>\n\n",
        grid.suite, grid.metric
    );
    let mut header = vec!["case".to_owned()];
    header.extend(grid.caches.iter().map(|cache| (*cache).to_owned()));
    if compared {
        header.push("times better".to_owned());
    }
    row(out, &header);
    row(out, &vec!["---".to_owned(); header.len()]);
    for line in &grid.rows {
        let mut cells = vec![placed(grid.suite, line.case, line.at)];
        cells.extend((0..grid.caches.len()).map(|at| {
            let figure = line.figures.get(at).copied().flatten();
            figure.map_or(String::new(), |figure| figure.unit.show(figure.value))
        }));
        if compared {
            cells.push(line.versus().map_or(String::new(), |versus| versus.shown()));
        }
        row(out, &cells);
    }
    out.push_str("\n</details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Place;
    use crate::report::run::FORM;
    use crate::report::{Figure, Unit};

    #[test]
    fn a_document_keeps_what_is_around_its_tables() {
        let run = Run {
            form: FORM,
            began: String::new(),
            command: "the command".to_owned(),
            place: Place::default(),
            suites: Vec::new(),
            figures: Vec::new(),
        };
        let document = "before\n<!-- tables: x -->\nold\n<!-- end of tables -->\nafter\n";
        let once = into_document(document, &run).unwrap();
        assert!(once.starts_with("before\n<!-- tables: x -->\n") && once.contains("the command"));
        assert!(once.ends_with("\n<!-- end of tables -->\nafter\n") && !once.contains("old"));
        assert_eq!(into_document(&once, &run), Some(once));
        assert_eq!(into_document("\n", &run), Some(markdown(&run)));
        for text in ["no markers", "<!-- tables -->\nno end", "<!-- end of tables -->\n<!-- tables"]
        {
            assert_eq!(into_document(text, &run), None, "{text}");
        }
    }

    #[test]
    fn tables_have_every_figure_and_as_many_columns_in_each_row() {
        let figure = |case: &str, cache: &str, value| {
            Figure::new("speed", case, cache, "time", Unit::Ns, value)
        };
        let run = Run {
            form: FORM,
            began: "2026-01-01 00:00:00 UTC".to_owned(),
            command: "cargo xtask bench".to_owned(),
            place: Place::default(),
            suites: Vec::new(),
            figures: vec![
                figure("a|b", "moka", 20.0),
                figure("a|b", "hypercache", 40.0),
                figure("alone", "moka", 7.0),
                figure("alone", "foyer", 8.0),
            ],
        };
        let text = markdown(&run);
        for shown in ["| a\\|b | 20.0 ns | 40.0 ns |  | 0.50x |", "1 lost", "8.0 ns"] {
            assert!(text.contains(shown), "no {shown:?} in\n{text}");
        }
    }
}
