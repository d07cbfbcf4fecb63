//! What a load and a run are asked for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::transaction::Fault;

/// A workload on one database.
#[derive(Debug, Clone)]
pub struct Config {
    /// Any connection string that `tokio_postgres` reads. The tables live in this database's schema `public`.
    pub dsn: String,
    /// The system's name in the report; without it the DSN's first host.
    pub system: Option<String>,
    pub warehouses: u32,
    /// Terminals, each with a connection of its own. In an open loop: how many transactions run at once.
    pub terminals: u32,
    /// Runs before the measured interval.
    pub warmup: Duration,
    /// The measured interval.
    pub duration: Duration,
    /// Keying and think times of Clause 5.2.5.7. A closed loop only.
    pub think_times: bool,
    /// Open loop: Poisson arrivals a second. Closed loop without it.
    pub arrivals_per_s: Option<f64>,
    /// Same seed, same rows and same inputs, with the same version of this crate and of `rand`.
    pub seed: u64,
    pub isolation: Isolation,
    pub load_by: LoadBy,
    /// Whether the consistency conditions are checked after the run.
    pub check: bool,
    #[doc(hidden)]
    pub test: Test,
}

/// For this crate's tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Test {
    /// Ends the run after so many transactions (to a multiple of the terminals) instead of by time.
    pub transactions: Option<u32>,
    /// A fault in the transactions.
    pub fault: Option<Fault>,
}

/// Both keep the consistency conditions; under READ COMMITTED these transactions, which read a row and then change it,
/// would lose updates, so it is not offered. REPEATABLE READ in PostgreSQL is snapshot isolation, in which TPC-C is
/// serializable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    RepeatableRead,
    Serializable,
}

/// How rows are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBy {
    Copy,
    /// By INSERTs of many rows, for what stands before a server and does not take a COPY of the extended protocol, as
    /// Pgpool-II, which answers nothing to it.
    Insert,
}

impl Config {
    /// One warehouse, ten terminals in a closed loop, 10 s of warm-up, 60 s measured, conditions checked.
    pub fn new(dsn: impl Into<String>) -> Config {
        Config {
            dsn: dsn.into(),
            system: None,
            warehouses: 1,
            terminals: 10,
            warmup: Duration::from_secs(10),
            duration: Duration::from_secs(60),
            think_times: false,
            arrivals_per_s: None,
            seed: 1,
            isolation: Isolation::RepeatableRead,
            load_by: LoadBy::Copy,
            check: true,
            test: Test::default(),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        })
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Isolation, String> {
        [Isolation::RepeatableRead, Isolation::Serializable]
            .into_iter()
            .find(|level| level.to_string() == text.to_lowercase().replace('-', " "))
            .ok_or_else(|| format!("{text}: is `repeatable read` or `serializable`"))
    }
}
