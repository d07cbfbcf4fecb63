//! Verdicts are obeyed: own sessions commit, others' write sets are adopted, heights end.

use super::jobs::{error_frame, steps_of};
use super::judge::reason;
use super::session::{Place, Work};
use super::{Executor, Fatal, ItemState, Note, now_ms, record};
use bytes::Bytes;
use consensus::{ClientId, Height};
use std::sync::Arc;
use tokio::time::Instant;
use txn::client::{Answer, Reason};
use txn::engine::{Action, Doom, Settled};
use txn::peer::PeerMessage;
use txn::tally::Verdict;
use txn::{Ballot, Ordered, TxId, VotePart, WriteSet};

impl Executor {
    /// An [`Action::Apply`]. Nothing is committed while a read takes its snapshot, and the other way round.
    pub(super) fn apply(&mut self, action: Action) {
        let commits = matches!(
            action,
            Action::Apply {
                verdict: Verdict::Commit,
                ..
            }
        );
        if self.gate_held.is_none() && (commits || self.gate_wanted) {
            if self.gate_wanted {
                self.at_gate.push_back(action);
                return;
            }
            match self.gate.clone().try_write_owned() {
                Ok(guard) => self.gate_held = Some(guard),
                Err(_) => {
                    self.gate_wanted = true;
                    self.at_gate.push_back(action);
                    let (gate, notes) = (self.gate.clone(), self.bench.notes.clone());
                    tokio::spawn(async move {
                        let _ = notes.send(Note::Gate(gate.write_owned().await));
                    });
                    return;
                }
            }
        }
        self.obey(action);
    }

    pub(super) fn gate_closed(&mut self, guard: tokio::sync::OwnedRwLockWriteGuard<()>) {
        self.gate_wanted = false;
        self.gate_held = Some(guard);
        for action in std::mem::take(&mut self.at_gate) {
            self.obey(action);
        }
    }

    fn obey(&mut self, action: Action) {
        let Action::Apply {
            height,
            index,
            tx,
            ordered,
            verdict,
            own,
            client,
        } = action
        else {
            return;
        };
        tracing::trace!(target: "timeline", at = "verdict", %tx, height, index);
        self.items
            .entry((height, index))
            .or_insert_with(|| ItemState::new(ordered.clone()));
        if verdict == Verdict::Commit {
            self.receipts.committed(tx, height, index);
        }
        match (verdict, own) {
            (Verdict::Abort, _) => {
                if self.history.as_ref().is_some_and(|h| h.has(height, index)) {
                    self.fail(Fatal::Diverged(format!(
                        "PostgreSQL has effects of height {height} that were never committed"
                    )));
                    return;
                }
                self.counters.1 += 1;
                // Who names another client's transaction ends nothing by it.
                if client == tx.client && !self.engine.is_open(&tx) {
                    self.abandon(tx);
                    self.over_in_turn(tx, false);
                }
                self.applied(height, index);
            }
            (Verdict::Commit, Some(Ballot::Commit)) => {
                self.counters.0 += 1;
                let mark = leaves_something(&ordered);
                let lent = self
                    .sessions
                    .get_mut(&tx)
                    .and_then(|session| session.lend(Work::Applying(height, index)));
                match lent {
                    Some(session) => {
                        tokio::spawn(
                            self.bench
                                .clone()
                                .end(height, index, tx, session, true, mark),
                        );
                    }
                    None => self.adopt(height, index, tx, ordered),
                }
            }
            (Verdict::Commit, _) => {
                self.counters.0 += 1;
                self.abandon(tx);
                self.adopt(height, index, tx, ordered);
            }
        }
    }

    /// The session's commit came back.
    pub(super) fn ended(&mut self, height: Height, index: u32, tx: TxId, error: Option<String>) {
        tracing::trace!(target: "timeline", at = "applied", %tx, height, index);
        self.sessions.remove(&tx);
        if let Some(error) = error {
            // The verdict stands; what PostgreSQL did not commit is applied again after a restart.
            self.fail(Fatal::Postgres(format!(
                "an agreed commit at height {height} failed: {error}"
            )));
            return;
        }
        self.applied(height, index);
        self.over_in_turn(tx, true);
    }

    pub(super) fn applied(&mut self, height: Height, index: u32) {
        if let Some(item) = self.items.get_mut(&(height, index)) {
            item.busy = false;
            let mut steps = super::jobs::steps_of(&item.ordered).iter();
            if steps.any(|step| step.evidence.schema_change) {
                self.bench.pool.schema_changed();
                self.bench.rounds.forget();
            }
        }
        self.engine
            .applied(now_ms(), height, index, &mut self.actions);
    }

    /// Gives up a transaction's session, wherever it is.
    pub(super) fn abandon(&mut self, tx: TxId) {
        let Some(mut session) = self.sessions.remove(&tx) else {
            return;
        };
        match std::mem::replace(&mut session.place, Place::Gone) {
            Place::Home(own) if !session.cancelling => {
                tokio::spawn(self.bench.clone().abandon(own));
            }
            // Closed with its connection: PostgreSQL rolls back.
            Place::Home(own) => drop(own),
            Place::Away(work) => {
                if matches!(work, Work::Operation) {
                    self.control.cancel_process(session.pid);
                }
                session.place = Place::Away(work);
                session
                    .doom
                    .get_or_insert(reason("40001", "the transaction is over", ""));
                self.sessions.insert(tx, session);
            }
            Place::Gone => {}
        }
    }

    /// Executes an `Exec` or an audit at its place.
    pub(super) fn execute(
        &mut self,
        height: Height,
        index: u32,
        client: ClientId,
        incarnation: u64,
        seq: u64,
        ordered: Arc<Ordered>,
    ) {
        self.items
            .entry((height, index))
            .or_insert_with(|| ItemState::new(ordered.clone()));
        let replayed = self
            .history
            .as_ref()
            .is_some_and(|h| h.was_final(height) || h.is_copied(height, index));
        match &*ordered {
            Ordered::Exec(exec) if !replayed => {
                if super::copy::is_in_the_way_of(&exec.operation.sql) {
                    self.end_copies("what waits for all readers of a table is executed");
                }
                if let Some(item) = self.items.get_mut(&(height, index)) {
                    item.since = Instant::now();
                    item.busy = true;
                }
                tokio::spawn(self.bench.clone().exec(height, index, client, ordered));
            }
            Ordered::Audit if !self.history.as_ref().is_some_and(|h| h.is_replayed(height)) => {
                tokio::spawn(
                    self.bench
                        .clone()
                        .audit(height, index, client, incarnation, seq),
                );
            }
            Ordered::Compare if self.compare(height, index, client) => {}
            Ordered::Copy if self.copy_asked(height, index, client) => {}
            _ => self.applied(height, index),
        }
        if let Ordered::Exec(_) = &*self.items[&(height, index)].ordered {
            self.replies.expect(height, index, client, incarnation, seq);
        }
    }

    pub(super) fn executed(
        &mut self,
        height: Height,
        index: u32,
        frames: Vec<Bytes>,
        error: Option<pgsession::Error>,
    ) {
        if let Some(error) = error {
            self.fail(Fatal::Postgres(format!(
                "executing at height {height}: {error}"
            )));
            return;
        }
        let frames = if frames.is_empty() {
            vec![error_frame("XX000", "no answer")]
        } else {
            frames
        };
        let result = txn::result::digest(&frames, None);
        let time_ms = self.times.get(&height).copied().unwrap_or(0);
        let epoch = self.engine.epoch();
        if let Some((client, incarnation, seq)) = self.replies.expected(height, index) {
            self.answer_executed(
                client,
                incarnation,
                seq,
                (height, index),
                time_ms,
                epoch,
                Answer::Executed { result },
                frames,
            );
        }
        self.applied(height, index);
    }

    /// Makes own votes durable with their write sets; they are sent then, never before (DESIGN.md, 9).
    pub(super) fn cast(&mut self, part: VotePart) {
        #[cfg(feature = "lies")]
        let part = self.bench.lies.vote(self.view.id, part);
        let sets: Vec<(u32, Vec<WriteSet>)> = part
            .items()
            .filter(|(_, ballot)| *ballot == Ballot::Commit)
            .filter_map(|(index, _)| {
                let item = self.items.get(&(part.height, index))?;
                Some((index, item.write_sets.clone()?))
            })
            .collect();
        let payload =
            postcard::to_stdvec(&(&part, &sets)).expect("these types have no unserialisable parts");
        let notes = self.bench.notes.clone();
        self.log
            .append_then(record::VOTES, part.height, payload.into(), move |done| {
                // A log that fails is seen by the runtime, which stops the replica.
                if done.is_ok() {
                    let _ = notes.send(Note::VotesDurable(part));
                }
            });
    }

    pub(super) fn votes_durable(&mut self, part: VotePart) {
        tracing::trace!(target: "timeline", at = "voted", height = part.height);
        #[cfg(feature = "lies")]
        self.lie_to_peers(&part);
        self.broadcast_peers(&PeerMessage::Vote(part.clone()));
        self.engine.vote(now_ms(), part, &mut self.actions);
    }

    /// A height is final: everything of it is applied and its snapshots are taken.
    pub(super) fn finished(
        &mut self,
        height: Height,
        time_ms: u64,
        verdicts: &[(u32, Verdict)],
        settled: Settled,
    ) {
        self.reads.advance(height, time_ms);
        tracing::trace!(target: "timeline", at = "final", height);
        self.finished.send_replace(height);
        self.gate_held = None;
        let replayed = self.history.as_ref().is_some_and(|h| h.was_final(height));
        if !replayed {
            let payload = postcard::to_stdvec(verdicts).expect("numbers always serialise");
            self.log.append(record::VERDICTS, height, payload.into());
        }
        self.items = self.items.split_off(&(height + 1, 0));
        self.ending = self.ending.split_off(&(height + 1, 0));
        self.replies.settle(height);
        self.state_is_final(height, settled);
        if self
            .history
            .as_ref()
            .is_some_and(|h| !h.is_replayed(height + 1))
        {
            // Everything of before the restart is applied: what PostgreSQL had need not be known any more.
            self.history = None;
        }
        self.gone.retain(|_, oldest| *oldest > height + 1);
        self.rebuilt_up_to(height);
        self.start_waiting_reads();
        self.run_parked();
        self.run_waiting_autos();
        self.run_receipts();
    }

    /// A transaction ended by the order without its client's commit.
    pub(super) fn drop_transaction(&mut self, tx: TxId, doom: Doom) {
        let why = doom_reason(doom);
        self.parked.remove(&tx);
        if !self.engine.is_open(&tx) {
            self.openings.remove(&tx);
        }
        let Some(session) = self.sessions.get_mut(&tx) else {
            self.remember_end(tx, why);
            return;
        };
        let client = session.client;
        let waiting = session.speculative || !session.queue.is_empty();
        session.doom = Some(why.clone());
        session.queue.clear();
        self.abandon(tx);
        self.remember_end(tx, why.clone());
        if doom != Doom::RolledBack && waiting {
            self.tell_doomed(client, tx, why);
        }
    }

    pub(super) fn remember_end(&mut self, tx: TxId, why: Reason) {
        self.ends.insert(tx, why);
        while self.ends.len() > super::REMEMBERED_ENDS {
            self.ends.pop_first();
        }
    }
}

/// Whether a commit changes anything that a restarted or adopting replica would miss.
pub(super) fn leaves_something(ordered: &Ordered) -> bool {
    steps_of(ordered)
        .iter()
        .any(|step| step.evidence.leaves_something())
}

fn doom_reason(doom: Doom) -> Reason {
    let message = match doom {
        Doom::MasterChanged => "could not serialize access: the master replica changed",
        Doom::SchemaChanged => {
            "could not serialize access: the schema was changed by a concurrent transaction"
        }
        Doom::Expired => "the transaction was open for too long",
        Doom::ClientRestarted => "the client of the transaction started anew",
        Doom::ClientGone => "the client of the transaction was not connected for long",
        Doom::RolledBack => "the transaction was rolled back",
    };
    let sqlstate = if doom == Doom::Expired {
        "25P03"
    } else {
        "40001"
    };
    reason(sqlstate, message, "")
}
