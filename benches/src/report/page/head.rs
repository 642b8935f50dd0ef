//! What comes first: where the figures are from, who is better, where we lose.

use std::fmt::Write;

use crate::report::grid::{Grid, Match, Tally, Verdict, grids, placed};
use crate::report::headline;
use crate::report::run::{Run, State};
use crate::report::size;
use crate::report::svg::escape;

/// How many times better or worse fills a meter.
const FULL: f64 = 5.0;

pub fn head(out: &mut String, run: &Run) {
    out.push_str("<h1>HyperCache, measured</h1>\n");
    let _ = writeln!(
        out,
        "<p>Beside the caches that it is compared with, on one machine, in one run. Made again by \
         <code>{}</code>.</p>",
        escape(&run.command)
    );
    facts(out, run);
    banner(out, run);
    let grids = grids(&run.figures);
    let matches: Vec<Match<'_>> = grids.iter().flat_map(Grid::matches).collect();
    tiles(out, &matches);
    headlines(out, run);
    lost(out, &matches);
}

fn facts(out: &mut String, run: &Run) {
    let place = &run.place;
    let took: f64 = run.suites.iter().map(|part| part.seconds).sum();
    let processors = format!("{} ({} to use; {})", place.processor, place.processors, place.caches);
    let memory = format!("{}, huge pages: {}", size(place.memory), place.huge_pages);
    let when = format!("{}, {:.0} minutes", run.began, (took / 60.0).max(1.0));
    let tool = format!("{}, {}", place.toolchain, place.target);
    out.push_str("<dl class=\"facts\">");
    for (name, value) in [
        ("Commit", place.commit.as_str()),
        ("Processor", &processors),
        ("When", &when),
        ("Memory", &memory),
        ("Toolchain", &tool),
        ("Kernel", &place.kernel),
    ] {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    }
    out.push_str("</dl>\n");
}

fn banner(out: &mut String, run: &Run) {
    let mut said = Vec::new();
    for part in &run.suites {
        match &part.state {
            State::Done => {}
            State::Waiting => said.push(format!("{} was not begun", part.name)),
            State::Begun => said.push(format!("{} was broken off", part.name)),
            State::Failed(error) => said.push(format!("{} failed: {error}", part.name)),
        }
    }
    if !said.is_empty() {
        let said = escape(&said.join("; "));
        let _ = writeln!(out, "<p class=\"banner\">This run is not whole: {said}.</p>");
    }
    if !run.place.peers {
        out.push_str(
            "<p class=\"banner\">Other caches were not built in: nothing is compared.</p>\n",
        );
    }
}

fn tiles(out: &mut String, matches: &[Match<'_>]) {
    let tally = Tally::of(matches.iter().copied());
    if tally.cells() == 0 {
        return;
    }
    out.push_str("<div class=\"tiles\">");
    for (class, number, words) in [
        ("", tally.cells(), "cells, each against the best of the others in it"),
        ("good", tally.won, "better than the best"),
        ("", tally.even, "even: within 3 %, or intervals overlap"),
        ("bad", tally.lost, "lost"),
        ("", tally.unclear, "unclear: a loop without a cache showed as much"),
    ] {
        if number == 0 && class.is_empty() {
            continue;
        }
        let _ = write!(out, "<div class=\"tile {class}\"><b>{number}</b>{words}</div>");
    }
    out.push_str("</div>\n");
}

fn headlines(out: &mut String, run: &Run) {
    let found = headline::found(&run.figures);
    if found.is_empty() {
        return;
    }
    out.push_str(
        "<div class=\"wide\"><table class=\"head\"><tr><th>In short</th><th>HyperCache</th>\
         <th>best of the others</th><th class=\"text\">which</th><th>times better</th>\
         <th class=\"text\"></th></tr>\n",
    );
    for headline in &found {
        let Match { ours, best, .. } = headline.versus;
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"ours\">{}</td><td>{}</td><td class=\"text\">{}</td>{}\
             <td class=\"text\">{}</td></tr>",
            escape(headline.words),
            ours.unit.show(ours.value),
            best.unit.show(best.value),
            escape(&best.cache),
            verdict(&headline.versus),
            meter(headline.versus.factor)
        );
    }
    out.push_str("</table></div>\n");
}

/// Cells of a table: how many times better, in the colour of what that means.
pub fn verdict(versus: &Match<'_>) -> String {
    let class = match versus.verdict {
        Verdict::Won => "won",
        Verdict::Even | Verdict::Unclear => "",
        Verdict::Lost => "lost",
    };
    let word = if versus.verdict == Verdict::Lost { " LOST" } else { "" };
    format!("<td class=\"{class}\">{}{word}</td>", versus.shown())
}

/// A bar from the middle: to the right as far as ours is better, to the left as far as it is worse.
fn meter(factor: f64) -> String {
    let share = 50.0 * (factor.clamp(1.0 / FULL, FULL).ln() / FULL.ln());
    let (class, left) = if share < 0.0 { (" class=\"lost\"", 50.0 + share) } else { ("", 50.0) };
    let width = share.abs().max(0.5);
    format!(
        "<span class=\"meter\"><i{class} style=\"left:{left:.1}%;width:{width:.1}%\"></i><u></u></span>"
    )
}

fn lost(out: &mut String, matches: &[Match<'_>]) {
    let mut lost: Vec<&Match<'_>> =
        matches.iter().filter(|found| found.verdict == Verdict::Lost).collect();
    if matches.is_empty() {
        return;
    }
    if lost.is_empty() {
        let _ = writeln!(out, "<h3>Lost cells</h3><p>None of {}.</p>", matches.len());
        return;
    }
    lost.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    let open = if lost.len() <= 20 { " open" } else { "" };
    let _ = writeln!(
        out,
        "<details{open}><summary>Lost cells: {} of {}, the worst first</summary>\n<div \
         class=\"wide\"><table><tr><th>suite</th><th class=\"text\">case</th><th \
         class=\"text\">metric</th><th>HyperCache</th><th>best of the others</th><th \
         class=\"text\">which</th><th>times better</th></tr>",
        lost.len(),
        matches.len()
    );
    for found in lost {
        let Match { ours, best, .. } = found;
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td \
             class=\"ours\">{}</td><td>{}</td><td class=\"text\">{}</td>{}</tr>",
            escape(&ours.suite),
            escape(&placed(&ours.suite, &ours.case, ours.at)),
            escape(&ours.metric),
            ours.unit.show(ours.value),
            best.unit.show(best.value),
            escape(&best.cache),
            verdict(found)
        );
    }
    out.push_str("</table></div></details>\n");
}
