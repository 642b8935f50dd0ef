//! Policies by name: what each is stands in the C header and in docs/eviction.md.

use std::fmt;

/// Every policy that the C interface names, with its number (`HC_POLICY_*`). Which of them are
/// built in is the library's to say.
pub const POLICIES: [(&str, i32); 12] = [
    ("default", 0),
    ("s3fifo", 1),
    ("sieve", 2),
    ("wtinylfu", 3),
    ("lru", 4),
    ("lfu", 5),
    ("fifo", 6),
    ("random", 7),
    ("ttl", 8),
    ("hybrid", 9),
    ("session", 10),
    ("adaptive", 11),
];

/// A name that is no policy's; lists those that are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = POLICIES.map(|(name, _)| name).join(", ");
        write!(f, "there is no policy {:?}; policies are {names}", self.0)
    }
}

impl std::error::Error for UnknownPolicy {}

/// The number of a policy. Names are lower case.
///
/// # Errors
/// Names what was given and what is allowed.
pub fn parse(name: &str) -> Result<i32, UnknownPolicy> {
    let found = POLICIES.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).ok_or_else(|| UnknownPolicy(name.chars().take(40).collect()))
}

/// The name of a policy's number; `"unknown"` for one of a newer library.
#[must_use]
pub fn name(number: i32) -> &'static str {
    POLICIES.iter().find(|(_, known)| *known == number).map_or("unknown", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::{POLICIES, name, parse};

    #[test]
    fn names_are_the_headers() {
        let header = include_str!("../../include/hypercache.h");
        let mut named = 0;
        for line in header.lines() {
            let Some(rest) = line.strip_prefix("#define HC_POLICY_") else { continue };
            let (word, rest) = rest.split_once(' ').unwrap();
            let number = rest.split(['(', ')']).nth(1).unwrap().parse().unwrap();
            assert_eq!(parse(&word.to_lowercase()), Ok(number));
            assert_eq!(name(number), word.to_lowercase());
            named += 1;
        }
        assert_eq!(named, POLICIES.len());
    }

    #[test]
    fn a_refusal_lists_the_names() {
        let error = parse("LRU").unwrap_err().to_string();
        assert!(error.contains("\"LRU\"") && error.contains("lru, lfu"), "{error}");
        assert_eq!(name(99), "unknown");
    }
}
