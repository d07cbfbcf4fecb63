//! Kept promises: whatever was cut from a replica's log, it remembers after a restart what it made durable of its regency and
//! of its votes in instances that are not decided there.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Record, Regency, ReplicaId};

use super::Verdict;

/// A regency of a view.
type At = (u64, Regency);

/// The promises of one replica that were ever durable.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    regency: At,
    writes: BTreeMap<(Height, Digest), At>,
    locks: BTreeMap<Height, (At, Digest)>,
}

impl Promises {
    /// A record is durable.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Regency { view, regency, .. } => {
                self.regency = self.regency.max((*view, *regency));
            }
            Record::Write {
                view,
                height,
                regency,
                digest,
                ..
            } => {
                let newest = self.writes.entry((*height, *digest)).or_default();
                *newest = (*newest).max((*view, *regency));
            }
            Record::Accept {
                view,
                height,
                regency,
                digest,
            } => {
                let lock = ((*view, *regency), *digest);
                let newest = self.locks.entry(*height).or_insert(lock);
                *newest = (*newest).max(lock);
            }
        }
    }

    /// Whether `standing`, what a restarted core at `height` in `view` remembers, holds all of it. Votes of a view before bind
    /// nobody: they were above the value that changed it, behind another.
    fn are_in(&self, height: Height, view: u64, standing: &Promises) -> bool {
        let binds = |at: &Height, voted: &At| *at > height && voted.0 >= view;
        let mut writes = self.writes.iter().filter(|((at, _), w)| binds(at, w));
        let mut locks = self.locks.iter().filter(|(at, lock)| binds(at, &lock.0));
        (self.regency.0 < view || self.regency <= standing.regency)
            && writes.all(|(vote, at)| standing.writes.get(vote).is_some_and(|kept| kept >= at))
            && locks.all(|(vote, lock)| standing.locks.get(vote).is_some_and(|kept| kept >= lock))
    }
}

/// A correct replica restarts at `height` and remembers `standing`; its regency is the first of it.
pub fn restarted(
    replica: ReplicaId,
    height: Height,
    promises: &Promises,
    standing: &[Record],
) -> Verdict {
    let mut remembered = Promises::default();
    standing.iter().for_each(|record| remembered.add(record));
    let view = standing.iter().find_map(|record| match record {
        Record::Regency { view, .. } => Some(*view),
        _ => None,
    });
    let view = view.unwrap_or(0);
    if promises.are_in(height, view, &remembered) {
        Ok(())
    } else {
        Err(format!(
            "promises: {replica} forgot promises: {promises:?}; it remembers {remembered:?}"
        ))
    }
}
