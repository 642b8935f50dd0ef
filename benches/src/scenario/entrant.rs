//! Who takes part in a scenario.

use std::str::FromStr;

use anyhow::{Result, anyhow};
use clap::ValueEnum;

use super::file::Scenario;
use crate::cache::loopback::Server;
use crate::cache::{Kind, Spec};
use crate::drive::Subject;

/// A cache that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrant {
    /// One within this process.
    Within(Kind),
    /// A server on this machine.
    Loopback(Server),
}

/// All that can take part, and a sentence for each that cannot.
#[derive(Clone, Debug, Default)]
pub struct Entrants {
    /// These can.
    pub present: Vec<Entrant>,
    /// Why others cannot.
    pub absent: Vec<String>,
}

impl Entrant {
    /// All that suit a scenario and are there.
    #[must_use]
    pub fn all(scenario: &Scenario) -> Entrants {
        let mut entrants = Entrants::default();
        entrants.present.extend(Kind::BUILT.iter().copied().map(Self::Within));
        for server in Server::ALL.into_iter().filter(|_| scenario.loopback) {
            match server.installed() {
                Some(_) => entrants.present.push(Self::Loopback(server)),
                None => entrants.absent.push(format!("{}: {}.", scenario.name, server.absence())),
            }
        }
        entrants
    }

    /// As printed in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Within(kind) => kind.name(),
            Self::Loopback(server) => server.name(),
        }
    }

    /// What its figures stand for, where they are not those of calls within the process.
    #[must_use]
    pub fn measures(&self) -> Option<String> {
        match self {
            Self::Within(_) => None,
            Self::Loopback(server) => Some(server.measures()),
        }
    }

    /// Builds an empty one for so many threads.
    ///
    /// # Errors
    /// Whatever keeps it from being built.
    pub fn build(&self, spec: &Spec, threads: usize) -> Result<Box<dyn Subject>> {
        match self {
            Self::Within(kind) => kind.build(spec),
            Self::Loopback(server) => server.start(spec, threads),
        }
    }
}

impl FromStr for Entrant {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let within = Kind::from_str(name, true).map(Self::Within);
        within.or_else(|_| Server::from_str(name, true).map(Self::Loopback)).map_err(|_| {
            let kinds = Kind::value_variants().iter().map(|kind| kind.name());
            let names: Vec<&str> = kinds.chain(Server::ALL.map(Server::name)).collect();
            anyhow!("{name:?} is no cache; there are {}", names.join(", "))
        })
    }
}
