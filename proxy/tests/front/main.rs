//! The front over TCP, with a scripted database behind it: one file per behaviour.

#![allow(clippy::unwrap_used)]

mod cancel;
mod client;
mod confirmation;
mod copy;
mod descriptions;
mod extended;
mod failed;
mod fake;
mod garbage;
mod implicit;
mod opening;
mod pipeline;
mod portals;
mod receipt;
mod set;
mod vanishing;
