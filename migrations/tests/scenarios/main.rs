//! The schema `steel` on real servers. One program, since each would build all of it anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod capture;
mod copied;
mod keys;
mod lasting;
mod numbers;
mod protection;
mod provision;
mod replay;
mod server;
mod unseen;
mod versions;
mod windows;
