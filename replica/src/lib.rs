//! The runtime of a replica: executor and PostgreSQL server care over the total order.

mod config;
pub mod executor;
mod joining;
pub mod postgres;
mod run;
mod wire;

pub use config::{Config, Postgres};
pub use run::{Error, run};
pub use wire::TransactionWire;
