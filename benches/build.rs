//! Leaves what built the program in it, because figures say nothing without.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    println!(
        "cargo:rustc-env=BUILT_WITH={}",
        version.unwrap_or_else(|_| "unknown rustc".to_owned())
    );
    for (name, variable) in [("BUILT_FOR", "TARGET"), ("BUILT_AS", "PROFILE")] {
        println!("cargo:rustc-env={name}={}", env::var(variable).unwrap_or_default());
    }
    println!("cargo:rerun-if-changed=build.rs");
}
