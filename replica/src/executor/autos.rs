//! Autocommit writes at the master, before they are ordered (DESIGN.md, 7).

mod turns;

use super::judge::reason;
use super::opening::Opening;
use super::provision;
use super::roles;
use super::session::{Place, TxSession, Work};
use super::{Executor, PARKED_PER_CLIENT};
use consensus::{ClientId, Height, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use turns::Turns;
use txn::client::Turn;
use txn::ordered::SessionSettings;
use txn::{Isolation, Operation, TxId};

/// How long a write waits for the height that its client has seen.
const WAIT_FOR_HEIGHT: Duration = Duration::from_secs(10);
/// How long its session waits for its client to order it.
const IDLE: Duration = Duration::from_secs(60);

/// Sessions of transactions, with which an autocommit write is refused one.
const SESSIONS: usize = txn::limits::OPEN_TRANSACTIONS + 20;

/// Writes that wait for a height, or for a turn to begin or to end.
#[derive(Default)]
pub struct Waiting {
    pub of: BTreeMap<TxId, Auto>,
    pub turns: Turns,
}

/// An autocommit write as a client asked for it.
pub struct Auto {
    pub client: ClientId,
    pub epoch: u64,
    pub min_height: Height,
    pub turn: Option<Turn>,
    pub settings: SessionSettings,
    pub operation: Operation,
    pub since: Instant,
    /// Who brought it here for its client.
    pub bringers: BTreeSet<ReplicaId>,
}

impl Executor {
    pub(super) fn auto_operation(&mut self, tx: TxId, auto: Auto) {
        let client = auto.client;
        if let Some(why) = provision::refused(&auto.operation, tx, &self.view) {
            return self.tell_doomed(client, tx, why);
        }
        if let Some(why) = roles::refused(client, &auto.settings) {
            return self.tell_doomed(client, tx, why);
        }
        let mine = auto.epoch == self.engine.epoch()
            && self.engine.master() == self.me
            && self.history.is_none();
        if !mine {
            let why = "could not serialize access: this replica is not the master";
            return self.tell_doomed(client, tx, reason("40001", why, ""));
        }
        if self.sessions.contains_key(&tx) {
            return self.operation(client, tx, 0, auto.operation);
        }
        if let Some(known) = self.autos.of.get_mut(&tx) {
            // A repeated message does not prolong the wait.
            return known.bringers.extend(auto.bringers);
        }
        if self.errands.was_begun(&tx) {
            // Given up when its client was gone; or it is ordered, and then nobody waits for this.
            let why = "could not serialize access: the statement was given up";
            return self.tell_doomed(client, tx, reason("40001", why, ""));
        }
        // f+1 of its replies came from replicas that are ahead of this one: run now, it would miss what its client has
        // seen, and every judge that does not would vote ABORT.
        let early = auto.min_height > self.engine.final_height();
        // Those who wait already come first: for a place, or for a turn that another client had last.
        let full = self.sessions.len() >= SESSIONS && !self.autos.of.is_empty();
        let behind = full || auto.turn.is_some() && self.asks_before(client);
        if !early && !behind && self.autos.turns.may_run(tx, auto.turn, Instant::now()) {
            return self.start_auto(tx, auto);
        }
        let waiting = self.autos.of.values();
        let waiting = waiting.filter(|a| a.client == client).count();
        if waiting < PARKED_PER_CLIENT && self.may_wait(client, None, &auto.operation) {
            self.autos.of.insert(tx, auto);
        } else if early {
            let why = "too many statements wait for the master to catch up";
            self.tell_doomed(client, tx, reason("53400", why, ""));
        } else {
            // A turn makes others wait, and refuses nobody.
            self.start_auto(tx, auto);
        }
    }

    fn start_auto(&mut self, tx: TxId, auto: Auto) {
        let client = auto.client;
        if self.sessions.len() >= SESSIONS {
            let why = "too many open transactions";
            self.tell_doomed(client, tx, reason("53300", why, ""));
            return self.left_turn(tx);
        }
        let ran_at = self.engine.final_height();
        let opening = Opening {
            client,
            isolation: "READ COMMITTED",
            promised: Isolation::of(&auto.settings),
            read_only: false,
            time_ms: self.times.get(&ran_at).copied().unwrap_or(0),
            nonce: tx.nonce(),
            mode: "record",
            settings: auto.settings,
        };
        let mut session = TxSession::new(client, opening.clone(), true);
        session.place = Place::Away(Work::Operation);
        session.speculative = true;
        session.ran_at = ran_at;
        session.bringers = auto.bringers;
        self.sessions.insert(tx, session);
        self.errands.begins(tx);
        tokio::spawn(self.bench.clone().auto(tx, opening, auto.operation));
    }

    /// Runs the writes whose height is final now and whom no turn holds back, the oldest first, and gives up those that waited too long.
    pub(super) fn run_waiting_autos(&mut self) {
        let (height, now) = (self.engine.final_height(), Instant::now());
        let mut waiting = self.oldest_autos();
        if !self.autos.turns.hold_back() {
            // Whoever had the last turn has the next one only if nobody else asks.
            let last = |tx: &TxId| self.autos.turns.had_last(tx.client);
            let asks = |tx: &TxId| self.autos.of.get(tx).is_some_and(|a| a.turn.is_some());
            waiting.sort_by_key(|(_, tx)| last(tx) && asks(tx));
        }
        for (since, tx) in waiting {
            let waited = now.saturating_duration_since(since);
            let Some(auto) = self.autos.of.get(&tx) else {
                continue;
            };
            if auto.min_height > height {
                if waited > WAIT_FOR_HEIGHT {
                    self.autos.of.remove(&tx);
                    self.errands.begins(tx);
                    let why =
                        "could not serialize access: the master is far behind the other replicas";
                    self.tell_doomed(tx.client, tx, reason("40001", why, ""));
                }
                continue;
            }
            if self.sessions.len() >= SESSIONS {
                // It begins as others end.
                continue;
            }
            let may_run = self.autos.turns.may_run(tx, auto.turn, now);
            if may_run || waited > turns::PATIENCE {
                self.start_waiting_auto(tx);
            }
        }
    }

    fn oldest_autos(&self) -> Vec<(Instant, TxId)> {
        let waiting = self.autos.of.iter();
        let mut oldest: Vec<_> = waiting.map(|(tx, auto)| (auto.since, *tx)).collect();
        oldest.sort_unstable();
        oldest
    }

    fn start_waiting_auto(&mut self, tx: TxId) {
        let begun = self.sessions.contains_key(&tx) || self.errands.was_begun(&tx);
        if let Some(auto) = self.autos.of.remove(&tx).filter(|_| !begun) {
            self.start_auto(tx, auto);
        }
    }

    /// Whether the first operation of a transaction waits for a turn to end.
    pub(super) fn is_held_back(&self, session: &TxSession) -> bool {
        let begins = !session.auto && !session.speculative && !session.opening.read_only;
        begins && self.autos.turns.hold_back() && self.held().count() < turns::MANY_HELD
    }

    /// Transactions whose first operation waits.
    fn held(&self) -> impl Iterator<Item = &TxId> {
        let sessions = self.sessions.iter();
        let held = sessions.filter(|(_, s)| !s.auto && !s.speculative && !s.queue.is_empty());
        held.map(|(tx, _)| tx)
    }

    /// Whether somebody else waits for a turn, while this client had the last one.
    fn asks_before(&self, client: ClientId) -> bool {
        let mut others = self.autos.of.values().filter(|a| a.client != client);
        self.autos.turns.had_last(client) && others.any(|a| a.turn.is_some())
    }

    /// Where nobody has the turn any more, the next one who asked has it, one of another client first; without any, whatever was held
    /// back begins.
    fn pass_turn(&mut self) {
        if !self.autos.turns.is_free() {
            return;
        }
        let (height, now) = (self.engine.final_height(), Instant::now());
        let asks = |tx: &TxId| {
            let auto = self.autos.of.get(tx);
            auto.is_some_and(|auto| auto.turn.is_some() && auto.min_height <= height)
        };
        let oldest = self.oldest_autos().into_iter().map(|(_, tx)| tx);
        let asking: Vec<TxId> = oldest.filter(asks).collect();
        let other = asking
            .iter()
            .find(|tx| !self.autos.turns.had_last(tx.client));
        let next = other.or_else(|| asking.first()).copied();
        let room = self.sessions.len() < SESSIONS && self.autos.turns.has_time(now);
        if let Some(tx) = next.filter(|_| room) {
            let turn = self.autos.of.get(&tx).and_then(|auto| auto.turn);
            if self.autos.turns.may_run(tx, turn, now) {
                return self.start_waiting_auto(tx);
            }
        }
        self.autos.turns.end(now);
        self.turn_ended();
    }

    /// Whatever was held back begins.
    fn turn_ended(&mut self) {
        let held: Vec<TxId> = self.held().copied().collect();
        for tx in held {
            self.run_next(tx);
        }
        self.run_waiting_autos();
    }

    /// A transaction has its verdict, and its effects.
    pub(super) fn over_in_turn(&mut self, tx: TxId, committed: bool) {
        self.autos.turns.over(tx, committed, Instant::now());
        self.pass_turn();
    }

    /// A run of an autocommit write is given up.
    pub(super) fn left_turn(&mut self, tx: TxId) {
        self.autos.turns.left(tx, Instant::now());
        self.pass_turn();
    }

    pub(super) fn auto_started(&mut self, tx: TxId, pid: i32) {
        if let Some(session) = self.sessions.get_mut(&tx) {
            session.pid = pid;
            if session.doom.is_some() && !session.cancelling {
                // Its session is nobody else's before the signal was sent.
                session.cancelling = true;
                self.control.cancel(tx, pid);
            }
        }
    }

    pub(super) fn auto_forget(&mut self, tx: TxId) {
        if self.autos.of.remove(&tx).is_some() {
            // It may still be on its way by somebody who brings it.
            self.errands.begins(tx);
        }
        if self
            .sessions
            .get(&tx)
            .is_some_and(|s| s.auto && s.item.is_none())
        {
            self.abandon(tx);
        }
        self.left_turn(tx);
    }

    /// Autocommit writes that nobody orders are given up.
    pub(super) fn sweep(&mut self) {
        let idle: Vec<TxId> = self
            .sessions
            .iter()
            .filter(|(_, s)| {
                s.auto
                    && s.item.is_none()
                    && matches!(s.place, Place::Home(_))
                    && s.idle_since.elapsed() > IDLE
            })
            .map(|(tx, _)| *tx)
            .collect();
        for tx in idle {
            self.abandon(tx);
        }
        self.run_parked();
        let held = self.autos.turns.hold_back();
        self.autos.turns.tick(Instant::now());
        self.pass_turn();
        match held && !self.autos.turns.hold_back() {
            true => self.turn_ended(),
            false => self.run_waiting_autos(),
        }
    }
}
