//! Links over real sockets. One program, since each would build all of it anew.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod cast;
mod changes;
mod flow;
mod hostile;
mod links;
mod membership;
mod rotation;
mod underway;
