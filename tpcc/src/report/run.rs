//! One measured run on one system: what the JSON holds and the page shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a run was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub warehouses: u32,
    pub terminals: u32,
    pub warmup_s: f64,
    pub duration_s: f64,
    /// Keying and think times of Clause 5.2.5.7, or none.
    pub think_times: bool,
    /// Open loop: transactions a second that arrive whether or not earlier ones have ended. Closed loop without it.
    pub arrivals_per_s: Option<f64>,
    pub seed: u64,
    /// `repeatable read` …
    pub isolation: String,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// A kind of transaction. In an open loop, times count from a transaction's arrival, so that one that waits for a terminal
/// is seen to wait (no coordinated omission). Retries are part of a transaction's response time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kind {
    /// `NEW-ORDER`, `PAYMENT`, `ORDER-STATUS`, `DELIVERY`, `STOCK-LEVEL`.
    pub name: String,
    /// Committed; NEW-ORDERs rolled back for their unused item number (Clause 2.4.1.4) included.
    pub committed: u64,
    /// Of these, rolled back for an unused item number.
    pub rolled_back: u64,
    /// Given up: an error that no retry mends, or too many retries.
    pub failed: u64,
    /// 08007 or a lost connection during COMMIT: nobody knows.
    pub unknown: u64,
    /// Retries by SQLSTATE: 40001, 40P01.
    pub retries: BTreeMap<String, u64>,
    /// Share of all committed transactions, 0 to 1.
    pub share: f64,
    pub response_ms: Percentiles,
    /// (upper edge in ms, count), ascending, about 40 buckets of equal ratio from the least to the greatest: for charts.
    pub histogram: Vec<(f64, u64)>,
    /// Statements sent, of committed transactions, by verb: `select`, `update`, `insert`, `delete`.
    pub statements: BTreeMap<String, u64>,
}

/// One second of the run, warm-up included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the first terminal started; the measured interval begins at `Settings::warmup_s`.
    pub at_s: u32,
    pub new_orders: u64,
    pub committed: u64,
    pub retries: u64,
    pub failed: u64,
    /// Median response of NEW-ORDERs that ended in this second.
    pub new_order_p50_ms: Option<f64>,
}

/// A consistency condition of Clause 3.3.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub number: u8,
    /// What must hold, in a line.
    pub rule: String,
    pub holds: bool,
    /// How many rows break it, and the first of them.
    pub detail: Option<String>,
}

/// Something that happened to the system during the run: a replica killed, started again. For the chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at_s: f64,
    pub what: String,
}

/// An error that clients saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub sqlstate: String,
    /// The first message with this SQLSTATE.
    pub message: String,
    pub count: u64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `steeldb`, `postgresql`, …, or the DSN's host where nobody said.
    pub system: String,
    /// `server_version` as the server reports it.
    pub server: String,
    /// RFC 3339.
    pub started: String,
    pub settings: Settings,
    /// NEW-ORDERs a minute in the measured interval (Clause 5.4).
    #[serde(rename = "tpmC")]
    pub tpm_c: f64,
    /// All transactions a minute.
    #[serde(rename = "tpmTotal")]
    pub tpm_total: f64,
    /// `ok`, or which conditions are broken.
    pub consistency: String,
    pub conditions: Vec<Condition>,
    pub kinds: Vec<Kind>,
    pub timeline: Vec<Second>,
    pub events: Vec<Event>,
    pub errors: Vec<Seen>,
    /// Connections that had to be made anew in the run.
    pub reconnects: u64,
}
