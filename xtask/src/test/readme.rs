//! The README's programs: extracted, compiled as a reader would compile them, run.
//!
//! A fenced block marked `c`, `cpp`, `rust`, `python` or `js` is a whole program. Where a block marked
//! `text output` follows it, with no other block in between, the program must print exactly that.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::demo::{Language, runner};
use crate::install::Installed;
use crate::node;
use crate::process;
use crate::python::Environment;
use crate::steps::{Outcome, Progress, passed};
use crate::tree::Tree;

/// A program of the README.
#[derive(Debug, PartialEq, Eq)]
struct Snippet {
    language: String,
    /// The line of the README that the program starts at.
    line: usize,
    text: String,
    /// What it must print, where the README says so.
    output: Option<String>,
}

fn snippets(tree: &Tree, language: &str) -> Result<Vec<Snippet>> {
    let text =
        std::fs::read_to_string(tree.root.join("README.md")).context("cannot read README.md")?;
    let mut all = parse(&text)?;
    all.retain(|snippet| snippet.language == language);
    if all.is_empty() {
        bail!("README.md shows no program in {language}");
    }
    Ok(all)
}

fn parse(text: &str) -> Result<Vec<Snippet>> {
    let mut found: Vec<Snippet> = Vec::new();
    let mut lines = text.lines().enumerate();
    // Whether the block before this one may have its output here.
    let mut fresh = false;
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut block = String::new();
        let mut closed = false;
        for (_, line) in lines.by_ref() {
            if line.starts_with("```") {
                closed = true;
                break;
            }
            block.push_str(line);
            block.push('\n');
        }
        if !closed {
            bail!("README.md:{}: this block is not closed", number + 1);
        }
        let info = info.trim();
        if info == "text output" {
            match found.last_mut() {
                Some(snippet) if fresh => snippet.output = Some(block),
                _ => bail!("README.md:{}: this output follows no program", number + 1),
            }
            fresh = false;
        } else if ["c", "cpp", "rust", "python", "js"].contains(&info) {
            found.push(Snippet {
                language: info.to_owned(),
                line: number + 2,
                text: block,
                output: None,
            });
            fresh = true;
        } else {
            fresh = false;
        }
    }
    Ok(found)
}

fn compare(snippet: &Snippet, said: &str) -> Result<()> {
    match &snippet.output {
        Some(output) if output.trim_end() != said.trim_end() => bail!(
            "README.md:{}: the program prints\n\n{}\n\nbut the README says\n\n{}",
            snippet.line,
            said.trim_end(),
            output.trim_end()
        ),
        _ => Ok(()),
    }
}

/// The programs in C and C++, against the installed library.
pub fn native(tree: &Tree, installed: &Installed, progress: &Progress) -> Result<Outcome> {
    let folder = tree.fresh("readme")?;
    let mut ran = 0;
    for language in [Language::C, Language::Cpp] {
        let name = if language == Language::C { "c" } else { "cpp" };
        for snippet in snippets(tree, name)? {
            let source = folder.join(format!("line-{}.{name}", snippet.line));
            // The compiler then speaks of the README's lines.
            let text = format!("#line {} \"README.md\"\n{}", snippet.line, snippet.text);
            std::fs::write(&source, text)?;
            let run = &|command: &mut std::process::Command| progress.run(command);
            let program = language.build(tree, installed, &source, run)?;
            compare(&snippet, &progress.run(&mut runner(&program, installed))?)?;
            ran += 1;
        }
    }
    passed(format!("{ran} programs"))
}

/// The programs in Python, in an environment that has the package.
pub fn python(tree: &Tree, environment: &Environment, progress: &Progress) -> Result<()> {
    let folder = tree.fresh("readme-python")?;
    for snippet in snippets(tree, "python")? {
        let program = folder.join(format!("line_{}.py", snippet.line));
        std::fs::write(&program, &snippet.text)?;
        compare(&snippet, &progress.run(environment.python(&folder).arg(&program))?)?;
    }
    Ok(())
}

/// The programs for Node, below a folder that has the package installed.
pub fn node(tree: &Tree, place: &Path, progress: &Progress) -> Result<()> {
    for snippet in snippets(tree, "js")? {
        let program = place.join(format!("readme-{}.mjs", snippet.line));
        std::fs::write(&program, &snippet.text)?;
        compare(&snippet, &progress.run(node::node(place)?.arg(&program))?)?;
    }
    Ok(())
}

/// The programs in Rust, as packages that depend on the engine by its path.
pub fn rust(tree: &Tree, progress: &Progress) -> Result<Outcome> {
    let folder = tree.fresh("readme-rust")?;
    let all = snippets(tree, "rust")?;
    std::fs::create_dir_all(folder.join("src/bin"))?;
    std::fs::write(folder.join("Cargo.toml"), manifest(&tree.root.join("core")))?;
    // The same versions of what the engine depends on as everywhere else.
    std::fs::copy(tree.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    for snippet in &all {
        let source = folder.join(format!("src/bin/line-{}.rs", snippet.line));
        std::fs::write(source, &snippet.text)?;
    }
    let target = tree.target.join("readme");
    let mut cargo = process::cargo(&folder);
    progress.run(cargo.args(["build", "--quiet"]).env("CARGO_TARGET_DIR", &target))?;
    for snippet in &all {
        let program = target.join("debug").join(format!("line-{}", snippet.line));
        compare(snippet, &progress.run(&mut process::program(program, &folder))?)?;
    }
    passed(format!("{} programs", all.len()))
}

fn manifest(core: &Path) -> String {
    format!(
        "[package]\nname = \"readme\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nhypercache-core = {{ path = {:?} }}\n\n[workspace]\n",
        core.display().to_string()
    )
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn takes_programs_with_their_output() {
        let text = "# t\n```c\nint main;\n```\nprints\n```text output\nhello\n```\n```sh\nls\n```\n\
                    ```rust\nfn main() {}\n```\n";
        let found = parse(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text, "int main;\n");
        assert_eq!(found[0].line, 3);
        assert_eq!(found[0].output.as_deref(), Some("hello\n"));
        assert_eq!(found[1].language, "rust");
        assert_eq!(found[1].output, None);
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        assert!(parse("```text output\nx\n```\n").is_err());
        assert!(parse("```c\nint x;\n").is_err());
        assert!(parse("```c\nint x;\n```\n```sh\nls\n```\n```text output\nx\n```\n").is_err());
    }
}
