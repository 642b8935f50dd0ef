//! Streams of requests for a replay: drawn from a seed, or read from a trace.

use std::path::Path;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;

use super::{LogNormal, Rng, Zipf, mix};
use crate::trace::Trace;

/// One request: which object, and how long its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The object.
    pub id: u64,
    /// Bytes of its value.
    pub len: u32,
}

/// A synthetic workload.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// How many requests.
    pub requests: u64,
    /// How many keys.
    pub keys: u64,
    /// Exponent of the Zipf distribution.
    pub zipf: f64,
    /// Half of the values are shorter than this, in bytes.
    pub median_len: f64,
    /// Standard deviation of the logarithm of the length.
    pub sigma: f64,
    /// Everything follows from it.
    pub seed: u64,
}

/// No synthetic value is longer, so that one key does not decide a run.
pub const SYNTHETIC_LEN_MAX: u32 = 256 << 10;

impl Synthetic {
    /// Draws the requests. A key has one length for good.
    #[must_use]
    pub fn draw(&self, bar: &ProgressBar) -> Vec<Asked> {
        let zipf = Zipf::new(self.keys, self.zipf);
        let lens = LogNormal::new(self.median_len, self.sigma);
        let mut rng = Rng::new(self.seed);
        bar.set_length(self.requests);
        (0..self.requests)
            .map(|nth| {
                if nth % 65_536 == 0 {
                    bar.set_position(nth);
                }
                let id = zipf.sample(&mut rng);
                let len = lens.sample(&mut Rng::new(mix(id) ^ self.seed));
                Asked { id, len: (len as u32).clamp(1, SYNTHETIC_LEN_MAX) }
            })
            .collect()
    }
}

/// What was read of a trace.
#[derive(Debug, Default)]
pub struct FromTrace {
    /// The requests.
    pub requests: Vec<Asked>,
    /// The trace has no sizes: all values have the length that was given for this case.
    pub sizeless: bool,
    /// Requests whose value was longer than allowed and was cut.
    pub cut: u64,
}

/// Reads at most `most` requests. Lengths are cut to `len_max`; where all sizes are 1, which is
/// how traces without sizes are written, values are `sizeless_len` bytes.
pub fn read_trace(
    path: &Path,
    most: u64,
    sizeless_len: u32,
    len_max: u32,
    bar: &ProgressBar,
) -> Result<FromTrace> {
    let trace = Trace::open(path)?;
    let progress = trace.progress();
    bar.set_length(progress.total().max(1));
    let mut read = FromTrace { sizeless: true, ..FromTrace::default() };
    for (nth, request) in trace.enumerate() {
        let request = request?;
        if nth as u64 >= most {
            break;
        }
        if nth % 65_536 == 0 {
            bar.set_position(progress.done());
        }
        read.sizeless &= request.size <= 1;
        read.requests.push(Asked { id: request.id, len: request.size });
    }
    if read.requests.is_empty() {
        bail!("{}: there are no requests in it", path.display());
    }
    read.requests.shrink_to_fit();
    for asked in &mut read.requests {
        if read.sizeless {
            asked.len = sizeless_len;
        }
        if asked.len > len_max {
            asked.len = len_max;
            read.cut += 1;
        }
    }
    Ok(read)
}

/// How many different objects are asked for, and their bytes with keys.
#[must_use]
pub fn footprint(requests: &[Asked], key_len: usize) -> (u64, u64) {
    let mut seen = std::collections::HashSet::new();
    let mut bytes = 0;
    for asked in requests {
        if seen.insert(asked.id) {
            bytes += u64::from(asked.len) + key_len as u64;
        }
    }
    (seen.len() as u64, bytes)
}

/// "3,000,000" and "3M" as a count.
pub fn parse_count(text: &str) -> Result<u64> {
    let plain = text.replace([',', '_'], "");
    let (number, scale) = match plain.char_indices().last() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1e3),
        Some((at, 'm' | 'M')) => (&plain[..at], 1e6),
        Some((at, 'g' | 'G')) => (&plain[..at], 1e9),
        _ => (&plain[..], 1.0),
    };
    let number: f64 = number.parse().with_context(|| format!("{text:?} is not a count"))?;
    if !(0.0..1e18).contains(&(number * scale)) {
        bail!("{text:?} is not a count");
    }
    Ok((number * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_requests_are_a_function_of_their_seed() {
        let workload = Synthetic {
            requests: 10_000,
            keys: 1_000,
            zipf: 0.99,
            median_len: 300.0,
            sigma: 1.0,
            seed: 3,
        };
        let bar = ProgressBar::hidden();
        let drawn = workload.draw(&bar);
        assert_eq!(drawn, workload.draw(&bar));
        assert_ne!(drawn, Synthetic { seed: 4, ..workload }.draw(&bar));
        let mut lens = std::collections::HashMap::new();
        assert!(drawn.iter().all(|asked| *lens.entry(asked.id).or_insert(asked.len) == asked.len));
        let (keys, bytes) = footprint(&drawn, 16);
        assert_eq!(keys, lens.len() as u64);
        assert_eq!(bytes, lens.values().map(|&len| u64::from(len) + 16).sum::<u64>());
    }

    #[test]
    fn counts_are_parsed() {
        assert_eq!(parse_count("3M").unwrap(), 3_000_000);
        assert_eq!(parse_count("1,500").unwrap(), 1_500);
        assert!(parse_count("many").is_err());
    }
}
