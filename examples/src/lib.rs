//! What the examples share: a group of replicas in a directory, and the commands around it. The services are in `src/bin`.
//!
//! `cargo run -p examples --bin counter -- demo` shows one; `docs/library.md` explains it.

#![deny(missing_docs)]

mod command;
pub mod group;

pub use command::{Example, run};
