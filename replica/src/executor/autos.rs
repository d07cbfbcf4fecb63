//! Autocommit writes at the master, before they are ordered (DESIGN.md, 7).

mod turns;

use super::judge::reason;
use super::opening::Opening;
use super::provision;
use super::roles;
use super::session::{Place, TxSession, Work};
use super::{Executor, PARKED_PER_CLIENT};
use consensus::{ClientId, Height};
use std::collections::BTreeMap;
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
        // f+1 of its replies came from replicas that are ahead of this one: run now, it would miss what its client has
        // seen, and every judge that does not would vote ABORT.
        let early = auto.min_height > self.engine.final_height();
        if early || !self.autos.turns.may_run(tx, auto.turn, Instant::now()) {
            let waiting = self
                .autos
                .of
                .values()
                .filter(|a| a.client == client)
                .count();
            if waiting >= PARKED_PER_CLIENT || !self.may_wait(client, None, &auto.operation) {
                let why = "too many statements wait for the master to catch up";
                return self.tell_doomed(client, tx, reason("53400", why, ""));
            }
            // A repeated message does not prolong the wait.
            self.autos.of.entry(tx).or_insert(auto);
            return;
        }
        self.start_auto(tx, auto);
    }

    fn start_auto(&mut self, tx: TxId, auto: Auto) {
        let client = auto.client;
        if self.sessions.len() >= txn::limits::OPEN_TRANSACTIONS + 20 {
            let why = "too many open transactions";
            return self.tell_doomed(client, tx, reason("53300", why, ""));
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
        self.sessions.insert(tx, session);
        self.errands.begins(tx);
        tokio::spawn(self.bench.clone().auto(tx, opening, auto.operation));
    }

    /// Runs the writes whose height is final now and whom no turn holds back, the oldest first, and gives up those that waited too long.
    pub(super) fn run_waiting_autos(&mut self) {
        let (height, now) = (self.engine.final_height(), Instant::now());
        let waiting = self.autos.of.iter();
        let mut oldest: Vec<(Instant, TxId)> = waiting.map(|(tx, a)| (a.since, *tx)).collect();
        oldest.sort_unstable();
        for (since, tx) in oldest {
            let waited = now.saturating_duration_since(since);
            let Some(auto) = self.autos.of.get(&tx) else {
                continue;
            };
            if auto.min_height > height {
                if waited > WAIT_FOR_HEIGHT {
                    self.autos.of.remove(&tx);
                    let why =
                        "could not serialize access: the master is far behind the other replicas";
                    self.tell_doomed(tx.client, tx, reason("40001", why, ""));
                }
                continue;
            }
            let may_run = self.autos.turns.may_run(tx, auto.turn, now);
            if (may_run || waited > turns::PATIENCE)
                && let Some(auto) = self.autos.of.remove(&tx)
            {
                self.start_auto(tx, auto);
            }
        }
    }

    /// Whether the first operation of a transaction waits for a turn to end.
    pub(super) fn is_held_back(&self, session: &TxSession) -> bool {
        !session.auto && !session.speculative && self.autos.turns.hold_back()
    }

    /// Whatever a turn held back begins.
    fn turn_ended(&mut self) {
        let held = self.sessions.iter();
        let held = held.filter(|(_, s)| !s.auto && !s.speculative && !s.queue.is_empty());
        let held: Vec<TxId> = held.map(|(tx, _)| *tx).collect();
        for tx in held {
            self.run_next(tx);
        }
        self.run_waiting_autos();
    }

    /// A transaction has its verdict.
    pub(super) fn turn_over(&mut self, tx: TxId, committed: bool) {
        if self.autos.turns.over(tx, committed, Instant::now()) {
            self.turn_ended();
        }
    }

    pub(super) fn cancel_waiting_auto(&mut self, tx: TxId) {
        if let Some(auto) = self.autos.of.remove(&tx) {
            let why = "canceling statement due to user request";
            self.tell_doomed(auto.client, tx, reason("57014", why, ""));
        }
    }

    pub(super) fn auto_started(&mut self, tx: TxId, pid: i32) {
        if let Some(session) = self.sessions.get_mut(&tx) {
            session.pid = pid;
            if session.doom.is_some() {
                self.control.cancel_process(pid);
            }
        }
    }

    pub(super) fn auto_forget(&mut self, tx: TxId) {
        self.autos.of.remove(&tx);
        if self
            .sessions
            .get(&tx)
            .is_some_and(|s| s.auto && s.item.is_none())
        {
            self.abandon(tx);
        }
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
        if self.autos.turns.tick(Instant::now()) {
            self.turn_ended();
        }
        self.run_waiting_autos();
    }
}
