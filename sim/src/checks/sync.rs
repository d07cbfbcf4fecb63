//! SYNC: what a correct leader shows is complete evidence (Alg. 4, l. 26-31): n − f or more
//! signed states of distinct members, and a proof of the highest decision among them.

use std::collections::BTreeSet;

use consensus::{Message, Regency, ReplicaId, Sync, View};

use super::Verdict;
use super::views::Views;

/// SYNCs that were looked at.
#[derive(Debug, Default)]
pub struct Evidence(BTreeSet<(u64, ReplicaId, Regency)>);

impl Evidence {
    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
        let Message::Sync(sync) = message else {
            return Ok(());
        };
        let first = sync.states.first().map(|(state, _)| state.view);
        let Some(era) = first.and_then(|id| views.named(id)) else {
            return Err(format!("sync: {replica}'s holds states of no view"));
        };
        if !self.0.insert((era.view.id, replica, sync.regency)) {
            return Ok(());
        }
        let regency = sync.regency;
        fault(views, &era.view, sync).map_or(Ok(()), |fault| {
            Err(format!("sync: {replica}'s of regency {regency}: {fault}"))
        })
    }
}

fn fault(views: &Views, view: &View, sync: &Sync) -> Option<String> {
    let signers: BTreeSet<_> = sync.states.iter().map(|(s, _)| s.replica).collect();
    let need = view.replicas.len() - usize::from(view.f);
    if signers.len() < need || signers.len() != sync.states.len() {
        return Some(format!("{} states of {need} members", sync.states.len()));
    }
    for (state, signature) in &sync.states {
        if !state.is_signed(view, sync.regency, signature) {
            return Some(format!("the state of {} is not signed", state.replica));
        }
    }
    let highest = sync.states.iter().map(|(s, _)| s.decided).max();
    let proven = sync.last.as_ref().map_or(0, |last| last.height);
    let holds = sync
        .last
        .as_ref()
        .is_none_or(|last| last.is_proven(&views.of(last.height).view));
    if highest > Some(proven) || !holds {
        return Some(format!(
            "height {highest:?} is claimed, {proven} is proven: {holds}"
        ));
    }
    None
}
