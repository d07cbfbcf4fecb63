//! The client of a replicated service, whatever the service is: `order::node` is its other end.
//!
//! A [`Client`] signs operations, sends them to all replicas and believes what a quorum of them answers alike; it sends again what
//! is not answered, and gives up after a time with an error that says what is known. Queries go to all replicas without being
//! ordered, and are as current as if they had been; see [`Client::query`]. `docs/library.md` is the guide.
//!
//! The protocol is in `engine`, which has no socket and no clock; `driver` gives it both.

#![deny(missing_docs)]

mod client;
mod driver;
mod engine;
#[cfg(test)]
mod engine_tests;
mod error;
mod pace;
mod pending;
mod quorum;
mod reading;
mod settings;
mod votes;

pub use client::{Client, Invocation};
pub use error::{ConnectError, InvokeError, ReconfigureError};
pub use settings::{MAX_WINDOW, Settings};
