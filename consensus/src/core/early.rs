//! Messages that arrive before their time: of the next few instances, or of a regency that
//! is about to begin here. One of each kind per peer and height is kept, so the room is
//! bounded; what falls out is said again by its sender, or fetched as a decision.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::crypto::{Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::stopdata::StopData;

use super::{Action, Core};

/// How many instances beyond those in flight votes are kept: a slow replica follows by them, instead of
/// asking its peers for whole decisions.
pub(crate) const EARLY_HEIGHTS: u64 = 16;

/// What a peer may say once per height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Propose,
    Write,
    Accept,
}

#[derive(Debug)]
enum Vote {
    Propose(Batch),
    Write(Digest),
    Accept(Digest, Signature),
}

/// One peer's early messages.
#[derive(Debug, Default)]
pub(crate) struct Early {
    votes: BTreeMap<(Height, Kind), (Regency, Vote)>,
    stopdata: Option<Box<StopData>>,
}

impl Early {
    pub fn forget_stopdata(&mut self) {
        self.stopdata = None;
    }
}

impl Core {
    /// Whether a vote of (height, regency) belongs to a near future.
    fn is_early(&self, height: Height, regency: Regency) -> bool {
        if self.pipeline.get(height).is_none() {
            // Of whatever regency: a view that begins in between counts them anew.
            return self.is_ahead(height);
        }
        let waiting = self.start.is_none() && regency == self.regency;
        // Above a value that changes the view the first regency of the new one begins.
        regency > self.regency || waiting || height > self.pipeline.open()
    }

    /// Beyond what is in flight, but not far.
    fn is_ahead(&self, height: Height) -> bool {
        let end = self.pipeline.end();
        height >= end && height - end < EARLY_HEIGHTS
    }

    /// Keeps a message for later if it is early and of a newer regency than the one kept.
    pub(crate) fn keep_for_later(&mut self, from: ReplicaId, message: Message) {
        let (height, regency, kind, vote) = match message {
            Message::Propose {
                height,
                regency,
                batch,
            } => {
                if batch.entries.len() > self.settings.max_batch_requests {
                    return;
                }
                (height, regency, Kind::Propose, Vote::Propose(batch))
            }
            Message::Write {
                height,
                regency,
                digest,
            } => (height, regency, Kind::Write, Vote::Write(digest)),
            Message::Accept {
                height,
                regency,
                digest,
                signature,
            } => (
                height,
                regency,
                Kind::Accept,
                Vote::Accept(digest, signature),
            ),
            Message::StopData(data) => {
                if data.state.regency > self.regency && self.is_bounded(&data) {
                    self.early.entry(from).or_default().stopdata = Some(data);
                }
                return;
            }
            _ => return,
        };
        if !self.is_early(height, regency) {
            return;
        }
        let votes = &mut self.early.entry(from).or_default().votes;
        if votes
            .get(&(height, kind))
            .is_none_or(|(kept, _)| *kept < regency)
        {
            votes.insert((height, kind), (regency, vote));
        }
    }

    /// Hears again what was early, now that the instance or the regency has moved.
    pub(crate) fn replay_early(&mut self, now: u64, out: &mut Vec<Action>) {
        let end = self.pipeline.end();
        let peers: Vec<ReplicaId> = self.early.keys().copied().collect();
        for from in peers {
            let Some(early) = self.early.get_mut(&from) else {
                continue;
            };
            let later = early.votes.split_off(&(end, Kind::Propose));
            let due = std::mem::replace(&mut early.votes, later);
            let stopdata = early.stopdata.take();
            for ((height, _), (regency, vote)) in due {
                match vote {
                    Vote::Propose(batch) => self.note_propose(now, from, height, regency, batch),
                    Vote::Write(digest) => self.note_write(from, height, regency, digest),
                    Vote::Accept(digest, signature) => {
                        self.note_accept(from, height, regency, digest, signature);
                    }
                }
            }
            if let Some(data) = stopdata {
                self.on_stopdata(now, from, data, out);
            }
        }
    }
}
