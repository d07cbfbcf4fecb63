//! The normal phase: PROPOSE, WRITE, ACCEPT, decide (Algorithms 2, 5 and 6).
//!
//! Messages only note facts; [`Core::advance`] then takes every step that the facts
//! allow, so the order in which messages arrive does not matter: an ACCEPT before its
//! PROPOSE simply waits in its place.

use crate::batch::Batch;
use crate::crypto::{Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::proof::{Decided, Proof, accept_is_signed, sign_accept};
use crate::record::{Record, Wrote};
use crate::request::Verified;
use crate::settings::{MAX_PIPELINE, mutated};
use crate::stopdata::LastDecided;

use super::instance::{Accepted, Instance};
use super::persist::Held;
use super::{Action, Core};

impl Core {
    /// Takes every step that is possible now.
    pub(crate) fn advance(&mut self, now: u64, out: &mut Vec<Action>) {
        // One that is not yet, or no longer, a member follows by decisions.
        while self.is_member() {
            for height in self.pipeline.open()..self.pipeline.end() {
                self.try_propose(now, height, out);
                self.try_write(height, out);
                self.try_accept(height, out);
            }
            self.skip_persist(now, out);
            if !self.try_decide(now, out) {
                return;
            }
        }
    }

    pub(crate) fn on_propose(
        &mut self,
        now: u64,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        batch: Batch,
        out: &mut Vec<Action>,
    ) {
        self.note_propose(now, from, height, regency, batch);
        self.after_vote(now, from, height, out);
    }

    pub(crate) fn on_write(
        &mut self,
        now: u64,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
        out: &mut Vec<Action>,
    ) {
        #[cfg(feature = "mutation")]
        self.planted_old_write(from, height, regency, digest, out);
        self.note_write(from, height, regency, digest);
        self.after_vote(now, from, height, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn on_accept(
        &mut self,
        now: u64,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
        signature: Signature,
        out: &mut Vec<Action>,
    ) {
        self.note_accept(from, height, regency, digest, signature);
        self.after_vote(now, from, height, out);
    }

    fn after_vote(&mut self, now: u64, from: ReplicaId, height: Height, out: &mut Vec<Action>) {
        self.clock.wake(now);
        // So many instances can be in flight there.
        let depth = self.settings.pipeline.clamp(1, MAX_PIPELINE) as Height;
        self.peers.seen_at(from, height.saturating_sub(depth));
        if height.saturating_add(1) < self.pipeline.open() {
            // A peer still votes on what was decided before the last: it may need decisions.
            self.nudge(now, from, out);
        }
        self.catch_up(now, out);
        self.advance(now, out);
    }

    /// Whether this is about an instance in flight in the current regency.
    pub(crate) fn is_current(&self, height: Height, regency: Regency) -> bool {
        regency == self.regency && self.pipeline.get(height).is_some()
    }

    pub(crate) fn note_write(
        &mut self,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
    ) {
        let current = regency == self.regency;
        match self.pipeline.get_mut(height).filter(|_| current) {
            Some(instance) => {
                // The newest counts: an older one may be of the view before, from above the value that changed it.
                instance.writes.insert(from, digest);
            }
            None => self.keep_for_later(
                from,
                Message::Write {
                    height,
                    regency,
                    digest,
                },
            ),
        }
    }

    /// Alg. 6, l. 34-35. A decision is one in whatever regency its ACCEPTs were signed.
    pub(crate) fn note_accept(
        &mut self,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
        signature: Signature,
    ) {
        let Some(instance) = self.pipeline.get_mut(height) else {
            self.keep_for_later(
                from,
                Message::Accept {
                    height,
                    regency,
                    digest,
                    signature,
                },
            );
            return;
        };
        let kept = instance.accepts.get(&from);
        if kept.is_none_or(|kept| kept.regency < regency) {
            let verified = mutated!(self.settings, SkipAcceptSignature);
            let accepted = Accepted {
                regency,
                digest,
                signature,
                verified,
            };
            instance.accepts.insert(from, accepted);
        }
    }

    /// WRITE, once per instance and regency. Alg. 6, l. 25-28.
    fn try_write(&mut self, height: Height, out: &mut Vec<Action>) {
        let regency = self.regency;
        let again = mutated!(self.settings, WriteTwice);
        if self.pipeline.wrote(height, regency).is_some() && !again {
            return;
        }
        let Some(digest) = self.writable(height) else {
            return;
        };
        let Some(instance) = self.pipeline.get_mut(height) else {
            return;
        };
        let before = instance.votes.writeset.get(&digest);
        if again && before.is_some_and(|wrote| wrote.regency == regency) {
            return;
        }
        let first_time = !instance.votes.values.contains_key(&digest);
        let Some(kept) = instance.keep(&digest) else {
            return;
        };
        let after = kept.batch.after;
        let value = (first_time && !mutated!(self.settings, ForgetBodies)).then(|| {
            let bodies = kept.bodies.iter().map(|body| (**body).clone()).collect();
            (kept.batch.clone(), bodies)
        });
        // Alg. 6, l. 27: the writeset remembers the newest regency of each value.
        let (view, wrote) = (self.view.id, Wrote { regency, after });
        instance.votes.view = view;
        instance.votes.writeset.insert(digest, wrote);
        let record = Record::Write {
            view,
            height,
            regency,
            digest,
            after,
            value,
        };
        let held = match self.is_crash_only() {
            // Its ACCEPT follows in the same breath.
            true => Held::Nothing,
            false => Held::Write {
                height,
                regency,
                digest,
            },
        };
        self.persist(record, held, out);
    }

    /// ACCEPT what a quorum wrote. Alg. 6, l. 29-33. Only a value that this replica
    /// wrote too, so that it holds the bodies and has judged γ itself. Where nobody lies,
    /// the leader's word is enough: it proposes one value in a regency.
    fn try_accept(&mut self, height: Height, out: &mut Vec<Action>) {
        let regency = self.regency;
        let Some(instance) = self.pipeline.get(height) else {
            return;
        };
        let locked = instance.votes.lock.is_some_and(|(at, _)| at == regency);
        let mine = match self.is_crash_only() {
            true => instance.votes.wrote_in(regency),
            false => instance.my_write,
        };
        #[cfg(feature = "mutation")]
        let mine = mine.or_else(|| self.planted_value(instance));
        let Some(digest) = mine.filter(|_| !locked) else {
            return;
        };
        let writes = instance.writes.iter();
        let writers = writes.filter_map(|(id, written)| (*written == digest).then_some(*id));
        if !self.is_crash_only() && !self.is_quorum(writers) {
            return;
        }
        if !self.is_accepted_below(height, instance, &digest) {
            return;
        }
        if let Some(instance) = self.pipeline.get_mut(height) {
            instance.votes.view = self.view.id;
            instance.votes.lock = Some((regency, digest));
        }
        let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
        let record = Record::Accept {
            view: self.view.id,
            height,
            regency,
            digest,
        };
        self.persist(
            record,
            Held::Accept {
                height,
                regency,
                digest,
                signature,
            },
            out,
        );
    }

    /// Whether the value that this one stands on is decided, or accepted here in this regency: what is decided at a height is then
    /// decided at all heights below (see `choice`).
    fn is_accepted_below(&self, height: Height, instance: &Instance, digest: &Digest) -> bool {
        if mutated!(self.settings, AcceptOutOfOrder) {
            return true;
        }
        let below = match height == self.pipeline.open() {
            true => Some(self.last_digest()),
            false => {
                let below = self.pipeline.get(height - 1);
                let lock = below.and_then(|below| below.votes.lock);
                lock.and_then(|(at, value)| (at == self.regency).then_some(value))
            }
        };
        let after = instance.batch(digest).map(|batch| batch.after);
        // A value that others wrote, in the planted fault, may be unknown here.
        let unknown = mutated!(self.settings, AcceptUnwritten) && after.is_none();
        unknown || below.is_some() && (after == below || mutated!(self.settings, AnyParent))
    }

    /// The digest of the last decided value, all zero at genesis.
    pub(crate) fn last_digest(&self) -> Digest {
        let last = self.summary.last.as_ref();
        last.map_or_else(Digest::default, |last| last.digest)
    }

    /// Decides what a quorum accepted. Alg. 6, l. 36-38; Alg. 2, l. 7-17.
    fn try_decide(&mut self, now: u64, out: &mut Vec<Action>) -> bool {
        let Some((regency, digest)) = self.accepted() else {
            return false;
        };
        if !self.verify_accepts(regency, digest) {
            return false;
        }
        let instance = self.pipeline.first_mut();
        let height = instance.height;
        if !instance.is_complete(&digest) {
            // Decided elsewhere, but the value is not here: fetch the decision.
            self.peers.all.values_mut().for_each(|peer| {
                peer.decided = peer.decided.max(height);
            });
            return false;
        }
        let signed = instance.accepts.iter().filter(|(_, accept)| {
            accept.verified && (accept.regency, accept.digest) == (regency, digest)
        });
        let accepts = signed.map(|(id, a)| (*id, a.signature)).collect();
        instance.keep(&digest);
        let Some(value) = instance.votes.values.remove(&digest) else {
            return false;
        };
        let decided = Decided {
            height,
            regency,
            batch: value.batch,
            requests: value.bodies.into_iter().map(Verified::into_inner).collect(),
            proof: Proof { regency, accepts },
        };
        self.decide(now, digest, decided, out);
        true
    }

    fn accepted(&self) -> Option<(Regency, Digest)> {
        let open = self.pipeline.first();
        if open.accepts.len() + 1 < self.view.sizes().least_quorum() {
            return None;
        }
        let enough = |signers: &[ReplicaId]| self.is_quorum(signers.iter().copied());
        open.accepted_by(enough)
    }

    /// Whether a quorum of ACCEPTs for the value is truly signed; others are dropped, those not needed are not looked at.
    fn verify_accepts(&mut self, regency: Regency, digest: Digest) -> bool {
        let height = self.pipeline.open();
        let mut valid = Vec::new();
        let mut accepts = std::mem::take(&mut self.pipeline.first_mut().accepts);
        accepts.retain(|signer, accept| {
            if (accept.regency, accept.digest) != (regency, digest)
                || self.is_quorum(valid.iter().copied())
            {
                return true;
            }
            let signature = &accept.signature;
            accept.verified = accept.verified
                || accept_is_signed(&self.view, *signer, height, regency, &digest, signature);
            valid.extend(accept.verified.then_some(*signer));
            accept.verified
        });
        self.pipeline.first_mut().accepts = accepts;
        self.is_quorum(valid)
    }

    /// Moves past a decided height, however it was learnt.
    pub(crate) fn decide(
        &mut self,
        now: u64,
        digest: Digest,
        decided: Decided,
        out: &mut Vec<Action>,
    ) {
        let height = decided.height;
        let renewed = if mutated!(self.settings, WindowNotMoved) {
            Default::default()
        } else {
            self.summary.windows.apply(&decided.batch)
        };
        self.summary.time_ms = decided.batch.time_ms;
        self.summary.last = Some(LastDecided {
            height,
            digest,
            proof: decided.proof.clone(),
        });
        // Alg. 2, l. 14-15: cancel the timers of what is ordered.
        self.pool
            .decided(now, &decided.batch, &renewed, &self.summary.windows);
        self.open_next();
        self.clock.progress(now);
        let changed = self.note_change(&decided);
        if mutated!(self.settings, DecideTwice) {
            out.push(Action::Decide(decided.clone()));
        }
        out.push(Action::Decide(decided));
        self.tell_next_tentative(out);
        if changed {
            self.change_view(now, out);
        }
        self.checkpoint_if_due(out);
        self.replay_early(now, out);
    }
}
