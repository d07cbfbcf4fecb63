//! The front with one real PostgreSQL behind it: what clients hear must be what PostgreSQL itself says.

#![allow(clippy::unwrap_used)]

mod alike;
mod backend;
#[path = "../front/client.rs"]
#[allow(dead_code)]
mod client;
mod programs;
#[path = "../../../pgsession/tests/session/server.rs"]
#[allow(dead_code)]
mod server;
