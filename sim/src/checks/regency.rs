//! Change of regency: a correct replica leaves a regency only when f + 1 correct ones want it
//! (2f + 1 STOPs, f of them lies): liars depose nobody (Alg. 3, l. 18).

use std::collections::BTreeMap;

use consensus::{Message, Regency, ReplicaId};

use super::Verdict;
use super::views::Era;

/// What correct replicas want, and where they are.
#[derive(Debug, Default)]
pub struct Change {
    /// By view.
    wanted: BTreeMap<(u64, ReplicaId), Regency>,
    entered: BTreeMap<(u64, ReplicaId), Regency>,
}

impl Change {
    /// A correct replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message) {
        if let Message::Stop { view, regency } = message {
            let wanted = self.wanted.entry((*view, replica)).or_default();
            *wanted = (*wanted).max(*regency);
        }
    }

    /// A correct replica is in `regency`.
    pub fn stands(&mut self, era: &Era, replica: ReplicaId, regency: Regency) -> Verdict {
        let entered = self.entered.entry((era.view.id, replica)).or_default();
        if regency <= *entered {
            return Ok(());
        }
        *entered = regency;
        let here = (era.view.id, ReplicaId(0))..=(era.view.id, ReplicaId(u16::MAX));
        let wanting = self.wanted.range(here).filter(|(_, at)| **at >= regency);
        let count = wanting.count();
        if count > era.group.f {
            return Ok(());
        }
        Err(format!(
            "regency: {replica} entered regency {regency}, which {count} correct replicas want"
        ))
    }
}
