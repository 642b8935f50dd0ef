//! Scenarios as they are written: a TOML file each, whose every key is checked.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::load::{Load, Schedule};
use crate::report::parse_bytes;

/// What is asked of a cache, by whom, when.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called: the file's name, without its ending.
    #[serde(skip)]
    pub name: String,
    /// What it stands for, in a sentence.
    pub about: String,
    /// The byte budget of the cache.
    #[serde(deserialize_with = "bytes")]
    pub limit: u64,
    /// How many threads send requests.
    pub threads: usize,
    /// How long it is measured, in the cache's own time (see [`super::run`]); of several passes each.
    pub seconds: f64,
    /// How many times the load is run through, one pass after another: what changes only once in a
    /// pass, as a ramp does, has as many samples as there are passes.
    #[serde(default = "once")]
    pub passes: u32,
    /// How long the load runs before that.
    pub warm_up_seconds: f64,
    /// Whether caches behind a socket take part: their rate is one that a round trip allows.
    #[serde(default)]
    pub loopback: bool,
    /// When requests arrive.
    pub load: Load,
    /// Which keys they are for.
    pub keys: Keys,
    /// How long values are.
    pub values: Values,
    /// What they do.
    pub mix: Mix,
}

/// Which keys are asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case", deny_unknown_fields)]
pub enum Keys {
    /// All alike.
    Uniform {
        /// How many keys.
        count: u64,
    },
    /// Key number r with probability proportional to 1 / r^exponent.
    Zipf {
        /// How many keys.
        count: u64,
        /// The exponent.
        exponent: f64,
    },
    /// Some of the requests walk through all keys in order, again and again; the others are Zipf.
    Scan {
        /// How many keys.
        count: u64,
        /// The exponent of the others.
        exponent: f64,
        /// Which share of all requests walk, from 0 to 1.
        share: f64,
    },
    /// Zipf, but every so often other keys become the popular ones.
    Shifting {
        /// How many keys.
        count: u64,
        /// The exponent.
        exponent: f64,
        /// How long a key keeps its rank, in seconds.
        every_seconds: f64,
        /// By which share of all keys the ranks move on then, from 0 to 1.
        by: f64,
    },
}

/// How long values are, in bytes. A key has one length for good.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "lengths", rename_all = "snake_case", deny_unknown_fields)]
pub enum Values {
    /// All alike.
    Fixed {
        /// The length.
        bytes: u32,
    },
    /// Between two lengths, all as likely.
    Uniform {
        /// The shortest.
        from: u32,
        /// The longest.
        to: u32,
    },
    /// Most are small and a few are large.
    Lognormal {
        /// Half of them are shorter.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Longer ones are cut to this.
        most: u32,
    },
}

/// What requests do, as weights.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Reads.
    #[serde(default)]
    pub read: f64,
    /// Writes that stay until they are evicted.
    #[serde(default)]
    pub write: f64,
    /// Writes with a time to live.
    #[serde(default)]
    pub write_ttl: f64,
    /// Deletes.
    #[serde(default)]
    pub delete: f64,
    /// The time to live of those, in seconds.
    #[serde(default)]
    pub ttl_seconds: f64,
    /// A read that misses stores the value, within the same request.
    #[serde(default)]
    pub fill_misses: bool,
}

impl Keys {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        match *self {
            Self::Uniform { count }
            | Self::Zipf { count, .. }
            | Self::Scan { count, .. }
            | Self::Shifting { count, .. } => count,
        }
    }
}

impl Values {
    /// No value is longer.
    #[must_use]
    pub fn longest(&self) -> u32 {
        match *self {
            Self::Fixed { bytes } => bytes,
            Self::Uniform { to, .. } => to,
            Self::Lognormal { most, .. } => most,
        }
    }

    /// What a value has on average, in bytes.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed { bytes } => f64::from(bytes),
            Self::Uniform { from, to } => f64::midpoint(f64::from(from), f64::from(to)),
            // Of the whole distribution; what is cut off makes it less.
            Self::Lognormal { median, sigma, most } => {
                (median * (sigma * sigma / 2.0).exp()).min(f64::from(most))
            }
        }
    }
}

/// The least limit, the smallest of a pool; the most requests a second, keys, threads, bytes of a
/// value, seconds and passes that a file may ask for.
const LIMIT_MIN: u64 = 1 << 20;
const RATE_MAX: f64 = 100e6;
const KEYS_MAX: f64 = 1e9;
const THREADS_MAX: f64 = 1024.0;
const VALUE_MAX: f64 = (1 << 20) as f64;
const SECONDS_MAX: f64 = 86_400.0;
const PASSES_MAX: f64 = 100.0;

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or as [`Scenario::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the scenario {}", path.display()))?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
        Self::parse(&name, &text).with_context(|| path.display().to_string())
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is not TOML, has a key that no scenario has, lacks one, or has a value out of its range;
    /// the message says which and what is allowed.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    /// How long all passes together are measured, in seconds.
    #[must_use]
    pub fn measured(&self) -> f64 {
        self.seconds * f64::from(self.passes)
    }

    /// When its requests arrive.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.load.schedule(self.warm_up_seconds, self.seconds, self.passes)
    }

    /// The same with its times multiplied, so that all passes together last `seconds`.
    #[must_use]
    pub fn lasting(mut self, seconds: f64) -> Self {
        let factor = seconds / self.measured();
        self.seconds *= factor;
        self.warm_up_seconds *= factor;
        self.load = self.load.stretched(factor);
        self.mix.ttl_seconds *= factor;
        if let Keys::Shifting { every_seconds, .. } = &mut self.keys {
            *every_seconds *= factor;
        }
        self
    }

    /// The same with its keys and its limit multiplied: less to fill, as much that fits.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        let scaled = |number: u64, least: u64| ((number as f64 * factor) as u64).max(least);
        self.limit = scaled(self.limit, LIMIT_MIN);
        let (Keys::Uniform { count }
        | Keys::Zipf { count, .. }
        | Keys::Scan { count, .. }
        | Keys::Shifting { count, .. }) = &mut self.keys;
        *count = scaled(*count, 1);
        self
    }

    fn check(&self) -> Result<()> {
        range("limit", self.limit as f64, LIMIT_MIN as f64, 1e15)?;
        range("threads", self.threads as f64, 1.0, THREADS_MAX)?;
        range("seconds", self.seconds, 0.01, SECONDS_MAX)?;
        range("passes", f64::from(self.passes), 1.0, PASSES_MAX)?;
        range("warm_up_seconds", self.warm_up_seconds, 0.0, SECONDS_MAX)?;
        let (rates, times) = self.load.numbers();
        for (key, rate) in rates {
            range(&format!("load.{key}"), rate, 0.0, RATE_MAX)?;
        }
        for (key, time) in times {
            let least = if key == "at_seconds" { 0.0 } else { 1e-6 };
            range(&format!("load.{key}"), time, least, SECONDS_MAX)?;
        }
        if let Load::Burst { every_seconds, for_seconds, .. } = self.load {
            range("load.for_seconds", for_seconds, 1e-6, every_seconds)?;
        }
        let schedule = self.load.schedule(0.0, self.seconds, 1);
        ensure!(schedule.total() >= 1.0, "load: no request arrives in {} seconds", self.seconds);
        range("keys.count", self.keys.count() as f64, 1.0, KEYS_MAX)?;
        match self.keys {
            Keys::Uniform { .. } => {}
            Keys::Zipf { exponent, .. } => range("keys.exponent", exponent, 0.01, 10.0)?,
            Keys::Scan { exponent, share, .. } => {
                range("keys.exponent", exponent, 0.01, 10.0)?;
                range("keys.share", share, 0.0, 1.0)?;
            }
            Keys::Shifting { exponent, every_seconds, by, .. } => {
                range("keys.exponent", exponent, 0.01, 10.0)?;
                range("keys.every_seconds", every_seconds, 1e-6, SECONDS_MAX)?;
                range("keys.by", by, 0.0, 1.0)?;
            }
        }
        match self.values {
            Values::Fixed { bytes } => range("values.bytes", f64::from(bytes), 0.0, VALUE_MAX)?,
            Values::Uniform { from, to } => {
                range("values.to", f64::from(to), 0.0, VALUE_MAX)?;
                range("values.from", f64::from(from), 0.0, f64::from(to))?;
            }
            Values::Lognormal { median, sigma, most } => {
                range("values.most", f64::from(most), 1.0, VALUE_MAX)?;
                range("values.median", median, 1.0, f64::from(most))?;
                range("values.sigma", sigma, 0.0, 10.0)?;
            }
        }
        let Mix { read, write, write_ttl, delete, ttl_seconds, .. } = self.mix;
        let weights =
            [("read", read), ("write", write), ("write_ttl", write_ttl), ("delete", delete)];
        for (key, weight) in weights {
            range(&format!("mix.{key}"), weight, 0.0, 1e6)?;
        }
        ensure!(
            weights.iter().any(|&(_, weight)| weight > 0.0),
            "mix: all weights are 0; one of read, write, write_ttl, delete must be above"
        );
        if write_ttl > 0.0 {
            range("mix.ttl_seconds", ttl_seconds, 0.001, SECONDS_MAX)?;
        }
        Ok(())
    }
}

const fn once() -> u32 {
    1
}

fn range(key: &str, value: f64, least: f64, most: f64) -> Result<()> {
    ensure!((least..=most).contains(&value), "{key} is {value}; allowed is {least} to {most}");
    Ok(())
}

/// "64MiB", as on the command line.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    parse_bytes(&String::deserialize(from)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
about = "a test"
limit = "1MiB"
threads = 1
seconds = 2.0
warm_up_seconds = 0.5
[load]
pattern = "spike"
rate = 100
peak = 200
at_seconds = 1.0
for_seconds = 0.5
[keys]
distribution = "shifting"
count = 10
exponent = 0.9
every_seconds = 1.0
by = 0.5
[values]
lengths = "fixed"
bytes = 8
[mix]
read = 1
write_ttl = 1
ttl_seconds = 1.0
"#;

    #[test]
    fn a_good_file_is_read_and_can_be_made_shorter() {
        let scenario = Scenario::parse("good", GOOD).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.limit), ("good", 1 << 20));
        let small = scenario.clone().scaled(0.2);
        assert_eq!((small.limit, small.keys.count()), (1 << 20, 2));
        let short = scenario.lasting(1.0);
        assert_eq!((short.seconds, short.warm_up_seconds), (1.0, 0.25));
        assert_eq!(short.mix.ttl_seconds, 0.5);
        assert!(matches!(short.keys, Keys::Shifting { every_seconds: 0.5, .. }));
        let Load::Spike { rate, at_seconds, for_seconds, .. } = short.load else { panic!() };
        assert_eq!((rate, at_seconds, for_seconds), (100.0, 0.5, 0.25));
        let again = GOOD.replace("threads = 1", "threads = 1\npasses = 4");
        let again = Scenario::parse("again", &again).unwrap().lasting(1.0);
        assert_eq!((again.seconds, again.passes, again.measured()), (0.25, 4, 1.0));
    }

    #[test]
    fn a_bad_file_is_told_what_is_wrong_where_and_what_would_do() {
        for (from, to, told) in [
            ("threads = 1", "thread = 1", &["thread", "line 4", "threads", "warm_up_seconds"][..]),
            ("peak = 200", "peek = 200", &["peek", "`peak`", "at_seconds"]),
            ("by = 0.5", "by = 0.5\nbuy = 1", &["buy", "every_seconds"]),
            ("\"spike\"", "\"wobble\"", &["wobble", "constant", "ramp", "spike", "burst"]),
            ("\"shifting\"", "\"odd\"", &["odd", "uniform", "zipf", "scan", "shifting"]),
            ("\"fixed\"", "\"long\"", &["long", "fixed", "uniform", "lognormal"]),
            ("rate = 100", "rate = -5", &["load.rate is -5", "0 to 100000000"]),
            ("by = 0.5", "by = 1.5", &["keys.by is 1.5", "0 to 1"]),
            ("threads = 1", "threads = 0", &["threads is 0", "1 to 1024"]),
            ("threads = 1", "threads = 1\npasses = 0", &["passes is 0", "1 to 100"]),
            ("\"1MiB\"", "\"1 parsec\"", &["parsec", "MiB"]),
            ("\"1MiB\"", "\"1KiB\"", &["limit is 1024", "1048576"]),
            ("write_ttl = 1", "writes = 1", &["writes", "write_ttl", "delete"]),
            ("ttl_seconds = 1.0", "", &["mix.ttl_seconds is 0"]),
            ("read = 1\nwrite_ttl = 1", "", &["mix", "read, write, write_ttl, delete"]),
            ("count = 10", "", &["count", "missing"]),
            ("[load]", "[load", &["line 7"]),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = Scenario::parse("bad", &GOOD.replace(from, to)).unwrap_err();
            let text = format!("{error:#}");
            for word in told {
                assert!(text.contains(word), "{to:?}: no {word:?} in {text}");
            }
        }
    }

    #[test]
    fn a_file_is_named() {
        let path = std::env::temp_dir().join(format!("hc-scenario-{}.toml", std::process::id()));
        std::fs::write(&path, GOOD.replace("rate", "grate")).unwrap();
        let error = format!("{:#}", Scenario::read(&path).unwrap_err());
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("hc-scenario") && error.contains("grate"), "{error}");
        let error = format!("{:#}", Scenario::read(&path).unwrap_err());
        assert!(error.contains("cannot read the scenario"), "{error}");
    }
}
