//! Change of regency: a correct replica leaves a regency only when f + 1 correct ones want it
//! (2f + 1 STOPs, f of them lies): liars depose nobody (Alg. 3, l. 18).

use std::collections::BTreeMap;

use consensus::{Message, Regency, ReplicaId};

use super::{Group, Verdict};

/// What correct replicas want, and where they are.
#[derive(Debug, Default)]
pub struct Change {
    wanted: BTreeMap<ReplicaId, Regency>,
    entered: BTreeMap<ReplicaId, Regency>,
}

impl Change {
    /// A correct replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message) {
        if let Message::Stop { regency, .. } = message {
            let wanted = self.wanted.entry(replica).or_default();
            *wanted = (*wanted).max(*regency);
        }
    }

    /// A correct replica is in `regency`.
    pub fn stands(&mut self, group: &Group, replica: ReplicaId, regency: Regency) -> Verdict {
        let entered = self.entered.entry(replica).or_default();
        if regency <= *entered {
            return Ok(());
        }
        *entered = regency;
        let wanting = self.wanted.values().filter(|wanted| **wanted >= regency);
        let count = wanting.count();
        if count > group.f {
            return Ok(());
        }
        Err(format!(
            "regency: {replica} entered regency {regency}, which {count} correct replicas want"
        ))
    }
}
