//! A client gives up its statement: whatever that has come to, it hears so, and the statement does not go on.

use super::Executor;
use super::judge::reason;
use super::session::{Place, Work};
use txn::TxId;

const CANCELLED: &str = "canceling statement due to user request";

impl Executor {
    pub(super) fn cancel_operation(&mut self, tx: TxId) {
        self.cancel_waiting_auto(tx);
        let why = reason("57014", CANCELLED, "");
        if let Some(parked) = self.parked.remove(&tx) {
            // Its transaction is not known here yet; its client gives it up.
            return self.tell_doomed(parked.client, tx, why);
        }
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        if session.cancelling {
            return;
        }
        if session.work() == Some(Work::Operation) {
            if session.pid == 0 {
                // An autocommit write that has no process yet: it is cancelled when it has.
                session.doom.get_or_insert(why);
                return;
            }
            session.cancelling = true;
            self.control.cancel(tx, session.pid);
        } else if !session.queue.is_empty() && session.item.is_none() {
            // It has not begun: there is nothing to cancel, and nothing is to begin.
            session.doom.get_or_insert(why);
            if matches!(session.place, Place::Home(_)) {
                self.after_return(tx);
            }
        }
    }

    /// One that waits for its height, or for a turn.
    pub(super) fn cancel_waiting_auto(&mut self, tx: TxId) {
        if let Some(auto) = self.autos.of.remove(&tx) {
            // It may still be on its way by somebody who brings it.
            self.errands.begins(tx);
            self.tell_doomed(auto.client, tx, reason("57014", CANCELLED, ""));
            self.left_turn(tx);
        }
    }

    /// A cancel has arrived: what came back meanwhile is looked at now.
    pub(super) fn cancelled(&mut self, tx: TxId) {
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        session.cancelling = false;
        if let Some(judged) = session.after_cancel.take() {
            let (height, index, report) = *judged;
            let own = match std::mem::replace(&mut session.place, Place::Gone) {
                Place::Home(own) => Some(own),
                // It was lost. The item has its judgement all the same, or everything behind it would wait for ever.
                other => {
                    session.place = other;
                    None
                }
            };
            return self.judged(height, index, tx, own, report);
        }
        if let Some(ran) = session.ran_meanwhile.take() {
            let (operation, ran) = *ran;
            let away = Place::Away(Work::Operation);
            let Place::Home(own) = std::mem::replace(&mut session.place, away) else {
                session.place = Place::Gone;
                return;
            };
            self.ran(tx, own, operation, ran)
        }
    }
}
