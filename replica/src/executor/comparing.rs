//! The audit in the background: from time to time a replica has all of them digest their schema and one table at one
//! height, and they tell each other.
//!
//! Each replica asks in its turn and goes through all tables itself, so nobody can keep a table from being looked at; and
//! nobody is served more often than its turn comes.

use super::contents::{Contents, Reports};
use super::{Executor, now_ms};
use consensus::{ClientId, Height, ReplicaId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use txn::Ordered;
use txn::peer::PeerMessage;

/// The state of the audit in the background.
pub struct Comparing {
    /// Between two requests of all replicas together; zero: none.
    every: Duration,
    due: Instant,
    /// Of each replica: requests so far, and the consensus time of the last one that was served here.
    asked: BTreeMap<ReplicaId, (u64, u64)>,
    /// A table is being read.
    busy: bool,
    reports: Reports,
}

impl Comparing {
    pub fn new(every: Duration, me: ReplicaId) -> Comparing {
        Comparing {
            every,
            // Each begins at its own time.
            due: Instant::now() + every * (u32::from(me.0) + 1),
            asked: BTreeMap::new(),
            busy: false,
            reports: Reports::default(),
        }
    }
}

impl Comparing {
    /// Requests so far, for a checkpoint.
    pub fn rounds(&self) -> BTreeMap<ReplicaId, u64> {
        let asked = self.asked.iter();
        asked
            .map(|(asker, (rounds, _))| (*asker, *rounds))
            .collect()
    }

    /// Begins with those of a checkpoint.
    pub fn restore(&mut self, rounds: BTreeMap<ReplicaId, u64>) {
        let asked = rounds.into_iter();
        self.asked = asked.map(|(asker, rounds)| (asker, (rounds, 0))).collect();
    }
}

impl Executor {
    /// Every 100 ms: asks when it is this replica's turn.
    pub(super) fn comparing_tick(&mut self) {
        let now = Instant::now();
        let members = self.view.n() as u32;
        let audit = &mut self.comparing;
        if audit.every.is_zero() || now < audit.due || self.history.is_some() {
            return;
        }
        audit.due = now + audit.every * members;
        if self.damage.rebuilding.is_none() {
            self.order.submit(Ordered::Compare.encode());
        }
    }

    /// A request at its place in the order. Returns whether a job was started, which then reports the place as applied.
    pub(super) fn compare(&mut self, height: Height, index: u32, client: ClientId) -> bool {
        let Some(asker) = client.as_replica() else {
            return false;
        };
        let time_ms = self.times.get(&height).copied().unwrap_or_default();
        let members = self.view.n() as u64;
        let audit = &mut self.comparing;
        let (round, served) = audit.asked.entry(asker).or_default();
        let number = *round;
        *round += 1;
        // Half of the turn: clocks and batches are not exact.
        let turn = audit.every.as_millis() as u64 * members / 2;
        let early = *served > 0 && time_ms < *served + turn;
        let replayed = self.history.as_ref().is_some_and(|h| h.is_replayed(height));
        if replayed || early || audit.busy || audit.every.is_zero() {
            return false;
        }
        *served = time_ms;
        audit.busy = true;
        tokio::spawn(self.bench.clone().compare(height, index, asker, number));
        true
    }

    /// The digests of this replica are there.
    pub(super) fn compared(&mut self, height: Height, digested: Result<Contents, String>) {
        self.comparing.busy = false;
        let tables = match digested {
            Ok(tables) => tables,
            Err(error) => {
                tracing::warn!(height, error, "the audit cannot read this replica's tables");
                self.last_error = Some(format!("the audit at height {height} failed: {error}"));
                return;
            }
        };
        let told = tables.clone();
        #[cfg(feature = "lies")]
        let told = self.bench.lies.contents(told);
        self.broadcast_peers(&PeerMessage::Contents {
            height,
            tables: told,
        });
        self.contents_came(self.me, height, tables);
    }

    /// What a replica says that it holds.
    pub(super) fn contents_came(&mut self, from: ReplicaId, height: Height, tables: Contents) {
        let member = self.view.replicas.contains_key(&from);
        if !member || !self.comparing.reports.add(height, from, tables) {
            tracing::debug!(%from, height, "a report of the audit was dropped");
            return;
        }
        for odd in self.comparing.reports.odd(height, self.view.one_correct()) {
            let table = &odd.table;
            let same = odd.others;
            if odd.replica != self.me {
                let text = format!(
                    "replica {} differs in {table} from {same} others at height {height}",
                    odd.replica.0
                );
                tracing::warn!(text, "the audit found a difference");
                self.last_error = Some(text);
                continue;
            }
            let why = format!(
                "this replica differs in {table} from {same} others, which hold the same at height {height}"
            );
            self.damaged(why);
        }
    }

    /// Every 100 ms: what a session has met.
    pub(super) fn damage_tick(&mut self) {
        if let Some(said) = self.damage.alarm.raised().map(str::to_owned) {
            self.damaged(said);
        }
    }

    /// This replica's data are damaged: made anew if that may be, while the others suffice to serve.
    fn damaged(&mut self, why: String) {
        let others = self.connected_peers();
        let served = self.view.is_quorum(others);
        if self.last_error.as_ref() != Some(&why) {
            tracing::error!(why, "PostgreSQL's data are damaged");
        }
        self.last_error = Some(why.clone());
        if self.damage.may_rebuild() && served {
            self.fail(super::Fatal::Damaged(why));
        }
    }

    /// An administrator's wish.
    pub(super) fn rebuild_asked(&mut self, from: ClientId) {
        if !self.view.administers(from) {
            tracing::warn!(%from, "a client that is no administrator asks for a rebuild; dropped");
            return;
        }
        if !self.damage.own_server {
            self.last_error =
                Some("no rebuild: the server is not this replica's own (`dsn`)".into());
            return;
        }
        if self.damage.rebuilding.is_none() {
            self.fail(super::Fatal::Asked("an administrator asked for it".into()));
        }
    }

    /// Ends the rebuild when everything that was decided meanwhile is applied too.
    pub(super) fn rebuilt_up_to(&mut self, height: Height) {
        if self.history.is_none()
            && self.engine.backlog() <= CAUGHT_UP
            && let Some(why) = self.damage.rebuilding.take()
        {
            let since = self.damage.rebuilt.as_ref().map_or(0, |(at, _)| *at);
            let took_ms = now_ms().saturating_sub(since);
            tracing::warn!(height, took_ms, why, "PostgreSQL's data are made anew");
        }
    }
}

/// Heights decided and not applied with which a replica is not behind.
const CAUGHT_UP: usize = 2;
