//! What replicas say to each other about transactions; watching the master.

use super::judge::Report;
use super::{Executor, Fatal, now_ms};
use bytes::Bytes;
use cluster::channel;
use consensus::{ClientId, Height, ReplicaId};
use net::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use txn::Ballot;
use txn::Ordered;
use txn::blame::Blame;
use txn::client::ReplicaMessage;
use txn::peer::PeerMessage;
use txn::word::Account;

/// How often the master is looked after.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Heights that a master may lag behind before it counts as silent.
const MASTER_LAG: Height = 200;
/// After so long without a link a client with open transactions counts as gone; said again as often.
const ABSENCE: Duration = Duration::from_secs(10);
/// Between two requests for a batch whose time lets a transaction expire.
const TICK: Duration = Duration::from_secs(5);
/// Doublings of the suspicion time-out at most.
const MAX_DOUBLINGS: u32 = 6;

/// When the master was last heard of.
pub struct MasterWatch {
    timeout: Duration,
    epoch: u64,
    heard: Instant,
    /// The link to the master broke.
    down_since: Option<Instant>,
    voted: Option<Instant>,
    /// While an administrator moves the master: how long open transactions are waited for.
    pub(super) drain_until: Instant,
    number: u64,
    /// Epochs that ended without a single pong.
    failures: u32,
    healthy: bool,
    /// What is held against the master's word.
    pub blame: Blame,
    /// Clients with open transactions that are not connected, since when or since it was last said.
    absent: BTreeMap<ClientId, Instant>,
    ticked: Option<Instant>,
    /// When this replica looked last.
    looked: Instant,
}

impl MasterWatch {
    pub fn new(timeout: Duration) -> MasterWatch {
        MasterWatch {
            timeout,
            epoch: 0,
            // Everybody starts at once; nobody is suspected for starting slowly.
            heard: Instant::now() + Duration::from_secs(10),
            down_since: None,
            voted: None,
            drain_until: Instant::now(),
            number: 0,
            failures: 0,
            healthy: true,
            blame: Blame::default(),
            absent: BTreeMap::new(),
            ticked: None,
            looked: Instant::now(),
        }
    }

    /// A replica that begins with a checkpoint begins in its epoch.
    pub fn begins(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Time in which this replica itself stood still is none in which the master was silent: what it said waits to be read.
    fn looks(&mut self, now: Instant) {
        let late = now
            .saturating_duration_since(self.looked)
            .saturating_sub(2 * LOOK);
        self.looked = now;
        self.heard = self.heard.max((self.heard + late).min(now));
        self.down_since = self.down_since.map(|since| (since + late).min(now));
    }

    /// How long silence is borne.
    fn patience(&self) -> Duration {
        self.timeout * 2u32.pow(self.failures.min(MAX_DOUBLINGS))
    }

    fn silent(&self, now: Instant) -> bool {
        let patience = self.patience();
        // A broken link that does not come back is a clearer sign than silence.
        let broken = self
            .down_since
            .is_some_and(|since| now.saturating_duration_since(since) > patience / 2);
        broken || now.saturating_duration_since(self.heard) > patience
    }
}

impl Executor {
    pub(super) fn connected_peers(&self) -> Vec<ReplicaId> {
        let peers = self.endpoint.connected().into_iter();
        peers
            .filter_map(|peer| match peer {
                PeerId::Replica(id) => Some(ReplicaId(id)),
                PeerId::Client(_) => None,
            })
            .collect()
    }

    pub(super) fn send_peer(&self, to: ReplicaId, message: &PeerMessage) {
        let on = match message {
            PeerMessage::WriteSets { .. }
            | PeerMessage::Errand(_)
            | PeerMessage::ErrandDone { .. } => channel::BULK,
            _ => channel::PEER,
        };
        let bytes = postcard::to_stdvec(message).expect("these types have no unserialisable parts");
        if let Err(error) = self.endpoint.send(PeerId::Replica(to.0), on, bytes.into()) {
            tracing::debug!(%to, %error, "a message to a peer was not sent");
        }
    }

    /// To the members, and to those that were removed and have votes to cast still.
    pub(super) fn broadcast_peers(&self, message: &PeerMessage) {
        let mut to: BTreeSet<ReplicaId> = self.connected_peers().into_iter().collect();
        to.extend(self.view.replicas.keys());
        to.remove(&self.me);
        for replica in to {
            self.send_peer(replica, message);
        }
    }

    fn all_connected(&self) -> bool {
        let connected = self.connected_peers();
        let mut members = self.view.replicas.keys();
        members.all(|member| *member == self.me || connected.contains(member))
    }

    pub(super) fn peer_frame(&mut self, from: ReplicaId, payload: &Bytes) {
        let message = match consensus::decode(payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%from, %error, "unreadable message of a peer dropped");
                return;
            }
        };
        match message {
            PeerMessage::Vote(part) => self.engine.vote(now_ms(), part, &mut self.actions),
            PeerMessage::FetchVotes { height } => {
                let parts = self.engine.votes_of(height);
                if !parts.is_empty() {
                    self.send_peer(from, &PeerMessage::Votes { parts });
                }
                self.tell_verdicts(from, height);
                self.tell_gone(from, height);
            }
            PeerMessage::Verdicts { first, heights } => {
                self.engine
                    .told(now_ms(), from, first, heights, &mut self.actions);
            }
            PeerMessage::Votes { parts } => {
                for part in parts {
                    self.engine.vote(now_ms(), part, &mut self.actions);
                }
            }
            PeerMessage::FetchWriteSet { height, index } => {
                let steps = self.own_write_sets(height, index);
                #[cfg(feature = "lies")]
                let steps = self.bench.lies.serve(steps);
                if steps.is_none() {
                    self.tell_gone(from, height);
                }
                self.send_peer(
                    from,
                    &PeerMessage::WriteSets {
                        height,
                        index,
                        steps,
                    },
                );
            }
            PeerMessage::WriteSets {
                height,
                index,
                steps,
            } => self.write_sets_came(from, height, index, steps),
            PeerMessage::Ping { epoch, number } => {
                // With damaged data it cannot be the master: it keeps silent until another one is.
                let whole = self.damage.alarm.raised().is_none();
                if self.watch.healthy && whole && self.engine.epoch() == epoch {
                    let height = self.engine.final_height();
                    self.send_peer(
                        from,
                        &PeerMessage::Pong {
                            epoch,
                            number,
                            height,
                        },
                    );
                }
            }
            PeerMessage::Pong { epoch, height, .. } => self.pong(from, epoch, height),
            PeerMessage::Hello { fingerprint, .. } => self.hello(from, &fingerprint),
            PeerMessage::Contents { height, tables } => self.contents_came(from, height, tables),
            PeerMessage::Copy(message) => self.copy_message(from, message),
            PeerMessage::State {
                height,
                digest,
                asks,
            } => self.state_said(from, height, digest, asks),
            PeerMessage::Gone { oldest } => self.is_gone(from, oldest),
            PeerMessage::FetchViews { known } => self.tell_views(from, known),
            PeerMessage::Views { certificates } => self.receipts.views_came(&certificates),
            PeerMessage::Errand(errand) => self.errand_came(from, &errand),
            PeerMessage::ErrandTaken { tx } => self.errand_taken(from, tx),
            PeerMessage::ErrandDone { tx, message } => self.errand_done(from, tx, message),
        }
    }

    fn pong(&mut self, from: ReplicaId, epoch: u64, height: Height) {
        if from != self.engine.master() || epoch != self.engine.epoch() {
            return;
        }
        if height + MASTER_LAG < self.engine.final_height() {
            return;
        }
        self.watch.heard = self.watch.heard.max(Instant::now());
        self.watch.failures = 0;
    }

    pub(super) fn link(&mut self, peer: PeerId, up: bool) {
        let all = self.all_connected();
        self.engine.network(self.regency.1 == self.me, all);
        match peer {
            PeerId::Replica(id) => {
                let id = ReplicaId(id);
                if id == self.engine.master() {
                    self.watch.down_since = if up { None } else { Some(Instant::now()) };
                    self.errands.forgive();
                }
                if up {
                    let height = self.engine.final_height();
                    self.send_peer(id, &self.likeness.hello(height));
                }
            }
            PeerId::Client(id) if !up => self.client_gone(ClientId(id)),
            PeerId::Client(_) => {}
        }
    }

    /// A client's link broke: its autocommit writes that were not ordered have nobody to order them.
    fn client_gone(&mut self, client: ClientId) {
        self.autos.of.retain(|_, auto| auto.client != client);
        let left: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.client == client && s.auto && s.item.is_none())
            .map(|(tx, _)| *tx)
            .collect();
        for tx in left {
            self.abandon(tx);
            self.left_turn(tx);
        }
    }

    /// Who leads the consensus, for `status` and for the ordering of votes.
    pub(super) fn regency_is(&mut self, regency: u64, leader: ReplicaId) {
        self.regency = (regency, leader);
        let all = self.all_connected();
        self.engine.network(leader == self.me, all);
    }

    pub(super) fn epoch_changed(&mut self, epoch: u64, height: Height) {
        tracing::info!(
            epoch,
            height,
            master = self.engine.master().0,
            "the master changed"
        );
        self.watch.blame.changed(self.watch.epoch, now_ms());
        self.watch.epoch = epoch;
        self.watch.heard = Instant::now() + self.settings.master_timeout;
        self.watch.down_since = None;
        self.watch.voted = None;
        self.watch.failures += 1;
        // Autocommit writes that are not ordered yet belong to the old epoch.
        let stale: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.auto && s.speculative && s.item.is_none())
            .map(|(tx, _)| *tx)
            .collect();
        for tx in stale {
            self.abandon(tx);
        }
        self.parked.clear();
        self.autos = Default::default();
        self.errands.epoch_changed();
        if self.history.as_ref().is_some_and(|h| h.is_replayed(height)) {
            return;
        }
        for peer in self.endpoint.connected() {
            if let PeerId::Client(id) = peer {
                self.tell(ClientId(id), &ReplicaMessage::Epoch { epoch, height });
            }
        }
    }

    /// Every 100 ms.
    pub(super) fn slow_tick(&mut self) {
        if self.copying.is_some() {
            return self.copying_tick();
        }
        self.copies_tick();
        self.control.ask_health();
        #[cfg(feature = "lies")]
        self.lie_to_clients();
        self.fetch_tick();
        self.damage_tick();
        self.comparing_tick();
        self.views_tick();
        self.states_tick();
        self.sweep();
        self.end_what_nobody_ends();
        self.start_waiting_reads();
        let (epoch, master) = (self.engine.epoch(), self.engine.master());
        let now = Instant::now();
        self.watch.looks(now);
        let drained = self.engine.moving().is_some() && now >= self.watch.drain_until;
        if drained && self.votes_again(now) {
            tracing::warn!(
                epoch,
                "transactions are still open; asking for the new master"
            );
            self.vote_for_change(now, epoch);
        }
        if master == self.me {
            self.watch.heard = self.watch.heard.max(now);
            return;
        }
        self.watch.number += 1;
        if self.watch.number.is_multiple_of(2) {
            self.send_peer(
                master,
                &PeerMessage::Ping {
                    epoch,
                    number: self.watch.number,
                },
            );
        }
        // A replica that is behind knows neither the epoch nor whether the master is silent.
        let behind = self.engine.backlog() > 50;
        if !behind && self.watch.silent(now) {
            self.ask_for_change("it is silent");
        }
        if !behind {
            self.errands_tick(now, self.watch.patience());
        }
    }

    /// Has the order end transactions whose clients are gone or which are too old: nobody waits for a batch that nobody sends.
    fn end_what_nobody_ends(&mut self) {
        if self.history.is_some() {
            return;
        }
        let now = Instant::now();
        let at_work = self.engine.clients_at_work();
        self.watch
            .absent
            .retain(|client, _| at_work.contains_key(client));
        if !at_work.is_empty() {
            let connected = self.endpoint.connected();
            for (client, incarnation) in at_work {
                if connected.contains(&PeerId::Client(client.0))
                    || self.errands.is_about(client, ABSENCE)
                {
                    self.watch.absent.remove(&client);
                    continue;
                }
                let since = self.watch.absent.entry(client).or_insert(now);
                if now.saturating_duration_since(*since) >= ABSENCE {
                    *since = now;
                    tracing::warn!(%client, "a client left transactions open and is gone");
                    let gone = Ordered::ClientGone {
                        client,
                        incarnation,
                    };
                    self.order.submit(gone.encode());
                }
            }
        }
        let due = self.engine.next_expiry().is_some_and(|at| now_ms() > at);
        let again = self
            .watch
            .ticked
            .is_none_or(|at| now.saturating_duration_since(at) >= TICK);
        if due && again {
            self.watch.ticked = Some(now);
            self.order.submit(Ordered::Tick.encode());
        }
    }

    /// Asks for another master, not too often.
    pub(super) fn ask_for_change(&mut self, why: &str) {
        let (epoch, now) = (self.engine.epoch(), Instant::now());
        if self.votes_again(now) && self.history.is_none() {
            let master = self.engine.master().0;
            tracing::warn!(epoch, master, why, "asking for another master");
            self.vote_for_change(now, epoch);
        }
    }

    /// Most clients at work say that the master's word is worthless.
    pub(super) fn suspected(&mut self, epoch: u64) {
        if epoch == self.engine.epoch() {
            self.ask_for_change("its clients hold no valid word of it");
        }
    }

    /// A transaction was judged at its snapshot, as the master ran it there. Where something differs that the master gave its
    /// word for, it is blamed; where its word does not cover it, its client may have made it up, and nobody is.
    pub(super) fn weigh(&mut self, ordered: &Ordered, begun: Option<Height>, report: &Report) {
        let (Ordered::Commit(commit), Some(begun)) = (ordered, begun) else {
            return;
        };
        if self.engine.schema_touched_since(begun) {
            return;
        }
        let (epoch, master) = (self.engine.epoch(), self.engine.master());
        if commit.epoch != epoch || master == self.me || self.history.is_some() {
            return;
        }
        if report.ballot == Ballot::Commit {
            return self.watch.blame.agreed();
        }
        let key = self.view.replica_key(master);
        let (Some(word), Some(key)) = (commit.word.filter(|_| report.differs), key) else {
            return;
        };
        let account = Account::of(commit.tx, commit.epoch, &commit.steps);
        if account.is_signed(&word, key) && self.watch.blame.differed(epoch) {
            self.ask_for_change("it gives its word for what is not so");
        }
    }

    /// It has not voted in this epoch, or so long ago that the vote may be lost.
    fn votes_again(&self, now: Instant) -> bool {
        let voted = self.watch.voted;
        voted.is_none_or(|at| now.saturating_duration_since(at) > 4 * self.watch.timeout)
    }

    fn vote_for_change(&mut self, now: Instant, epoch: u64) {
        self.watch.voted = Some(now);
        self.order.submit(Ordered::MasterChange { epoch }.encode());
    }

    pub(super) fn health(&mut self, health: Result<(), String>) {
        self.watch.healthy = health.is_ok();
        if let Err(error) = health {
            self.fail(Fatal::Postgres(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stood_still_itself_does_not_find_the_master_silent() {
        let start = Instant::now();
        let patience = Duration::from_millis(1_500);
        let mut watch = MasterWatch::new(patience);
        watch.heard = start;
        watch.looks(start);
        watch.looks(start + Duration::from_secs(3));
        assert!(!watch.silent(start + Duration::from_secs(3)), "it slept");
        // Awake, it is right.
        for tick in 0..20 {
            watch.looks(start + Duration::from_secs(3) + LOOK * tick);
        }
        assert!(watch.silent(start + Duration::from_secs(5)));
    }
}
