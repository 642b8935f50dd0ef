//! What the measurements of HyperCache are made of: peers behind one trait, seeded workloads,
//! clocks, measured loops and reports. The program that runs them is `hypercache-bench`.

pub mod c_interface;
pub mod cache;
pub mod commands;
pub mod drive;
pub mod gate;
pub mod measure;
pub mod miss_ratio;
pub mod profile;
pub mod report;
pub mod scenario;
pub mod suite;
pub mod trace;
pub mod workload;
