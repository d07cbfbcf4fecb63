//! The protocol on the wire: what comes from a client, what goes to it, and the stream between.

pub(crate) mod backend;
pub(crate) mod fault;
pub(crate) mod frame;
pub(crate) mod frontend;
mod stream;

pub(crate) use fault::Fault;
pub(crate) use frontend::{Frontend, Target};
pub(crate) use stream::{Closed, Wire};
