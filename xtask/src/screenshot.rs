//! `cargo xtask screenshot`: the top of the benchmarks' page as a picture for the README, taken by a
//! browser without a window.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::process::{program, stdout_of};
use crate::tools;
use crate::tree::{Tree, show};

/// Where the README looks for it.
const PICTURE: &str = "docs/report.png";
/// Width and height of the window.
const WINDOW: (u32, u32) = (1200, 1160);
/// What a reader of the README should have to load at the most, in bytes.
const BYTES_MAX: u64 = 300 << 10;

/// Takes the picture of `page`, which the last run of the benchmarks has left if none is named.
pub fn run(tree: &Tree, page: Option<PathBuf>) -> Result<ExitCode> {
    let page = page.unwrap_or_else(|| tree.target.join("bench/report.html"));
    let page = page.canonicalize().with_context(|| {
        format!("there is no page {}: `cargo xtask bench` makes it", show(&page))
    })?;
    let picture = tree.root.join(PICTURE);
    take(tree, &page, &picture)?;
    let bytes = std::fs::metadata(&picture)?.len();
    if bytes > BYTES_MAX {
        bail!("{} has {bytes} bytes; at most {BYTES_MAX} are allowed", show(&picture));
    }
    println!("{}: {} KiB, of {}", show(&picture), bytes.div_ceil(1024), show(&page));
    Ok(ExitCode::SUCCESS)
}

fn take(tree: &Tree, page: &Path, picture: &Path) -> Result<()> {
    let browser = tools::BROWSER.need()?;
    // A profile of its own: the user's browser may be running.
    let profile = tree.fresh("screenshot")?;
    if picture.exists() {
        std::fs::remove_file(picture)?;
    }
    let mut command = program(browser, &profile);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={},{}", WINDOW.0, WINDOW.1))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()));
    stdout_of(&mut command)?;
    if !picture.exists() {
        bail!("the browser left no picture");
    }
    Ok(())
}
