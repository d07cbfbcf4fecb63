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
use crate::record::Record;
use crate::request::Verified;
use crate::settings::mutated;
use crate::stopdata::LastDecided;

use super::instance::Accepted;
use super::persist::Held;
use super::{Action, Core};

impl Core {
    /// Takes every step that is possible now.
    pub(crate) fn advance(&mut self, now: u64, out: &mut Vec<Action>) {
        // One that is not yet, or no longer, a member follows by decisions.
        while self.is_member() {
            self.try_propose(now, out);
            self.try_write(out);
            self.try_accept(out);
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
        self.peers.seen_at(from, height.saturating_sub(1));
        if height.saturating_add(1) < self.instance.height {
            // A peer still votes on what was decided before the last: it may need decisions.
            self.nudge(now, from, out);
        }
        self.catch_up(now, out);
        self.advance(now, out);
    }

    /// Whether this is about the open instance in the current regency.
    pub(crate) fn is_current(&self, height: Height, regency: Regency) -> bool {
        height == self.instance.height && regency == self.regency
    }

    pub(crate) fn note_write(
        &mut self,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
    ) {
        if self.is_current(height, regency) {
            self.instance.writes.entry(from).or_insert(digest);
        } else {
            self.keep_for_later(
                from,
                Message::Write {
                    height,
                    regency,
                    digest,
                },
            );
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
        if height != self.instance.height {
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
        }
        let newer = self
            .instance
            .accepts
            .get(&from)
            .is_none_or(|kept| kept.regency < regency);
        if newer {
            let verified = mutated!(self.settings, SkipAcceptSignature);
            let accepted = Accepted {
                regency,
                digest,
                signature,
                verified,
            };
            self.instance.accepts.insert(from, accepted);
        }
    }

    /// WRITE, once per instance and regency. Alg. 6, l. 25-28.
    fn try_write(&mut self, out: &mut Vec<Action>) {
        let (height, regency) = (self.instance.height, self.regency);
        let again = mutated!(self.settings, WriteTwice);
        if self.instance.votes.wrote_in(regency).is_some() && !again {
            return;
        }
        let Some(digest) = self.to_write() else {
            return;
        };
        if again && self.instance.votes.writeset.get(&digest) == Some(&regency) {
            return;
        }
        let first_time = !self.instance.votes.values.contains_key(&digest);
        let Some(kept) = self.instance.keep(&digest) else {
            return;
        };
        let value = (first_time && !mutated!(self.settings, ForgetBodies)).then(|| {
            let bodies = kept.bodies.iter().map(|body| (**body).clone()).collect();
            (kept.batch.clone(), bodies)
        });
        // Alg. 6, l. 27: the writeset remembers the newest regency of each value.
        self.instance.votes.writeset.insert(digest, regency);
        let record = Record::Write {
            height,
            regency,
            digest,
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
    fn try_accept(&mut self, out: &mut Vec<Action>) {
        let (height, regency) = (self.instance.height, self.regency);
        let votes = &self.instance.votes;
        let locked = votes.lock.is_some_and(|(at, _)| at == regency);
        let mine = match self.is_crash_only() {
            true => votes.wrote_in(regency),
            false => self.instance.my_write,
        };
        #[cfg(feature = "mutation")]
        let mine = mine.or_else(|| self.planted_value());
        let Some(digest) = mine.filter(|_| !locked) else {
            return;
        };
        let writes = self.instance.writes.iter();
        let writers = writes.filter_map(|(id, written)| (*written == digest).then_some(*id));
        if !self.is_crash_only() && !self.is_quorum(writers) {
            return;
        }
        self.instance.votes.lock = Some((regency, digest));
        let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
        let record = Record::Accept {
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

    /// Decides what a quorum accepted. Alg. 6, l. 36-38; Alg. 2, l. 7-17.
    fn try_decide(&mut self, now: u64, out: &mut Vec<Action>) -> bool {
        let Some((regency, digest)) = self.accepted() else {
            return false;
        };
        if !self.verify_accepts(regency, digest) {
            return false;
        }
        if !self.instance.is_complete(&digest) {
            // Decided elsewhere, but the value is not here: fetch the decision.
            self.peers.all.values_mut().for_each(|peer| {
                peer.decided = peer.decided.max(self.instance.height);
            });
            return false;
        }
        let signed = self.instance.accepts.iter().filter(|(_, accept)| {
            accept.verified && (accept.regency, accept.digest) == (regency, digest)
        });
        let accepts = signed.map(|(id, a)| (*id, a.signature)).collect();
        let height = self.instance.height;
        self.instance.keep(&digest);
        let Some(value) = self.instance.votes.values.remove(&digest) else {
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
        if self.instance.accepts.len() + 1 < self.view.sizes().least_quorum() {
            return None;
        }
        let enough = |signers: &[ReplicaId]| self.is_quorum(signers.iter().copied());
        self.instance.accepted_by(enough)
    }

    /// Whether a quorum of ACCEPTs for the value is truly signed; others are dropped, those not needed are not looked at.
    fn verify_accepts(&mut self, regency: Regency, digest: Digest) -> bool {
        let height = self.instance.height;
        let mut valid = Vec::new();
        let mut accepts = std::mem::take(&mut self.instance.accepts);
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
        self.instance.accepts = accepts;
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
        if changed {
            self.change_view(now, out);
        }
        self.checkpoint_if_due(out);
        self.replay_early(now, out);
    }
}
