//! libCacheSim's oracleGeneral records.

use super::{Request, Result, TraceError};
use std::io::{BufRead, ErrorKind};
use std::path::PathBuf;

const RECORD: usize = 24;

pub(super) struct Records {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    /// Records read so far.
    count: u64,
    ended: bool,
}

impl Records {
    pub fn new(path: PathBuf, input: Box<dyn BufRead + Send>) -> Self {
        Self { path, input, count: 0, ended: false }
    }

    #[inline]
    pub fn next(&mut self) -> Option<Result<Request>> {
        if self.ended {
            return None;
        }
        let mut bytes = [0; RECORD];
        let mut filled = 0;
        while filled < RECORD {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(self.fail(error.to_string())),
            }
        }
        match filled {
            RECORD => {
                self.count += 1;
                Some(Ok(decode(&bytes)))
            }
            0 => {
                self.ended = true;
                None
            }
            cut => Some(self.fail(format!(
                "the file ends after {cut} of its bytes; whole oracleGeneral records of {RECORD} \
                 bytes are expected"
            ))),
        }
    }

    #[cold]
    fn fail(&mut self, what: String) -> Result<Request> {
        self.ended = true;
        Err(TraceError::record(&self.path, self.count + 1, what))
    }
}

fn decode(bytes: &[u8; RECORD]) -> Request {
    let [t0, t1, t2, t3, i0, i1, i2, i3, i4, i5, i6, i7, s0, s1, s2, s3, ..] = *bytes;
    Request {
        time: u64::from(u32::from_le_bytes([t0, t1, t2, t3])),
        id: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
        size: u32::from_le_bytes([s0, s1, s2, s3]),
    }
}
