//! Values: what the leader proposes, and the predicate γ that a value must satisfy before
//! a replica writes it (Alg. 2, l. 3-6; Alg. 5, l. 18-24; thesis, 3.5.3).

use crate::batch::Batch;
use crate::crypto::Digest;
use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::record::Value;
use crate::settings::mutated;

use super::instance::Instance;
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
        let leads = from == self.view.leader(regency);
        if height == self.pipeline.open() && !leads {
            return;
        }
        // Above a value that changes the view another may lead.
        if !leads || !self.is_current(height, regency) || self.start.is_none() {
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
        let Some(instance) = self.pipeline.get_mut(height) else {
            return;
        };
        // One that is refused may be of the view before, from above the value that changed it.
        if instance.proposal.is_some() && !instance.refused && !again {
            return;
        }
        let digest = batch.digest();
        instance.proposal = Some(digest);
        instance.refused = false;
        if !batch.entries.is_empty() && batch.entries.len() <= self.settings.max_batch_requests {
            self.collect_bodies(now, height, digest, batch);
        }
    }

    /// The value that one at this height has to stand on: the one decided below, or that this replica wrote there in this
    /// regency. None above one that is not written yet, or that changes the view.
    fn parent_of(&self, height: Height) -> Option<Digest> {
        if height == self.pipeline.open() {
            return Some(self.last_digest());
        }
        let digest = self.pipeline.wrote(height - 1, self.regency)?;
        let last = self
            .pipeline
            .get(height - 1)?
            .batch(&digest)?
            .entries
            .last();
        let changes = last.is_some_and(|last| self.view.administers(last.client));
        (!changes || mutated!(self.settings, PipelineAcrossViews)).then_some(digest)
    }

    /// The values in flight below a height, from the open instance on: those that this replica wrote in this regency.
    fn in_flight_below(&self, height: Height) -> impl Iterator<Item = &Batch> {
        let below = self.pipeline.iter();
        below
            .take_while(move |instance| instance.height < height)
            .filter_map(|instance| instance.batch(&instance.votes.wrote_in(self.regency)?))
            .filter(|_| !mutated!(self.settings, ForgetInFlight))
    }

    /// Consensus time below a height.
    fn time_below(&self, height: Height) -> u64 {
        let last = self.in_flight_below(height).last();
        last.map_or(self.summary.time_ms, |batch| batch.time_ms)
    }

    /// The part of γ that depends only on what stands below: the same at every replica that has the same there.
    /// A value that a SYNC proved was judged by a correct replica; it passes again.
    fn is_well_formed(&self, height: Height, batch: &Batch) -> bool {
        let windows = self.summary.windows.after(self.in_flight_below(height));
        let once = mutated!(self.settings, SkipWindowCheck) || windows.allow(batch);
        // The view changes between two batches.
        let mut inner = batch.entries.iter().rev().skip(1);
        let changes_last = inner.all(|entry| !self.view.administers(entry.client))
            || mutated!(self.settings, ChangeInTheMiddle);
        let in_time = batch.time_ms >= self.time_below(height);
        changes_last && (in_time || mutated!(self.settings, TimeGoesBack)) && once
    }

    /// Clocks are compared on fresh proposals only. The bound above never lies below the
    /// last batch's time, or clocks that stepped back could wedge the order.
    fn is_timely(&self, height: Height, batch: &Batch) -> bool {
        let now = self.clock.wall();
        let skew = self.settings.clock_skew_ms;
        if mutated!(self.settings, SkipClockCheck) {
            return true;
        }
        batch.time_ms <= now.saturating_add(skew).max(self.time_below(height))
            && batch.time_ms.saturating_add(skew) >= now
    }

    /// The leader proposes. Alg. 2, l. 3-6; Alg. 5, l. 18-24.
    pub(crate) fn try_propose(&mut self, now: u64, height: Height, out: &mut Vec<Action>) {
        let (Some(start), Some(instance)) = (&self.start, self.pipeline.get(height)) else {
            return;
        };
        let regency = self.regency;
        let done = instance.proposal.is_some() || instance.votes.wrote_in(regency).is_some();
        let (bound, free) = (start.bound_at(height), height >= start.free_from());
        if !self.i_lead() || done || height < start.open || !self.may_propose(now, out) {
            return;
        }
        let batch = if free {
            let Some(value) = self.fresh_value(height) else {
                return;
            };
            let (digest, batch) = (value.batch.digest(), value.batch.clone());
            if let Some(instance) = self.pipeline.get_mut(height) {
                instance.add_complete(digest, value);
                instance.proposal = Some(digest);
            }
            batch
        } else {
            // SYNC bound the instance to a value; without its batch, ask for it (see `tick`).
            let Some((digest, instance)) = bound.zip(self.pipeline.get_mut(height)) else {
                return;
            };
            let Some(batch) = instance.batch(&digest).cloned() else {
                return;
            };
            instance.proposal = Some(digest);
            self.collect_bodies(now, height, digest, batch.clone());
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

    /// What waits, if it is time to propose it.
    fn fresh_value(&mut self, height: Height) -> Option<Value> {
        let after = self.parent_of(height)?;
        let time_ms = if mutated!(self.settings, TimeGoesBack) {
            self.clock.wall()
        } else {
            self.clock.wall().max(self.time_below(height))
        };
        // Another instance costs as much as the first. It is worth that if it orders no less than the one before it: a
        // lone request among few is not held up, and many clients' requests still gather.
        let in_flight: usize = self.in_flight_below(height).map(|b| b.entries.len()).sum();
        let before = self.in_flight_below(height).last();
        let before = before.map_or(0, |batch| batch.entries.len());
        if self.pool.len().saturating_sub(in_flight) < before {
            return None;
        }
        let windows = self.summary.windows.after(self.in_flight_below(height));
        let view = &self.view;
        self.pool
            .select(&self.settings, &windows, view, after, time_ms)
    }

    /// The value that this replica may write now at a height, if any.
    pub(crate) fn writable(&mut self, height: Height) -> Option<Digest> {
        let start = self.start.as_ref()?;
        let parent = self.parent_of(height)?;
        let instance = self.pipeline.get(height)?;
        let any = mutated!(self.settings, AnyParent);
        let stands = |digest: &Digest| {
            let batch = instance.batch(digest);
            any || batch.is_some_and(|batch| batch.after == parent)
        };
        if height < start.free_from() {
            // Bound by SYNC: this value or none. It needs no proposal to be known.
            let bound = self.bound_at(height)?;
            return (instance.is_complete(&bound) && stands(&bound)).then_some(bound);
        }
        let digest = instance.proposal?;
        let batch = instance.batch(&digest)?;
        let room = instance.votes.writeset.len() < self.settings.max_values
            || instance.votes.writeset.contains_key(&digest);
        let ready = !instance.refused
            && room
            && instance.is_complete(&digest)
            && self.is_timely(height, batch)
            && self.is_small_enough(instance, &digest);
        if !ready {
            return None;
        }
        let good = stands(&digest) && self.is_well_formed(height, batch);
        if !good {
            // What stands below does not change in this regency any more.
            self.pipeline.get_mut(height)?.refused = true;
        }
        good.then_some(digest)
    }

    /// The part of γ that needs the bodies.
    fn is_small_enough(&self, instance: &Instance, digest: &Digest) -> bool {
        let Some(candidate) = instance.candidates.get(digest) else {
            return instance.votes.values.contains_key(digest);
        };
        let sizes = candidate.bodies.iter().flatten().map(|body| body.op.len());
        let total: usize = sizes.clone().sum();
        sizes.max().unwrap_or(0) <= self.settings.max_request_bytes
            && (candidate.bodies.len() == 1 || total <= self.settings.max_batch_bytes)
    }
}
