//! The command, with real replicas and real servers. One program, since each would link all of it anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod bench_consensus;
mod bench_faults;
mod bench_group;
mod bench_isolation;
mod bench_tpcc;
mod blocks;
mod checkpoints;
mod command;
mod copy;
mod failing;
mod first_session;
mod import;
mod kills;
mod receipts;
mod reconfigure;
mod repair;
mod restarts;
mod roles;
mod support;
mod versions;
