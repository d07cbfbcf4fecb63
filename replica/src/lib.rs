//! The runtime of a replica: executor and PostgreSQL server care over the total order.

mod config;
pub mod executor;
mod genesis;
mod joining;
pub mod postgres;
mod rebuild;
mod run;
mod server;
mod wire;

pub use config::{Config, Differing, Postgres, Repair};
pub use run::{Error, run};
pub use wire::TransactionWire;
