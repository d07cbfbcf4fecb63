//! The core in scenarios, told in the words of the protocol. One program, since each would build the core anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod advisor;
mod common;
mod crash_only;
mod crowd;
mod evidence;
mod hostile;
mod macs;
mod normal;
mod pipelining;
mod reconfiguration;
mod recovery;
mod state;
mod synchronization;
mod tentative;
mod transfer;
mod watch;
