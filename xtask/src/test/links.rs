//! The documents' links to other files of the checkout lead somewhere.

use anyhow::{Context, Result, bail};

use crate::steps::{Outcome, Progress, passed};
use crate::tree::{Tree, files_with, show};

/// Where documents lie.
const FOLDERS: [&str; 7] = ["", "docs", "core", "ffi", "ffi/packaging", "benches", "conformance"];

pub fn check(tree: &Tree, _progress: &Progress) -> Result<Outcome> {
    let (mut links, mut dead) = (0, Vec::new());
    for folder in FOLDERS {
        let folder = tree.root.join(folder);
        for document in files_with(&folder, &["md"])? {
            let text = std::fs::read_to_string(&document)
                .with_context(|| format!("cannot read {}", show(&document)))?;
            for link in links_of(&text) {
                links += 1;
                if !folder.join(link).exists() {
                    dead.push(format!("{}: {link} does not exist", show(&document)));
                }
            }
        }
    }
    if !dead.is_empty() {
        bail!("{}", dead.join("\n"));
    }
    passed(format!("{links} links"))
}

/// The files that a document links to, without what is on the network or on the same page.
fn links_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let link = rest.split(')').next()?.split('#').next()?;
        (!link.is_empty() && !link.contains("://")).then_some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::links_of;

    #[test]
    fn takes_links_to_files_only() {
        let text = "[a](docs/a.md) [b](https://x.y) [c](#here) [d](d.md#part) (no)";
        assert_eq!(links_of(text).collect::<Vec<_>>(), ["docs/a.md", "d.md"]);
    }
}
