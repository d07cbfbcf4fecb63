//! Operations that replicas bring to the master for clients that hear nothing of it (docs/decisions/0030-errands.md).
//!
//! A master that answers its peers and no client would never be missed, and one whose link to a client is dead would be of no use to it. So
//! a client that waits gives its operation, signed, to all replicas. They bring it to the master and bring back what it says; a master that
//! does not even take it is silent.

use super::judge::reason;
use super::{Executor, PARKED_PER_CLIENT};
use bytes::Bytes;
use consensus::{ClientId, Height, ReplicaId};
use net::PeerId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use txn::TxId;
use txn::client::{ClientMessage, ReplicaMessage};
use txn::errand::Errand;
use txn::peer::PeerMessage;

/// Errands of all clients that one replica carries.
const CARRIED: usize = 4_096;
/// Between two times that it brings the same one.
const AGAIN: Duration = Duration::from_millis(150);
/// After so long its client does not wait any more, or it would have come again.
const FORGOTTEN: Duration = Duration::from_secs(45);
/// Autocommit writes of each client that the master remembers: another replica may bring them once more.
const REMEMBERED: usize = 1_024;
/// Bytes that are brought for a client at once, and in a second on the average: they share the master's link with everybody's.
const AT_ONCE: u64 = 128 << 20;
const PACE: u64 = 8 << 20;

/// What this replica brings to the master, and as the master what is brought to it.
#[derive(Default)]
pub struct Errands {
    carried: BTreeMap<TxId, Carried>,
    /// Bytes that may be brought for each client since when.
    room: BTreeMap<ClientId, (u64, Instant)>,
    /// Autocommit writes that the master has begun.
    autos: BTreeMap<ClientId, (BTreeSet<TxId>, VecDeque<TxId>)>,
    /// When a client was heard of through others.
    heard: BTreeMap<ClientId, Instant>,
    /// Who brought what is dealt with now: it hears what the client is told.
    bringer: Option<ReplicaId>,
}

struct Carried {
    client: ClientId,
    auto: bool,
    brought: Instant,
    /// Looks that its bytes may take on the way.
    way: u32,
    /// Looks since it was brought without a word of the master that it has it.
    owed: Option<u32>,
}

impl Errands {
    /// Whether an errand is carried now: there is room for it, and it was not just done.
    fn carry(&mut self, tx: TxId, (auto, bytes): (bool, u64), now: Instant) -> bool {
        let client = tx.client;
        self.heard.insert(client, now);
        match self.carried.get(&tx) {
            Some(known) if now.saturating_duration_since(known.brought) < AGAIN => return false,
            Some(_) => {}
            None => {
                let own = self.carried.values().filter(|c| c.client == client).count();
                if self.carried.len() >= CARRIED || own >= PARKED_PER_CLIENT {
                    return false;
                }
            }
        }
        let (room, since) = self.room.entry(client).or_insert((AT_ONCE, now));
        let millis = now.saturating_duration_since(*since).as_millis();
        let more = u64::try_from(millis)
            .unwrap_or(u64::MAX)
            .saturating_mul(PACE / 1_000);
        let free = room.saturating_add(more).min(AT_ONCE);
        let Some(left) = free.checked_sub(bytes) else {
            return false;
        };
        (*room, *since) = (left, now);
        let fresh = || Carried {
            client,
            auto,
            brought: now,
            way: u32::try_from(bytes / (PACE / 10)).unwrap_or(u32::MAX),
            owed: None,
        };
        let known = self.carried.entry(tx).or_insert_with(fresh);
        known.brought = now;
        known.owed.get_or_insert(0);
        true
    }

    /// A link to the master goes up or down: what was brought may be lost, and its client comes again.
    pub(super) fn forgive(&mut self) {
        for carried in self.carried.values_mut() {
            carried.owed = None;
        }
    }

    /// A client that is not linked here was heard of through others since then.
    pub(super) fn is_about(&self, client: ClientId, since: Duration) -> bool {
        self.heard
            .get(&client)
            .is_some_and(|at| at.elapsed() < since)
    }

    /// The master has it.
    fn taken(&mut self, tx: TxId) {
        if let Some(carried) = self.carried.get_mut(&tx) {
            carried.owed = None;
        }
    }

    /// Looks at what is carried. True when the master has not taken something for as many looks as it may.
    ///
    /// Counted in looks: a replica that stands still itself finds nobody silent.
    fn look(&mut self, now: Instant, patience: u32, is_open: impl Fn(&TxId) -> bool) -> bool {
        self.carried.retain(|tx, carried| {
            let waits = now.saturating_duration_since(carried.brought) < FORGOTTEN;
            waits && (carried.auto || is_open(tx))
        });
        let carried = &self.carried;
        let has = |client: &ClientId| carried.values().any(|one| one.client == *client);
        self.room.retain(|client, (_, since)| {
            has(client) || now.saturating_duration_since(*since) < FORGOTTEN
        });
        self.heard
            .retain(|_, at| now.saturating_duration_since(*at) < FORGOTTEN);
        let mut silent = false;
        for carried in self.carried.values_mut() {
            if let Some(looks) = &mut carried.owed {
                *looks += 1;
                silent |= *looks > patience.saturating_add(carried.way);
            }
        }
        silent
    }

    /// What was carried to the old master is given to the new one by its client.
    pub(super) fn epoch_changed(&mut self) {
        self.carried.clear();
    }

    /// The master begins an autocommit write, whoever brought it.
    pub(super) fn begins(&mut self, tx: TxId) {
        let (known, order) = self.autos.entry(tx.client).or_default();
        if !known.insert(tx) {
            return;
        }
        order.push_back(tx);
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }

    /// It was begun in this epoch, or in one before.
    pub(super) fn was_begun(&self, tx: &TxId) -> bool {
        let of = self.autos.get(&tx.client);
        of.is_some_and(|(known, _)| known.contains(tx))
    }
}

impl Executor {
    /// A client has heard nothing of the master.
    pub(super) fn errand(&mut self, from: ClientId, errand: Errand) {
        let read = errand.read().filter(|_| errand.client == from);
        let Some((tx, message)) = read else {
            tracing::warn!(%from, "a client has brought what is no operation of its own");
            return;
        };
        let epoch = self.engine.epoch();
        if errand.epoch != epoch {
            let height: Height = self.engine.final_height();
            return self.tell(from, &ReplicaMessage::Epoch { epoch, height });
        }
        let master = self.engine.master();
        if master == self.me {
            return self.at_master(tx, message);
        }
        // Of what the order does not know, or not any more, the master has nothing to say either.
        #[cfg(feature = "lies")]
        if let Some(invented) = self.bench.lies.invented(tx, epoch) {
            return self.tell(from, &invented);
        }
        let auto = matches!(message, ClientMessage::AutoOperation { .. });
        if self.history.is_some() {
            return;
        }
        if !auto && !self.engine.is_open(&tx) {
            // The order has ended it; all replicas give the same reason.
            if let Some(reason) = self.ends.get(&tx).cloned() {
                let told = ReplicaMessage::Doomed { tx, reason, epoch };
                self.tell(from, &brought(tx, &told));
            }
            return;
        }
        let key = self.view.client_key(from);
        if !key.is_some_and(|key| errand.is_signed(key)) {
            tracing::warn!(%from, "a client's operation that is to be brought is not signed by it");
            return;
        }
        let what = (auto, errand.bytes());
        if !self.errands.carry(tx, what, Instant::now()) {
            return;
        }
        if !self.connected_peers().contains(&master) {
            // Its link tells that it is gone.
            self.errands.forgive();
            return;
        }
        tracing::debug!(%tx, %master, "a client's operation is brought to the master");
        self.send_peer(master, &PeerMessage::Errand(errand));
    }

    /// A replica brings a client's operation.
    pub(super) fn errand_came(&mut self, from: ReplicaId, errand: &Errand) {
        #[cfg(feature = "lies")]
        if self.bench.lies.is_mute() {
            return;
        }
        let mine = errand.epoch == self.engine.epoch() && self.engine.master() == self.me;
        let Some((tx, message)) = errand.read().filter(|_| mine && self.history.is_none()) else {
            return;
        };
        let key = self.view.client_key(errand.client);
        if !key.is_some_and(|key| errand.is_signed(key)) {
            tracing::warn!(%from, client = %errand.client, "an operation that its client did not sign was brought");
            return;
        }
        self.send_peer(from, &PeerMessage::ErrandTaken { tx });
        self.errands.heard.insert(tx.client, Instant::now());
        let here = self.sessions.contains_key(&tx) || self.autos.of.contains_key(&tx);
        if !here && self.errands.was_begun(&tx) {
            // It is over: given up, or ordered long ago, and then nobody waits for this any more.
            let told = ReplicaMessage::Doomed {
                tx,
                reason: reason(
                    "40001",
                    "could not serialize access: the statement was given up",
                    "",
                ),
                epoch: errand.epoch,
            };
            let message = encoded(&told);
            return self.send_peer(from, &PeerMessage::ErrandDone { tx, message });
        }
        self.errands.bringer = Some(from);
        self.at_master(tx, message);
        self.errands.bringer = None;
        // The client is not here to be told later: whoever brought it is.
        if let Some(session) = self.sessions.get_mut(&tx) {
            session.bringers.insert(from);
        }
    }

    /// What a client asks of the master, whoever brings it.
    pub(super) fn at_master(&mut self, tx: TxId, message: ClientMessage) {
        match message {
            // A session belongs to the one or to the other, by its number.
            ClientMessage::Operation { .. } if tx.seq & TxId::AUTO != 0 => {}
            ClientMessage::AutoOperation { .. } if tx.seq & TxId::AUTO == 0 => {}
            ClientMessage::Operation {
                step, operation, ..
            } => self.operation(tx.client, tx, step, operation),
            ClientMessage::AutoOperation {
                epoch,
                min_height,
                turn,
                settings,
                operation,
                ..
            } => {
                let auto = super::autos::Auto {
                    client: tx.client,
                    epoch,
                    min_height,
                    turn,
                    settings,
                    operation,
                    since: Instant::now(),
                    bringers: self.errands.bringer.into_iter().collect(),
                };
                self.auto_operation(tx, auto);
            }
            _ => {}
        }
    }

    /// What the master tells a client of a transaction goes to those who brought it too, if the client is not linked here.
    pub(super) fn tell_bringers(&self, client: ClientId, tx: TxId, told: &Bytes) {
        let brought = || {
            let message = told.clone();
            PeerMessage::ErrandDone { tx, message }
        };
        if let Some(bringer) = self.errands.bringer {
            self.send_peer(bringer, &brought());
        }
        let Some(session) = self.sessions.get(&tx).filter(|s| !s.bringers.is_empty()) else {
            return;
        };
        if self.is_linked(client) {
            return;
        }
        let others = session.bringers.iter();
        for bringer in others.filter(|bringer| self.errands.bringer != Some(**bringer)) {
            self.send_peer(*bringer, &brought());
        }
    }

    /// There is a link to this client, by which it hears of its operations.
    fn is_linked(&self, client: ClientId) -> bool {
        #[cfg(feature = "lies")]
        if self.bench.lies.is_deaf() {
            return false;
        }
        let linked = self.endpoint.connected();
        linked.contains(&PeerId::Client(client.0))
    }

    pub(super) fn errand_taken(&mut self, from: ReplicaId, tx: TxId) {
        if from == self.engine.master() {
            self.errands.taken(tx);
        }
    }

    /// The master's answer goes to the client, which counts how many say the same.
    pub(super) fn errand_done(&mut self, from: ReplicaId, tx: TxId, message: Bytes) {
        if from != self.engine.master() || self.errands.carried.remove(&tx).is_none() {
            return;
        }
        self.tell(tx.client, &ReplicaMessage::Brought { tx, message });
    }

    /// Every 100 ms, at who is not the master. `patience`: as long as its silence is borne otherwise.
    pub(super) fn errands_tick(&mut self, now: Instant, patience: Duration) {
        let looks = u32::try_from(patience.as_millis() / super::peers::LOOK.as_millis());
        let engine = &self.engine;
        let is_open = |tx: &TxId| engine.is_open(tx);
        let silent = self.errands.look(now, looks.unwrap_or(u32::MAX), is_open);
        if silent {
            self.ask_for_change("it does not take what clients have brought to it");
        }
    }
}

fn encoded(message: &ReplicaMessage) -> Bytes {
    let bytes = postcard::to_stdvec(message);
    bytes
        .expect("these types have no unserialisable parts")
        .into()
}

/// What the order says of a transaction, in place of the master.
fn brought(tx: TxId, told: &ReplicaMessage) -> ReplicaMessage {
    let message = encoded(told);
    ReplicaMessage::Brought { tx, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(seq: u64) -> TxId {
        TxId {
            client: ClientId(1 << 16),
            incarnation: 1,
            seq,
        }
    }

    const SMALL: (bool, u64) = (false, 100);

    fn open(_: &TxId) -> bool {
        true
    }

    #[test]
    fn a_master_that_takes_nothing_is_silent_and_one_that_takes_it_is_not() {
        let (mut errands, now) = (Errands::default(), Instant::now());
        assert!(errands.carry(tx(1), SMALL, now));
        let looks = |errands: &mut Errands| (0..40).position(|_| errands.look(now, 15, open));
        assert_eq!(looks(&mut errands), Some(15));
        errands.taken(tx(1));
        assert_eq!(looks(&mut errands), None, "it works on it");
        // Brought again, it is owed again.
        assert!(errands.carry(tx(1), SMALL, now + AGAIN));
        assert_eq!(looks(&mut errands), Some(15));
        // What is over is owed by nobody.
        assert!(!errands.look(now, 0, |_| false));
        assert!(errands.carried.is_empty());
    }

    #[test]
    fn what_is_brought_again_and_again_keeps_its_age() {
        let (mut errands, now) = (Errands::default(), Instant::now());
        let silent = (0..40).position(|look| {
            errands.carry(tx(1), SMALL, now + AGAIN * look);
            errands.look(now + AGAIN * look, 15, open)
        });
        assert_eq!(silent, Some(15));
    }

    #[test]
    fn no_client_fills_the_errands_of_others_and_none_is_kept_for_ever() {
        let (mut errands, now) = (Errands::default(), Instant::now());
        let taken = (0..10_000)
            .filter(|n| errands.carry(tx(*n), SMALL, now))
            .count();
        assert_eq!(taken, PARKED_PER_CLIENT);
        let other = ClientId(9 << 16);
        assert!(errands.carry(
            TxId {
                client: other,
                ..tx(0)
            },
            SMALL,
            now
        ));
        assert!(!errands.carry(tx(0), SMALL, now), "just now");
        errands.look(now + FORGOTTEN, 15, open);
        assert!(errands.carried.is_empty());
    }

    #[test]
    fn an_autocommit_write_that_is_brought_once_more_does_not_run_again() {
        let mut errands = Errands::default();
        assert!(!errands.was_begun(&tx(1)));
        errands.begins(tx(1));
        assert!(errands.was_begun(&tx(1)));
        // Another client's are none of its own.
        let other = |seq| TxId {
            client: ClientId(9 << 16),
            ..tx(seq)
        };
        for seq in 0..=2 * REMEMBERED as u64 {
            errands.begins(other(seq));
        }
        assert!(errands.was_begun(&tx(1)));
        let (known, order) = &errands.autos[&other(0).client];
        assert_eq!((known.len(), order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn large_errands_have_time_and_only_so_many_are_brought() {
        let (mut errands, now) = (Errands::default(), Instant::now());
        let large = (true, 64 << 20);
        assert!(errands.carry(tx(1), large, now));
        assert!(errands.carry(tx(2), large, now));
        assert!(!errands.carry(tx(3), large, now), "all at once");
        assert!(errands.carry(tx(3), large, now + Duration::from_secs(9)));
        let silent = (0..400).position(|_| errands.look(now, 15, open));
        assert!(
            silent.is_some_and(|looks| (90..120).contains(&looks)),
            "{silent:?}"
        );
    }

    #[test]
    fn what_may_be_lost_with_a_link_is_held_against_nobody() {
        let (mut errands, now) = (Errands::default(), Instant::now());
        assert!(errands.carry(tx(1), SMALL, now));
        errands.forgive();
        assert!((0..400).all(|_| !errands.look(now, 15, open)));
        assert!(errands.is_about(tx(1).client, FORGOTTEN));
    }
}
