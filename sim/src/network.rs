//! The network between replicas: late, lossy, twice, out of order, parted.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Message, ReplicaId};

use crate::latency::Latency;
use crate::plan::Plan;
use crate::rng::Rng;

type Side = BTreeSet<ReplicaId>;

/// Decides when, and whether, a message arrives.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    latency: Latency,
    tail: u64,
    loss: u64,
    duplicates: u64,
    /// Partitions in force, by number.
    parted: BTreeMap<u64, Side>,
    one_way: BTreeMap<u64, (Side, Side)>,
    lonely: BTreeMap<u64, ReplicaId>,
}

impl Network {
    /// The network of a plan.
    pub fn new(plan: &Plan, rng: Rng) -> Self {
        Self {
            rng,
            latency: plan.latency,
            tail: plan.tail,
            loss: plan.loss,
            duplicates: plan.duplicates,
            parted: BTreeMap::new(),
            one_way: BTreeMap::new(),
            lonely: BTreeMap::new(),
        }
    }

    /// Parts one side from the rest until [`Network::mend`].
    pub fn part(&mut self, number: u64, side: Side) {
        self.parted.insert(number, side);
    }

    /// Cuts one direction until [`Network::mend`].
    pub fn cut(&mut self, number: u64, from: Side, to: Side) {
        self.one_way.insert(number, (from, to));
    }

    /// Lets one replica decide alone until [`Network::mend`].
    pub fn isolate_decision(&mut self, number: u64, replica: ReplicaId) {
        self.lonely.insert(number, replica);
    }

    fn hushes(&self, from: ReplicaId, to: ReplicaId, message: &Message) -> bool {
        self.lonely.values().any(|lonely| match message {
            Message::Accept { .. } => to != *lonely,
            Message::Propose { .. } | Message::Write { .. } => false,
            _ => from == *lonely,
        })
    }

    /// Ends a fault.
    pub fn mend(&mut self, number: u64) {
        self.parted.remove(&number);
        self.one_way.remove(&number);
        self.lonely.remove(&number);
    }

    /// Nothing is lost or cut any more.
    pub fn heal(&mut self) {
        (self.loss, self.tail, self.duplicates) = (0, 0, 0);
        self.parted.clear();
        self.one_way.clear();
        self.lonely.clear();
    }

    /// Whether a message from `from` can reach `to` now.
    pub fn connects(&self, from: ReplicaId, to: ReplicaId) -> bool {
        let parted = |side: &Side| side.contains(&from) != side.contains(&to);
        let cut = |(out, into): &(Side, Side)| out.contains(&from) && into.contains(&to);
        !self.parted.values().any(parted) && !self.one_way.values().any(cut)
    }

    /// Delays of the copies of a message that arrive; none if it is lost.
    pub fn carry(&mut self, from: ReplicaId, to: ReplicaId, message: &Message) -> Vec<u64> {
        let reaches = self.connects(from, to) && !self.hushes(from, to, message);
        if !reaches || self.rng.chance(self.loss) {
            return Vec::new();
        }
        let copies = if self.rng.chance(self.duplicates) {
            2
        } else {
            1
        };
        (0..copies).map(|_| self.delay(from, to)).collect()
    }

    /// How long one message takes.
    pub fn delay(&mut self, from: ReplicaId, to: ReplicaId) -> u64 {
        let delay = self.latency.sample(&mut self.rng, from, to);
        if self.rng.chance(self.tail) {
            delay * 20
        } else {
            delay
        }
    }

    /// Whether a client's message to a replica is lost.
    pub fn loses(&mut self) -> bool {
        self.rng.chance(self.loss)
    }
}
