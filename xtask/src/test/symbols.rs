//! The shared library exports what the header declares, each symbol versioned, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::headers::declared_functions;
use crate::install::Installed;
use crate::process;
use crate::steps::{Outcome, Progress, passed};
use crate::tools;
use crate::tree::Tree;

/// Every symbol of the first release carries this version.
const VERSION: &str = "HC_0.1";

pub fn check(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    let mut readelf = process::program(tools::READELF.need()?, &tree.root);
    readelf.args(["--wide", "--dyn-syms"]).arg(installed.shared());
    let exported = exported(&progress.run(&mut readelf)?);
    let header = std::fs::read_to_string(installed.include().join("hypercache.h"))?;
    let declared = declared_functions(&header);

    let mut wrong = Vec::new();
    for (name, version) in &exported {
        if !declared.contains(name) {
            wrong.push(format!("exported but not declared in hypercache.h: {name}"));
        }
        if version.as_deref() != Some(VERSION) {
            let version = version.as_deref().unwrap_or("none");
            wrong.push(format!("{name} has the version {version}, not {VERSION}"));
        }
    }
    let names: BTreeSet<&String> = exported.iter().map(|(name, _)| name).collect();
    for name in declared.iter().filter(|name| !names.contains(name)) {
        wrong.push(format!("declared in hypercache.h but not exported: {name}"));
    }

    let mut readelf = process::program(tools::READELF.need()?, &tree.root);
    readelf.args(["--wide", "--dynamic"]).arg(installed.shared());
    let dynamic = progress.run(&mut readelf)?;
    if !dynamic.contains(&format!("soname: [{}]", installed.soname)) {
        wrong.push(format!("the library's SONAME is not {}", installed.soname));
    }
    if !dynamic.contains("NODELETE") {
        wrong.push("the library may be unloaded: it is not marked NODELETE".to_owned());
    }
    if dynamic.contains("(TEXTREL)") {
        wrong.push("the library has text relocations".to_owned());
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    passed(format!("{} symbols, all hc_*@@{VERSION}", exported.len()))
}

/// Name and version of each symbol that is defined and visible, from `readelf --dyn-syms`.
fn exported(listing: &str) -> Vec<(String, Option<String>)> {
    let mut symbols = Vec::new();
    for line in listing.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [number, _, _, kind, bind, _, section, symbol, ..] = fields.as_slice() else {
            continue;
        };
        let numbered = number.strip_suffix(':').is_some_and(|n| n.parse::<u32>().is_ok());
        // The version's own name is an absolute symbol.
        let defined = !["UND", "ABS"].contains(section) && *kind != "SECTION";
        if numbered && defined && *bind != "LOCAL" {
            let (name, version) = match symbol.split_once("@@") {
                Some((name, version)) => (name, Some(version.to_owned())),
                None => (*symbol, None),
            };
            symbols.push((name.to_owned(), version));
        }
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::exported;

    #[test]
    fn reads_the_listing() {
        let listing = "
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     1: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND malloc@GLIBC_2.2.5 (2)
    57: 0000000000012340    12 FUNC    GLOBAL DEFAULT   14 hc_get@@HC_0.1
    58: 0000000000000000     0 OBJECT  GLOBAL DEFAULT  ABS HC_0.1
    59: 0000000000012350    12 FUNC    WEAK   DEFAULT   14 stray";
        let want = [("hc_get".to_owned(), Some("HC_0.1".to_owned())), ("stray".to_owned(), None)];
        assert_eq!(exported(listing), want);
    }
}
