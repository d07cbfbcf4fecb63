//! What must hold whatever breaks and whoever lies; one property per file.

pub mod agreement;
pub mod certificate;
pub mod contradiction;
pub mod durability;
pub mod exactly_once;
pub mod external_validity;
pub mod latency;
pub mod liveness;
pub mod memory;
pub mod order;
pub mod promise;
pub mod promises;
pub mod proof;
pub mod regency;
pub mod safe_value;
pub mod sync;
pub mod validity;

use std::collections::BTreeMap;

use consensus::{Decided, Height, Message, Record, ReplicaId, Settings, Status, View};

use crate::disk::Disk;

/// What was violated, by whom.
pub type Verdict = Result<(), String>;

/// The sizes that checkers count with, computed here.
#[derive(Clone, Debug)]
pub struct Group {
    /// Fault bound.
    pub f: usize,
    /// Votes of each replica, multiplied by f where they differ.
    votes: BTreeMap<ReplicaId, usize>,
    /// Votes that are a quorum: two of them share more than f replicas can have.
    pub quorum: usize,
    /// Votes of the replicas that lie in this run.
    pub liars: usize,
}

impl Group {
    /// Of a view and a run's liars.
    pub fn of<'a>(view: &View, liars: impl Iterator<Item = &'a ReplicaId>) -> Self {
        let (n, f) = (view.replicas.len(), usize::from(view.f));
        // Vmax = 1 + Δ/f, of 3Fv + 1 votes where f replicas have Fv = f + Δ at most.
        let (delta, scale) = match view.fast.is_empty() {
            true => (0, 1),
            false => (n - 3 * f - 1, f),
        };
        let vote = |id: &ReplicaId| match view.fast.contains(id) {
            true => scale + delta,
            false => scale,
        };
        let votes: BTreeMap<_, _> = view.replicas.keys().map(|id| (*id, vote(id))).collect();
        let quorum = match view.fast.is_empty() {
            true => (n + f) / 2 + 1,
            false => scale * (2 * (f + delta) + 1),
        };
        let liars = liars.map(|liar| votes[liar]).sum();
        Self {
            f,
            votes,
            quorum,
            liars,
        }
    }

    /// The votes of these.
    pub fn votes<'a>(&self, replicas: impl IntoIterator<Item = &'a ReplicaId>) -> usize {
        let votes = |replica: &ReplicaId| self.votes.get(replica).copied();
        replicas.into_iter().filter_map(votes).sum()
    }
}

/// All checkers that watch a run. Only correct replicas are watched.
#[derive(Debug)]
pub struct Checks {
    view: View,
    settings: Settings,
    group: Group,
    /// One decision per height.
    pub agreement: agreement::Agreement,
    order: order::Order,
    validity: validity::Validity,
    /// No request twice.
    pub once: exactly_once::ExactlyOnce,
    external: external_validity::ExternalValidity,
    proofs: proof::Proofs,
    contradiction: contradiction::Contradiction,
    certificate: certificate::Certificate,
    promise: promise::Promise,
    safe_value: safe_value::SafeValue,
    change: regency::Change,
    sync: sync::Evidence,
    /// How long requests take.
    pub latency: latency::Latency,
}

impl Checks {
    /// Checkers of a run with so many liars.
    pub fn new<'a>(
        view: View,
        settings: Settings,
        liars: impl Iterator<Item = &'a ReplicaId>,
    ) -> Self {
        Self {
            group: Group::of(&view, liars),
            view,
            settings,
            agreement: Default::default(),
            order: Default::default(),
            validity: Default::default(),
            once: Default::default(),
            external: Default::default(),
            proofs: Default::default(),
            contradiction: Default::default(),
            certificate: Default::default(),
            promise: Default::default(),
            safe_value: Default::default(),
            change: Default::default(),
            sync: Default::default(),
            latency: Default::default(),
        }
    }

    /// A correct replica decides.
    pub fn decided(&mut self, replica: ReplicaId, decided: &Decided) -> Verdict {
        let Decided {
            height,
            batch,
            requests,
            ..
        } = decided;
        self.order.decided(replica, decided)?;
        self.agreement.decided(replica, decided)?;
        self.proofs
            .decided(&self.group, &self.view, replica, decided)?;
        self.validity
            .stands_for(&self.view, *height, batch, requests)?;
        self.external.decided(decided);
        self.once.decided(decided)
    }

    /// A correct replica has a record written.
    pub fn records(&mut self, replica: ReplicaId, record: &Record) -> Verdict {
        self.safe_value.begins(replica, record)?;
        if let Record::Write {
            height,
            value: Some((batch, bodies)),
            ..
        } = record
        {
            self.external
                .writes(&self.settings, *height, batch, bodies)?;
            self.validity
                .stands_for(&self.view, *height, batch, bodies)?;
        }
        Ok(())
    }

    /// A correct replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message, disk: &Disk) -> Verdict {
        durability::says(replica, message, disk)?;
        memory::says(&self.settings, replica, message)?;
        self.safe_value.says(&self.group, replica, message);
        self.change.says(replica, message);
        self.contradiction.says(replica, message)?;
        self.certificate.says(&self.group, replica, message)?;
        self.promise.says(replica, message)?;
        self.sync.says(&self.view, replica, message)
    }

    /// A correct replica's clock is read.
    pub fn clock(&mut self, now: u64) {
        self.external.clock(now);
    }

    /// A correct replica has handled an input.
    pub fn stands(&mut self, replica: ReplicaId, status: &Status) -> Verdict {
        let clients = self.view.clients.len();
        memory::holds(&self.settings, clients, replica, status)?;
        self.change.stands(&self.group, replica, status.regency)
    }

    /// A correct replica returns with what its disk kept.
    pub fn restarted(&mut self, replica: ReplicaId, height: Height) {
        self.order.restarted(replica, height);
    }

    /// Heights at the end against all that was ever decided.
    pub fn ended(&self, heights: &BTreeMap<ReplicaId, Height>) -> Verdict {
        durability::ended(self.agreement.highest(), heights)
    }
}

/// Whether a record is the WRITE of this vote.
pub(crate) fn is_write(record: &Record, vote: (Height, u64, consensus::Digest)) -> bool {
    matches!(record, Record::Write { height, regency, digest, .. }
        if (*height, *regency, *digest) == vote)
}

/// Whether a record is the ACCEPT of this vote.
pub(crate) fn is_accept(record: &Record, vote: (Height, u64, consensus::Digest)) -> bool {
    matches!(record, Record::Accept { height, regency, digest }
        if (*height, *regency, *digest) == vote)
}
