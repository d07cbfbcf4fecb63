//! Validity: every ordered request was signed by its client and is the one that its batch names. One with a MAC vector, which proves
//! nothing to others, was made by its client, in this view.

use std::collections::BTreeSet;

use consensus::{
    Auth, Batch, ClientAuthentication, ClientId, Digest, Height, PublicKey, Request, View,
};

use super::Verdict;

/// Requests whose signatures were verified, by which key: a client may have had another once.
#[derive(Debug, Default)]
pub struct Validity {
    signed: BTreeSet<(PublicKey, Digest)>,
    /// What clients made with MACs; the vector is not part of it.
    made: BTreeSet<(ClientId, u64, u64, Vec<u8>)>,
}

impl Validity {
    /// A client makes a request.
    pub fn issued(&mut self, request: &Request) {
        if !request.auth.is_signature() {
            self.made.insert(name(request));
        }
    }

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
            if let Auth::Macs(macs) = &request.auth {
                let taken = view.client_authentication == ClientAuthentication::Macs
                    && macs.view == view.id
                    && view.client_key(request.client).is_some();
                if !taken || !self.made.contains(&name(request)) {
                    let (client, seq) = (request.client, request.seq);
                    return Err(format!(
                        "validity: height {height} orders {client} {seq}: no vector of its client's"
                    ));
                }
                continue;
            }
            let key = view.client_key(request.client).copied();
            let known = key.filter(|key| self.signed.contains(&(*key, entry.digest)));
            if known.is_none() {
                if let Err(error) = request.clone().verify(view) {
                    let (client, seq) = (request.client, request.seq);
                    return Err(format!(
                        "validity: height {height} orders {client} {seq}: {error}"
                    ));
                }
                self.signed.extend(key.map(|key| (key, entry.digest)));
            }
        }
        Ok(())
    }
}

fn name(request: &Request) -> (ClientId, u64, u64, Vec<u8>) {
    let op = request.op.to_vec();
    (request.client, request.incarnation, request.seq, op)
}
