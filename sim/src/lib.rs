//! Seeded clusters around the unchanged consensus core: network, disk and Byzantine
//! faults in virtual time, checkers, and replay by seed.
//!
//! A run has a safety phase, in which everything may break, and a liveness phase after
//! the network heals, in which all that honest clients asked must be ordered. The same seed is
//! always the same run.

mod absence;
mod byzantine;
pub mod checks;
mod clients;
mod cluster;
mod disk;
mod frames;
mod keeper;
mod latency;
mod network;
mod plan;
mod rng;
pub mod soak;
mod state_lies;
mod trace;

pub use byzantine::Habit;
pub use clients::Manner;
pub use cluster::{Cluster, Summary};
pub use latency::Latency;
pub use plan::{DEADLINE, Fault, HEAL_AT, Intent, Kind, Plan, Steady};
pub use rng::Rng;

/// Runs one seed. The error says what was violated.
pub fn run(seed: u64, trace: bool) -> Result<Summary, String> {
    Cluster::new(Plan::of(seed), seed, trace).run()
}
