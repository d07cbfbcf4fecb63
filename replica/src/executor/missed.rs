//! What a replica has missed: votes and verdicts for one that asks, and what follows when nobody has them any more.

use super::{Executor, Fatal};
use consensus::{Height, ReplicaId};
use txn::peer::PeerMessage;

/// Bytes of verdicts read for a peer at a time.
const VERDICTS_BYTES: usize = 1 << 20;

impl Executor {
    pub(super) fn fetch_votes(&mut self, height: Height) {
        self.broadcast_peers(&PeerMessage::FetchVotes { height });
    }

    /// Says so when what a peer asks for was cut from the log.
    pub(super) fn tell_gone(&self, to: ReplicaId, height: Height) {
        let oldest = self.log.next_key(order::record::DECIDED, height);
        if let Some(oldest) = oldest.filter(|oldest| *oldest > height) {
            self.send_peer(to, &PeerMessage::Gone { oldest });
        }
    }

    /// A peer's log begins past what is lacking here. When nobody else may have it either, the database is copied: all but f of the
    /// others, so that no f liars have a replica copy while correct ones could help it.
    pub(super) fn is_gone(&mut self, from: ReplicaId, oldest: Height) {
        let last = self.engine.final_height();
        if oldest <= last + 1 || !self.view.replicas.contains_key(&from) {
            return;
        }
        self.gone.insert(from, oldest);
        let members = &self.view.replicas;
        self.gone.retain(|from, _| members.contains_key(from));
        let others = members.len().saturating_sub(1);
        let enough = others.saturating_sub(self.view.f.into()).max(1);
        if self.gone.len() >= enough {
            self.fail(Fatal::Behind {
                above: last,
                why: format!(
                    "it ends at height {last}, and what follows is cut from the others' logs"
                ),
            });
        }
    }

    /// The verdicts of a height that is final here, and of some that follow, as the log has them.
    pub(super) fn tell_verdicts(&mut self, to: ReplicaId, first: Height) {
        let last = self
            .engine
            .final_height()
            .min(first.saturating_add(txn::limits::VERDICTS_TOLD - 1));
        if first > last {
            return;
        }
        let kind = super::record::VERDICTS;
        let records = match self.log.read(kind, first..=last, VERDICTS_BYTES) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, first, "verdicts cannot be read from the log");
                return;
            }
        };
        let heights = records.iter().zip(first..).map_while(|(record, height)| {
            let mine = (record.key == height).then_some(&record.payload)?;
            postcard::from_bytes(mine).ok()
        });
        let heights: Vec<Vec<(u32, txn::tally::Verdict)>> = heights.collect();
        #[cfg(feature = "lies")]
        let heights = self.bench.lies.verdicts(heights);
        if !heights.is_empty() {
            self.send_peer(to, &PeerMessage::Verdicts { first, heights });
        }
    }
}
