//! Histories of concurrent transactions: made from a seed, written as JSON lines, and checked against an isolation level.
//!
//! Sans-I/O: a [`Generator`] says what a client wants, whoever runs it against a database fills in what was seen, and
//! [`check`] tells whether the level explains it. Dependencies between transactions are inferred and searched for cycles by
//! `adya`, which follows Elle; what it does not know (money, pairs, sequences) is checked here. That the whole finds what
//! it must is proved by a store with planted flaws in this crate's tests.

mod check;
mod elle;
mod generate;
mod history;
mod invariants;

pub use check::{Anomaly, Expect, Level, Order, Report, check};
pub use generate::{Bank, Generator, Plan, final_reads};
pub use history::{Form, Op, Outcome, Record, parse, to_lines};
