//! The installed headers, alone, in every standard and compiler they promise.
//!
//! Each header is compiled as the only include of a file. The C header is compiled again with a
//! file that uses every constant inside larger expressions: a missing pair of brackets, a cast
//! that a preprocessor or C++ does not take, a signed constant beside an unsigned one would show.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};

use crate::install::Installed;
use crate::process;
use crate::steps::{Outcome, Progress, passed};
use crate::tools::{self, Tool};
use crate::tree::Tree;

const C: [&str; 3] = ["c99", "c11", "c17"];
const CPP: [&str; 3] = ["c++11", "c++17", "c++20"];
/// hypercache.hpp is C++17.
const CPP_WRAPPER: [&str; 2] = ["c++17", "c++20"];
const WARNINGS: [&str; 8] = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wundef",
    "-Wconversion",
    "-Wstrict-aliasing",
    "-Werror",
];

pub fn matrix(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    let folder = tree.fresh("headers")?;
    let header = std::fs::read_to_string(installed.include().join("hypercache.h"))?;
    let constants = constants(&header);
    if constants.is_empty() {
        bail!("hypercache.h defines no constants");
    }
    std::fs::write(folder.join("alone.c"), "#include <hypercache.h>\n")?;
    std::fs::write(folder.join("twice.c"), "#include <hypercache.h>\n#include <hypercache.h>\n")?;
    std::fs::write(folder.join("constants.c"), program_of(&constants))?;
    for file in ["alone", "twice", "constants"] {
        let (c, cpp) = (format!("{file}.c"), format!("{file}.cpp"));
        std::fs::copy(folder.join(c), folder.join(cpp))?;
    }
    let wrapper = installed.include().join("hypercache.hpp").is_file();
    if wrapper {
        std::fs::write(folder.join("wrapper.cpp"), "#include <hypercache.hpp>\n")?;
    }

    let mut compiled = 0;
    for (compiler, standards, files) in [
        (tools::GCC, C.as_slice(), ["alone.c", "twice.c", "constants.c"].as_slice()),
        (tools::CLANG, &C, &["alone.c", "twice.c", "constants.c"]),
        (tools::GXX, &CPP, &["alone.cpp", "twice.cpp", "constants.cpp"]),
        (tools::CLANGXX, &CPP, &["alone.cpp", "twice.cpp", "constants.cpp"]),
        (tools::GXX, &CPP_WRAPPER, if wrapper { &["wrapper.cpp"] } else { &[] }),
        (tools::CLANGXX, &CPP_WRAPPER, if wrapper { &["wrapper.cpp"] } else { &[] }),
    ] {
        compiled += compile(&compiler, standards, files, &folder, installed, progress)?;
    }
    if compiled == 0 {
        bail!("neither gcc nor clang is installed: apt-get install gcc g++ clang");
    }
    passed(format!("{compiled} compilations, {} constants in expressions", constants.len()))
}

fn compile(
    compiler: &Tool,
    standards: &[&str],
    files: &[&str],
    folder: &Path,
    installed: &Installed,
    progress: &Progress,
) -> Result<usize> {
    let Some(program) = compiler.find() else {
        progress.unchecked(format!("Headers in {}: {}", compiler.what, compiler.advice()));
        return Ok(0);
    };
    let mut compiled = 0;
    for standard in standards {
        for file in files {
            let mut cc = process::program(&program, folder);
            cc.arg(format!("-std={standard}")).args(WARNINGS).arg("-fsyntax-only");
            cc.arg(format!("-I{}", installed.include().display())).arg(file);
            progress.run(&mut cc)?;
            compiled += 1;
        }
    }
    Ok(compiled)
}

/// The names of the object-like macros that have a value.
fn constants(header: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in without_comments(header).lines() {
        let Some(rest) = line.trim_start().strip_prefix("#define ") else { continue };
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, value) = rest.split_at(end);
        let value = value.trim();
        let function_like = rest[end..].starts_with('(');
        // Attributes are not values.
        let valued = !value.is_empty() && !value.contains("__");
        if name.starts_with("HC_") && !function_like && valued && !names.contains(&name.to_owned())
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// A file that uses each constant in arithmetic, comparison and at compile time.
fn program_of(constants: &[String]) -> String {
    let mut text = "#include <hypercache.h>\n\
                    #define HOLDS(name, what) typedef char name[(what) ? 1 : -1]\n"
        .to_owned();
    for name in constants {
        let _ = writeln!(text, "HOLDS(twice_{name}, {name} * 2 == 2 * {name});");
        let _ = writeln!(text, "HOLDS(negated_{name}, 0 - {name} + {name} == 0);");
        let _ = writeln!(text, "HOLDS(chosen_{name}, (1 ? {name} : {name}) == {name});");
    }
    text.push_str("unsigned use(hc_status status, uint64_t bytes);\n");
    text.push_str("unsigned use(hc_status status, uint64_t bytes) {\n    unsigned n = 0;\n");
    for name in constants {
        // What is compared with what follows from the name: statuses are signed.
        if name.starts_with("HC_ERR_") {
            let _ = writeln!(text, "    if (status == {name}) n |= 1u;");
        } else if name.ends_with("_MAX") || name.ends_with("_MIN") || name.starts_with("HC_TTL_") {
            let _ = writeln!(text, "    if (bytes <= {name}) n |= 2u;");
        }
    }
    text.push_str("    return n;\n}\n");
    text
}

/// The functions that a header declares: names that begin with `hc_` before a bracket.
pub fn declared_functions(header: &str) -> BTreeSet<String> {
    let text = without_comments(header);
    let mut names = BTreeSet::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text.as_str();
    while let Some(at) = rest.find("hc_") {
        let starts_word = !rest[..at].chars().next_back().is_some_and(word);
        let tail = &rest[at..];
        let end = tail.find(|c: char| !word(c)).unwrap_or(tail.len());
        if starts_word && tail[end..].trim_start().starts_with('(') {
            names.insert(tail[..end].to_owned());
        }
        rest = &tail[end..];
    }
    names
}

fn without_comments(text: &str) -> String {
    let text = text.replace("\\\n", " ");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        out.push_str(&rest[..at]);
        let (end, skip) = if rest[at..].starts_with("/*") {
            (rest[at..].find("*/"), 2)
        } else {
            (rest[at..].find('\n'), 0)
        };
        rest = end.map_or("", |end| &rest[at + end + skip..]);
        out.push(' ');
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{constants, declared_functions};

    const HEADER: &str = "/* hc_not_this(1) */\n#define HC_API __attribute__((x))\n#define HC_GUARD\n\
        #define HC_OK ((hc_status)0) /* fine */\n#define HC_INIT(p) (p)\n\
        #define HC_BIG \\\n  (1 << 3)\n\
        HC_API hc_status hc_get(hc_store *s, const void *key);\n\
        typedef void (*hc_drop_fn)(void *ctx);\nHC_API void *hc_pool_alloc\n   (hc_pool *pool);\n";

    #[test]
    fn finds_constants_and_functions() {
        assert_eq!(constants(HEADER), ["HC_OK", "HC_BIG"]);
        let functions: Vec<String> = declared_functions(HEADER).into_iter().collect();
        assert_eq!(functions, ["hc_get", "hc_pool_alloc"]);
    }
}
