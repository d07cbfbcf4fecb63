//! Who wants which regency to end: STOP, counted (Alg. 3, l. 5-18).

use std::collections::BTreeMap;

use crate::crypto::Signature;
use crate::ids::{Regency, ReplicaId};
use crate::message::Message;
use crate::settings::mutated;
use crate::stopdata::{LastDecided, StopData, StopState, Sync};

use super::peers::nth_largest;
use super::{Action, Core};

/// The state of a change of regency.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    /// The highest regency that each replica wants, this one included.
    stops: BTreeMap<ReplicaId, Regency>,
    /// This replica's STOPDATA for its regency, once durable.
    pub mine: Option<Box<StopData>>,
    /// As the new leader: valid states collected for its regency.
    pub states: BTreeMap<ReplicaId, (StopState, Signature)>,
    /// The highest proven decision among them.
    pub last: Option<LastDecided>,
    /// As the new leader: the SYNC that it sent, for those who missed it.
    pub sync: Option<Box<Sync>>,
    /// Crash-only: a SYNC that leaves when it is durable that this replica leads.
    pub unsaid: Option<Box<Sync>>,
}

impl Stopping {
    /// The highest regency that this replica asked for.
    pub fn wanted_by(&self, replica: ReplicaId) -> Regency {
        self.stops.get(&replica).copied().unwrap_or(0)
    }

    pub fn want(&mut self, replica: ReplicaId, regency: Regency) {
        let wanted = self.stops.entry(replica).or_default();
        *wanted = (*wanted).max(regency);
    }

    /// The highest regency that at least `count` replicas want.
    pub fn wanted_by_many(&self, count: usize) -> Regency {
        let mut wanted: Vec<_> = self.stops.values().copied().collect();
        nth_largest(&mut wanted, count).unwrap_or(0)
    }
}

impl Core {
    /// This replica gives up its regency. Alg. 3, l. 5-9. It goes on working in it until
    /// 2f + 1 agree, so a lone suspicion does no harm. FORWARD carried the requests, so
    /// STOP carries none that would have to be verified.
    pub(crate) fn stop(&mut self, now: u64, regency: Regency, out: &mut Vec<Action>) {
        if regency <= self.regency || self.stopping.wanted_by(self.me) >= regency {
            return;
        }
        self.stopping.want(self.me, regency);
        out.push(Action::Broadcast {
            message: self.stop_for(regency),
        });
        self.count_stops(now, out);
    }

    fn stop_for(&self, regency: Regency) -> Message {
        let view = self.view.id;
        Message::Stop { view, regency }
    }

    pub(crate) fn on_stop(
        &mut self,
        now: u64,
        from: ReplicaId,
        view: u64,
        regency: Regency,
        out: &mut Vec<Action>,
    ) {
        self.clock.wake(now);
        if !self.is_member() || view != self.view.id {
            // One of the two is behind.
            self.nudge(now, from, out);
            return;
        }
        self.stopping.want(from, regency);
        if regency <= self.regency {
            self.nudge(now, from, out);
        }
        self.count_stops(now, out);
        self.advance(now, out);
    }

    /// f + 1 make this replica join, 2f + 1 install the regency. Each replica counts with
    /// the highest regency that it wants, so lost or skipped ones do not matter.
    pub(crate) fn count_stops(&mut self, now: u64, out: &mut Vec<Action>) {
        // Alg. 3, l. 14-16: at least one correct replica wants it.
        let joined = self.stopping.wanted_by_many(self.view.one_correct());
        if joined > self.regency && joined > self.stopping.wanted_by(self.me) {
            self.stopping.want(self.me, joined);
            out.push(Action::Broadcast {
                message: self.stop_for(joined),
            });
        }
        // Alg. 3, l. 18-25: f + 1 correct ones want it, so all correct ones will.
        let planted = usize::from(mutated!(self.settings, InstallByTwoF));
        let installed = self.stopping.wanted_by_many(self.view.install() - planted);
        if installed > self.regency {
            self.enter(now, installed, out);
        }
    }

    /// Says the pending STOP again, to one or to all; links lose messages when they break.
    pub(crate) fn repeat_stop(&self, to: Option<ReplicaId>, out: &mut Vec<Action>) {
        let regency = self.stopping.wanted_by(self.me);
        if regency <= self.regency {
            return;
        }
        let message = self.stop_for(regency);
        out.push(match to {
            Some(to) => Action::Send { to, message },
            None => Action::Broadcast { message },
        });
    }
}
