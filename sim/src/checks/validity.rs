//! Validity: every ordered request was signed by its client and is the one that its batch names.

use std::collections::BTreeSet;

use consensus::{Batch, Digest, Height, Request, View};

use super::Verdict;

/// Requests whose signatures were verified.
#[derive(Debug, Default)]
pub struct Validity(BTreeSet<Digest>);

impl Validity {
    /// A correct replica stands for these bodies: it decides them, or writes their value.
    pub fn stands_for(
        &mut self,
        view: &View,
        height: Height,
        batch: &Batch,
        bodies: &[Request],
    ) -> Verdict {
        if batch.entries.len() != bodies.len() {
            return Err(format!("validity: a body of height {height} is missing"));
        }
        for (entry, request) in batch.entries.iter().zip(bodies) {
            if !entry.names(request) {
                return Err(format!(
                    "validity: a body of height {height} is not the one named"
                ));
            }
            if !self.0.contains(&entry.digest) {
                if let Err(error) = request.clone().verify(view) {
                    let (client, seq) = (request.client, request.seq);
                    return Err(format!(
                        "validity: height {height} orders {client} {seq}: {error}"
                    ));
                }
                self.0.insert(entry.digest);
            }
        }
        Ok(())
    }
}
