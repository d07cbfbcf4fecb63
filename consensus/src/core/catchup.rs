//! A replica that lags fetches decisions, and believes them by their proofs only.

use crate::ids::{Height, ReplicaId};
use crate::message::Message;
use crate::proof::Decided;
use crate::settings::mutated;

use super::early::EARLY_HEIGHTS;
use super::{Action, Core};

/// A peer that does not answer is left for the next one after this time (milliseconds).
const PATIENCE_MS: u64 = 500;
/// After an answer that brought nothing, the next peer is asked after this time.
const PAUSE_MS: u64 = 20;
/// A few missing decisions may still come by themselves; after so long without any they
/// are asked for.
const GRACE_MS: u64 = 100;
/// As long as decisions are gone, a checkpoint is asked for at this interval.
const STATE_MS: u64 = 1_000;
/// A peer's log is read for it at most once at a time, and again after this time.
const LOADING_MS: u64 = 1_000;

impl Core {
    /// Asks a peer that claims to be further, one at a time, in turn.
    pub(crate) fn catch_up(&mut self, now: u64, out: &mut Vec<Action>) {
        let height = self.summary.height();
        let furthest = self.peers.furthest();
        if furthest <= height || mutated!(self.settings, NeverFetch) {
            return;
        }
        self.ask_for_state(now, out);
        let waiting = self
            .clock
            .asked
            .is_some_and(|(_, at)| now < at + PATIENCE_MS);
        // Votes of so few heights ahead are kept (`early`): they may still be on their way.
        let near = furthest <= height.saturating_add(EARLY_HEIGHTS);
        let fresh = near && now < self.clock.last_progress() + GRACE_MS;
        if waiting || fresh || now < self.clock.ask_after {
            return;
        }
        let last = self.clock.asked_last;
        let claim = |(id, peer): (&ReplicaId, &super::peers::Peer)| {
            let may_serve = peer.decided > height && peer.oldest <= height + 1;
            (may_serve && peer.down_since.is_none()).then_some(*id)
        };
        let further: Vec<_> = self.peers.all.iter().filter_map(claim).collect();
        let next = further
            .iter()
            .find(|id| Some(**id) > last)
            .or(further.first());
        let Some(&to) = next else { return };
        self.clock.asked = Some((to, now));
        self.clock.asked_last = Some(to);
        let message = Message::FetchDecisions {
            from: height + 1,
            max: self.settings.max_fetch,
        };
        out.push(Action::Send { to, message });
    }

    pub(crate) fn on_fetch_decisions(
        &mut self,
        now: u64,
        to: ReplicaId,
        from: Height,
        max: u32,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.all.get_mut(&to) else {
            return;
        };
        if from == 0 || from > self.summary.height() {
            let message = Message::Decisions {
                decisions: Vec::new(),
            };
            out.push(Action::Send { to, message });
            return;
        }
        if peer.loading_since.is_some_and(|at| now < at + LOADING_MS) {
            return;
        }
        peer.loading_since = Some(now);
        let max = max.min(self.settings.max_fetch) as usize;
        out.push(Action::LoadDecisions { to, from, max });
    }

    pub(crate) fn on_loaded(
        &mut self,
        to: ReplicaId,
        mut decisions: Vec<Decided>,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.all.get_mut(&to) else {
            return;
        };
        peer.loading_since = None;
        let mut bytes = 0;
        let max = self.settings.max_transfer_bytes;
        let fits = decisions.iter().take_while(|decided| {
            bytes += decided.weight();
            bytes <= max
        });
        let count = fits.count().max(1);
        decisions.truncate(count);
        out.push(Action::Send {
            to,
            message: Message::Decisions { decisions },
        });
    }

    /// The log here begins above what a peer asked for.
    pub(crate) fn on_gone_here(
        &mut self,
        to: ReplicaId,
        from: Height,
        oldest: Height,
        out: &mut Vec<Action>,
    ) {
        if let Some(peer) = self.peers.all.get_mut(&to) {
            peer.loading_since = None;
            out.push(Action::Send {
                to,
                message: Message::Gone { from, oldest },
            });
        }
    }

    /// The log of a peer that was asked begins only later. The next one is asked: logs are cut at different heights.
    pub(crate) fn on_gone(
        &mut self,
        now: u64,
        from: ReplicaId,
        first: Height,
        oldest: Height,
        out: &mut Vec<Action>,
    ) {
        let asked = self.clock.asked.is_some_and(|(asked, _)| asked == from);
        let Some(peer) = self.peers.all.get_mut(&from).filter(|_| asked) else {
            return;
        };
        if first == self.summary.height() + 1 && oldest > first {
            peer.oldest = oldest;
        }
        self.clock.asked = None;
        self.clock.ask_after = now + PAUSE_MS;
        self.clock.wake(now);
        self.ask_for_state(now, out);
    }

    /// When f + 1 peers have no decision of the next height any more, a correct one is among them: it has a checkpoint
    /// above. Fewer could send this replica on an errand whenever they like.
    fn ask_for_state(&mut self, now: u64, out: &mut Vec<Action>) {
        let above = self.summary.height();
        let lately = self
            .state_asked
            .is_some_and(|(height, at)| height == above && now < at + STATE_MS);
        if !lately && self.peers.without(above + 1) >= self.view.one_correct() {
            self.state_asked = Some((above, now));
            out.push(Action::FetchState { above });
        }
    }

    /// Takes over what is proven, in order.
    pub(crate) fn on_decisions(
        &mut self,
        now: u64,
        from: ReplicaId,
        decisions: Vec<Decided>,
        out: &mut Vec<Action>,
    ) {
        if self.clock.asked.is_none_or(|(asked, _)| asked != from) {
            return;
        }
        let before = self.summary.height();
        for decided in decisions.into_iter().take(self.settings.max_fetch as usize) {
            let next = self.summary.height() + 1;
            if decided.height < next {
                continue;
            }
            #[cfg(feature = "mutation")]
            if self.planted_refusal(&decided) {
                break;
            }
            let proven =
                mutated!(self.settings, SkipProofCheck) || decided.check(&self.view).is_ok();
            if decided.height != next || !proven {
                break;
            }
            self.decide(now, decided.batch.digest(), decided, out);
        }
        if self.summary.height() > before {
            self.clock.asked = None;
            self.catch_up(now, out);
        } else {
            // It had nothing: what it claimed is forgotten until it says so again.
            if let Some(peer) = self.peers.all.get_mut(&from) {
                peer.decided = 0;
            }
            self.clock.asked = None;
            self.clock.ask_after = now + PAUSE_MS;
        }
        self.advance(now, out);
    }
}
