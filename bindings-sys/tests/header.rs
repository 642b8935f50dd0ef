//! The declarations against `include/hypercache.h`: names, signatures, fields and constants as
//! tokens, layouts and values by the C compiler.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../ffi/tests/support/interface.rs"]
mod interface;

use std::fmt::Write as _;
use std::mem::{align_of, size_of};
use std::path::Path;
use std::process::Command;

use hypercache_sys::*;
use interface::{committed, differences, parse, without_comments};

fn generated() -> String {
    interface::generated(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn declarations_are_equal() {
    let (ours, theirs) = (parse(&committed()), parse(&generated()));
    let wrong = differences(&ours, &theirs);
    assert!(wrong.is_empty(), "include/hypercache.h and this crate differ:\n{wrong}");
    assert!(ours.declarations.len() > 70, "too few declarations were read");
    assert_eq!(ours.constants, theirs.constants);
}

#[test]
fn layouts_and_constants_are_equal() {
    let generated = generated();
    let mut text = String::from("#include <hypercache.h>\n");
    macro_rules! layouts {
        ($($name:ident)*) => {[$((stringify!($name), size_of::<$name>(), align_of::<$name>())),*]};
    }
    let layouts = layouts!(
        hc_error hc_slice hc_pool_config hc_pool_stats hc_store_config hc_view hc_info
        hc_put_options hc_entry hc_draft hc_lease hc_match hc_filter_config hc_filter_stats
        hc_store_stats hc_latency
    );
    let structs = parse(&generated).declarations;
    let structs = structs.values().filter(|body| body.starts_with('{')).count();
    assert_eq!(layouts.len(), structs, "a struct is missing here");
    for (name, size, align) in layouts {
        let claim = format!("sizeof({name}) == {size} && _Alignof({name}) == {align}");
        writeln!(text, "_Static_assert({claim}, \"{name}\");").unwrap();
    }
    let defines = without_comments(&generated);
    let defines = defines.lines().filter_map(|line| line.strip_prefix("#define "));
    let mut constants = 0;
    for (name, value) in defines.filter_map(|define| define.split_once(' ')) {
        writeln!(text, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
        constants += 1;
    }
    assert!(constants > 80, "too few constants were read: {constants}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sys.c");
    std::fs::write(&file, text).unwrap();
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"]);
    cc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../include")).arg(&file);
    let output = cc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
