//! The cuckoo filter; see [`hypercache_fuzz::filter_ops`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    hypercache_fuzz::filter_ops::run(input, &mut hypercache_fuzz::Log::default());
});

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    hypercache_fuzz::door::main(&hypercache_fuzz::filter_ops::TARGET)
}
