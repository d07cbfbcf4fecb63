//! Attacks on a cluster of four replicas with real PostgreSQL servers, told as tests: `cargo test -p attacks`.
//!
//! What each attack is, what a client sees of it, and what the replicas hold afterwards: `docs/attacks.md`.
