//! Messages that arrive before their time: of the next instance, or of a regency that is
//! about to begin here. One of each kind per peer is kept, so the room is bounded; what
//! falls out is said again by its sender.

use crate::batch::Batch;
use crate::crypto::{Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::stopdata::StopData;

use super::{Action, Core};

/// A vote and its (height, regency).
type Slot<T> = Option<((Height, Regency), T)>;

/// One peer's early messages.
#[derive(Debug, Default)]
pub(crate) struct Early {
    propose: Slot<Batch>,
    write: Slot<Digest>,
    accept: Slot<(Digest, Signature)>,
    stopdata: Option<Box<StopData>>,
}

/// Keeps the newer of two.
fn keep<T>(slot: &mut Slot<T>, at: (Height, Regency), vote: T) {
    if slot.as_ref().is_none_or(|(kept, _)| *kept < at) {
        *slot = Some((at, vote));
    }
}

impl Core {
    /// Whether a vote of (height, regency) belongs to a near future.
    fn is_early(&self, height: Height, regency: Regency) -> bool {
        let here = self.instance.height;
        (height == here + 1 && regency >= self.regency)
            || (height == here && regency > self.regency)
            || (height == here && regency == self.regency && self.start.is_none())
    }

    /// Keeps a message for later if it is early and newer than the one kept.
    pub(crate) fn keep_for_later(&mut self, from: ReplicaId, message: Message) {
        let early = match &message {
            Message::Propose {
                height,
                regency,
                batch,
            } => {
                self.is_early(*height, *regency)
                    && batch.entries.len() <= self.settings.max_batch_requests
            }
            Message::Write {
                height, regency, ..
            } => self.is_early(*height, *regency),
            // An ACCEPT of this height counts in any regency; only the next is early.
            Message::Accept { height, .. } => *height == self.instance.height + 1,
            Message::StopData(data) => data.state.regency > self.regency && self.is_bounded(data),
            _ => false,
        };
        if !early {
            return;
        }
        let slot = self.early.entry(from).or_default();
        match message {
            Message::Propose {
                height,
                regency,
                batch,
            } => {
                keep(&mut slot.propose, (height, regency), batch);
            }
            Message::Write {
                height,
                regency,
                digest,
            } => {
                keep(&mut slot.write, (height, regency), digest);
            }
            Message::Accept {
                height,
                regency,
                digest,
                signature,
            } => {
                keep(&mut slot.accept, (height, regency), (digest, signature));
            }
            Message::StopData(data) => slot.stopdata = Some(data),
            _ => {}
        }
    }

    /// Hears again what was early, now that the instance or the regency has moved.
    pub(crate) fn replay_early(&mut self, now: u64, out: &mut Vec<Action>) {
        for (from, kept) in std::mem::take(&mut self.early) {
            let Early {
                propose,
                write,
                accept,
                stopdata,
            } = kept;
            if let Some(data) = stopdata {
                self.on_stopdata(now, from, data, out);
            }
            if let Some(((height, regency), batch)) = propose {
                self.note_propose(now, from, height, regency, batch);
            }
            if let Some(((height, regency), digest)) = write {
                self.note_write(from, height, regency, digest);
            }
            if let Some(((height, regency), (digest, signature))) = accept {
                self.note_accept(from, height, regency, digest, signature);
            }
        }
    }
}
