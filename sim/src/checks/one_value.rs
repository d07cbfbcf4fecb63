//! Crash-only: all ACCEPTs of one height and regency name one value. There is no WRITE phase that would see to it, so the
//! leader must, whatever it lives through; were there two, the locks of that regency could block every later one.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;

/// The first value accepted in each height and regency, and by whom.
#[derive(Debug, Default)]
pub struct OneValue(BTreeMap<(Height, Regency), (ReplicaId, Digest)>);

impl OneValue {
    /// A replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message) -> Verdict {
        let Message::Accept {
            height,
            regency,
            digest,
            ..
        } = message
        else {
            return Ok(());
        };
        let accepted = (replica, *digest);
        let (first, value) = *self.0.entry((*height, *regency)).or_insert(accepted);
        if value == *digest {
            return Ok(());
        }
        Err(format!(
            "one-value: {first} accepted {value}, {replica} accepted {digest} at height {height}, regency {regency}"
        ))
    }
}
