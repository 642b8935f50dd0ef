//! The committed header against the crate.
//!
//! `include/hypercache.h` is ordered and worded by hand. cbindgen writes the same interface from
//! the Rust side, and this test compares the two: every function's signature, every struct's
//! fields in their order, every type and every constant. The comparison of declarations is
//! textual, on tokens; that of constants and layouts is the C compiler's, on both in one file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use hypercache::*;

/// What only the C side has: compiler attributes and HC_VERSION_NUMBER, made of the parts.
const ONLY_IN_C: [&str; 4] = ["HC_API", "HC_MUST_USE", "HC_INIT", "HC_VERSION_NUMBER"];

fn generated() -> String {
    let ffi = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(ffi.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(ffi).with_config(config).generate();
    let mut text = Vec::new();
    bindings.unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

fn committed() -> String {
    std::fs::read_to_string(support::root().join("include/hypercache.h")).unwrap()
}

/// A header's declarations by name, in one spelling, and its constants' names.
#[derive(Default)]
struct Interface {
    declarations: BTreeMap<String, String>,
    constants: Vec<String>,
}

fn without_comments(text: &str) -> String {
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
    out.retain(|token| !ONLY_IN_C.contains(&token.as_str()));
    out
}

fn parse(text: &str) -> Interface {
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

#[test]
fn declarations_are_equal() {
    let (ours, theirs) = (parse(&committed()), parse(&generated()));
    let mut wrong = String::new();
    let names = ours.declarations.keys().chain(theirs.declarations.keys());
    let names: std::collections::BTreeSet<_> = names.collect();
    for name in names {
        let (header, rust) = (ours.declarations.get(name), theirs.declarations.get(name));
        if header != rust {
            writeln!(wrong, "{name}\n  header: {header:?}\n  crate:  {rust:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "include/hypercache.h and the crate differ:\n{wrong}");
    assert!(ours.declarations.len() > 70, "too few declarations were read");
    assert_eq!(ours.constants, theirs.constants);
}

/// The Rust types of the constants, from the source.
fn constant_types() -> BTreeMap<String, &'static str> {
    let source = include_str!("../src/abi.rs");
    let mut types = BTreeMap::new();
    for line in source.lines() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let (name, rest) = rest.split_once(": ").unwrap();
        let (rust, _) = rest.split_once(" =").unwrap();
        let c = match rust {
            "hc_status" | "i32" => "int32_t",
            "u32" => "uint32_t",
            "u64" => "uint64_t",
            _ => panic!("{name} is a {rust}: teach this test its C type"),
        };
        types.insert(name.to_owned(), c);
    }
    types
}

#[test]
fn constants_and_layouts_are_equal() {
    let generated = generated();
    let mut text = String::from("#include <hypercache.h>\n#include <stddef.h>\n");
    // The generated types under other names, so that both fit into one file.
    for line in without_comments(&generated).lines() {
        let is_call = line.starts_with("hc_status hc_") || line.starts_with("void hc_");
        if line.starts_with("#define") || is_call {
            continue;
        }
        writeln!(text, "{line}").unwrap();
    }
    let start = text.find("typedef").unwrap();
    let types = text.split_off(start);
    let end = types.rfind("typedef").unwrap();
    let end = end + types[end..].find(";\n\n").map_or(types.len() - end, |at| at + 1);
    text.push_str(&types[..end].replace("hc_", "generated_hc_"));
    text.push('\n');

    let parsed = parse(&generated);
    for (name, body) in parsed.declarations.iter().filter(|(_, body)| body.starts_with('{')) {
        writeln!(
            text,
            "_Static_assert(sizeof({name}) == sizeof(generated_{name}), \"size of {name}\");"
        )
        .unwrap();
        for field in body.trim_matches(['{', '}', ' ']).split(';') {
            let words: Vec<_> = field.split('[').next().unwrap_or("").split_whitespace().collect();
            let Some(field) = words.last() else { continue };
            writeln!(
                text,
                "_Static_assert(offsetof({name}, {field}) == offsetof(generated_{name}, {field}) \
                 && sizeof((({name} *)0)->{field}) == sizeof(((generated_{name} *)0)->{field}), \
                 \"{name}.{field}\");"
            )
            .unwrap();
        }
    }
    // Sizes and alignments as Rust has them.
    macro_rules! layouts {
        ($($name:ident)*) => {[$((stringify!($name), size_of::<$name>(), align_of::<$name>())),*]};
    }
    let layouts = layouts!(
        hc_error hc_slice hc_pool_config hc_pool_stats hc_store_config hc_view hc_info
        hc_put_options hc_entry hc_draft hc_match hc_filter_config hc_filter_stats
        hc_store_stats hc_latency
    );
    let structs = parsed.declarations.values().filter(|body| body.starts_with('{')).count();
    assert_eq!(layouts.len(), structs, "a struct is missing here");
    for (name, size, align) in layouts {
        writeln!(
            text,
            "_Static_assert(sizeof({name}) == {size} && _Alignof({name}) == {align}, \"{name}\");"
        )
        .unwrap();
    }
    // Values and types of the constants, also inside larger expressions and for the preprocessor.
    let types = constant_types();
    let defines = without_comments(&generated);
    let defines = defines.lines().filter_map(|line| line.strip_prefix("#define "));
    for (name, value) in defines.filter_map(|define| define.split_once(' ')) {
        let c = types[name];
        let value = value.trim_end_matches("ull");
        // The most negative number has no literal of its own type; no constant is it.
        let suffix = if c == "uint64_t" { "ull" } else { "" };
        writeln!(
            text,
            "_Static_assert(({name}) == {value}{suffix} && 2 * {name} == 2 * ({name}), \"{name}\");\n\
             _Static_assert(_Generic({name}, {c}: 1, default: 0), \"the type of {name}\");\n\
             #if !({name} == {value}{suffix})\n#error {name}\n#endif"
        )
        .unwrap();
    }
    writeln!(
        text,
        "_Static_assert(HC_VERSION_NUMBER == {}, \"HC_VERSION_NUMBER\");\n\
         int main(void) {{ return 0; }}",
        hc_version_number()
    )
    .unwrap();

    let folder = support::scratch("header");
    let file = folder.join("both.c");
    std::fs::write(&file, text).unwrap();
    for compiler in support::compilers(&["gcc", "clang"]) {
        let mut cc = Command::new(compiler);
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"]);
        support::run(cc.arg(support::root().join("include")).arg(&file));
    }
}

/// Every declaration is found wanting when it is changed: the comparison itself is tested.
#[test]
fn differences_are_seen() {
    let header = committed();
    let original = parse(&header).declarations;
    for (from, to) in [
        (
            "uint64_t    limit_bytes;       /* required",
            "uint32_t    limit_bytes;       /* required",
        ),
        (
            "const void *key, size_t key_len,\n                                    void *buf",
            "void *key, size_t key_len,\n                                    void *buf",
        ),
        ("version;  /* equal", "versions;  /* equal"),
        ("typedef int32_t hc_status;", "typedef int64_t hc_status;"),
        ("hc_scan_close(hc_scan *scan", "hc_scan_closed(hc_scan *scan"),
    ] {
        assert!(header.contains(from), "the header no longer contains: {from}");
        let changed = parse(&header.replacen(from, to, 1)).declarations;
        assert_ne!(original, changed, "{to}");
    }
}
