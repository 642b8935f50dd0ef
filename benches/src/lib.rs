//! What the measurements of HyperCache are made of: peers behind one trait, seeded workloads,
//! clocks, reports.
