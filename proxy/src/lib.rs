//! The PostgreSQL front: applications connect to it as to any PostgreSQL.
//!
//! A connection is one task. It reads messages ahead, classifies statements (`sql`), keeps what PostgreSQL would keep in a
//! session (settings, prepared statements, portals, the transaction block), and has everything else done by the
//! replicas, through the client shim. Rows are forwarded as PostgreSQL framed them.

mod admission;
mod cancel;
mod config;
mod database;
mod limits;
mod password;
mod server;
mod session;
mod settings;
mod startup;
mod wire;

pub use config::ProxyConfig;
pub use database::{Autocommit, Database, SessionSettings, Transaction};
pub use server::{Error, Proxy, serve};
