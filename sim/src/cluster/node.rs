//! One replica and its machine.

use std::collections::BTreeSet;

use consensus::{Core, PublicKey, ReplicaId, SigningKey, Verifier, View};

use crate::byzantine::{Habit, Liar};
use crate::disk::Disk;
use crate::keeper::Keeper;

use super::{Cluster, EPOCH, Mind};

/// A key and its public half.
#[derive(Clone)]
pub(super) struct Key {
    pub public: PublicKey,
    pub secret: SigningKey,
}

impl Key {
    /// Key number `serial` of the run.
    pub fn number(serial: u32) -> Self {
        let mut secret = [0x5e; 32];
        secret[..4].copy_from_slice(&serial.to_le_bytes());
        let secret = SigningKey::from_bytes(&secret);
        Self {
            public: PublicKey::of(&secret),
            secret,
        }
    }
}

pub(super) struct Node {
    pub core: Option<Core>,
    pub disk: Disk,
    pub keeper: Keeper,
    /// The core's view, which links, checks of clients' signatures and broadcasts follow.
    pub view: View,
    /// The newest last.
    pub keys: Vec<Key>,
    /// What clients say on their own links is verified with these.
    pub verifier: Verifier,
    /// Which of the run's machines it is: a number may move to another one.
    pub machine: u64,
    /// Counts restarts; events of an earlier life are void.
    pub life: u64,
    /// Switched off, as one that is no member any more may be.
    pub off: bool,
    pub liar: Option<Liar>,
    /// Which of the minds it lies with.
    pub mind: usize,
    pub timer_at: u64,
    pub fsync_ms: Option<u64>,
    /// No fsync succeeds; true inside: one waits for that to end.
    pub full: Option<bool>,
    /// It stands still until this time.
    pub paused_until: u64,
    /// Its clock's lead on the true time, in milliseconds.
    pub clock_ahead: i64,
    /// The (view, regency) that it was last seen in.
    pub stood: (u64, u64),
}

impl Node {
    /// The replica's clock at a true time since the start.
    pub fn clock(&self, now: u64) -> u64 {
        (EPOCH + now).saturating_add_signed(self.clock_ahead)
    }
}

impl Cluster {
    /// Puts an empty machine under a replica's number.
    pub(super) fn install_machine(
        &mut self,
        id: ReplicaId,
        key: Key,
        habits: Option<BTreeSet<Habit>>,
    ) {
        self.machines_made += 1;
        let machine = self.machines_made;
        self.machines.insert(key.public, machine);
        self.checks.views.replaced(id);
        let liar = habits.map(|habits| {
            self.checks.views.lies(key.public);
            if self.minds.is_empty() || !self.plan.collude {
                self.minds.push(Mind {
                    other_side: self.rng.next_u64(),
                    ..Mind::default()
                });
            }
            Liar::new(
                id,
                key.secret.clone(),
                self.genesis.clone(),
                habits,
                self.plan.collude,
                self.plan.settings.request_timeout_ms,
                self.rng.fork(),
            )
        });
        if liar.is_none() {
            self.checks.views.owns(id, key.public);
        }
        let life = self.nodes.get(&id).map_or(0, |before| before.life + 1);
        let node = Node {
            core: None,
            disk: Disk::default(),
            keeper: Keeper::new(&self.genesis, id),
            view: self.genesis.clone(),
            verifier: Verifier::of(id, [&key.secret]),
            keys: vec![key],
            machine,
            life,
            off: false,
            liar,
            mind: self.minds.len().saturating_sub(1),
            timer_at: 0,
            fsync_ms: None,
            full: None,
            paused_until: 0,
            clock_ahead: self.plan.clocks.get(&id).copied().unwrap_or(0),
            stood: (0, 0),
        };
        self.nodes.insert(id, node);
    }

    /// Another key for a replica's machine.
    pub(super) fn offer_key(&mut self, id: ReplicaId) -> Option<PublicKey> {
        let key = self.fresh_key();
        let node = self.nodes.get_mut(&id)?;
        let public = key.public;
        self.machines.insert(public, node.machine);
        match node.liar {
            Some(_) => self.checks.views.lies(public),
            None => self.checks.views.owns(id, public),
        }
        if let Some(core) = &mut node.core {
            core.offer_key(key.secret.clone());
        }
        node.verifier.offer(&key.secret);
        node.keys.push(key);
        Some(public)
    }

    pub(super) fn fresh_key(&mut self) -> Key {
        self.keys_made += 1;
        Key::number(self.keys_made)
    }
}
