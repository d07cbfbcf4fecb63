//! WHEAT's tentative execution (thesis, 5.3.3): the value of the open instance is told as soon as this replica is locked on it.
//!
//! **What it says.** This replica's ACCEPT of (height, regency, value) is durable and leaves now; everything below is decided. When Q
//! replicas say so of the same regency and value, that value is what is decided there: those are the Q locks that a decision stands on, and
//! whatever a later SYNC finds, it finds one correct of them (see `choice`). Locks of different regencies do not add up, nor do
//! those of one replica alone say anything: another value may be decided.
//!
//! Never for a batch that changes the view: what follows it belongs to another one.

use crate::crypto::Digest;
use crate::ids::{Height, Regency};
use crate::request::Request;
use crate::settings::mutated;
use crate::{Batch, Verified};

use super::{Action, Core};

/// A value that this replica is locked on, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tentative {
    /// The height after the last decided one.
    pub height: Height,
    /// The regency of the lock.
    pub regency: Regency,
    /// The value.
    pub batch: Batch,
    /// Its bodies.
    pub requests: Vec<Request>,
}

impl Core {
    /// The height below is decided; the ACCEPT of this one may have left while it was in flight.
    pub(crate) fn tell_next_tentative(&self, out: &mut Vec<Action>) {
        let open = self.pipeline.first();
        if let Some(mine) = open.accepts.get(&self.me) {
            self.tell_tentative(open.height, mine.regency, mine.digest, out);
        }
    }

    /// The ACCEPT of a value leaves; its instance is the one after the last decided height.
    pub(crate) fn tell_tentative(
        &self,
        height: Height,
        regency: Regency,
        digest: Digest,
        out: &mut Vec<Action>,
    ) {
        if !self.settings.tentative || height != self.summary.height() + 1 {
            return;
        }
        // It is here: this replica wrote it.
        let Some(value) = self.pipeline.first().votes.values.get(&digest) else {
            return;
        };
        let last = value.bodies.last();
        let changes = last.is_some_and(|request| self.view.administers(request.client));
        if changes && !mutated!(self.settings, TellChanges) {
            return;
        }
        let bodies = value.bodies.iter().cloned();
        out.push(Action::Tentative(Box::new(Tentative {
            height,
            regency,
            batch: value.batch.clone(),
            requests: bodies.map(Verified::into_inner).collect(),
        })));
    }
}
