//! Cache servers on this machine, started for the occasion: what a program gets that keeps its
//! cache in another process.
//!
//! A figure is a request and its answer over TCP on 127.0.0.1: the client's system calls, the
//! kernel between, the server's thread, and the way back. Requests are not pipelined, since a
//! caller who waits for one value cannot. Both servers speak protocols of a few lines, so the
//! clients are here; connections wait in a pool, one a thread that needs one at the same time.

mod memcached;
mod redis;
mod server;

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::ValueEnum;

use super::{Cache, Peek, Spec};
use crate::drive::Subject;
use server::Process;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// memcached, in its text protocol.
    Memcached,
    /// Valkey, or Redis where there is no Valkey.
    #[value(name = "valkey", alias = "redis")]
    Valkey,
}

impl Server {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Memcached, Self::Valkey];

    /// The programs that can be it, the preferred one first.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Memcached => &["memcached"],
            Self::Valkey => &["valkey-server", "redis-server"],
        }
    }

    /// The installed program, by its name in tables; `None` where there is none on the path.
    #[must_use]
    pub fn installed(self) -> Option<&'static str> {
        self.programs().iter().find(|program| server::path_of(program).is_some()).copied()
    }

    /// As printed in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.installed().unwrap_or_else(|| self.programs()[0]) {
            "valkey-server" => "valkey",
            "redis-server" => "redis",
            program => program,
        }
    }

    /// What to say where it is not installed.
    #[must_use]
    pub fn absence(self) -> String {
        let programs = self.programs().join(" and no ");
        format!("Not compared: there is no {programs} on the path")
    }

    /// What its figures stand for.
    #[must_use]
    pub fn measures(self) -> String {
        let program = self.installed().unwrap_or_else(|| self.programs()[0]);
        let version = server::version(program).unwrap_or_default();
        format!(
            "{version}, over TCP on 127.0.0.1: each figure is a round trip through both processes, \
             and CPU has the server's time in it"
        )
    }

    /// Starts one with a budget and so many threads, and connects to it. It ends with what is
    /// returned, and with this process however that ends.
    ///
    /// # Errors
    /// It is not installed, does not start, or does not answer.
    pub fn start(self, spec: &Spec, threads: usize) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Memcached => Box::new(Remote::<memcached::Text>::start(self, spec, threads)?),
            Self::Valkey => Box::new(Remote::<redis::Resp>::start(self, spec, threads)?),
        })
    }
}

/// What a server is told and how it is spoken to.
trait Protocol: Send + Sync + 'static {
    /// The arguments of the program that make it listen on a port with a budget.
    fn arguments(port: u16, spec: &Spec, threads: usize) -> Vec<String>;

    /// The process that answers: whether it is the one that was started.
    fn process(wire: &mut Wire) -> io::Result<u32>;

    fn get(wire: &mut Wire, key: &[u8], buf: &mut [u8]) -> io::Result<Option<usize>>;

    fn set(wire: &mut Wire, key: &[u8], value: &[u8], ttl: Option<Duration>) -> io::Result<()>;

    fn remove(wire: &mut Wire, key: &[u8]) -> io::Result<()>;
}

/// A connection.
struct Wire {
    from: BufReader<TcpStream>,
    to: TcpStream,
    /// A request being put together: it leaves in one packet.
    out: Vec<u8>,
    line: Vec<u8>,
}

/// No answer of a server on this machine takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Wire {
    fn connect(port: u16) -> io::Result<Self> {
        let to = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        to.set_nodelay(true)?;
        to.set_read_timeout(Some(PATIENCE))?;
        to.set_write_timeout(Some(PATIENCE))?;
        let from = BufReader::with_capacity(64 << 10, to.try_clone()?);
        Ok(Self { from, to, out: Vec::with_capacity(4096), line: Vec::new() })
    }

    /// Sends what was put together and reads the first line of the answer, without its end.
    fn ask(&mut self) -> io::Result<&[u8]> {
        self.to.write_all(&self.out)?;
        self.out.clear();
        self.line()
    }

    fn line(&mut self) -> io::Result<&[u8]> {
        self.line.clear();
        io::BufRead::read_until(&mut self.from, b'\n', &mut self.line)?;
        self.line
            .strip_suffix(b"\r\n")
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off"))
    }

    /// Reads a value of `len` bytes and the end of its line.
    fn value(&mut self, len: usize, buf: &mut [u8]) -> io::Result<usize> {
        let value = buf.get_mut(..len).ok_or_else(|| unexpected(b"a value that was not stored"))?;
        self.from.read_exact(value)?;
        self.from.read_exact(&mut [0; 2])?;
        Ok(len)
    }
}

fn unexpected(answer: &[u8]) -> io::Error {
    let answer = String::from_utf8_lossy(answer);
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {answer:?}"))
}

/// A number in an answer.
fn number<T: std::str::FromStr>(digits: &[u8]) -> io::Result<T> {
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| unexpected(digits))
}

/// A server and the connections to it.
struct Remote<P: Protocol> {
    name: &'static str,
    idle: Mutex<Vec<Wire>>,
    failed: Mutex<Option<io::Error>>,
    /// Dropped last.
    process: Process,
    protocol: std::marker::PhantomData<P>,
}

impl<P: Protocol> Remote<P> {
    fn start(server: Server, spec: &Spec, threads: usize) -> Result<Self> {
        let program = server.installed().ok_or_else(|| anyhow!("{}", server.absence()))?;
        let (process, wire) = Process::start(
            program,
            |port| P::arguments(port, spec, threads),
            |port, pid| {
                let mut wire = Wire::connect(port)?;
                let answers = P::process(&mut wire)?;
                if answers == pid { Ok(wire) } else { Err(unexpected(b"of another process")) }
            },
        )?;
        Ok(Self {
            name: server.name(),
            idle: Mutex::new(vec![wire]),
            failed: Mutex::new(None),
            process,
            protocol: std::marker::PhantomData,
        })
    }

    /// Runs one exchange. A connection that failed is not used again.
    fn with<T>(&self, run: impl FnOnce(&mut Wire) -> io::Result<T>) -> Option<T> {
        let idle = locked(&self.idle).pop();
        let done =
            idle.map_or_else(|| Wire::connect(self.process.port()), Ok).and_then(|mut wire| {
                let got = run(&mut wire)?;
                locked(&self.idle).push(wire);
                Ok(got)
            });
        done.map_err(|error| {
            locked(&self.failed).get_or_insert(error);
        })
        .ok()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Protocol> Cache for Remote<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn get(&self, key: &[u8], buf: &mut [u8]) -> Option<usize> {
        self.with(|wire| P::get(wire, key, buf)).flatten()
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        self.with(|wire| P::set(wire, key, value, None));
    }

    fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        self.with(|wire| P::set(wire, key, value, Some(ttl)));
        true
    }

    fn remove(&self, key: &[u8]) {
        self.with(|wire| P::remove(wire, key));
    }

    fn peek(&self, key: &[u8], buf: &mut [u8]) -> Peek {
        self.get(key, buf).into()
    }

    fn elsewhere_ns(&self) -> u64 {
        self.process.cpu_ns()
    }

    fn health(&self) -> Result<()> {
        match locked(&self.failed).as_ref() {
            Some(error) => Err(anyhow!("{} failed: {error}", self.name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::workload::key_of;

    /// Those that are installed; says so where one is not.
    fn started() -> Vec<Box<dyn Subject>> {
        let spec = Spec::new(16 << 20, 64);
        Server::ALL
            .into_iter()
            .filter_map(|server| {
                if server.installed().is_none() {
                    // Past the capture of the test's output, so that nobody takes this for a check.
                    let _ = writeln!(io::stderr(), "NOT CHECKED: {}", server.absence());
                    return None;
                }
                Some(server.start(&spec, 2).unwrap())
            })
            .collect()
    }

    #[test]
    fn servers_keep_the_contract() {
        for cache in started() {
            let name = cache.name();
            let mut buf = [0; 4096];
            let (one, two) = (key_of(0x0D0A_0D0A), key_of(2));
            assert_eq!(cache.get(&one, &mut buf), None, "{name}");
            // Bytes that end lines and answers in either protocol.
            let hostile = b"END\r\nVALUE a 0 3\r\n$-1\r\n\0";
            cache.set(&one, hostile);
            assert!(cache.set_for(&two, &[7; 4096], Duration::from_secs(60)), "{name}");
            assert_eq!(cache.get(&one, &mut buf), Some(hostile.len()), "{name}");
            assert_eq!(&buf[..hostile.len()], hostile, "{name}");
            assert_eq!(cache.get(&two, &mut buf), Some(4096), "{name}");
            assert_eq!(buf, [7; 4096], "{name}");
            cache.set(&one, b"");
            assert_eq!(cache.get(&one, &mut buf), Some(0), "{name}");
            cache.remove(&one);
            cache.remove(&one);
            assert_eq!(cache.peek(&one, &mut buf), Peek::Absent, "{name}");
            cache.health().unwrap();
            // A value that the caller has no room for is a fault, and told.
            assert_eq!(cache.get(&two, &mut buf[..10]), None, "{name}");
            assert!(cache.health().is_err(), "{name}");
        }
    }

    #[test]
    fn servers_serve_threads_at_once() {
        for cache in started() {
            std::thread::scope(|scope| {
                for lane in 0..4 {
                    let cache = &*cache;
                    scope.spawn(move || {
                        let mut buf = [0; 64];
                        for id in (0..200).map(|nth| nth * 4 + lane) {
                            cache.set(&key_of(id), &id.to_le_bytes());
                            assert_eq!(cache.get(&key_of(id), &mut buf), Some(8));
                            assert_eq!(buf[..8], id.to_le_bytes());
                        }
                    });
                }
            });
            cache.health().unwrap();
        }
    }
}
