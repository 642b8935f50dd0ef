//! The benchmark program.

fn main() {
    println!("see --help");
}
