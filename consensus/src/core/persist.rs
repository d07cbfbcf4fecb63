//! Nothing that binds this replica is said before it is durable (DESIGN.md, 9).

use crate::crypto::{Digest, Signature};
use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::proof::sign_accept;
use crate::record::{Record, RecordId};
use crate::settings::mutated;
use crate::stopdata::StopData;

use super::instance::Accepted;
use super::{Action, Core};

/// What waits for a record.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// A WRITE of this replica.
    Write {
        height: Height,
        regency: Regency,
        digest: Digest,
    },
    /// An ACCEPT of this replica.
    Accept {
        height: Height,
        regency: Regency,
        digest: Digest,
        signature: Signature,
    },
    /// Its STOPDATA for the leader of a regency.
    StopData(Box<StopData>),
    /// Its proposals in this view and regency; crash-only.
    Leading(super::leading::At),
    /// Nothing: what follows in the log covers it.
    Nothing,
}

impl Core {
    /// Has `record` written, and `held` said afterwards.
    pub(crate) fn persist(&mut self, record: Record, held: Held, out: &mut Vec<Action>) {
        let id = self.next_record;
        self.next_record += 1;
        out.push(Action::Persist { id, record });
        self.held.insert(id, held);
    }

    /// Releases what waited; the log is sequential, so `id` covers all before it.
    pub(crate) fn on_persisted(&mut self, now: u64, id: RecordId, out: &mut Vec<Action>) {
        let later = self.held.split_off(&id.saturating_add(1));
        let durable = std::mem::replace(&mut self.held, later);
        for held in durable.into_values() {
            self.release(now, held, out);
        }
        self.advance(now, out);
    }

    /// Votes from this height on that wait for their record are not said any more.
    pub(crate) fn forget_held_votes(&mut self, from: Height) {
        for held in self.held.values_mut() {
            match held {
                Held::Write { height, .. } | Held::Accept { height, .. } if *height >= from => {
                    *held = Held::Nothing;
                }
                _ => {}
            }
        }
    }

    /// A planted fault: releases everything at once.
    pub(crate) fn skip_persist(&mut self, now: u64, out: &mut Vec<Action>) {
        if mutated!(self.settings, SkipPersist) {
            for held in std::mem::take(&mut self.held).into_values() {
                self.release(now, held, out);
            }
        }
    }

    fn release(&mut self, now: u64, held: Held, out: &mut Vec<Action>) {
        match held {
            Held::Write {
                height,
                regency,
                digest,
            } => {
                let current = regency == self.regency;
                if let Some(instance) = self.pipeline.get_mut(height).filter(|_| current) {
                    instance.my_write = Some(digest);
                    instance.writes.insert(self.me, digest);
                }
                // Late ones are said too: a slower peer may need them.
                out.push(Action::Broadcast {
                    message: Message::Write {
                        height,
                        regency,
                        digest,
                    },
                });
                if mutated!(self.settings, TellWritten) {
                    self.tell_tentative(height, regency, digest, out);
                }
            }
            Held::Accept {
                height,
                regency,
                digest,
                signature,
            } => {
                self.note_own_accept(height, regency, digest, signature);
                let message = Message::Accept {
                    height,
                    regency,
                    digest,
                    signature,
                };
                out.push(Action::Broadcast { message });
                self.tell_tentative(height, regency, digest, out);
            }
            Held::StopData(data) => {
                if (data.state.view, data.state.regency) == (self.view.id, self.regency) {
                    self.stopping.mine = Some(data);
                    self.send_stopdata(now, out);
                }
            }
            Held::Leading(at) => self.leads_durably(at, out),
            Held::Nothing => {}
        }
    }

    fn note_own_accept(
        &mut self,
        height: Height,
        regency: Regency,
        digest: Digest,
        signature: Signature,
    ) {
        let accepted = Accepted {
            regency,
            digest,
            signature,
            verified: true,
        };
        if let Some(instance) = self.pipeline.get_mut(height) {
            instance.accepts.insert(self.me, accepted);
        }
    }

    /// After a restart: what the log holds is durable, so it may be said again.
    pub(crate) fn restore_votes(&mut self) {
        // Without the key that the view names nothing can be said; with it, this comes again (`offer_key`).
        if !self.is_member() && !mutated!(self.settings, KeepOldSignatures) {
            return;
        }
        self.restore_all_votes();
        if self.start.is_none() {
            self.stopping.mine = Some(Box::new(self.stop_data()));
        }
    }

    /// The durable votes of all instances in flight.
    pub(crate) fn restore_all_votes(&mut self) {
        for height in self.pipeline.open()..self.pipeline.end() {
            self.restore_votes_at(height);
        }
    }

    /// The durable votes of an instance.
    pub(crate) fn restore_votes_at(&mut self, height: Height) {
        let (regency, crash_only) = (self.regency, self.is_crash_only());
        let Some(instance) = self.pipeline.get_mut(height) else {
            return;
        };
        let wrote = instance.votes.wrote_in(regency);
        if let Some(digest) = wrote.filter(|_| !crash_only) {
            instance.my_write = Some(digest);
            instance.writes.insert(self.me, digest);
        }
        if let Some((regency, digest)) = instance.votes.lock {
            let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
            self.note_own_accept(height, regency, digest, signature);
        }
    }

    /// Says this replica's durable part in the instances in flight again, to one or to all.
    pub(crate) fn repeat_votes(&self, to: Option<ReplicaId>, out: &mut Vec<Action>) {
        let mut say = |message| {
            out.push(match to {
                Some(to) => Action::Send { to, message },
                None => Action::Broadcast { message },
            });
        };
        let regency = self.regency;
        let proposes = self.i_lead() && self.start.is_some();
        for instance in self.pipeline.iter() {
            let height = instance.height;
            let proposal = instance.proposal.filter(|_| proposes);
            if let Some(batch) = proposal.and_then(|digest| instance.batch(&digest)) {
                let batch = batch.clone();
                say(Message::Propose {
                    height,
                    regency,
                    batch,
                });
            }
            if let Some(digest) = instance.my_write {
                say(Message::Write {
                    height,
                    regency,
                    digest,
                });
            }
            if let Some(mine) = instance.accepts.get(&self.me) {
                let Accepted {
                    regency,
                    digest,
                    signature,
                    ..
                } = *mine;
                say(Message::Accept {
                    height,
                    regency,
                    digest,
                    signature,
                });
            }
        }
    }
}
