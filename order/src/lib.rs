//! The total order at run time: the consensus core driven over authenticated links and a decision log.
//!
//! It knows nothing of SQL or of any other service: whoever takes the [`Delivered`] batches is the replicated service.
//! [`node`] is a whole replica around it, for a service of one's own.

mod background;
pub mod checkpoint;
pub mod log;
mod membership;
pub mod node;
mod past;
mod run;
mod state;

pub use membership::links;
pub use past::{load, recover, recover_from};
pub use run::{
    Delivered, Inbound, LAST_WORDS, OrderEvents, OrderHandle, OrderParts, Repeat, RoundTrips,
    ToService, Wire, inbound, record, size, start,
};
pub use state::StateParts;
