//! Kept promises: whatever was cut from a replica's log, it remembers after a restart what it made durable of its regency and
//! of its votes in instances that are not decided there.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Digest, Height, Record, Regency, ReplicaId};

use super::Verdict;

/// The promises of one replica that were ever durable.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// The newest view, and in it the highest.
    regency: (u64, Regency),
    writes: BTreeMap<(Height, Digest), Regency>,
    locks: BTreeMap<Height, (Regency, Digest)>,
    /// The highest decision.
    stood_at: Height,
}

impl Promises {
    /// A record is durable.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Regency { view, regency, .. } => {
                self.regency = self.regency.max((*view, *regency));
            }
            Record::Write {
                height,
                regency,
                digest,
                ..
            } => {
                let newest = self.writes.entry((*height, *digest)).or_default();
                *newest = (*newest).max(*regency);
            }
            Record::Accept {
                height,
                regency,
                digest,
            } => {
                let lock = (*regency, *digest);
                let newest = self.locks.entry(*height).or_insert(lock);
                *newest = (*newest).max(lock);
            }
        }
    }

    /// A decision is durable. Where it makes a view, what was voted above it was of the view before, behind a value that was
    /// not decided, and binds nobody.
    pub fn decided(&mut self, height: Height, changes: &BTreeSet<Height>) {
        if height > self.stood_at && changes.contains(&height) {
            self.writes.retain(|(at, _), _| *at <= height);
            self.locks.retain(|at, _| *at <= height);
        }
        self.stood_at = self.stood_at.max(height);
    }

    /// Whether `standing`, what a restarted core at `height` remembers, holds all of it.
    fn are_in(&self, height: Height, standing: &Promises) -> bool {
        let mut writes = self.writes.iter().filter(|((at, _), _)| *at > height);
        let mut locks = self.locks.iter().filter(|(at, _)| **at > height);
        self.regency <= standing.regency
            && writes.all(|(vote, at)| standing.writes.get(vote).is_some_and(|kept| kept >= at))
            && locks.all(|(vote, lock)| standing.locks.get(vote).is_some_and(|kept| kept >= lock))
    }
}

/// A correct replica restarts at `height` and remembers `standing`.
pub fn restarted(
    replica: ReplicaId,
    height: Height,
    promises: &Promises,
    standing: &[Record],
) -> Verdict {
    let mut remembered = Promises::default();
    standing.iter().for_each(|record| remembered.add(record));
    if promises.are_in(height, &remembered) {
        Ok(())
    } else {
        Err(format!(
            "promises: {replica} forgot promises: {promises:?}; it remembers {remembered:?}"
        ))
    }
}
