//! What must hold whatever breaks and whoever lies; one property per file.

pub mod agreement;
mod certificate;
mod chain;
pub mod contradiction;
pub mod durability;
pub mod exactly_once;
pub mod external_validity;
pub mod latency;
pub mod liveness;
pub mod memory;
pub mod one_value;
pub mod order;
pub mod promise;
pub mod promises;
pub mod proof;
pub mod regency;
pub mod safe_value;
pub mod sync;
mod tentative;
pub mod validity;
pub mod views;

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    Decided, Height, Message, Mode, PublicKey, Record, ReplicaId, Request, Settings, Status,
    Tentative, View,
};

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
    /// Votes that are a quorum: two of them share more than f replicas can have; crash-only: they share one.
    pub quorum: usize,
    /// Votes of the members that lie in this run.
    pub liars: usize,
}

impl Group {
    /// Of a view and the keys of a run's liars.
    pub fn of(view: &View, liars: &BTreeSet<PublicKey>) -> Self {
        let (n, f) = (view.replicas.len(), usize::from(view.f));
        let least = match view.mode {
            Mode::Byzantine => 3 * f + 1,
            Mode::CrashOnly => 2 * f + 1,
        };
        // Vmax = 1 + Δ/f, of 3Fv + 1 (2Fv + 1) votes where f replicas have Fv = f + Δ at most.
        let (delta, scale) = match view.fast.is_empty() {
            true => (0, 1),
            false => (n - least, f),
        };
        let vote = |id: &ReplicaId| match view.fast.contains(id) {
            true => scale + delta,
            false => scale,
        };
        let votes: BTreeMap<_, _> = view.replicas.keys().map(|id| (*id, vote(id))).collect();
        let quorum = match (view.mode, view.fast.is_empty()) {
            (Mode::Byzantine, true) => (n + f) / 2 + 1,
            (Mode::CrashOnly, true) => n / 2 + 1,
            (Mode::Byzantine, false) => scale * (2 * (f + delta) + 1),
            (Mode::CrashOnly, false) => scale * (f + delta + 1),
        };
        let lying = view.replicas.iter().filter(|(_, key)| liars.contains(key));
        let liars = lying.map(|(id, _)| votes[id]).sum();
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
///
/// Everything is judged in the view of its height, or in the one that it names. In crash-only mode *certificate* does not
/// apply, since nobody writes: *one-value* stands for it. All others do, with no liars.
#[derive(Debug)]
pub struct Checks {
    settings: Settings,
    mode: Mode,
    /// Which decisions make which view.
    pub views: views::Views,
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
    one_value: one_value::OneValue,
    promise: promise::Promise,
    safe_value: safe_value::SafeValue,
    change: regency::Change,
    sync: sync::Evidence,
    chain: chain::Chain,
    answers: tentative::Answers,
    /// How long requests take.
    pub latency: latency::Latency,
}

impl Checks {
    /// Checkers of a run that begins in this view.
    pub fn new(genesis: View, settings: Settings) -> Self {
        Self {
            settings,
            mode: genesis.mode,
            views: views::Views::new(genesis),
            agreement: Default::default(),
            order: Default::default(),
            validity: Default::default(),
            once: Default::default(),
            external: Default::default(),
            proofs: Default::default(),
            contradiction: Default::default(),
            certificate: Default::default(),
            one_value: Default::default(),
            promise: Default::default(),
            safe_value: Default::default(),
            change: Default::default(),
            sync: Default::default(),
            chain: Default::default(),
            answers: Default::default(),
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
        self.answers.decided(*height, batch.digest())?;
        let era = self.views.of(*height);
        self.proofs.decided(era, replica, decided)?;
        self.validity
            .stands_for(&era.view, *height, batch, requests)?;
        self.external.decided(decided);
        self.chain.decided(decided)?;
        self.views.decided(decided);
        self.once.decided(decided)
    }

    /// A client makes a request, whoever hears it.
    pub fn issued(&mut self, request: &Request) {
        self.validity.issued(request);
    }

    /// A correct replica tells of a value that is not decided yet.
    pub fn tells(&mut self, replica: ReplicaId, told: &Tentative, disk: &Disk) -> Verdict {
        let teller = (replica, self.order.last(replica));
        self.answers.tells(&self.views, teller, told, disk)
    }

    /// A correct replica has a record written.
    pub fn records(&mut self, replica: ReplicaId, record: &Record) -> Verdict {
        self.safe_value.begins(&self.views, replica, record)?;
        self.certificate.records(replica, record);
        self.chain.records(replica, record)?;
        if let Record::Write {
            view,
            height,
            value: Some((batch, bodies)),
            ..
        } = record
        {
            // In flight, it may be of a view that has ended below without the replica's knowing.
            let then = self.views.of(*height);
            let said = self.views.named(*view).unwrap_or(then);
            let view = &said.view;
            self.external
                .writes(&self.settings, view, *height, batch, bodies)?;
            self.validity.stands_for(view, *height, batch, bodies)?;
        }
        Ok(())
    }

    /// A correct replica begins a view.
    pub fn begins(&mut self, replica: ReplicaId, view: &View) -> Verdict {
        self.views.begins(replica, view)
    }

    /// A correct replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message, disk: &Disk) -> Verdict {
        durability::says(self.mode, replica, message, disk)?;
        memory::says(&self.settings, replica, message)?;
        self.views.says(replica, message)?;
        self.safe_value.says(&self.views, replica, message);
        self.change.says(replica, message);
        self.contradiction.says(&self.views, replica, message)?;
        match self.mode {
            Mode::Byzantine => self.certificate.says(&self.views, replica, message)?,
            Mode::CrashOnly => self.one_value.says(&self.views, replica, message)?,
        }
        self.promise.says(&self.views, replica, message)?;
        self.sync.says(&self.views, replica, message)
    }

    /// A correct replica's clock is read.
    pub fn clock(&mut self, now: u64) {
        self.external.clock(now);
    }

    /// A correct replica has handled an input.
    pub fn stands(&mut self, replica: ReplicaId, status: &Status) -> Verdict {
        self.views.stands(replica, status)?;
        let era = self.views.of(status.height + 1);
        let clients = era.view.clients.len();
        memory::holds(&self.settings, clients, replica, status)?;
        self.change.stands(era, replica, status.regency)
    }

    /// A correct replica returns with what its disk kept.
    pub fn restarted(&mut self, replica: ReplicaId, height: Height) {
        self.order.restarted(replica, height);
        self.views.restarted(replica, height);
    }

    /// Heights of the last view's members at the end against all that was ever decided.
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
    matches!(record, Record::Accept { height, regency, digest, .. }
        if (*height, *regency, *digest) == vote)
}
