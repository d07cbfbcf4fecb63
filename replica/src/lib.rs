//! The runtime of a replica: log, executor, PostgreSQL server care.

mod config;
pub mod executor;
pub mod log;
pub mod order;
pub mod postgres;
mod run;

pub use config::{Config, Postgres};
pub use run::{Error, run};
