//! Crash-only: all ACCEPTs of one height and regency, in one view, name one value. There is no WRITE phase that would see to it, so the
//! leader must, whatever it lives through; were there two, the locks of that regency could block every later one.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;

/// The first value accepted in each view, height and regency, and by whom.
#[derive(Debug, Default)]
pub struct OneValue {
    accepted: BTreeMap<(u64, Height, Regency), (ReplicaId, Digest)>,
    /// The newest view that each replica began.
    views: BTreeMap<ReplicaId, u64>,
}

impl OneValue {
    /// A replica begins a view, whose regencies count anew. What was accepted in flight above, in the view before and behind a value that
    /// was not decided, is of another regency, though its number is the same: its signature names the view.
    pub fn begins(&mut self, replica: ReplicaId, view: u64) {
        let newest = self.views.entry(replica).or_default();
        *newest = view.max(*newest);
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
        let view = self.views.get(&replica).copied().unwrap_or_default();
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
