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
        loop {
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
        let wrote = self.instance.votes.wrote_in(regency);
        let again = mutated!(self.settings, WriteTwice) && wrote != self.instance.proposal;
        if wrote.is_some() && !again {
            return;
        }
        let Some(digest) = self.to_write() else {
            return;
        };
        let first_time = !self.instance.votes.values.contains_key(&digest);
        let Some(kept) = self.instance.keep(&digest) else {
            return;
        };
        let value = first_time.then(|| {
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
        self.persist(
            record,
            Held::Write {
                height,
                regency,
                digest,
            },
            out,
        );
    }

    /// ACCEPT what a quorum wrote. Alg. 6, l. 29-33. Only a value that this replica
    /// wrote too, so that it holds the bodies and has judged γ itself.
    fn try_accept(&mut self, out: &mut Vec<Action>) {
        let (height, regency) = (self.instance.height, self.regency);
        let Some(digest) = self.instance.my_write else {
            return;
        };
        if self
            .instance
            .votes
            .lock
            .is_some_and(|(locked, _)| locked == regency)
        {
            return;
        }
        let writes = self
            .instance
            .writes
            .values()
            .filter(|written| **written == digest)
            .count();
        if writes < self.quorum() {
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
        let Some((regency, digest)) = self.instance.accepted_by(self.quorum()) else {
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
        let accepts = self.instance.accepts.iter();
        let signed = accepts.filter(|(_, a)| (a.regency, a.digest) == (regency, digest));
        let accepts = signed
            .map(|(id, a)| (*id, a.signature))
            .take(self.quorum())
            .collect();
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

    /// Whether a quorum of ACCEPTs for the value is truly signed; others are dropped.
    fn verify_accepts(&mut self, regency: Regency, digest: Digest) -> bool {
        let (height, view) = (self.instance.height, &self.view);
        let mut valid = 0;
        let need = self.quorum();
        self.instance.accepts.retain(|signer, accept| {
            if (accept.regency, accept.digest) != (regency, digest) || valid >= need {
                return true;
            }
            accept.verified = accept.verified
                || accept_is_signed(view, *signer, height, regency, &digest, &accept.signature);
            valid += usize::from(accept.verified);
            accept.verified
        });
        valid >= need
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
        let renewed = self.summary.windows.apply(&decided.batch);
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
        out.push(Action::Decide(decided));
        self.checkpoint_if_due(out);
        self.replay_early(now, out);
    }
}
