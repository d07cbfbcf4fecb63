//! The differential test: the same statements to one plain PostgreSQL and through a cluster of four replicas and a
//! proxy, the same answers. `cargo test -p differential`; longer: see `docs/sql-support.md`.
//!
//! `corpus/` holds statements picked by hand, a file for each theme ([`corpus`] tells how they are written);
//! [`generate`] makes more from a seed.

#[cfg(test)]
#[path = "../../proxy/tests/front/client.rs"]
#[allow(dead_code)]
mod client;
#[cfg(test)]
#[path = "../../pgsession/tests/session/server.rs"]
#[allow(dead_code)]
mod server;

#[cfg(test)]
mod answer;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod run;
#[cfg(test)]
mod sides;
