//! The protocol of Redis and Valkey, RESP 2 (the "Redis serialization protocol specification"):
//! a request is an array of strings, each behind its length.

use std::io::{self, Write};
use std::time::Duration;

use super::{Protocol, Wire, number, unexpected};
use crate::cache::Spec;

pub(super) struct Resp;

fn request(wire: &mut Wire, words: &[&[u8]]) -> io::Result<()> {
    write!(wire.out, "*{}\r\n", words.len())?;
    for word in words {
        write!(wire.out, "${}\r\n", word.len())?;
        wire.out.extend_from_slice(word);
        wire.out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

impl Protocol for Resp {
    fn arguments(port: u16, spec: &Spec, _threads: usize) -> Vec<String> {
        let (port, budget) = (port.to_string(), spec.budget.to_string());
        [
            ["--bind", "127.0.0.1"],
            ["--port", &port],
            ["--save", ""],
            ["--appendonly", "no"],
            ["--maxmemory", &budget],
            ["--maxmemory-policy", "allkeys-lru"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
    }

    fn process(wire: &mut Wire) -> io::Result<u32> {
        request(wire, &[b"INFO", b"server"])?;
        let line = wire.ask()?;
        let Some(len) = line.strip_prefix(b"$") else { return Err(unexpected(line)) };
        let mut info = vec![0; number(len)?];
        let len = info.len();
        wire.value(len, &mut info)?;
        let process = info
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.trim_ascii_end().strip_prefix(b"process_id:"));
        process.map_or(Ok(0), number)
    }

    fn get(wire: &mut Wire, key: &[u8], buf: &mut [u8]) -> io::Result<Option<usize>> {
        request(wire, &[b"GET", key])?;
        let line = wire.ask()?;
        match line.strip_prefix(b"$") {
            Some(b"-1") => Ok(None),
            Some(len) => {
                let len = number(len)?;
                wire.value(len, buf).map(Some)
            }
            None => Err(unexpected(line)),
        }
    }

    fn set(wire: &mut Wire, key: &[u8], value: &[u8], ttl: Option<Duration>) -> io::Result<()> {
        match ttl {
            None => request(wire, &[b"SET", key, value])?,
            Some(ttl) => {
                let millis = ttl.as_millis().max(1).to_string();
                request(wire, &[b"SET", key, value, b"PX", millis.as_bytes()])?;
            }
        }
        let line = wire.ask()?;
        if line == b"+OK" { Ok(()) } else { Err(unexpected(line)) }
    }

    fn remove(wire: &mut Wire, key: &[u8]) -> io::Result<()> {
        request(wire, &[b"DEL", key])?;
        let line = wire.ask()?;
        if line.starts_with(b":") { Ok(()) } else { Err(unexpected(line)) }
    }
}
