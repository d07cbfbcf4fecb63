//! Validity: every ordered request was signed by its client, is the one that its batch
//! names, and is ordered once.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{ClientId, Decided, Digest, Height, View};

use super::Verdict;

/// What was ordered where.
#[derive(Debug, Default)]
pub struct Validity {
    places: BTreeMap<(ClientId, u64, u64), (Height, Digest)>,
    signed: BTreeSet<Digest>,
    heights: BTreeSet<Height>,
}

impl Validity {
    /// A correct replica decides.
    pub fn decided(&mut self, view: &View, decided: &Decided) -> Verdict {
        let first_time = self.heights.insert(decided.height);
        for (entry, request) in decided.batch.entries.iter().zip(&decided.requests) {
            let name = (request.client, request.incarnation, request.seq);
            if !entry.names(request) {
                return Err(format!(
                    "validity: a body of height {} is not the one named",
                    decided.height
                ));
            }
            if !self.signed.contains(&entry.digest) {
                if let Err(error) = request.clone().verify(view) {
                    return Err(format!(
                        "validity: height {} orders {name:?}: {error}",
                        decided.height
                    ));
                }
                self.signed.insert(entry.digest);
            }
            if !first_time {
                continue;
            }
            if let Some((height, _)) = self.places.insert(name, (decided.height, entry.digest)) {
                return Err(format!(
                    "validity: {name:?} ordered at {height} and {}",
                    decided.height
                ));
            }
        }
        Ok(())
    }

    /// Whether a request was ordered.
    pub fn is_ordered(&self, client: ClientId, incarnation: u64, seq: u64) -> bool {
        self.places.contains_key(&(client, incarnation, seq))
    }
}
