//! memcached's text protocol (doc/protocol.txt in its source). It takes no control characters in
//! keys, so keys are sent in hexadecimal.

use std::io::{self, Write};
use std::time::Duration;

use super::{Protocol, Wire, number, unexpected};
use crate::cache::Spec;

pub(super) struct Text;

/// Two digits a byte.
fn put_hex(out: &mut Vec<u8>, key: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in key {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

impl Protocol for Text {
    fn arguments(port: u16, spec: &Spec, threads: usize) -> Vec<String> {
        // Twice its longest item is the least that it starts with.
        let mib = spec.budget.div_ceil(1 << 20).max(2).to_string();
        let (port, threads) = (port.to_string(), threads.to_string());
        let mut arguments: Vec<String> =
            ["-l", "127.0.0.1", "-U", "0", "-p", &port, "-m", &mib, "-t", &threads]
                .map(str::to_owned)
                .into();
        // SAFETY: takes nothing, returns a number, cannot fail.
        if unsafe { libc::geteuid() } == 0 {
            arguments.extend(["-u", "root"].map(str::to_owned));
        }
        arguments
    }

    fn process(wire: &mut Wire) -> io::Result<u32> {
        wire.out.extend_from_slice(b"stats\r\n");
        let mut line = wire.ask()?;
        let mut process = 0;
        while line != b"END" {
            if let Some(pid) = line.strip_prefix(b"STAT pid ") {
                process = number(pid)?;
            }
            line = wire.line()?;
        }
        Ok(process)
    }

    fn get(wire: &mut Wire, key: &[u8], buf: &mut [u8]) -> io::Result<Option<usize>> {
        wire.out.extend_from_slice(b"get ");
        put_hex(&mut wire.out, key);
        wire.out.extend_from_slice(b"\r\n");
        let line = wire.ask()?;
        if line == b"END" {
            return Ok(None);
        }
        // VALUE <key> <flags> <bytes>
        let mut words = line.split(|&byte| byte == b' ');
        let (verb, len) = (words.next(), words.nth(2));
        let (Some(b"VALUE"), Some(len)) = (verb, len) else { return Err(unexpected(line)) };
        let len = number(len)?;
        wire.value(len, buf)?;
        let end = wire.line()?;
        if end == b"END" { Ok(Some(len)) } else { Err(unexpected(end)) }
    }

    fn set(wire: &mut Wire, key: &[u8], value: &[u8], ttl: Option<Duration>) -> io::Result<()> {
        // It counts in seconds, and 0 of them are for good.
        let seconds = ttl.map_or(0, |ttl| ttl.as_secs().max(1));
        wire.out.extend_from_slice(b"set ");
        put_hex(&mut wire.out, key);
        write!(wire.out, " 0 {seconds} {}\r\n", value.len())?;
        wire.out.extend_from_slice(value);
        wire.out.extend_from_slice(b"\r\n");
        let line = wire.ask()?;
        if line == b"STORED" { Ok(()) } else { Err(unexpected(line)) }
    }

    fn remove(wire: &mut Wire, key: &[u8]) -> io::Result<()> {
        wire.out.extend_from_slice(b"delete ");
        put_hex(&mut wire.out, key);
        wire.out.extend_from_slice(b"\r\n");
        let line = wire.ask()?;
        if line == b"DELETED" || line == b"NOT_FOUND" { Ok(()) } else { Err(unexpected(line)) }
    }
}
