//! The verdict on a history.

use serde::Serialize;

use crate::generate::Bank;
use crate::history::Record;
use crate::{elle, invariants};

/// What the transactions were promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Snapshot isolation: write skew and the read-only anomaly may happen.
    Snapshot,
    Serializable,
}

/// What comes after what, besides what the transactions saw of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Who begins after another's commit was answered sees it, wherever it is: a session that moves to another proxy too.
    RealTime,
    /// A session sees what it did before, as long as it stays at its proxy.
    Session,
}

/// What a history must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    pub level: Level,
    pub order: Order,
    pub bank: Bank,
}

/// Something that the level does not explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// The field's name: G0, G1a, G-single-item, lost-update, …
    pub kind: String,
    /// The ids of those that take part.
    pub transactions: Vec<u64>,
    /// For a person: the transactions, and why each came before the next.
    pub text: String,
}

impl Anomaly {
    pub(crate) fn new(kind: &str, ids: impl Into<Vec<u64>>, text: String) -> Anomaly {
        Anomaly {
            kind: kind.to_owned(),
            transactions: ids.into(),
            text,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What must not be.
    pub forbidden: Vec<Anomaly>,
    /// What the level allows and serializability would not: a sign that the transactions really met.
    pub allowed: Vec<Anomaly>,
}

impl Report {
    /// The kinds of what must not be, each once.
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self.forbidden.iter().map(|a| a.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// Checks whether a level and an order explain what was seen.
///
/// Reads of transactions that did not commit count for nothing, writes of those whose end is unknown may or may not be there.
pub fn check(records: &[Record], expect: &Expect) -> Report {
    let mut report = Report {
        forbidden: elle::forbidden(records, expect),
        allowed: Vec::new(),
    };
    report
        .forbidden
        .extend(invariants::bank(records, &expect.bank));
    report.forbidden.extend(invariants::numbers(records));
    report.forbidden.extend(invariants::tickets(records));
    let skew = invariants::pairs(records);
    match expect.level {
        Level::Serializable => report.forbidden.extend(skew),
        Level::Snapshot => {
            report.allowed.extend(skew);
            report.allowed.extend(elle::allowed(records, expect));
        }
    }
    report
}
