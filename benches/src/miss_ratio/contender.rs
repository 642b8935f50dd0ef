//! Who competes: policies of the store with their options, and other libraries.

use std::fmt;

use anyhow::{Result, bail};
use hypercache_core::PolicyKind;
use hypercache_core::eviction::AnyPolicy;

/// How many shards a store of ours gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// At most so many.
    AtMost(u32),
    /// What the store chooses.
    Chosen,
}

/// A policy of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which.
    pub kind: PolicyKind,
    /// Its options, `"name=value,..."`.
    pub options: Option<String>,
    /// Shards.
    pub shards: Shards,
}

/// A library, under the name that `reference.csv` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// moka 0.12.
    Moka,
    /// quick_cache 0.7.
    Quick,
    /// foyer-memory 0.22 with its S3-FIFO.
    FoyerS3Fifo,
    /// foyer-memory 0.22 with its W-TinyLFU.
    FoyerLfu,
}

impl Peer {
    /// All.
    pub const ALL: [Self; 4] = [Self::Moka, Self::Quick, Self::FoyerS3Fifo, Self::FoyerLfu];

    /// The name in `reference.csv`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Moka => "moka",
            Self::Quick => "quick_cache",
            Self::FoyerS3Fifo => "foyer-s3fifo",
            Self::FoyerLfu => "foyer-lfu",
        }
    }
}

/// Who replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contender {
    /// A policy of ours.
    Ours(Policy),
    /// Another library.
    Peer(Peer),
}

impl Contender {
    /// Reads a list such as `s3fifo,wtinylfu:window=1,adapt=0,moka`: an item of the form
    /// `name=value` is a further option of the policy before it. `;` does for a comma.
    pub fn parse_list(text: &str, shards: Shards) -> Result<Vec<Self>> {
        let mut items: Vec<String> = Vec::new();
        for item in text.split([',', ';']).map(str::trim).filter(|item| !item.is_empty()) {
            let is_option = item.contains('=') && !item.contains(':');
            match items.last_mut() {
                Some(policy) if is_option && policy.contains(':') => {
                    policy.push(',');
                    policy.push_str(item);
                }
                _ => items.push(item.to_owned()),
            }
        }
        let mut list = Vec::new();
        for item in items {
            let one = Self::parse(&item, shards)?;
            if !list.contains(&one) {
                list.push(one);
            }
        }
        Ok(list)
    }

    fn parse(text: &str, shards: Shards) -> Result<Self> {
        if let Some(&peer) = Peer::ALL.iter().find(|peer| peer.name() == text) {
            return Ok(Self::Peer(peer));
        }
        let (name, options) = match text.split_once(':') {
            Some((name, options)) => (name, Some(options.to_owned())),
            None => (text, None),
        };
        let kind = match name {
            "default" => PolicyKind::Default.resolved(),
            name => match PolicyKind::parse(name) {
                Ok(kind) => kind,
                Err(error) => {
                    let peers: Vec<_> = Peer::ALL.iter().map(|peer| peer.name()).collect();
                    bail!("{error}; other libraries are {}", peers.join(", "))
                }
            },
        };
        // Wrong options are refused now, not in the middle of a run.
        AnyPolicy::new(kind, options.as_deref())?;
        Ok(Self::Ours(Policy { kind, options, shards }))
    }

    /// Every policy that the core has, and the libraries if asked for.
    #[must_use]
    pub fn all(shards: Shards, with_peers: bool) -> Vec<Self> {
        let policies = PolicyKind::ALL
            .iter()
            .map(|&(_, kind)| Self::Ours(Policy { kind, options: None, shards }));
        let peers = Peer::ALL.into_iter().filter(|_| with_peers).map(Self::Peer);
        policies.chain(peers).collect()
    }

    /// The policy of `reference.csv` that this one should agree with, of those that it has.
    #[must_use]
    pub fn reference_name(label: &str) -> &str {
        let (policy, _) = label.split_once('/').unwrap_or((label, ""));
        match policy {
            "s3fifo" | "s3fifo:threshold=1" => "s3fifo-t1",
            "lru:share=0" => "lru",
            "s3fifo:threshold=2" => "s3fifo",
            "lfu:decay=0" => "lfu",
            "wtinylfu:window=1;adapt=0" => "wtinylfu",
            "wtinylfu:window=10;adapt=0" => "wtinylfu-w10",
            // Not the reference's policies: these decay and adapt.
            "lfu" | "wtinylfu" => "",
            same => same,
        }
    }
}

impl fmt::Display for Contender {
    /// The name in tables and CSV files, which have no commas in a field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self {
            Self::Peer(peer) => return f.pad(peer.name()),
            Self::Ours(policy) => policy,
        };
        f.write_str(policy.kind.name())?;
        if let Some(options) = &policy.options {
            write!(f, ":{}", options.replace(',', ";"))?;
        }
        match policy.shards {
            Shards::AtMost(1) => Ok(()),
            Shards::AtMost(shards) => write!(f, "/shards={shards}"),
            Shards::Chosen => f.write_str("/shards=chosen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, shards: Shards) -> Vec<String> {
        let list = Contender::parse_list(text, shards).unwrap();
        list.iter().map(Contender::to_string).collect()
    }

    #[test]
    fn lists_with_options() {
        let one = Shards::AtMost(1);
        assert_eq!(
            names("fifo, s3fifo:small=20,threshold=2,lru:share=0,moka,fifo", one),
            ["fifo", "s3fifo:small=20;threshold=2", "lru:share=0", "moka"]
        );
        assert_eq!(names("s3fifo:small=20;threshold=2", one), ["s3fifo:small=20;threshold=2"]);
        assert_eq!(names("fifo,moka", Shards::Chosen), ["fifo/shards=chosen", "moka"]);
        assert_eq!(names("lru", Shards::AtMost(4)), ["lru/shards=4"]);
        let default = names("default", one);
        assert_eq!(default, [PolicyKind::Default.resolved().name()]);
        for (wrong, named) in
            [("clever", "clever"), ("s3fifo:speed=2", "speed"), ("fifo,a=1", "a=1")]
        {
            let error = Contender::parse_list(wrong, one).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn every_policy_of_the_core_is_there() {
        let all = Contender::all(Shards::AtMost(1), false);
        assert_eq!(all.len(), PolicyKind::ALL.len());
        let names: Vec<_> = all.iter().map(Contender::to_string).collect();
        assert!(PolicyKind::ALL.iter().all(|(name, _)| names.iter().any(|have| have == name)));
        assert_eq!(Contender::all(Shards::AtMost(1), true).len(), all.len() + Peer::ALL.len());
    }

    #[test]
    fn twins_in_the_reference() {
        for (ours, theirs) in [
            ("s3fifo", "s3fifo-t1"),
            ("s3fifo:threshold=2/shards=chosen", "s3fifo"),
            ("lru/shards=4", "lru"),
            ("lfu", ""),
            ("lfu:decay=0", "lfu"),
            ("moka", "moka"),
        ] {
            assert_eq!(Contender::reference_name(ours), theirs, "{ours}");
        }
    }
}
