//! Whoever judged otherwise, or not at all, takes over the agreed write set: from its own log, or from a peer, checked.

use std::sync::Arc;
use std::time::Duration;

use consensus::{Digest, Height, ReplicaId};
use tokio::time::Instant;
use txn::peer::PeerMessage;
use txn::{Ordered, TxId, VotePart, WriteSet};

use super::apply::leaves_something;
use super::jobs::steps_of;
use super::{Executor, Fatal, record};

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
    /// Applies the agreed write set: from the own log, or from a peer, checked against the agreed digests.
    pub(super) fn adopt(&mut self, height: Height, index: u32, tx: TxId, ordered: Arc<Ordered>) {
        let has = |history: &super::History| {
            history.is_copied(height, index) || history.has(height, index)
        };
        let done = self.history.as_ref().is_some_and(has);
        if done || !leaves_something(&ordered) {
            self.applied(height, index);
            self.over_in_turn(tx, true);
            return;
        }
        if self.history.as_ref().is_some_and(|h| h.has_later(height)) {
            self.fail(Fatal::Diverged(format!(
                "PostgreSQL lacks what was committed at height {height} and has later effects"
            )));
            return;
        }
        self.note_schema_change(&ordered);
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
            None => {
                self.applied(height, index);
                self.over_in_turn(tx, true);
            }
            Some(failure) if failure.is_divergence() => self.fail(Fatal::Diverged(format!(
                "this replica's data have diverged: adopting height {height}: {failure}"
            ))),
            Some(failure) => self.fail(Fatal::Postgres(format!(
                "adopting height {height}: {failure}"
            ))),
        }
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
