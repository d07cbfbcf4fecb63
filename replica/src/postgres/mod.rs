//! Care for the PostgreSQL of a replica.
//!
//! [`PostgresServer`] is the private server that a replica makes, starts, checks and stops.
//! [`external`] checks one that was there before. Both are reached at an [`Address`], brought to
//! this version's schema by [`provision()`], and compared with the other replicas' by their
//! [`Fingerprint`].

mod absent;
mod account;
mod address;
mod binaries;
mod config;
mod dump;
mod error;
pub mod external;
mod fingerprint;
mod initdb;
mod leftovers;
mod provision;
mod server;
mod socket;
mod supervise;

#[cfg(test)]
mod tests;

pub use address::{Address, SUPERUSER};
pub use binaries::major;
pub use config::PostgresConfig;
pub use dump::Dumper;
pub use error::Error;
pub use fingerprint::{Differences, Fingerprint, MayDiffer, shown};
pub use leftovers::kill_postgres;
pub use provision::provision;
pub use server::{PostgresServer, StopMode};
