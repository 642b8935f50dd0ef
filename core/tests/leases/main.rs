//! Leases: who loads, who waits, what ends a load, and what it all may take.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod bounds;
mod common;
mod ending;
mod hostile;
mod loading;
mod tasks;
mod waiting;
