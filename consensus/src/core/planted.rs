//! Faults that tests plant and that need more than one `if`; in test builds only.

use std::collections::BTreeSet;

use crate::crypto::Digest;
use crate::ids::{ClientId, Height, Regency, ReplicaId};
use crate::proof::{Decided, sign_accept};
use crate::reconfigure::{Change, Views};
use crate::record::{Record, Recovered};
use crate::settings::{Settings, mutated};
use crate::window::Windows;

use super::instance::Instance;
use super::persist::Held;
use super::{Action, Core};

/// A restart that forgets what it must remember.
pub(super) fn forget(settings: &Settings, mut recovered: Recovered) -> Recovered {
    if mutated!(settings, ForgetRegency) {
        (recovered.regency, recovered.start) = (0, None);
    }
    if mutated!(settings, ForgetWindows) {
        recovered.summary.windows = Windows::default();
    }
    if mutated!(settings, ForgetViews) {
        recovered.summary.views = None;
    }
    for votes in recovered.votes.values_mut() {
        if mutated!(settings, ForgetLock) {
            votes.lock = None;
        }
        if mutated!(settings, ForgetWriteset) {
            votes.writeset.clear();
        }
    }
    recovered
}

impl Core {
    /// Counts strangers with one vote each.
    pub(crate) fn planted_quorum(&self, replicas: impl IntoIterator<Item = ReplicaId>) -> bool {
        let all: BTreeSet<ReplicaId> = replicas.into_iter().collect();
        let strangers = all
            .iter()
            .filter(|id| self.view.replica_key(**id).is_none());
        let strangers = strangers.count();
        self.view.weigh(all) + strangers >= self.view.sizes().quorum()
    }

    /// Judges a decision by the view that it makes.
    pub(crate) fn planted_refusal(&self, decided: &Decided) -> bool {
        let planted = mutated!(self.settings, NewViewTooEarly);
        let next = self.view.after(decided).filter(|_| planted);
        next.is_some_and(|next| next.is_ok_and(|next| decided.check(&next).is_err()))
    }

    /// Carries out a change that is none: of another client, or of another view.
    pub(crate) fn planted_change(&mut self, decided: &Decided) -> Option<bool> {
        let anyone = mutated!(self.settings, AnyoneAdministers);
        let based = mutated!(self.settings, IgnoreBase);
        let last = decided.requests.last()?;
        let asked = anyone || based && self.view.administers(last.client);
        if !asked {
            return None;
        }
        let mut change = Change::decode(&last.op).ok()?;
        if based {
            change.base = self.view.id;
        }
        let next = self.view.changed(&change).ok()?;
        let genesis = || Views::genesis(self.view.clone());
        let views = self.summary.views.get_or_insert_with(genesis);
        views.before = Some(std::mem::replace(&mut views.now, next));
        views.since = decided.height + 1;
        Some(true)
    }

    /// The value that a quorum wrote, though this replica did not.
    pub(crate) fn planted_value(&self, instance: &Instance) -> Option<Digest> {
        let mut values = instance.writes.values();
        let writers = |value: &Digest| {
            let writes = instance.writes.values();
            writes.filter(|written| *written == value).count()
        };
        let planted = mutated!(self.settings, AcceptUnwritten);
        values
            .find(|value| planted && writers(value) >= self.view.quorum())
            .copied()
    }

    /// Takes pooled bodies of the right names for a value's missing ones.
    pub(crate) fn planted_fill(&mut self, height: Height, digest: &Digest) {
        let instance = self.pipeline.get_mut(height);
        let Some(candidate) = instance.and_then(|i| i.candidates.get_mut(digest)) else {
            return;
        };
        if !mutated!(self.settings, FillByName) {
            return;
        }
        let missing = std::mem::take(&mut candidate.missing);
        for ((client, incarnation, seq), at) in missing {
            let queue = self.pool.clients.get(&ClientId(client));
            let body = queue.and_then(|queue| queue.requests.get(&(incarnation, seq)));
            if body.is_none() {
                candidate.missing.insert((client, incarnation, seq), at);
            }
            candidate.bodies[at] = body.cloned();
        }
    }

    /// ACCEPT in a regency that this replica has left: what STOPDATA promises not to do.
    pub(crate) fn planted_old_write(
        &mut self,
        from: ReplicaId,
        height: Height,
        regency: Regency,
        digest: Digest,
        out: &mut Vec<Action>,
    ) {
        if !mutated!(self.settings, AcceptOldRegency) || regency >= self.regency {
            return;
        }
        let Some(instance) = self.pipeline.get_mut(height) else {
            return;
        };
        let writers = instance.old_writes.entry((regency, digest)).or_default();
        writers.insert(from);
        let mine = instance.votes.writeset.get(&digest);
        let mine = mine.is_some_and(|wrote| wrote.regency == regency);
        if writers.len() + usize::from(mine) == self.view.sizes().quorum() {
            let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
            let held = Held::Accept {
                height,
                regency,
                digest,
                signature,
            };
            self.persist(
                Record::Accept {
                    view: self.view.id,
                    height,
                    regency,
                    digest,
                },
                held,
                out,
            );
        }
    }
}
