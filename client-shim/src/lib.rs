//! The BFT client: signs and broadcasts requests, counts matching replies, follows the master, and offers transactions.
//!
//! [`Shim`] is what the proxy holds; a Rust program can hold it directly. [`invoker`] knows no transactions: it is the client of any
//! service that `order::node` replicates.

mod anew;
mod cancellation;
pub mod count;
mod drawn;
mod error;
mod gather;
mod inner;
pub mod invoker;
mod links;
mod parameters;
mod settings;
mod shim;
mod transaction;

pub use consensus::Digest;
pub use error::ShimError;
pub use settings::{Reads, Settings};
pub use shim::{AuditReport, Committed, Shim};
pub use transaction::{Cancel, Transaction};
pub use txn::client::{Outcome, ReplicaStatus};
pub use txn::ordered::{OWNER, ROLE};
pub use txn::receipt::{Receipt, Wanted};
pub use txn::result::digest as result_digest;
pub use txn::{Isolation, Operation};
