//! Values: what the leader proposes, and the predicate γ that a value must satisfy before
//! a replica writes it (Alg. 2, l. 3-6; Alg. 5, l. 18-24; thesis, 3.5.3).

use crate::batch::Batch;
use crate::crypto::Digest;
use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::settings::mutated;

use super::{Action, Core};

impl Core {
    /// The leader's value. Alg. 6, l. 25-26. Only its first in a regency is looked at.
    pub(crate) fn note_propose(
        &mut self,
        now: u64,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        batch: Batch,
    ) {
        if height == self.instance.height && from != self.view.leader(regency) {
            return;
        }
        if !self.is_current(height, regency) || self.start.is_none() {
            self.keep_for_later(
                from,
                Message::Propose {
                    height,
                    regency,
                    batch,
                },
            );
            return;
        }
        let again = mutated!(self.settings, WriteTwice);
        if self.instance.proposal.is_some() && !again {
            return;
        }
        let digest = batch.digest();
        self.instance.proposal = Some(digest);
        if self.is_well_formed(&batch) {
            self.collect_bodies(now, digest, batch);
        }
    }

    /// The part of γ that depends on decided state only: the same at every replica.
    /// A value that a SYNC proved was judged by a correct replica; it passes again.
    fn is_well_formed(&self, batch: &Batch) -> bool {
        let once = mutated!(self.settings, SkipWindowCheck) || self.summary.windows.allow(batch);
        // The view changes between two batches.
        let mut inner = batch.entries.iter().rev().skip(1);
        let changes_last = inner.all(|entry| !self.view.administers(entry.client))
            || mutated!(self.settings, ChangeInTheMiddle);
        !batch.entries.is_empty()
            && changes_last
            && batch.entries.len() <= self.settings.max_batch_requests
            && (batch.time_ms >= self.summary.time_ms || mutated!(self.settings, TimeGoesBack))
            && once
    }

    /// Clocks are compared on fresh proposals only. The bound above never lies below the
    /// last batch's time, or clocks that stepped back could wedge the order.
    fn is_timely(&self, batch: &Batch) -> bool {
        let now = self.clock.wall();
        let skew = self.settings.clock_skew_ms;
        if mutated!(self.settings, SkipClockCheck) {
            return true;
        }
        batch.time_ms <= now.saturating_add(skew).max(self.summary.time_ms)
            && batch.time_ms.saturating_add(skew) >= now
    }

    /// The leader proposes. Alg. 2, l. 3-6; Alg. 5, l. 18-24.
    pub(crate) fn try_propose(&mut self, now: u64, out: &mut Vec<Action>) {
        let Some(start) = self.start else { return };
        let (height, regency) = (self.instance.height, self.regency);
        let done =
            self.instance.proposal.is_some() || self.instance.votes.wrote_in(regency).is_some();
        if !self.i_lead() || done || height < start.open || !self.may_propose(now, out) {
            return;
        }
        let batch = if height >= start.free_from() {
            let time_ms = if mutated!(self.settings, TimeGoesBack) {
                self.clock.wall()
            } else {
                self.clock.wall().max(self.summary.time_ms)
            };
            let windows = &self.summary.windows;
            let view = &self.view;
            let Some(value) = self.pool.select(&self.settings, windows, view, time_ms) else {
                return;
            };
            let (digest, batch) = (value.batch.digest(), value.batch.clone());
            self.instance.add_complete(digest, value);
            self.instance.proposal = Some(digest);
            batch
        } else {
            // SYNC bound the instance to a value; without its batch, ask for it (see `tick`).
            let Some(digest) = start.bound else { return };
            let Some(batch) = self.instance.batch(&digest).cloned() else {
                return;
            };
            self.instance.proposal = Some(digest);
            self.collect_bodies(now, digest, batch.clone());
            batch
        };
        out.push(Action::Broadcast {
            message: Message::Propose {
                height,
                regency,
                batch,
            },
        });
    }

    /// The value that this replica may write now, if any.
    pub(crate) fn to_write(&self) -> Option<Digest> {
        let start = self.start?;
        let height = self.instance.height;
        if height < start.open {
            return None;
        }
        if height < start.free_from() {
            // Bound by SYNC: this value or none. It needs no proposal to be known.
            return start
                .bound
                .filter(|digest| self.instance.is_complete(digest));
        }
        let digest = self.instance.proposal?;
        let batch = self.instance.batch(&digest)?;
        let room = self.instance.votes.writeset.len() < self.settings.max_values
            || self.instance.votes.writeset.contains_key(&digest);
        let good = self.instance.is_complete(&digest)
            && self.is_timely(batch)
            && self.is_small_enough(&digest);
        (room && good).then_some(digest)
    }

    /// The part of γ that needs the bodies.
    fn is_small_enough(&self, digest: &Digest) -> bool {
        let Some(candidate) = self.instance.candidates.get(digest) else {
            return self.instance.votes.values.contains_key(digest);
        };
        let sizes = candidate.bodies.iter().flatten().map(|body| body.op.len());
        let total: usize = sizes.clone().sum();
        sizes.max().unwrap_or(0) <= self.settings.max_request_bytes
            && (candidate.bodies.len() == 1 || total <= self.settings.max_batch_bytes)
    }
}
