//! Hot paths.

fn main() {}
