//! One raw session with one PostgreSQL: frames, pipelining, canonical digests.
//!
//! A [`Session`] speaks the version 3 protocol over a Unix socket. Statements go out in one write
//! and every backend message comes back verbatim, so that a proxy can forward it untouched. What
//! the triggers of the schema `steel` report arrives in notices; those that carry the session's
//! capture token never reach a client and are handed out as [`Outcome::captured`].

mod collect;
mod digest;
mod encode;
mod error;
mod frame;
mod multiset;
mod outcome;
mod prepared;
mod session;
mod statement;
mod target;

pub use error::{Error, ErrorFields};
pub use multiset::MultisetHash;
pub use outcome::{Outcome, Report};
pub use session::Session;
pub use statement::{Describe, Statement};
pub use target::{Alarm, Limits, Target};
