//! The view changes between two heights (thesis, 4.3.4).
//!
//! **Why a view begins anew.** Nobody votes above a value that changes the view before that is decided, so no vote at h + 1 or above
//! was ever given in the view that ended with h: regency 0 of the new view begins with nothing to be found out, and
//! needs no SYNC. STOP, STOPDATA, SYNC and the claims of STATUS name their view; those of another view count for
//! nothing, or an old SYNC, whose signers are not the new members, could set free a height that it knows nothing of.
//! Votes name a height, and the height names the view.

use crate::crypto::PublicKey;
use crate::ids::Height;
use crate::reconfigure::Views;
use crate::record::Start;
use crate::settings::mutated;
use crate::view::View;
use crate::{Decided, SigningKey};

use super::stopping::Stopping;
use super::{Action, Core};

impl Core {
    /// Another key that this replica signs with once the view says so.
    pub fn offer_key(&mut self, key: SigningKey) {
        self.verifier.offer(&key);
        self.spare_keys.push(key);
        let was_member = self.member;
        self.take_key();
        if self.member && !was_member && !mutated!(self.settings, KeepOldSignatures) {
            self.restore_votes();
        }
    }

    /// Signs with whichever key the view knows; without one it is no member and only listens.
    pub(crate) fn take_key(&mut self) {
        let mine = self.view.replica_key(self.me);
        let fits = |key: &SigningKey| mine == Some(&PublicKey::of(key));
        if mutated!(self.settings, KeepOldKey) && self.member {
            self.member = mine.is_some();
            return;
        }
        if !fits(&self.key)
            && let Some(at) = self.spare_keys.iter().position(fits)
        {
            std::mem::swap(&mut self.key, &mut self.spare_keys[at]);
        }
        let stays = mutated!(self.settings, VoteAfterRemoval) && self.member;
        self.member = fits(&self.key) || stays;
    }

    /// The view in which a height was decided, if it is the last one or the one before.
    pub(crate) fn view_of(&self, height: Height) -> Option<&View> {
        self.summary.views.as_ref()?.of(height)
    }

    /// Moves the views past a decision. Whether there is a new one.
    pub(crate) fn note_change(&mut self, decided: &Decided) -> bool {
        #[cfg(feature = "mutation")]
        if let Some(changed) = self.planted_change(decided) {
            return changed;
        }
        let genesis = || Views::genesis(self.view.clone());
        self.summary
            .views
            .get_or_insert_with(genesis)
            .decided(decided)
    }

    /// Begins the new view after the height that made it.
    pub(crate) fn change_view(&mut self, now: u64, out: &mut Vec<Action>) {
        let Some(views) = &self.summary.views else {
            return;
        };
        let old = std::mem::replace(&mut self.view, views.now.clone());
        let open = views.since;
        self.take_key();
        let ended = self.regency;
        if !mutated!(self.settings, KeepRegency) {
            self.regency = 0;
        }
        self.start = Some(Start::free(open));
        self.start_is_claimed = false;
        self.stopping = Stopping::default();
        self.keep_promise();
        // Under a number that has another key now, another machine spoke.
        let same = |id| id != self.me && self.view.replica_key(id) == old.replica_key(id);
        let stays = self.view.leader(0) == old.leader(0) && ended == 0 && self.regency == 0;
        self.pipeline.change_view(same, stays);
        // What this replica wrote above, behind a value that was not decided after all. Nothing there was chosen: whoever
        // accepts behind a change of the view has decided it, and is in the new view.
        self.pipeline.forget_votes_before(self.view.id);
        self.forget_held_votes(open);
        // Votes that it gave when it stood further on than it does now are of that time's view, and are said again with its key.
        if self.member {
            self.restore_votes();
        }
        self.peers.change(&self.view, self.me);
        let view = &self.view;
        self.trips.retain(|peer| view.replicas.contains_key(peer));
        self.early.retain(|peer, early| {
            early.forget_stopdata();
            // Under a number that has another key now, another machine spoke.
            view.replica_key(*peer) == old.replica_key(*peer)
        });
        let kept = mutated!(self.settings, KeepOldRequests);
        // What was signed with a key that does not hold any more would be verified by some and not by others.
        self.pool
            .retain_clients(|client| view.client_key(client) == old.client_key(client) || kept);
        let kept = |client| view.client_key(client) == old.client_key(client);
        self.vouching.enter_view(kept);
        // The same of vectors made for the old view.
        self.drop_vectors(now, |_| true, out);
        self.pool.restart_timers(now);
        self.clock.renew(now);
        out.push(Action::ViewChanged(self.view.clone()));
    }

    /// This replica was in the view before, and its log, which has a hole, says which regency it entered there.
    fn keep_promise(&mut self) {
        self.promised = self.promised.split_off(&self.view.id);
        let Some((regency, start)) = self.promised.remove(&self.view.id) else {
            return;
        };
        if regency > 0 {
            (self.regency, self.start) = (regency, start);
        }
    }

    /// What only members do.
    pub(crate) fn is_member(&self) -> bool {
        self.member
    }
}
