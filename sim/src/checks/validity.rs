//! Validity: every ordered request was signed by its client and is the one that its batch names.

use std::collections::BTreeSet;

use consensus::{Batch, Digest, Height, PublicKey, Request, View};

use super::Verdict;

/// Requests whose signatures were verified, by which key: a client may have had another once.
#[derive(Debug, Default)]
pub struct Validity(BTreeSet<(PublicKey, Digest)>);

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
            let key = view.client_key(request.client).copied();
            let known = key.filter(|key| self.0.contains(&(*key, entry.digest)));
            if known.is_none() {
                if let Err(error) = request.clone().verify(view) {
                    let (client, seq) = (request.client, request.seq);
                    return Err(format!(
                        "validity: height {height} orders {client} {seq}: {error}"
                    ));
                }
                self.0.extend(key.map(|key| (key, entry.digest)));
            }
        }
        Ok(())
    }
}
