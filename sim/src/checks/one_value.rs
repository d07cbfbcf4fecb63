//! Crash-only: all ACCEPTs of one view, height and regency name one value. There is no WRITE phase that would see to it, so the
//! leader must, whatever it lives through; were there two, the locks of that regency could block every later one.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;

/// The first value accepted in each view, height and regency, and by whom.
#[derive(Debug, Default)]
pub struct OneValue {
    accepted: BTreeMap<(u64, Height, Regency), (ReplicaId, Digest)>,
    /// The view that each replica is in. One may accept what is in flight in a view that has ended above a value that was not decided.
    views: BTreeMap<ReplicaId, u64>,
}

impl OneValue {
    /// A replica is in this view.
    pub fn is_in(&mut self, replica: ReplicaId, view: u64) {
        self.views.insert(replica, view);
    }

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
        let view = self.views.get(&replica).copied().unwrap_or(0);
        let at = (view, *height, *regency);
        let (first, value) = *self.accepted.entry(at).or_insert(accepted);
        if value == *digest {
            return Ok(());
        }
        Err(format!(
            "one-value: {first} accepted {value}, {replica} accepted {digest} at height {height}, regency {regency}"
        ))
    }
}
