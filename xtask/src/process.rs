//! Running other programs: what they print is kept, and shown when they fail.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

/// How many lines of a failed program's output are shown; the rest is in the log.
const SHOWN: usize = 60;

/// A cargo command that runs in `folder`.
///
/// `cargo run` describes the program it runs in the environment. Passed on, that description would
/// look to inner builds like a change of their own settings and make them build everything again.
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    for (name, _) in env::vars_os() {
        let inherited = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || ["CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&name)
        });
        if inherited {
            command.env_remove(name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Any other program, run in `folder`.
pub fn program(name: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).env_remove("LD_LIBRARY_PATH");
    command
}

/// The command line as one could type it.
pub fn line_of(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        // Settings that are only there to undo `cargo run`'s are not part of what to type.
        if let Some(value) = value {
            let _ = write!(line, "{}={} ", name.to_string_lossy(), quoted(value));
        }
    }
    let program = Path::new(command.get_program());
    let cargo = program.file_stem() == Some(OsStr::new("cargo"));
    line.push_str(&if cargo { "cargo".to_owned() } else { quoted(command.get_program()) });
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%$".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Runs a short program and returns what it wrote to its standard output.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` {}\n{}",
            ended(output.status),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program on the user's own terminal.
pub fn in_the_open(command: &mut Command) -> Result<ExitStatus> {
    let line = line_of(command);
    command.status().with_context(|| format!("cannot run `{line}`"))
}

/// Where the output of a step's programs goes.
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// Starts an empty log.
    pub fn create(path: PathBuf) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, "")
            .with_context(|| format!("cannot write {}", crate::tree::show(&path)))?;
        Ok(Self { path })
    }

    /// Runs a program to its end. Each line it prints is given to `see` at once and kept; the
    /// whole is returned, or shown with the error if the program fails.
    pub fn run(&self, command: &mut Command, see: &dyn Fn(&str)) -> Result<String> {
        let line = line_of(command);
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.path)?;
        writeln!(file, "$ {line}")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{line}`"))?;
        let (sender, lines) = mpsc::channel();
        let readers = [
            child.stdout.take().map(|pipe| reader(pipe, sender.clone())),
            child.stderr.take().map(|pipe| reader(pipe, sender.clone())),
        ];
        drop(sender);
        let mut text = String::new();
        for line in lines {
            writeln!(file, "{line}")?;
            see(&line);
            text.push_str(&line);
            text.push('\n');
        }
        for reader in readers.into_iter().flatten() {
            reader.join().map_err(|_| anyhow!("a reader of the program's output panicked"))?;
        }
        let status = child.wait()?;
        if status.success() {
            return Ok(text);
        }
        let all: Vec<&str> = text.lines().collect();
        let tail = all.get(all.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
        let before = if all.len() > SHOWN {
            format!("(the last {SHOWN} of {} lines; all are in {})\n", all.len(), self.shown())
        } else {
            String::new()
        };
        bail!("`{line}` {}\n{before}{tail}", ended(status))
    }

    fn shown(&self) -> String {
        crate::tree::show(&self.path)
    }
}

fn reader(pipe: impl Read + Send + 'static, lines: mpsc::Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while pipe.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if lines.send(line).is_err() {
                return;
            }
            bytes.clear();
        }
    })
}

/// "failed with status 1", "was killed by signal 11".
pub fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if let Some(signal) = status.signal() {
            return format!("was ended by signal {signal}");
        }
    }
    status.code().map_or_else(|| "failed".to_owned(), |code| format!("failed with status {code}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Log, line_of, program};

    #[test]
    fn commands_read_as_typed() {
        let mut command = program("cc", Path::new("/"));
        command.args(["-o", "a b", "it's"]).env("LANG", "C");
        assert_eq!(line_of(&command), r"LANG=C cc -o 'a b' 'it'\''s'");
    }

    #[test]
    fn failures_show_the_end_of_the_output() {
        let file = std::env::temp_dir().join(format!("xtask-log-{}", std::process::id()));
        let log = Log::create(file.clone()).unwrap();
        let mut command = program("sh", Path::new("/"));
        command.args(["-c", "seq 100; echo oops >&2; exit 3"]);
        let error = log.run(&mut command, &|_| ()).unwrap_err().to_string();
        assert!(error.contains("failed with status 3"), "{error}");
        assert!(error.contains("oops") && !error.contains("\n7\n"), "{error}");
        let kept = std::fs::read_to_string(&file).unwrap();
        assert!(kept.contains("\n7\n"), "the log has all of it: {kept}");
        std::fs::remove_file(file).unwrap();
    }
}
