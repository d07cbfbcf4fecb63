//! Attacks on a cluster of four replicas with real PostgreSQL servers, told as tests: `cargo test -p attacks`.
//!
//! What each attack is, what a client sees of it, and what the replicas hold afterwards: `docs/attacks.md`.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod blame;
#[cfg(test)]
mod blocks;
#[cfg(test)]
mod concurrently;
#[cfg(test)]
mod copying;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod disconnects;
#[cfg(test)]
mod forgery;
#[cfg(test)]
mod giving_way;
#[cfg(test)]
mod gone_client;
#[cfg(test)]
mod late_master;
#[cfg(test)]
mod leftovers;
#[cfg(test)]
mod lying_auditor;
#[cfg(test)]
mod lying_follower;
#[cfg(test)]
mod lying_master;
#[cfg(test)]
mod odd_replica;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod receipts;
#[cfg(test)]
mod replayed_log;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod row_order;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod sequence_again;
#[cfg(test)]
mod sequence_jump;
#[cfg(test)]
mod serializable;
#[cfg(test)]
mod silent_master;
#[cfg(test)]
mod skip_locked;
#[cfg(test)]
mod starving;
#[cfg(test)]
mod unseen;
#[cfg(test)]
mod unseen_keys;
#[cfg(test)]
mod unseen_writes;
#[cfg(test)]
mod versions;
