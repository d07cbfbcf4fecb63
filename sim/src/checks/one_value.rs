//! Crash-only: all ACCEPTs of one height and regency, in one view, name one value. There is no WRITE phase that would see to it, so the
//! leader must, whatever it lives through; were there two, the locks of that regency could block every later one.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;
use super::views::Views;

/// The first value accepted in each view, height and regency, and by whom.
#[derive(Debug, Default)]
pub struct OneValue {
    accepted: BTreeMap<(u64, Height, Regency), (ReplicaId, Digest)>,
}

impl OneValue {
    /// A replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
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
        // Regencies count anew in each view.
        let view = views.voting(replica, *height).view.id;
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
