//! Snapshots are opened, items are judged.

use super::jobs::steps_of;
use super::judge::{Report, Start, reason};
use super::provision;
use super::roles;
use super::session::{Place, TxSession, Work};
use super::{Executor, ItemState, now_ms};
use consensus::{ClientId, Height};
use pgsession::{Error, ErrorFields, Session};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;
use txn::{Ballot, Isolation, Ordered, TxId};

/// Runs of one item, after which this replica abstains.
const MAX_RUNS: u32 = 20;

impl Executor {
    /// Opens the sessions of a height's Begins.
    pub(super) fn take_snapshots(
        &mut self,
        height: Height,
        time_ms: u64,
        begins: Vec<(TxId, Arc<Ordered>)>,
    ) {
        if self.history.as_ref().is_some_and(|h| h.is_replayed(height)) {
            // Replayed: these snapshots were lost with the restart, and cannot be taken again.
            for (tx, ordered) in begins {
                let opening = self.opening_of(tx, &ordered, time_ms);
                let mut session = TxSession::new(tx.client, opening, false);
                session.doom = Some(reason(
                    "40001",
                    "the replica restarted and lost the transaction's snapshot",
                    "",
                ));
                self.sessions.insert(tx, session);
            }
            self.engine
                .snapshots_taken(now_ms(), height, &mut self.actions);
            return;
        }
        let txs: BTreeSet<TxId> = begins.iter().map(|(tx, _)| *tx).collect();
        self.opening = Some((height, txs));
        let mut denied = Vec::new();
        for (tx, ordered) in begins {
            let opening = self.opening_of(tx, &ordered, time_ms);
            let mut session = TxSession::new(tx.client, opening.clone(), false);
            session.doom = roles::refused_request(tx.client, &ordered);
            if session.doom.is_some() {
                denied.push(tx);
            } else {
                session.place = Place::Away(Work::Opening);
                tokio::spawn(self.bench.clone().open(tx, opening));
            }
            self.sessions.insert(tx, session);
        }
        for tx in denied {
            self.snapshot_taken(tx);
        }
    }

    pub(super) fn opened(
        &mut self,
        tx: TxId,
        session: Option<Session>,
        refused: Option<ErrorFields>,
        error: Option<Error>,
    ) {
        if let Some(error) = &error {
            tracing::warn!(%tx, %error, "a session could not be opened");
            self.last_error = Some(error.to_string());
        }
        if let Some(known) = self.sessions.get_mut(&tx) {
            match session {
                Some(session) => {
                    known.pid = session.pid();
                    known.place = Place::Home(session);
                }
                None => {
                    known.place = Place::Gone;
                    let detail = error.map(|e| e.to_string()).unwrap_or_default();
                    known.doom.get_or_insert(reason(
                        "53300",
                        "a session for the transaction could not be opened",
                        detail,
                    ));
                }
            }
            if let Some(error) = refused {
                let detail = error.detail.clone().unwrap_or_default();
                known
                    .doom
                    .get_or_insert(reason(&error.sqlstate, error.message, detail));
            }
            self.after_return(tx);
        }
        tracing::trace!(target: "timeline", at = "snapshot", %tx);
        self.snapshot_taken(tx);
    }

    /// One of the snapshots of a height is there, or will not be.
    fn snapshot_taken(&mut self, tx: TxId) {
        let mut taken = None;
        if let Some((height, waiting)) = &mut self.opening {
            waiting.remove(&tx);
            if waiting.is_empty() {
                taken = Some(*height);
            }
        }
        if let Some(height) = taken {
            self.opening = None;
            self.engine
                .snapshots_taken(now_ms(), height, &mut self.actions);
        }
    }

    /// Has an item judged.
    pub(super) fn judge(
        &mut self,
        height: Height,
        index: u32,
        tx: TxId,
        ordered: Arc<Ordered>,
        begun: Option<Height>,
        again: bool,
    ) {
        let item = self
            .items
            .entry((height, index))
            .or_insert_with(|| ItemState::new(ordered.clone()));
        item.since = Instant::now();
        item.busy = true;
        item.begun = begun;
        tracing::trace!(target: "timeline", at = "judge", %tx, height);
        self.note_schema_change(&ordered);
        if self
            .history
            .as_ref()
            .is_some_and(|h| h.is_past(height, index))
        {
            let report = Report::abstain("PostgreSQL has later effects already");
            self.judged(height, index, tx, None, report);
            return;
        }
        let at_place = begun.is_none();
        // It is ordered, and is not run for its client any more.
        self.autos.of.remove(&tx);
        if at_place && !self.sessions.contains_key(&tx) {
            let session = self.session_at_place(height, index, tx, &ordered);
            self.sessions.insert(tx, session);
        }
        let steps = steps_of(&ordered);
        if let Some(why) = provision::refused_steps(steps, tx, &self.view) {
            self.judged(height, index, tx, None, Report::abort(why));
            return;
        }
        if let Some(why) = roles::refused_request(tx.client, &ordered) {
            self.judged(height, index, tx, None, Report::abort(why));
            return;
        }
        let Some(session) = self.sessions.get_mut(&tx) else {
            let report = Report::abstain("the snapshot was lost");
            self.judged(height, index, tx, None, report);
            return;
        };
        session.item = Some((height, index));
        // What the master ran for a SERIALIZABLE client ran at an older state, which proves nothing of this one.
        let stale = at_place && session.opening.promised == Isolation::Serializable;
        let at_master =
            session.speculative && !again && !stale && !session.lapsed && session.doom.is_none();
        let running = stale && session.work() == Some(Work::Operation);
        if at_master || running {
            // Everything ran here already, as the client saw it.
            let confirmed = session.confirms(steps);
            let Some(own) = session.lend(Work::Judging(height, index)) else {
                let report = Report::abort(reason(
                    "40001",
                    "the transaction was ended while an operation ran",
                    "",
                ));
                self.judged(height, index, tx, None, report);
                return;
            };
            match confirmed {
                Ok(write_sets) => {
                    tokio::spawn(
                        self.bench
                            .clone()
                            .confirm(height, index, tx, own, write_sets),
                    );
                }
                Err(detail) => {
                    let report = Report::abort(reason(
                        "40001",
                        "the ordered operations are not the ones that the master ran",
                        detail,
                    ));
                    self.judged(height, index, tx, Some(own), report);
                }
            }
            return;
        }
        let opening = session.opening.clone();
        let had_session = matches!(session.place, Place::Home(_));
        let own = session.lend(Work::Judging(height, index));
        if own.is_none() && !at_place {
            let why = session
                .doom
                .as_ref()
                .map_or("the snapshot was lost".to_owned(), |d| d.message.clone());
            self.judged(height, index, tx, None, Report::abstain(why));
            return;
        }
        session.place = Place::Away(Work::Judging(height, index));
        let start = match (at_place, had_session) {
            (false, _) if again || session.lapsed || session.speculative => Start::Again(opening),
            (false, _) => Start::AtSnapshot,
            (true, true) => Start::Reopen(replaying(opening)),
            (true, false) => Start::Open(replaying(opening)),
        };
        session.lapsed = true;
        tokio::spawn(
            self.bench
                .clone()
                .judge(height, index, tx, own, start, ordered),
        );
    }

    pub(super) fn judging_in(&mut self, height: Height, index: u32, tx: TxId, pid: i32) {
        self.busy_in(height, index, pid);
        if let Some(session) = self.sessions.get_mut(&tx) {
            session.pid = pid;
        }
    }

    pub(super) fn busy_in(&mut self, height: Height, index: u32, pid: i32) {
        if let Some(item) = self.items.get_mut(&(height, index)) {
            item.pid = pid;
            item.busy = true;
        }
    }

    /// A judging run ended.
    pub(super) fn judged(
        &mut self,
        height: Height,
        index: u32,
        tx: TxId,
        own: Option<Session>,
        report: Report,
    ) {
        let mut run_again = report.again;
        let mut alive = false;
        if let Some(session) = self.sessions.get_mut(&tx) {
            if let Some(own) = own {
                session.pid = own.pid();
                session.place = Place::Home(own);
                alive = true;
            } else if matches!(session.place, Place::Away(_)) {
                session.place = Place::Gone;
            }
            if session.cancelling {
                // A cancel is under way: nothing is sent to the session before it arrived.
                session.after_cancel = Some(Box::new((height, index, report)));
                return;
            }
            run_again |= std::mem::take(&mut session.preempted);
            session.holds = report.ballot == Ballot::Commit && alive;
        }
        let Some(item) = self.items.get_mut(&(height, index)) else {
            return;
        };
        item.busy = false;
        item.runs += 1;
        if run_again && alive && item.runs < MAX_RUNS {
            let (ordered, begun) = (item.ordered.clone(), item.begun);
            if let Some(session) = self.sessions.get_mut(&tx) {
                session.holds = false;
            }
            self.judge(height, index, tx, ordered, begun, true);
            return;
        }
        if report.ballot != Ballot::Commit {
            tracing::debug!(%height, index, %tx, ballot = ?report.ballot, reason = ?report.reason, "not judged COMMIT");
        }
        let (ordered, begun) = (item.ordered.clone(), item.begun);
        item.reason = report.reason.clone().or(item.reason.take());
        tracing::trace!(target: "timeline", at = "judged", %tx, height, index);
        let holds = report.ballot == Ballot::Commit && alive;
        self.weigh(&ordered, begun, &report);
        if let Some(item) = self.items.get_mut(&(height, index))
            && report.ballot == Ballot::Commit
        {
            item.write_sets = Some(report.write_sets);
        }
        self.engine.judged(
            now_ms(),
            height,
            index,
            report.ballot,
            holds,
            &mut self.actions,
        );
    }

    /// A session for what is judged at its place and has none here: a follower's of an autocommit write, or of a
    /// SERIALIZABLE transaction whose own was lost, which does not matter.
    fn session_at_place(
        &self,
        height: Height,
        index: u32,
        tx: TxId,
        ordered: &Ordered,
    ) -> TxSession {
        let (auto, time_ms) = match ordered {
            Ordered::Auto(auto) => (true, self.times.get(&auto.ran_at).copied().unwrap_or(0)),
            _ => (false, 0),
        };
        let begun = self.ending.get(&(height, index)).cloned();
        let opening = begun.unwrap_or_else(|| self.opening_of(tx, ordered, time_ms));
        TxSession::new(tx.client, opening, auto)
    }

    /// A message to a client about a transaction that is over here.
    pub(super) fn tell_doomed(&mut self, client: ClientId, tx: TxId, why: txn::client::Reason) {
        let epoch = self.engine.epoch();
        self.tell(
            client,
            &txn::client::ReplicaMessage::Doomed {
                tx,
                reason: why,
                epoch,
            },
        );
    }
}

fn replaying(mut opening: super::opening::Opening) -> super::opening::Opening {
    opening.mode = "replay";
    opening
}

impl ItemState {
    pub(super) fn new(ordered: Arc<Ordered>) -> ItemState {
        ItemState {
            ordered,
            begun: None,
            reason: None,
            write_sets: None,
            pid: 0,
            since: Instant::now(),
            busy: false,
            runs: 0,
        }
    }
}
