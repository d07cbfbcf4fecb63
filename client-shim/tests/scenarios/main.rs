//! Clients and a group of replicas in one process. One program, since each would build all of it anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod answers;
mod checkpoints;
mod group;
mod macs;
mod reads;
mod silence;
mod tentative;
mod trouble;
mod views;
