//! A replica of any deterministic service: links, total order, log, execution, answers.
//!
//! Write a [`Service`], give it to [`Node::start`] at each of 3f + 1 replicas, and clients (`client_shim::invoker`) get answers that
//! are correct while at most f replicas are not. `docs/library.md` is the guide.
//!
//! What a node promises: every request that is decided is executed once, in the same order, at every correct replica. An answer leaves only when
//! the decision is durable. A request that comes again is answered again from the reply store, not executed
//! again, also after a restart: the log is replayed, which rebuilds the service and the store. Nothing that a client or
//! another replica sends stops it; a failing log or a panic in the service does, with a [`NodeError`] that says why.
//!
//! Every so many heights the state is hashed, and one replica in turn writes it to its disk; logs are cut behind such checkpoints, and
//! whoever was away too long, or lost its disk, gets one from a peer. The membership changes by an administrator's request:
//! the node follows, goes over to its next key if the new view names it, and stops when it does not name it any more.

#![deny(missing_docs)]

pub mod bounds;
mod config;
mod dispatch;
mod error;
mod executor;
mod machine;
mod replies;
mod running;
mod service;
mod start;
mod tasks;
mod waiting;
mod wire;

pub use config::NodeConfig;
pub use error::NodeError;
pub use machine::{Doing, Executed, Machine, digest};
pub use replies::{Reply, ReplyStore};
pub use service::{Context, Service};
pub use start::Node;
