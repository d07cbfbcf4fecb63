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
                if (height, regency) == (self.instance.height, self.regency) {
                    self.instance.my_write = Some(digest);
                    self.instance.writes.insert(self.me, digest);
                }
                // Late ones are said too: a slower peer may need them.
                out.push(Action::Broadcast {
                    message: Message::Write {
                        height,
                        regency,
                        digest,
                    },
                });
            }
            Held::Accept {
                height,
                regency,
                digest,
                signature,
            } => {
                if height == self.instance.height {
                    self.note_own_accept(regency, digest, signature);
                }
                let message = Message::Accept {
                    height,
                    regency,
                    digest,
                    signature,
                };
                out.push(Action::Broadcast { message });
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

    fn note_own_accept(&mut self, regency: Regency, digest: Digest, signature: Signature) {
        let accepted = Accepted {
            regency,
            digest,
            signature,
            verified: true,
        };
        self.instance.accepts.insert(self.me, accepted);
    }

    /// After a restart: what the log holds is durable, so it may be said again.
    pub(crate) fn restore_votes(&mut self) {
        // Without the key that the view names nothing can be said; with it, this comes again (`offer_key`).
        if !self.is_member() && !mutated!(self.settings, KeepOldSignatures) {
            return;
        }
        self.restore_open_votes();
        if self.start.is_none() {
            self.stopping.mine = Some(Box::new(self.stop_data()));
        }
    }

    /// The durable votes of the open instance.
    pub(crate) fn restore_open_votes(&mut self) {
        let height = self.instance.height;
        let wrote = self.instance.votes.wrote_in(self.regency);
        if let Some(digest) = wrote.filter(|_| !self.is_crash_only()) {
            self.instance.my_write = Some(digest);
            self.instance.writes.insert(self.me, digest);
        }
        if let Some((regency, digest)) = self.instance.votes.lock {
            let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
            self.note_own_accept(regency, digest, signature);
        }
    }

    /// Says this replica's durable part in the open instance again, to one or to all.
    pub(crate) fn repeat_votes(&self, to: Option<ReplicaId>, out: &mut Vec<Action>) {
        let mut say = |message| {
            out.push(match to {
                Some(to) => Action::Send { to, message },
                None => Action::Broadcast { message },
            });
        };
        let (height, regency) = (self.instance.height, self.regency);
        if self.i_lead() && self.start.is_some() {
            let batch = self
                .instance
                .proposal
                .and_then(|digest| self.instance.batch(&digest));
            if let Some(batch) = batch.cloned() {
                say(Message::Propose {
                    height,
                    regency,
                    batch,
                });
            }
        }
        if let Some(digest) = self.instance.my_write {
            say(Message::Write {
                height,
                regency,
                digest,
            });
        }
        if let Some(mine) = self.instance.accepts.get(&self.me) {
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
