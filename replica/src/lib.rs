//! The runtime of a replica: log, executor, PostgreSQL server care.

pub mod log;
pub mod postgres;
