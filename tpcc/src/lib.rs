//! TPC-C by the specification (revision 5.11), over plain PostgreSQL protocol: schema, loader, terminals, consistency
//! conditions, the report. Clause numbers in comments are the specification's.
//!
//! What is not as the specification has it, since no audited result is the aim: there are no remote terminal emulators
//! and no screens; terminals wait for nobody unless think times are asked for; a delivery runs at once, not from a queue;
//! and a transaction that the database gives up for another's sake (40001, 40P01) is run again with the same input, its
//! response time counting from its first attempt.

mod closed;
mod config;
mod error;
mod load;
mod numeric;
mod open;
mod plan;
mod random;
mod run;
mod schema;

pub mod conditions;
pub mod input;
#[doc(hidden)]
pub mod measure;
pub mod report;
#[doc(hidden)]
pub mod terminal;
#[doc(hidden)]
pub mod transaction;

pub use config::{Config, Isolation, LoadBy, Test};
pub use error::Error;
pub use load::{Loaded, load};
pub use random::{Constants, nurand};
pub use run::{Events, Progress, run};
