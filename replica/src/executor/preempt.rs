//! Whatever stands in the way of something ordered, and is not ordered earlier, gives way (DESIGN.md, 6 and its rules).

use super::Executor;
use super::session::{Place, Work};
use consensus::Height;
use pgsession::{Error, Session};
use std::time::Duration;
use tokio::time::Instant;
use txn::TxId;

/// How long an ordered item runs before anybody looks for what it waits for.
const SUSPICION: Duration = Duration::from_millis(4);

impl Executor {
    /// Whether an ordered item has run for so long that it may wait for a lock.
    pub(super) fn someone_may_wait(&self) -> bool {
        self.items
            .values()
            .any(|i| i.busy && i.pid != 0 && i.since.elapsed() >= SUSPICION)
    }

    pub(super) fn look_for_blockers(&mut self) {
        let pids: Vec<i32> = self
            .items
            .values()
            .filter(|i| i.busy && i.pid != 0 && i.since.elapsed() >= SUSPICION)
            .map(|i| i.pid)
            .collect();
        self.control.look_for_blockers(pids);
    }

    /// Pairs of (who waits, who is in the way).
    pub(super) fn blocked(&mut self, pairs: &[(i32, i32)]) {
        for (waiting, blocker) in pairs {
            let Some(rank) = self.rank_of_process(*waiting) else {
                continue;
            };
            let owner = self
                .sessions
                .iter()
                .find(|(_, s)| s.pid == *blocker && !matches!(s.place, Place::Gone))
                .map(|(tx, _)| *tx);
            match owner {
                Some(tx) => self.ask_to_yield(tx, rank),
                None if self
                    .rank_of_process(*blocker)
                    .is_some_and(|other| other <= rank) => {}
                None if *blocker != 0 => {
                    // Autovacuum, or a session that nobody owns any more.
                    tracing::debug!(
                        blocker,
                        ?rank,
                        "cancelled what stood in the way of ordered work"
                    );
                    self.control.cancel_process(*blocker);
                }
                None => {}
            }
        }
    }

    fn rank_of_process(&self, pid: i32) -> Option<(Height, u32)> {
        self.items
            .iter()
            .find(|(_, i)| i.busy && i.pid == pid)
            .map(|(rank, _)| *rank)
    }

    fn ask_to_yield(&mut self, tx: TxId, rank: (Height, u32)) {
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        match session.item {
            // Ordered earlier: it goes first. (Its verdict, or its end, is on the way.)
            Some(own) if own <= rank => {}
            Some((height, index)) => match session.work() {
                Some(Work::Judging(..)) => {
                    if !session.preempted && !session.cancelling {
                        session.preempted = true;
                        session.cancelling = true;
                        let pid = session.pid;
                        self.control.cancel(tx, pid);
                    }
                }
                Some(_) => {}
                None => {
                    if self.engine.retract(height, index) {
                        self.yield_judged(tx, height, index);
                    }
                }
            },
            None => {
                // Speculation at the master, not ordered yet: its client hears 40001.
                session.preempted = true;
                match session.work() {
                    Some(Work::Operation) => {
                        if !session.cancelling {
                            session.cancelling = true;
                            let pid = session.pid;
                            self.control.cancel(tx, pid);
                        }
                    }
                    Some(_) => {}
                    None => self.give_way(tx),
                }
            }
        }
    }

    /// A speculative transaction gives its locks up for good.
    pub(super) fn give_way(&mut self, tx: TxId) {
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        session.give_way();
        self.after_return(tx);
    }

    /// A judged item frees its locks and is judged again at its turn.
    fn yield_judged(&mut self, tx: TxId, height: Height, index: u32) {
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        session.holds = false;
        session.lapsed = true;
        let item = self.items.get(&(height, index));
        if let Some(item) = item.filter(|item| item.begun.is_none()) {
            let ordered = item.ordered.clone();
            return self.judge(height, index, tx, ordered, None, true);
        }
        let Some(own) = session.lend(Work::Yielding(height, index)) else {
            return;
        };
        tokio::spawn(self.bench.clone().yield_locks(height, index, tx, own));
    }

    pub(super) fn yielded(
        &mut self,
        height: Height,
        index: u32,
        tx: TxId,
        own: Session,
        error: Option<Error>,
    ) {
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        session.place = match error {
            None => Place::Home(own),
            Some(_) => Place::Gone,
        };
        let Some(item) = self.items.get_mut(&(height, index)) else {
            return;
        };
        item.since = Instant::now();
        let (ordered, begun) = (item.ordered.clone(), item.begun);
        self.judge(height, index, tx, ordered, begun, true);
    }
}
