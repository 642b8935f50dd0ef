use super::*;
use crate::measure::Place;
use crate::report::run::{FORM, Part, State};
use crate::report::{Figure, Unit};

fn run(figures: Vec<Figure>, state: State) -> Run {
    let mut suites: Vec<Part> = Vec::new();
    for figure in &figures {
        if suites.iter().all(|part| part.name != figure.suite) {
            suites.push(Part {
                name: figure.suite.clone(),
                about: "a <test>".to_owned(),
                axis: "threads".to_owned(),
                state: state.clone(),
                seconds: 2.0,
                notes: vec!["memcached & Valkey: absent".to_owned()],
            });
        }
    }
    Run {
        form: FORM,
        began: "2026-01-01 00:00:00 UTC".to_owned(),
        command: "cargo xtask bench".to_owned(),
        place: Place { commit: "0123456789ab".to_owned(), peers: true, ..Place::default() },
        suites,
        figures,
    }
}

fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (at, cache) in ["moka", "quick_cache", "hypercache"].into_iter().enumerate() {
        let scale = 1.0 / (at + 1) as f64;
        for op in ["hit", "set"] {
            for len in [64, 256, 1024, 4096, 16384] {
                let case = format!("{op}, {len} B, a<b");
                figures.push(Figure::new("speed", &case, cache, "time", Unit::Ns, 100.0 * scale));
            }
        }
        for (metric, value) in [("p50", 10.0), ("p99", 70.0), ("p99.9", 4_000.0), ("max", 1e6)] {
            figures.push(Figure::new("tail", "sets", cache, metric, Unit::Ns, value * scale));
        }
        for threads in [1.0, 2.0, 4.0] {
            let case = format!("hit, {threads} threads");
            let figure = Figure::new(
                "concurrency",
                &case,
                cache,
                "throughput",
                Unit::PerSecond,
                1e6 * threads,
            );
            figures.push(figure.at(threads));
        }
        figures.push(Figure::new(
            "limit",
            "64 B",
            cache,
            "resident by limit",
            Unit::Ratio,
            6.0 * scale,
        ));
    }
    figures
}

fn trends() -> Vec<Trend> {
    let name = "counts: get, a<b".to_owned();
    vec![Trend { name, unit: Unit::Instructions, values: vec![300.0, 310.0, f64::NAN, 315.0] }]
}

/// Text between tags, once for each time it stands there.
fn count(page: &str, text: &str) -> usize {
    page.matches(text).count()
}

#[test]
fn the_page_stands_alone_and_its_tags_close() {
    let page = page(&run(figures(), State::Done), &trends());
    for outside in ["http", "<script", "src=", "@import", "url(", "NaN", "inf\"", "href"] {
        assert!(!page.contains(outside), "{outside} is in the page");
    }
    assert!(page.contains("a&lt;b") && !page.contains("a<b"));
    assert!(page.contains("memcached &amp; Valkey"));
    assert!(page.contains("<td class=\"ours\">315</td><td>+5.0 %</td>"));
    for tag in [
        "figure", "svg", "table", "tr", "td", "th", "div", "span", "details", "p", "dl", "ul",
        "text",
    ] {
        let opened = count(&page, &format!("<{tag}>")) + count(&page, &format!("<{tag} "));
        assert_eq!(opened, count(&page, &format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn every_figure_is_in_it() {
    let mut figures = figures();
    for (nth, figure) in figures.iter_mut().enumerate() {
        figure.value = 11.0 + nth as f64 / 16.0;
        figure.unit = Unit::Ns;
    }
    let page = page(&run(figures.clone(), State::Done), &[]);
    for figure in &figures {
        let shown = format!(">{}</td>", figure.unit.show(figure.value));
        assert!(page.contains(&shown), "{} is not in the page: {shown}", figure.name());
    }
}

#[test]
fn plots_are_of_every_kind() {
    let page = page(&run(figures(), State::Done), &trends());
    // Two of dots (hits and sets apart), one of percentiles, one of curves, one of bars.
    assert_eq!(count(&page, "<figure>"), 5);
    assert!(page.contains(">p99.9</text>") && page.contains(">limit</text>"));
    assert!(page.contains(">threads</text>"));
    // Curves of one case along the axis are one plot, named without the place on it.
    assert!(page.contains("<figcaption>Hit: throughput</figcaption>"), "{page}");
}

#[test]
fn what_was_lost_or_broken_off_is_said() {
    let mut figures = figures();
    for figure in figures.iter_mut().filter(|figure| figure.cache == "moka") {
        figure.value = match figure.unit.more_is_better() {
            true => 1e9,
            false => 0.5,
        };
    }
    let page = page(&run(figures, State::Failed("no <memory>".to_owned())), &[]);
    assert!(page.contains("no &lt;memory&gt;") && page.contains("not whole"));
    assert!(page.contains("Lost cells: 18 of 18") && page.contains("x LOST</td>"));
}

#[test]
fn a_run_of_nothing_is_a_page_too() {
    let page = page(&run(Vec::new(), State::Done), &[]);
    assert!(page.contains("</html>") && !page.contains("NaN"));
    let odd = vec![Figure::new("speed", "c", "hypercache", "time", Unit::Ns, f64::NAN)];
    let page = super::page(&run(odd, State::Begun), &[]);
    assert!(page.contains("</html>") && !page.contains("NaN"));
}
