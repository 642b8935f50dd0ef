//! A server of our own: started on a free port, ended with us.

use std::env;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where a program is on the path.
pub(super) fn path_of(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// What a program says it is: the first line of its `--version`.
pub(super) fn version(program: &str) -> Option<String> {
    let said = Command::new(path_of(program)?).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout);
    // Redis and Valkey go on with their allocator and their build.
    Some(said.lines().next()?.split(" sha=").next()?.to_owned())
}

#[cfg(target_os = "linux")]
unsafe extern "C" {
    /// POSIX, in every C library of Linux; the crate `libc` does not declare it there.
    fn clock_getcpuclockid(pid: libc::pid_t, clock: *mut libc::clockid_t) -> libc::c_int;
}

/// A process in a group of its own, killed on drop and, on Linux, by the kernel when the thread
/// that started it ends, however it ends.
pub(super) struct Process {
    child: Child,
    port: u16,
}

/// How long a server may take until it answers.
const STARTING: Duration = Duration::from_secs(10);
/// How many ports are tried: one that was free may be taken by the time the server binds it.
const TRIES: u32 = 5;

impl Process {
    /// Starts a program until `greet`, given its port and process, is content with who answers.
    pub(super) fn start<T>(
        program: &str,
        arguments: impl Fn(u16) -> Vec<String>,
        greet: impl Fn(u16, u32) -> io::Result<T>,
    ) -> Result<(Self, T)> {
        let path =
            path_of(program).with_context(|| format!("there is no {program} on the path"))?;
        for _ in 0..TRIES {
            let port = free_port().context("there is no free port on 127.0.0.1")?;
            let mut command = Command::new(&path);
            command
                .args(arguments(port))
                .current_dir(env::temp_dir())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                // Why it does not start is said there.
                .stderr(Stdio::inherit())
                .process_group(0);
            end_with_us(&mut command);
            let child =
                command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
            let mut process = Self { child, port };
            if let Some(greeted) = process.greeted(&greet)? {
                return Ok((process, greeted));
            }
        }
        bail!("{program} does not answer on any of {TRIES} free ports of 127.0.0.1")
    }

    /// What `greet` returned; `None` where the server ended or does not answer in time.
    fn greeted<T>(&mut self, greet: impl Fn(u16, u32) -> io::Result<T>) -> Result<Option<T>> {
        let began = Instant::now();
        while began.elapsed() < STARTING && self.child.try_wait()?.is_none() {
            if let Ok(greeted) = greet(self.port, self.child.id()) {
                return Ok(Some(greeted));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Its processor time, all its threads together, to the nanosecond; 0 where the system does not
    /// say. (`/proc` counts in ticks of 10 ms, of which a turn has a few.)
    #[cfg(target_os = "linux")]
    pub(super) fn cpu_ns(&self) -> u64 {
        let Ok(pid) = libc::pid_t::try_from(self.child.id()) else { return 0 };
        let mut clock: libc::clockid_t = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a local of the right type, which the call only writes.
        if unsafe { clock_getcpuclockid(pid, &raw mut clock) } != 0 {
            return 0;
        }
        // SAFETY: as above; the clock is one that the system has just named.
        let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
        if status == 0 { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 } else { 0 }
    }

    /// 0: the system has no clock for it.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn cpu_ns(&self) -> u64 {
        0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            // SAFETY: takes numbers. The group is the child's own, which has not been waited for,
            // so the number is not another's yet.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        // Nobody else waits for it, and it cannot withstand the signal.
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    let us = std::process::id();
    // SAFETY: between fork and exec only system calls are made, which are safe there.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // We may have ended before the call; then nobody would ever send the signal.
            if u32::try_from(libc::getppid()) != Ok(us) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        let greet = |_, pid| Ok::<u32, io::Error>(pid);
        let (process, pid) = Process::start("sleep", |_| vec!["1000".to_owned()], greet).unwrap();
        assert_eq!(pid, process.child.id());
        process
    }

    fn is_there(pid: u32) -> bool {
        PathBuf::from(format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_process_ends_on_drop_and_in_a_panic() {
        let process = sleeper();
        let pid = process.child.id();
        assert!(is_there(pid));
        drop(process);
        assert!(!is_there(pid));

        let (send, receive) = std::sync::mpsc::channel();
        let failing = std::thread::spawn(move || {
            let process = sleeper();
            send.send(process.child.id()).unwrap();
            panic!("as a failing run does");
        });
        let pid = receive.recv().unwrap();
        assert!(failing.join().is_err());
        assert!(!is_there(pid));
    }

    #[test]
    fn one_that_does_not_answer_is_given_up() {
        let mute = Process::start("true", |_| vec![], |_, _| Err::<(), _>(io::Error::other("no")));
        let error = mute.err().unwrap().to_string();
        assert!(error.contains("true does not answer"), "{error}");
        let absent = Process::start("no-such-server", |_| vec![], |_, _| Ok(()));
        assert!(absent.err().unwrap().to_string().contains("no no-such-server"));
    }

    #[test]
    fn processor_time_is_read() {
        // What it took to start, which ticks of 10 ms would not show; it may not have begun yet.
        let process = sleeper();
        while process.cpu_ns() == 0 {
            sleep(Duration::from_millis(1));
        }
        let busy = Process {
            child: Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .process_group(0)
                .spawn()
                .unwrap(),
            port: 0,
        };
        while busy.cpu_ns() < 50_000_000 {
            sleep(Duration::from_millis(10));
        }
    }
}
