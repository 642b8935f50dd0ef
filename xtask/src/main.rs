//! The project's one door: every task is `cargo xtask <task>`.

use clap::Parser;

/// Start with `cargo xtask demo`.
#[derive(Parser)]
struct Cli {}

fn main() {
    Cli::parse();
}
