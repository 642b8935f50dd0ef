//! The programs of `fuzz_targets/` where no fuzzer drives them.

use crate::generate::Generator;
use crate::{Log, Target};
use std::io::Read;
use std::process::ExitCode;

const USAGE: &str = "options: FILE...         run these inputs (`corpus` for the whole corpus)
         --explain       say what each operation is and came to, and check after each
         --make N SEED   run N inputs made from a seed
         (none)          run standard input, as AFL wants it";

/// Runs what the command line names. An input that fails panics.
#[must_use]
pub fn main(target: &Target) -> ExitCode {
    match run(target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{}: {why}\n{USAGE}", target.name);
            ExitCode::from(2)
        }
    }
}

fn run(target: &Target) -> Result<(), String> {
    let mut log = Log::default();
    let mut ran = 0_u64;
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_none() {
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input).map_err(|error| error.to_string())?;
        (target.run)(&input, &mut log);
        return Ok(());
    }
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--explain" => log = Log::explaining(),
            "--make" => {
                let mut number = || args.next().and_then(|text| text.parse::<u64>().ok());
                let (Some(count), Some(seed)) = (number(), number()) else {
                    return Err("--make takes two numbers".to_owned());
                };
                let corpus = target.corpus().unwrap_or_default();
                let mut generator = Generator::new(seed, target.len_max);
                for _ in 0..count {
                    let input = generator.next(&corpus);
                    keep_last(target, &input);
                    (target.run)(&input, &mut log);
                    ran += 1;
                }
            }
            "corpus" => {
                for (name, input) in target.corpus()? {
                    println!("{name}");
                    (target.run)(&input, &mut log);
                    ran += 1;
                }
            }
            option if option.starts_with('-') => return Err(format!("{option} is no option")),
            file => {
                let input = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                (target.run)(&input, &mut log);
                ran += 1;
            }
        }
    }
    for (name, times) in log.seen() {
        println!("{times:>9}  {name}");
    }
    println!("{ran} inputs");
    Ok(())
}

/// So that the input that ends the process can be found.
fn keep_last(target: &Target, input: &[u8]) {
    let file = std::env::temp_dir().join(format!("{}-{}.last", target.name, std::process::id()));
    let _ = std::fs::write(file, input);
}
