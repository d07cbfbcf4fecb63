//! Verdicts are obeyed: own sessions commit, others' write sets are adopted, heights end.

use super::jobs::{error_frame, steps_of};
use super::judge::reason;
use super::session::{Place, Work};
use super::{Executor, Fatal, ItemState, Note, now_ms, record};
use bytes::Bytes;
use consensus::{ClientId, Digest, Height, ReplicaId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use txn::client::{Answer, Reason};
use txn::engine::{Action, Doom};
use txn::peer::PeerMessage;
use txn::tally::Verdict;
use txn::{Ballot, Ordered, TxId, VotePart, WriteSet};

/// How long a peer may take to send a write set before the next one is asked.
const FETCH_TIMEOUT: Duration = Duration::from_millis(400);

/// A write set on its way from a peer.
pub(super) struct Fetch {
    height: Height,
    index: u32,
    tx: TxId,
    ordered: Arc<Ordered>,
    asked: usize,
    since: Instant,
}

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
        match (verdict, own) {
            (Verdict::Abort, _) => {
                self.counters.1 += 1;
                // Who names another client's transaction ends nothing by it.
                if client == tx.client && !self.engine.is_open(&tx) {
                    self.abandon(tx);
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
    }

    pub(super) fn applied(&mut self, height: Height, index: u32) {
        if let Some(item) = self.items.get_mut(&(height, index)) {
            item.busy = false;
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

    /// Applies the agreed write set: from the own log, or from a peer, checked against the agreed digests.
    fn adopt(&mut self, height: Height, index: u32, tx: TxId, ordered: Arc<Ordered>) {
        let done = self.history.as_ref().is_some_and(|h| h.has(height, index));
        if done || !leaves_something(&ordered) {
            self.applied(height, index);
            return;
        }
        self.counters.2 += 1;
        if let Some(item) = self.items.get_mut(&(height, index)) {
            item.since = Instant::now();
        }
        if steps_of(&ordered).iter().any(|s| s.evidence.schema_change) {
            self.spawn_adoption(height, index, tx, ordered, Vec::new());
            return;
        }
        let own = self
            .items
            .get_mut(&(height, index))
            .and_then(|item| item.write_sets.take())
            .or_else(|| self.logged_write_sets(height, index))
            .filter(|sets| fits(sets, &ordered));
        if let Some(write_sets) = own {
            self.spawn_adoption(height, index, tx, ordered, write_sets);
            return;
        }
        if !steps_of(&ordered)
            .iter()
            .any(|s| s.evidence.write != Digest([0; 32]))
        {
            self.spawn_adoption(height, index, tx, ordered, Vec::new());
            return;
        }
        self.fetching = Some(Fetch {
            height,
            index,
            tx,
            ordered,
            asked: usize::from(self.me.0),
            since: Instant::now(),
        });
        self.ask_next_peer();
    }

    fn spawn_adoption(
        &mut self,
        height: Height,
        index: u32,
        tx: TxId,
        ordered: Arc<Ordered>,
        write_sets: Vec<WriteSet>,
    ) {
        let mut opening = match (&*ordered, self.ending.get(&(height, index))) {
            (Ordered::Commit(_), Some(begun)) => begun.clone(),
            (Ordered::Auto(auto), _) => {
                let time_ms = self.times.get(&auto.ran_at).copied().unwrap_or(0);
                self.opening_of(tx, &ordered, time_ms)
            }
            _ => self.opening_of(tx, &ordered, 0),
        };
        opening.mode = "replay";
        opening.read_only = false;
        tokio::spawn(
            self.bench
                .clone()
                .adopt(height, index, tx, opening, ordered, write_sets),
        );
    }

    fn ask_next_peer(&mut self) {
        let peers: Vec<ReplicaId> = self.connected_peers();
        let Some(fetch) = &mut self.fetching else {
            return;
        };
        fetch.since = Instant::now();
        if peers.is_empty() {
            return;
        }
        let peer = peers[fetch.asked % peers.len()];
        fetch.asked += 1;
        let message = PeerMessage::FetchWriteSet {
            height: fetch.height,
            index: fetch.index,
        };
        self.send_peer(peer, &message);
    }

    /// Asks another peer when one does not answer.
    pub(super) fn fetch_tick(&mut self) {
        if self
            .fetching
            .as_ref()
            .is_some_and(|f| f.since.elapsed() >= FETCH_TIMEOUT)
        {
            self.ask_next_peer();
        }
    }

    /// A peer's write sets: taken only when every digest is the agreed one.
    pub(super) fn write_sets_came(
        &mut self,
        from: ReplicaId,
        height: Height,
        index: u32,
        steps: Option<Vec<WriteSet>>,
    ) {
        let Some(fetch) = self
            .fetching
            .take_if(|f| (f.height, f.index) == (height, index))
        else {
            return;
        };
        match steps.filter(|sets| fits(sets, &fetch.ordered)) {
            Some(write_sets) => {
                self.spawn_adoption(height, index, fetch.tx, fetch.ordered, write_sets)
            }
            None => {
                tracing::info!(%from, height, index, "peer has no fitting write set");
                self.fetching = Some(fetch);
                // Asked again by the timer if everybody was asked; else the next one at once.
                if self
                    .fetching
                    .as_ref()
                    .is_some_and(|f| f.asked % self.view.replicas.len() != 0)
                {
                    self.ask_next_peer();
                }
            }
        }
    }

    pub(super) fn adopted(
        &mut self,
        height: Height,
        index: u32,
        tx: TxId,
        error: Option<super::adopt::Failure>,
    ) {
        self.sessions.remove(&tx);
        match error {
            None => self.applied(height, index),
            Some(failure @ super::adopt::Failure::Diverged { .. }) => {
                self.fail(Fatal::Diverged(failure.to_string()))
            }
            Some(failure) => self.fail(Fatal::Postgres(format!(
                "adopting height {height}: {failure}"
            ))),
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
        let replayed = self.history.as_ref().is_some_and(|h| h.was_final(height));
        match &*ordered {
            Ordered::Exec(_) if !replayed => {
                if let Some(item) = self.items.get_mut(&(height, index)) {
                    item.since = Instant::now();
                    item.busy = true;
                }
                tokio::spawn(self.bench.clone().exec(height, index, ordered));
            }
            Ordered::Audit if !self.history.as_ref().is_some_and(|h| h.is_replayed(height)) => {
                tokio::spawn(
                    self.bench
                        .clone()
                        .audit(height, index, client, incarnation, seq),
                );
            }
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

    /// Own write sets of an item as they were logged with the vote.
    pub(super) fn logged_write_sets(&self, height: Height, index: u32) -> Option<Vec<WriteSet>> {
        let records = self
            .log
            .read(record::VOTES, height..=height, usize::MAX)
            .ok()?;
        records.iter().find_map(|r| {
            let (_, sets): (VotePart, Vec<(u32, Vec<WriteSet>)>) =
                postcard::from_bytes(&r.payload).ok()?;
            sets.into_iter()
                .find(|(i, _)| *i == index)
                .map(|(_, sets)| sets)
        })
    }

    /// Own write sets of an item, for a peer that adopts it.
    pub(super) fn own_write_sets(&self, height: Height, index: u32) -> Option<Vec<WriteSet>> {
        let known = self
            .items
            .get(&(height, index))
            .and_then(|i| i.write_sets.clone());
        known.or_else(|| self.logged_write_sets(height, index))
    }

    /// A height is final: everything of it is applied and its snapshots are taken.
    pub(super) fn finished(&mut self, height: Height, time_ms: u64, verdicts: &[(u32, Verdict)]) {
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
        if self
            .history
            .as_ref()
            .is_some_and(|h| !h.is_replayed(height + 1))
        {
            // Everything of before the restart is applied: what PostgreSQL had need not be known any more.
            self.history = None;
        }
        self.start_waiting_reads();
        self.run_parked();
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

/// Whether every write set has the agreed digest.
fn fits(sets: &[WriteSet], ordered: &Ordered) -> bool {
    let steps = steps_of(ordered);
    sets.len() == steps.len()
        && sets
            .iter()
            .zip(steps)
            .all(|(set, step)| set.digest() == step.evidence.write)
}

/// Whether a commit changes anything that a restarted or adopting replica would miss.
fn leaves_something(ordered: &Ordered) -> bool {
    steps_of(ordered).iter().any(|step| {
        let evidence = &step.evidence;
        evidence.write != Digest([0; 32])
            || evidence.schema_change
            || !evidence.sequences.is_empty()
    })
}

fn doom_reason(doom: Doom) -> Reason {
    let message = match doom {
        Doom::MasterChanged => "could not serialize access: the master replica changed",
        Doom::SchemaChanged => {
            "could not serialize access: the schema was changed by a concurrent transaction"
        }
        Doom::Expired => "the transaction was open for too long",
        Doom::ClientRestarted => "the client of the transaction started anew",
        Doom::RolledBack => "the transaction was rolled back",
    };
    let sqlstate = if doom == Doom::Expired {
        "25P03"
    } else {
        "40001"
    };
    reason(sqlstate, message, "")
}
