//! Crash-only: a leader proposes one value per height and regency, whatever it lives through.
//!
//! Where nobody writes, the leader's PROPOSE is all that a replica goes by: it locks what it hears first. A leader that crashed
//! after a PROPOSE and proposed something else in the same regency would leave two locks of that regency, and of an even
//! number of replicas each half could hold one: then no later SYNC is ever sound. PROPOSE itself is not durable, so the
//! regency is: a leader makes it durable, once, that it proposes in this regency, before it does; one that finds this in
//! its log after a restart gives the regency up and proposes in it no more. So it is with SYNC, which may bind an instance
//! to a value without any proposal: there is one of a regency. (With liars the WRITE phase settles it.)

use crate::ids::Regency;
use crate::message::Message;
use crate::record::Record;
use crate::settings::mutated;

use super::persist::Held;
use super::{Action, Core};

/// A view and a regency in it.
pub(crate) type At = (u64, Regency);

/// What is known of this replica as a leader; crash-only.
#[derive(Debug, Default)]
pub(crate) struct Leading {
    /// Where an earlier life may have proposed.
    before: Option<At>,
    /// Where this one is to propose, once that is durable.
    asked: Option<At>,
    /// Where it may.
    durable: Option<At>,
}

impl Leading {
    /// After a restart in a regency whose record was in the log.
    pub fn recovered(at: Option<At>) -> Self {
        Self {
            before: at,
            ..Self::default()
        }
    }
}

impl Core {
    /// Whether a leader must not contradict what it said before a crash.
    pub(crate) fn speaks_once(&self) -> bool {
        self.is_crash_only() && !mutated!(self.settings, ProposeAfterRestart)
    }

    /// Whether this leader may go on to a SYNC; one that has begun its regency without having it any more gives up.
    pub(crate) fn may_collect(&mut self, now: u64, out: &mut Vec<Action>) -> bool {
        if !self.speaks_once() {
            return true;
        }
        let begun = self.start.is_some();
        if begun && self.stopping.unsaid.is_none() {
            self.stop(now, self.regency + 1, out);
        }
        !begun
    }

    /// From now on it may speak.
    pub(crate) fn leads_durably(&mut self, at: At, out: &mut Vec<Action>) {
        self.leading.durable = Some(at);
        if at != (self.view.id, self.regency) {
            return;
        }
        if let Some(sync) = self.stopping.unsaid.take() {
            let message = Message::Sync(sync.clone());
            out.push(Action::Broadcast { message });
            self.stopping.sync = Some(sync);
        }
    }

    /// Whether this leader may propose now; if not, it sees to it that it may, or that another leads.
    pub(crate) fn may_propose(&mut self, now: u64, out: &mut Vec<Action>) -> bool {
        let here = (self.view.id, self.regency);
        if !self.speaks_once() || self.leading.durable == Some(here) {
            return true;
        }
        if self.leading.before == Some(here) {
            self.stop(now, self.regency + 1, out);
        } else if self.leading.asked != Some(here) {
            self.leading.asked = Some(here);
            let record = Record::Regency {
                view: self.view.id,
                regency: self.regency,
                start: self.start.clone(),
            };
            self.persist(record, Held::Leading(here), out);
        }
        false
    }
}
