//! What clients ask of this replica outside of the order: operations at the master, cancels, inquiries.

use super::judge::reason;
use super::operation::Ran;
use super::provision;
use super::session::{Done, LastAnswer, Place, Work};
use super::{Executor, PARKED_PER_CLIENT, Parked, now_ms};
use bytes::Bytes;
use cluster::channel;
use consensus::{ClientId, Height};
use net::PeerId;
use pgsession::{Error, Session};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;
use txn::client::{ClientMessage, Outcome, ReplicaMessage, ReplicaStatus};
use txn::{Operation, TxId};

/// How long an operation waits for the Begin of its transaction to be decided here.
const PARKED_FOR: Duration = Duration::from_secs(20);
/// Operations of one transaction that may wait for each other.
const QUEUED_OPERATIONS: usize = 64;

impl Executor {
    pub(super) fn client_frame(&mut self, from: ClientId, payload: &Bytes) {
        #[cfg(feature = "lies")]
        if self.bench.lies.is_deaf_to(payload) {
            return;
        }
        let message = match consensus::decode(payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%from, %error, "unreadable message of a client dropped");
                return;
            }
        };
        match message {
            message @ (ClientMessage::Operation { tx, .. }
            | ClientMessage::AutoOperation { tx, .. })
                if tx.client == from =>
            {
                self.at_master(tx, message)
            }
            ClientMessage::AutoForget { tx } if tx.client == from => self.auto_forget(tx),
            ClientMessage::Cancel { tx } if tx.client == from => self.cancel_operation(tx),
            ClientMessage::Read {
                id,
                min_height,
                time_ms,
                nonce,
                settings,
                operation,
                whole,
            } => {
                let read = super::reads::Read {
                    client: from,
                    id,
                    min_height,
                    time_ms,
                    nonce,
                    settings,
                    operation,
                    whole,
                    since: Instant::now(),
                };
                self.read(read);
            }
            ClientMessage::Rebuild => self.rebuild_asked(from),
            ClientMessage::CancelRead { id } => self.cancel_read(from, id),
            ClientMessage::Receipt { id, wanted } => self.receipt(from, id, wanted),
            ClientMessage::Errand(errand) => self.errand(from, errand),
            ClientMessage::Info { id } => {
                let status = self.status();
                self.tell(from, &ReplicaMessage::Info { id, status });
                if id == 0 && self.view.id > 0 {
                    // It has just connected, and may have been away while the membership changed.
                    self.tell(from, &self.announcement());
                }
            }
            // Requests go to the order before they come here; the rest names another client's transaction.
            _ => tracing::warn!(%from, "a client spoke of what is not its own"),
        }
    }

    pub(super) fn operation(
        &mut self,
        client: ClientId,
        tx: TxId,
        step: u32,
        operation: Operation,
    ) {
        tracing::trace!(target: "timeline", at = "came", %tx, step);
        if let Some(why) = self.ends.get(&tx) {
            let why = why.clone();
            return self.tell_doomed(client, tx, why);
        }
        if self.engine.master() != self.me {
            return self.tell_doomed(
                client,
                tx,
                reason(
                    "40001",
                    "could not serialize access: this replica is not the master",
                    "",
                ),
            );
        }
        if let Some(why) = provision::refused(&operation, tx, &self.view) {
            return self.tell_doomed(client, tx, why);
        }
        let room = self.may_wait(client, Some(tx), &operation);
        let Some(session) = self.sessions.get_mut(&tx) else {
            self.park(client, tx, step, operation);
            return;
        };
        if let Some(last) = session.last.as_ref().filter(|l| l.step == step) {
            let again = ReplicaMessage::Operation {
                tx,
                step,
                outcome: last.outcome.clone(),
                evidence: last.evidence.clone(),
                ran_at: last.ran_at,
                word: last.word,
            };
            return self.tell(client, &again);
        }
        let known = session.queue.iter().any(|(s, _)| *s == step)
            || (session.running_step == step
                && (session.work() == Some(Work::Operation) || session.ran_meanwhile.is_some()))
            || session.last.as_ref().is_some_and(|l| step < l.step);
        if known {
            return;
        }
        if session.queue.len() >= QUEUED_OPERATIONS || !room {
            let why = reason("53400", "too many operations of one transaction wait", "");
            session.doom = Some(why.clone());
            return self.tell_doomed(client, tx, why);
        }
        session.queue.push_back((step, operation));
        self.run_next(tx);
    }

    /// Keeps an operation whose Begin is not decided here yet.
    fn park(&mut self, client: ClientId, tx: TxId, step: u32, operation: Operation) {
        let waiting: usize = self
            .parked
            .values()
            .filter(|p| p.client == client)
            .map(|p| p.operations.len())
            .sum();
        if waiting >= PARKED_PER_CLIENT || !self.may_wait(client, None, &operation) {
            return self.tell_doomed(
                client,
                tx,
                reason(
                    "53400",
                    "too many operations wait for their transactions",
                    "",
                ),
            );
        }
        let parked = self.parked.entry(tx).or_insert_with(|| Parked {
            client,
            operations: VecDeque::new(),
            since: Instant::now(),
        });
        if !parked.operations.iter().any(|(s, _)| *s == step) {
            parked.operations.push_back((step, operation));
        }
    }

    /// Runs what waited for snapshots, and gives up what waited too long.
    pub(super) fn run_parked(&mut self) {
        let ready: Vec<TxId> = self
            .parked
            .iter()
            .filter(|(tx, p)| self.sessions.contains_key(tx) || p.since.elapsed() > PARKED_FOR)
            .map(|(tx, _)| *tx)
            .collect();
        for tx in ready {
            let Some(parked) = self.parked.remove(&tx) else {
                continue;
            };
            if !self.sessions.contains_key(&tx) {
                self.tell_doomed(
                    parked.client,
                    tx,
                    reason("40001", "the transaction is not known at the master", ""),
                );
                continue;
            }
            for (step, operation) in parked.operations {
                self.operation(parked.client, tx, step, operation);
            }
        }
    }

    /// Starts the next waiting operation if the session is at home.
    pub(super) fn run_next(&mut self, tx: TxId) {
        let held = self.sessions.get(&tx).is_some_and(|s| self.is_held_back(s));
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        if session.queue.is_empty() || session.cancelling {
            return;
        }
        if let Some(why) = session.doom.clone() {
            session.queue.clear();
            let client = session.client;
            return self.tell_doomed(client, tx, why);
        }
        if session.item.is_some() {
            // Its end is ordered: what comes now comes too late.
            session.queue.clear();
            return;
        }
        if held {
            return;
        }
        let Some(own) = session.lend(Work::Operation) else {
            return;
        };
        let Some((step, operation)) = session.queue.pop_front() else {
            return;
        };
        session.running_step = step;
        session.speculative = true;
        tracing::trace!(target: "timeline", at = "run", %tx, step);
        let newest = session.opening.clone();
        let savepoint = session.savepoints.innermost();
        tokio::spawn(
            self.bench
                .clone()
                .operation(tx, own, newest, operation, savepoint),
        );
    }

    /// A client's operation came back.
    pub(super) fn ran(
        &mut self,
        tx: TxId,
        own: Session,
        operation: Operation,
        ran: Result<Ran, Error>,
    ) {
        let final_height = self.engine.final_height();
        let Some(session) = self.sessions.get_mut(&tx) else {
            tokio::spawn(self.bench.clone().abandon(own));
            return;
        };
        if session.work() != Some(Work::Operation) {
            // What it ran in is not this transaction's session any more. One to which a cancel is on its way is closed.
            if !session.cancelling {
                tokio::spawn(self.bench.clone().abandon(own));
            }
            return;
        }
        if session.cancelling {
            session.place = Place::Home(own);
            session.ran_meanwhile = Some(Box::new((operation, ran)));
            return;
        }
        session.pid = own.pid();
        session.place = Place::Home(own);
        if session.preempted && session.item.is_none() {
            // Whatever it came to: its client hears why, not that somebody cancelled it.
            session.give_way();
        }
        let client = session.client;
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) => {
                tracing::warn!(%tx, %error, "a client's session was lost");
                session.place = Place::Gone;
                let why = reason(
                    "40001",
                    "the transaction's session with PostgreSQL was lost",
                    error.to_string(),
                );
                session.doom.get_or_insert(why);
                return self.after_return(tx);
            }
        };
        if session.doom.is_none() {
            let again = session.takes(&ran.evidence, self.engine.given());
            #[cfg(feature = "lies")]
            let again = again.filter(|_| !self.bench.lies.gives_again());
            if let Some(repeat) = again {
                let why = self.given_again(tx, &repeat);
                if let Some(session) = self.sessions.get_mut(&tx) {
                    session.doom = Some(why);
                }
                return self.after_return(tx);
            }
        }
        let step = session.running_step;
        tracing::trace!(target: "timeline", at = "ran", %tx, step);
        let ran_at = if session.auto {
            session.ran_at
        } else {
            final_height
        };
        if let Some(kind) = ran.savepoint {
            session.savepoints.note(kind, session.done.len());
        }
        let (outcome, evidence) = (ran.outcome, ran.evidence.clone());
        let done = Done {
            operation,
            evidence: ran.evidence,
            write_set: ran.write_set,
        };
        let mut word = None;
        // An autocommit write needs it only for what sequences gave.
        if session.auto && done.evidence.sequences.is_empty() {
            session.done.push(done);
        } else {
            word = Some(session.note(tx, self.engine.epoch(), done, self.engine.key()));
        }
        #[cfg(feature = "lies")]
        let word = self.bench.lies.word(word);
        let last = LastAnswer {
            step,
            outcome,
            evidence,
            ran_at,
            word,
        };
        if session.doom.is_none() {
            let message = ReplicaMessage::Operation {
                tx,
                step,
                outcome: last.outcome.clone(),
                evidence: last.evidence.clone(),
                ran_at,
                word,
            };
            session.last = Some(last);
            session.idle_since = Instant::now();
            self.tell(client, &message);
        }
        self.after_return(tx);
    }

    /// A session came home: it is given up if the transaction is over, else it goes on.
    pub(super) fn after_return(&mut self, tx: TxId) {
        let Some(session) = self.sessions.get_mut(&tx) else {
            return;
        };
        let why = session.doom.clone();
        let Some(why) = why else {
            if std::mem::take(&mut session.preempted) {
                return self.give_way(tx);
            }
            return self.run_next(tx);
        };
        if session.item.is_some() {
            return;
        }
        let client = session.client;
        let asked = session.speculative || !session.queue.is_empty();
        session.queue.clear();
        let open = self.engine.is_open(&tx);
        if let Place::Home(own) = std::mem::replace(&mut session.place, Place::Gone) {
            tokio::spawn(self.bench.clone().abandon(own));
        }
        let auto = session.auto;
        if !open {
            self.sessions.remove(&tx);
        }
        if asked {
            self.tell_doomed(client, tx, why);
        }
        if auto {
            self.left_turn(tx);
        }
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        let (regency, leader) = self.regency;
        let decided: Height = self.decided_height();
        ReplicaStatus {
            replica: self.me.0,
            regency,
            leader: leader.0,
            epoch: self.engine.epoch(),
            master: self.engine.master().0,
            decided,
            applied: self.engine.final_height(),
            open_transactions: self.engine.open_transactions() as u64,
            connected: self.connected_peers().iter().map(|r| r.0).collect(),
            round_trips: self
                .order
                .round_trips()
                .into_iter()
                .map(|(peer, took)| (peer.0, took))
                .collect(),
            verdicts: self.counters,
            server_version: self.server_version.clone(),
            postgres_pid: self.postgres_pid,
            last_error: self.last_error.clone(),
            rebuilding: self.damage.rebuilding.clone(),
            rebuilt: self.damage.rebuilt.clone(),
            time_ms: self
                .times
                .get(&self.engine.final_height())
                .copied()
                .unwrap_or_else(now_ms),
            parameters: self.parameters.clone(),
        }
    }

    pub(super) fn tell(&self, client: ClientId, message: &ReplicaMessage) {
        let bytes = postcard::to_stdvec(message).expect("these types have no unserialisable parts");
        let bytes = Bytes::from(bytes);
        if let ReplicaMessage::Operation { tx, .. } | ReplicaMessage::Doomed { tx, .. } = message {
            #[cfg(feature = "lies")]
            if self.bench.lies.is_mute() {
                return;
            }
            self.tell_bringers(client, *tx, &bytes);
            #[cfg(feature = "lies")]
            if self.bench.lies.is_deaf() {
                return;
            }
        }
        self.send_client(client, bytes);
    }

    pub(super) fn send_client(&self, client: ClientId, message: Bytes) {
        if client.as_replica().is_some() {
            return;
        }
        if let Err(error) = self
            .endpoint
            .send(PeerId::Client(client.0), channel::CLIENT, message)
        {
            tracing::debug!(%client, %error, "an answer could not be sent");
        }
    }

    /// An outcome without rows for what never reached PostgreSQL.
    pub(super) fn refused(sqlstate: &str, message: &str) -> Outcome {
        let frames = vec![super::jobs::error_frame(sqlstate, message)];
        let result = txn::result::digest(&frames, None);
        Outcome {
            frames,
            result,
            transaction: b'E',
        }
    }
}
