//! What a run shows.

use std::collections::BTreeMap;
use std::fmt::Write;

use isolation::{Outcome, Record, Report as Found};
use serde::Serialize;

use super::faults::Happened;

/// Anomalies that the text tells in full; the file holds all.
const TOLD: usize = 10;

#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub level: &'static str,
    pub order: isolation::Order,
    pub proxies: u16,
    pub clients: u16,
    pub seconds: f64,
    pub transactions: usize,
    pub operations: usize,
    pub committed: usize,
    pub unknown: usize,
    /// Why transactions did not commit; SQLSTATEs where there are some.
    pub aborts: BTreeMap<String, usize>,
    pub faults: Vec<Happened>,
    pub master_changes: u64,
    pub found: Found,
    pub replicas_equal: bool,
    /// What the serial replay of the decided log came to; how many committed transactions it ran.
    pub replay: String,
    pub replayed: u64,
    pub replay_differences: Vec<String>,
    /// What `verify` said.
    pub verify: String,
}

impl Report {
    /// Counts what the clients wrote down.
    pub fn count(&mut self, records: &[Record]) {
        let of = |outcome| records.iter().filter(|r| r.outcome == outcome).count();
        self.transactions = records.len();
        self.operations = records.iter().map(|record| record.ops.len()).sum();
        (self.committed, self.unknown) = (of(Outcome::Committed), of(Outcome::Unknown));
        for record in records.iter().filter(|r| r.outcome == Outcome::Aborted) {
            *self.aborts.entry(reason(record)).or_default() += 1;
        }
    }

    /// Why the run failed; none when all is well.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = broken(&self.found);
        if !self.replicas_equal {
            broken.push("the replicas differ".to_owned());
        }
        broken.extend(self.replay_differences.iter().cloned());
        broken
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "{} s at {} with {} clients through {} proxies, seed {}\n\
             {} transactions with {} operations: {} committed, {} of unknown outcome\n",
            self.seconds.round(),
            self.level,
            self.clients,
            self.proxies,
            self.seed,
            self.transactions,
            self.operations,
            self.committed,
            self.unknown,
        );
        for (why, so_many) in &self.aborts {
            let _ = writeln!(text, "  {so_many} aborted: {why}");
        }
        let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in &self.faults {
            *faults.entry(&fault.fault).or_default() += 1;
        }
        let faults: Vec<String> = faults
            .iter()
            .map(|(fault, so_many)| format!("{so_many} × {fault}"))
            .collect();
        let _ = writeln!(
            text,
            "{} faults ({}), {} changes of the master",
            self.faults.len(),
            faults.join(", "),
            self.master_changes
        );
        let equal = self.verify.lines().last().unwrap_or_default();
        let _ = writeln!(text, "replicas: {equal}\nreplay: {}", self.replay);
        text + &anomalies(&self.found)
    }
}

/// What must not be, in a few words.
pub fn broken(found: &Found) -> Vec<String> {
    let kinds = found.kinds().into_iter();
    kinds.map(|kind| format!("anomaly {kind}")).collect()
}

/// What was found, for a person.
pub fn anomalies(found: &Found) -> String {
    let mut text = format!(
        "{} cycles and pairs that only a serial order forbids\n{} anomalies\n",
        found.allowed.len(),
        found.forbidden.len()
    );
    for anomaly in found.forbidden.iter().take(TOLD) {
        let _ = writeln!(text, "\n{}\n{}", anomaly.kind, anomaly.text);
    }
    text
}

/// A SQLSTATE, or words where there is none.
fn reason(record: &Record) -> String {
    match record.error.as_deref() {
        None => "rolled back on purpose".to_owned(),
        Some(error) => match error.split_once(' ') {
            Some((state, _)) if state.len() == 5 => state.to_owned(),
            _ => error.to_owned(),
        },
    }
}
