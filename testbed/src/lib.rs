//! The measuring stick: hosts with equal quotas and delayed links on one machine, the systems under test that run on them,
//! comparisons of what was measured.

mod cgroup;
pub mod compare;
pub mod comparison;
pub mod daemon;
mod error;
pub mod host;
pub mod links;
pub mod machine;
mod names;
pub mod network;
mod partition;
pub mod pgbench;
pub mod postgres;
mod process;
mod program;
pub mod relay;
pub mod system;

pub use compare::{Workload, compare};
pub use daemon::Daemon;
pub use error::Error;
pub use host::{Ground, Host};
pub use links::{Links, Route};
pub use network::Network;
pub use postgres::{Postgres, Settings};
pub use relay::Relay;
pub use system::{Later, Lone, Pgpool, Setup, Standbys, System};
