//! What clients did and saw: one record a transaction, one line a record.

use serde::{Deserialize, Serialize};

/// One statement of a client, or a fixed group of them. `seen` is what came back; `None` until it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// Puts a value at the end of a list. No value is ever given twice.
    Append { key: u64, value: u64 },
    /// Reads a whole list.
    List { key: u64, seen: Option<Vec<u64>> },
    /// Overwrites a register. No value is ever given twice, and none is 0.
    Write { key: u64, value: u64 },
    /// Reads a register; 0 before its first write.
    Read { key: u64, seen: Option<u64> },
    /// Reads two accounts, and moves money by writing both balances if the first has enough.
    Transfer {
        from: u64,
        to: u64,
        amount: i64,
        seen: Option<(i64, i64)>,
    },
    /// Reads all accounts, in two statements where it is in a transaction.
    Balances { seen: Option<Vec<i64>> },
    /// Reads who of a pair is on duty, and takes `side` off it if both are.
    Leave {
        pair: u64,
        side: u8,
        seen: Option<[bool; 2]>,
    },
    /// Puts both of a pair on duty.
    Return { pair: u64 },
    /// Reads who of a pair is on duty.
    Watch { pair: u64, seen: Option<[bool; 2]> },
    /// `nextval` of a sequence.
    Number { seen: Option<i64> },
    /// Inserts a row with a serial key, which comes back.
    Ticket { seen: Option<i64> },
    /// Reads the keys of all tickets.
    Tickets { seen: Option<Vec<i64>> },
}

impl Op {
    /// Whether it can change anything.
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            Op::List { .. }
                | Op::Read { .. }
                | Op::Balances { .. }
                | Op::Watch { .. }
                | Op::Tickets { .. }
        )
    }
}

/// How the operations were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// BEGIN … COMMIT.
    Transaction,
    /// BEGIN READ ONLY … COMMIT.
    ReadOnly,
    /// One statement alone.
    Autocommit,
}

/// What the client knows of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Committed,
    /// It certainly has no effect.
    Aborted,
    /// It may have an effect, now or later: 08007, or a connection lost after COMMIT was sent.
    Unknown,
}

/// One transaction as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name in reports: T17.
    pub id: u64,
    /// Sessions run one transaction after another. A session may go on at another proxy.
    pub session: u64,
    pub proxy: u16,
    pub form: Form,
    /// Before the first byte was sent, in nanoseconds of a clock that all sessions share.
    pub begun: u64,
    /// After the last answer.
    pub ended: u64,
    pub outcome: Outcome,
    /// Why it did not commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Those that were sent.
    pub ops: Vec<Op>,
}

/// The lines of a file.
pub fn to_lines(records: &[Record]) -> String {
    let line = |record| serde_json::to_string(record).expect("numbers and strings are valid JSON");
    records.iter().map(|record| line(record) + "\n").collect()
}

/// The records of a file.
///
/// # Errors
/// Names the line that is none.
pub fn parse(lines: &str) -> Result<Vec<Record>, String> {
    let record = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))
    };
    lines.lines().enumerate().map(record).collect()
}
