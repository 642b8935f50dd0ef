//! The committed header against the crate.
//!
//! `include/hypercache.h` is ordered and worded by hand. cbindgen writes the same interface from
//! the Rust side, and this test compares the two: every function's signature, every struct's
//! fields in their order, every type and every constant. The comparison of declarations is
//! textual, on tokens; that of constants and layouts is the C compiler's, on both in one file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "support/interface.rs"]
mod interface;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use hypercache::*;
use interface::{committed, differences, parse, without_comments};

fn generated() -> String {
    interface::generated(&PathBuf::from(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn declarations_are_equal() {
    let (ours, theirs) = (parse(&committed()), parse(&generated()));
    let wrong = differences(&ours, &theirs);
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
        hc_put_options hc_entry hc_draft hc_lease hc_match hc_filter_config hc_filter_stats
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
