//! The total order at run time: the consensus core driven over authenticated links and a decision log.
//!
//! It knows nothing of SQL or of any other service: whoever takes the [`Delivered`] batches is the replicated service.

pub mod log;
mod membership;
mod past;
mod run;

pub use membership::links;
pub use past::{load, recover};
pub use run::{Delivered, Inbound, OrderEvents, OrderHandle, OrderParts, Wire, record, start};
