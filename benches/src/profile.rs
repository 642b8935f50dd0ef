//! Profiles of any subcommand: where processor time goes, where memory is allocated, where
//! instructions go.
//!
//! The first two need code in the program, which would be in the way of measuring; so each is a
//! feature of the package. The third needs only valgrind: the program runs itself under it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

/// What is profiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Samples of the stack, a thousand a second: a flame graph.
    Cpu,
    /// Every allocation, with its stack: for DHAT's viewer.
    Heap,
    /// Every instruction, under valgrind's callgrind: some fifty times slower.
    Instructions,
}

impl Profile {
    /// What the profile is written to, in the folder for it.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Cpu => "profile-cpu.svg",
            Self::Heap => "profile-heap.json",
            Self::Instructions => "profile-instructions.out",
        }
    }
}

/// A profile that is being made: it is written by [`Running::end`].
pub struct Running {
    path: PathBuf,
    #[cfg(feature = "profile-cpu")]
    cpu: Option<pprof::ProfilerGuard<'static>>,
    #[cfg(feature = "profile-heap")]
    heap: Option<dhat::Profiler>,
}

impl Running {
    /// Begins a profile in this process.
    pub fn begin(profile: Profile, folder: &Path) -> Result<Self> {
        let built = match profile {
            Profile::Cpu => cfg!(feature = "profile-cpu"),
            Profile::Heap => cfg!(feature = "profile-heap"),
            Profile::Instructions => bail!("instructions are profiled from outside"),
        };
        if !built {
            let name = format!("{profile:?}").to_lowercase();
            bail!(
                "this program was built without the feature `profile-{name}`; `cargo xtask bench \
                 ... --profile {name}` builds it with it"
            );
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join(profile.file());
        Ok(Self {
            #[cfg(feature = "profile-cpu")]
            cpu: match profile {
                Profile::Cpu => Some(
                    pprof::ProfilerGuardBuilder::default()
                        .frequency(999)
                        // Their unwinding tables cannot be walked from a signal handler.
                        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
                        .build()
                        .context("cannot sample the stack")?,
                ),
                Profile::Heap | Profile::Instructions => None,
            },
            #[cfg(feature = "profile-heap")]
            heap: (profile == Profile::Heap)
                .then(|| dhat::Profiler::builder().file_name(&path).build()),
            path,
        })
    }

    /// Writes it and says where.
    pub fn end(self) -> Result<()> {
        #[cfg(feature = "profile-cpu")]
        if let Some(guard) = self.cpu {
            let file = std::fs::File::create(&self.path)
                .with_context(|| format!("cannot write {}", self.path.display()))?;
            guard.report().build()?.flamegraph(file)?;
        }
        #[cfg(feature = "profile-heap")]
        drop(self.heap);
        println!("  Profile:  {}", self.path.display());
        Ok(())
    }
}

/// Runs this program with these arguments under callgrind.
pub fn under_callgrind(args: &[String], folder: &Path) -> Result<ExitStatus> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join(Profile::Instructions.file());
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=yes", "--separate-threads=no"])
        .arg(format!("--callgrind-out-file={}", path.display()))
        .arg(program)
        .args(args)
        .status()
        .context("cannot run valgrind, which counts instructions (Debian: apt install valgrind)")?;
    println!("  Profile:  {0} (callgrind_annotate {0})", path.display());
    Ok(status)
}

/// The arguments without `--profile` and its value.
#[must_use]
pub fn without_profile(args: impl Iterator<Item = String>) -> Vec<String> {
    let mut rest = Vec::new();
    let mut skip = false;
    for arg in args {
        match arg.as_str() {
            _ if skip => skip = false,
            "--profile" => skip = true,
            arg if arg.starts_with("--profile=") => {}
            _ => rest.push(arg),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_arguments_stays() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for typed in ["speed --profile cpu --ops hit", "--profile=cpu speed --ops hit"] {
            assert_eq!(without_profile(words(typed).into_iter()), words("speed --ops hit"));
        }
    }

    #[cfg(not(feature = "profile-cpu"))]
    #[test]
    fn a_feature_that_is_missing_is_named() {
        let error = Running::begin(Profile::Cpu, Path::new("/nowhere")).err().unwrap().to_string();
        assert!(error.contains("`profile-cpu`"), "{error}");
    }
}
