//! A C header read as a list of declarations, and compared with what cbindgen writes for a crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// What only the C side has: compiler attributes and HC_VERSION_NUMBER, made of the parts.
const ONLY_IN_C: [&str; 4] = ["HC_API", "HC_MUST_USE", "HC_INIT", "HC_VERSION_NUMBER"];

/// The header that cbindgen writes for the crate in this folder, with the ffi crate's settings.
pub fn generated(crate_folder: &Path) -> String {
    let settings = crate_folder.join("../ffi/cbindgen.toml");
    let config = cbindgen::Config::from_file(settings).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(crate_folder).with_config(config).generate();
    let mut text = Vec::new();
    bindings.unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

/// The header that is installed.
pub fn committed() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join("include/hypercache.h")).unwrap()
}

/// A header's declarations by name, in one spelling, and its constants' names.
#[derive(Default)]
pub struct Interface {
    pub declarations: BTreeMap<String, String>,
    pub constants: Vec<String>,
}

pub fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        out.push(' ');
        rest = rest[start..].find("*/").map_or("", |end| &rest[start + end + 2..]);
    }
    out + rest
}

fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            out.push(c.to_string());
        }
    }
    // A function that Rust imports is written as `extern`, which C implies.
    out.retain(|token| token != "extern" && !ONLY_IN_C.contains(&token.as_str()));
    out
}

pub fn parse(text: &str) -> Interface {
    let mut interface = Interface::default();
    let text = without_comments(text).replace("\\\n", " ");
    let (mut code, mut skipping) = (String::new(), false);
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix('#') {
            let rest = rest.trim();
            if let Some(define) = rest.strip_prefix("define ") {
                let name: String =
                    define.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !ONLY_IN_C.contains(&name.as_str()) && name != "HYPERCACHE_H" {
                    interface.constants.push(name);
                }
            }
            skipping = rest == "ifdef __cplusplus" || rest == "if defined(HC_GROWN)";
        } else if !skipping {
            code.push_str(line);
            code.push('\n');
        }
    }
    let (mut statement, mut depth) = (Vec::new(), 0);
    for token in tokens(&code) {
        depth += i32::from(token == "{") - i32::from(token == "}");
        if token == ";" && depth == 0 {
            declare(&mut interface, &std::mem::take(&mut statement));
        } else {
            statement.push(token);
        }
    }
    assert!(statement.is_empty(), "left over: {statement:?}");
    interface.constants.sort();
    interface.constants.dedup();
    interface
}

fn declare(interface: &mut Interface, statement: &[String]) {
    let position = |token: &str| statement.iter().position(|t| t == token);
    let (name, text) = if let Some(open) = position("{") {
        // A struct: its tag is its name or missing; the fields count. cbindgen leaves an empty
        // statement behind a field that is compiled in on a condition.
        let body = statement[open..].join(" ").replace("; ;", ";");
        let name = statement[statement.len() - 1].clone();
        (name.clone(), body.strip_suffix(&name).unwrap().to_owned())
    } else if let Some(open) = position("(") {
        // A function, or a pointer to one: "( * name )".
        let pointer = statement[open + 1] == "*";
        let name = if pointer { &statement[open + 2] } else { &statement[open - 1] };
        (name.clone(), statement.join(" "))
    } else {
        (statement[statement.len() - 1].clone(), statement.join(" "))
    };
    let before = interface.declarations.insert(name.clone(), text);
    assert!(before.is_none() || name.starts_with("hc_"), "declared twice: {name}");
}

/// The declarations that differ, as text; empty if none does.
pub fn differences(ours: &Interface, theirs: &Interface) -> String {
    let mut wrong = String::new();
    let names: BTreeSet<_> = ours.declarations.keys().chain(theirs.declarations.keys()).collect();
    for name in names {
        let (header, rust) = (ours.declarations.get(name), theirs.declarations.get(name));
        if header != rust {
            writeln!(wrong, "{name}\n  header: {header:?}\n  crate:  {rust:?}").unwrap();
        }
    }
    wrong
}
