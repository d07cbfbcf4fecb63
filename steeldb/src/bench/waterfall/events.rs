//! What the processes of a cluster say of a transaction's way: the trace events of the target `timeline`, read from their
//! logs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::failure::Failure;

/// Microseconds since the epoch, by the one clock of this machine.
pub type Moment = i64;

/// A line of a log, as far as it is one of ours.
#[derive(Debug, Deserialize)]
struct Line {
    timestamp: String,
    target: String,
    #[serde(default)]
    at: String,
    tx: Option<String>,
    step: Option<u32>,
    height: Option<u64>,
    seq: Option<u64>,
    sql: Option<String>,
}

/// An operation on its way, as the proxy and the master tell it.
#[derive(Debug, Default, Clone)]
pub struct Operation {
    /// The proxy sends it; the master has it; its PostgreSQL begins and ends it; the proxy has the answer.
    pub sent: Option<Moment>,
    pub came: Option<Moment>,
    pub run: Option<Moment>,
    pub ran: Option<Moment>,
    pub answered: Option<Moment>,
    pub sql: String,
}

/// A transaction as the proxy tells it.
#[derive(Debug, Default)]
pub struct Transaction {
    pub begin: Option<Moment>,
    pub commit: Option<Moment>,
    /// The number of the request that orders its Commit.
    pub seq: Option<u64>,
    pub committed: Option<Moment>,
    pub operations: BTreeMap<u32, Operation>,
}

/// What one replica tells of transactions, heights and requests.
#[derive(Debug, Default)]
pub struct Replica {
    /// Where each transaction's Commit is ordered, and when the executor saw it there.
    pub heights: BTreeMap<String, u64>,
    pub judge: BTreeMap<String, Moment>,
    pub judged: BTreeMap<String, Moment>,
    pub verdict: BTreeMap<String, Moment>,
    pub applied: BTreeMap<String, Moment>,
    pub requests: BTreeMap<u64, Moment>,
    pub proposed: BTreeMap<u64, Moment>,
    pub decided: BTreeMap<u64, Moment>,
    /// Each part of the votes of a height.
    pub voted: BTreeMap<u64, Vec<Moment>>,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub struct Told {
    pub transactions: BTreeMap<String, Transaction>,
    pub replicas: Vec<Replica>,
}

impl Told {
    /// Reads the proxy's log and those of the replicas.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn read(proxy: &Path, replicas: &[std::path::PathBuf]) -> Result<Told, Failure> {
        let mut told = Told::default();
        each(proxy, |line, moment| told.by_proxy(line, moment))?;
        for log in replicas {
            let mut replica = Replica::default();
            each(log, |line, moment| {
                told.by_replica(&mut replica, line, moment)
            })?;
            told.replicas.push(replica);
        }
        Ok(told)
    }

    fn by_proxy(&mut self, line: Line, moment: Moment) {
        let Some(tx) = line.tx else { return };
        let known = self.transactions.entry(tx).or_default();
        let step = line.step.unwrap_or(0);
        match line.at.as_str() {
            "begin" => known.begin = Some(moment),
            "operation" => {
                let operation = known.operations.entry(step).or_default();
                operation.sent = Some(moment);
                operation.sql = line.sql.unwrap_or_default();
            }
            "answer" => known.operations.entry(step).or_default().answered = Some(moment),
            "commit" => {
                known.commit = Some(moment);
                known.seq = line.seq;
            }
            "committed" => known.committed = Some(moment),
            _ => {}
        }
    }

    fn by_replica(&mut self, replica: &mut Replica, line: Line, moment: Moment) {
        let first = |known: &mut BTreeMap<u64, Moment>, key: Option<u64>| {
            if let Some(key) = key {
                known.entry(key).or_insert(moment);
            }
        };
        match (line.at.as_str(), line.tx) {
            ("request", _) => first(&mut replica.requests, line.seq),
            ("proposed", _) => first(&mut replica.proposed, line.height),
            ("decided", _) => first(&mut replica.decided, line.height),
            ("voted", _) => {
                if let Some(height) = line.height {
                    replica.voted.entry(height).or_default().push(moment);
                }
            }
            ("ordered", Some(tx)) => {
                if let Some(height) = line.height {
                    replica.heights.insert(tx, height);
                }
            }
            ("judge", Some(tx)) => {
                replica.judge.entry(tx).or_insert(moment);
            }
            // The last run counts.
            ("judged", Some(tx)) => {
                replica.judged.insert(tx, moment);
            }
            ("verdict", Some(tx)) => {
                replica.verdict.insert(tx, moment);
            }
            ("applied", Some(tx)) => {
                replica.applied.insert(tx, moment);
            }
            (at @ ("came" | "run" | "ran"), Some(tx)) => {
                let Some(known) = self.transactions.get_mut(&tx) else {
                    return;
                };
                let operation = known.operations.entry(line.step.unwrap_or(0)).or_default();
                let place = match at {
                    "came" => &mut operation.came,
                    "run" => &mut operation.run,
                    _ => &mut operation.ran,
                };
                place.get_or_insert(moment);
            }
            _ => {}
        }
    }
}

/// Gives each event of the timeline in a log; other lines are passed over.
fn each(log: &Path, mut take: impl FnMut(Line, Moment)) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot read the log {}", log.display())).cause(error)
    };
    for text in BufReader::new(File::open(log).map_err(failed)?).lines() {
        let text = text.map_err(failed)?;
        let Ok(line) = serde_json::from_str::<Line>(&text) else {
            continue;
        };
        let moment = chrono::DateTime::parse_from_rfc3339(&line.timestamp);
        if let (true, Ok(moment)) = (line.target == "timeline", moment) {
            take(line, moment.timestamp_micros());
        }
    }
    Ok(())
}
