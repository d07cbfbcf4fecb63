//! What administrators ask for, and what happens around it: machines come and go, keys change, clients follow.
//!
//! `plan/changes.rs` says why the bound on liars and lost machines holds in every view.

use std::collections::BTreeSet;

use consensus::{Change, Height, PublicKey, ReplicaId, Step, View};

use crate::clients::Signed;
use crate::plan::{HEAL_AT, Intent, MOST_MEMBERS};

use super::{Cluster, Event};

/// What the cluster's owners know and did.
#[derive(Default)]
pub(super) struct Administration {
    /// Views that were.
    past: Vec<View>,
    /// Those that changes lead to which were asked for in the newest view and are not decided yet.
    possible: Vec<View>,
    /// Requests for changes, by the client that signed them.
    asked: Vec<(usize, Signed)>,
    /// Keys of machines that are lost for good.
    pub lost: BTreeSet<PublicKey>,
    /// Views that began.
    pub views: u64,
}

impl Cluster {
    /// An administrator acts.
    pub(super) fn administer(&mut self, intent: &Intent) {
        self.trace.line(self.now, || format!("ADMIN {intent:?}"));
        let newest = self.view.clone();
        match intent {
            Intent::Both(one, other) => {
                self.change(one, &newest, 0);
                self.change(other, &newest, 1);
            }
            Intent::Late(intent) => {
                let old = self.rng.pick(&self.administration.past);
                self.change(intent, &old.unwrap_or(newest), 0);
            }
            Intent::Again => self.ask_again(),
            Intent::Usurp => self.usurp(),
            intent => self.change(intent, &newest, 0),
        }
    }

    /// Asks for a change of the view `base`, if every view then keeps the bound.
    fn change(&mut self, intent: &Intent, base: &View, administrator: usize) {
        let Some(steps) = self.steps(intent, base) else {
            return;
        };
        let change = Change {
            base: base.id,
            steps,
        };
        if base.id == self.view.id {
            match base.changed(&change) {
                Ok(next) if self.is_bearable(&next, &self.administration.lost) => {
                    self.administration.possible.push(next);
                }
                _ => return,
            }
        }
        let index = self.first_administrator + administrator;
        let Some(signed) = self.clients[index].ask(change.encode(), &self.view) else {
            return;
        };
        self.trace.line(self.now, || format!("ASKS {change:?}"));
        self.administration.asked.push((index, signed.clone()));
        self.say_to_members(index, &signed);
    }

    /// At most f members that lie or are lost, all anchors, and no more members than a run can bear.
    fn is_bearable(&self, view: &View, lost: &BTreeSet<PublicKey>) -> bool {
        let views = &self.checks.views;
        let members = view.replicas.values();
        let bad = members.filter(|key| views.is_liar(key) || lost.contains(key));
        let f = usize::from(view.f);
        view.check().is_ok()
            && bad.count() <= f
            && (1..=self.plan.most_faults()).contains(&f)
            && view.replicas.len() <= MOST_MEMBERS
            && (self.plan.anchors.iter()).all(|id| view.replicas.contains_key(id))
    }

    fn steps(&mut self, intent: &Intent, base: &View) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        match intent {
            Intent::Add(joins) => steps.push(self.join(base, joins.clone())),
            Intent::Remove => steps.push(Step::RemoveReplica {
                id: self.victim(base)?,
            }),
            Intent::Replace(joins) => {
                let id = self.victim(base)?;
                steps.push(self.join(base, joins.clone()));
                steps.push(Step::RemoveReplica { id });
            }
            Intent::Renew => {
                let id = self.victim(base)?;
                let key = self.renew(base, id)?;
                let contact = "another machine".to_owned();
                steps.push(Step::RemoveReplica { id });
                steps.push(Step::AddReplica { id, key, contact });
            }
            Intent::RotateReplica => {
                let id = self.rng.pick(&members(base))?;
                let key = self.offer_key(id)?;
                steps.push(Step::RotateReplicaKey { id, key });
            }
            Intent::RotateClient => {
                let index = self.rng.between(0, self.clients.len() as u64 - 1) as usize;
                self.steal(index);
                let (id, key) = (self.clients[index].id, self.clients[index].new_key());
                steps.push(Step::RotateClientKey { id, key });
            }
            Intent::Faults => {
                let more = base.f + 1;
                let f = match usize::from(more) <= self.plan.most_faults() {
                    true => more,
                    false => base.f - 1,
                };
                let need = base.mode.least_replicas(f.into());
                for _ in base.replicas.len()..need {
                    steps.push(self.newcomer(None));
                }
                steps.push(Step::SetFaults { f });
            }
            Intent::Weights => {}
            Intent::Leader => steps.push(Step::SetLeader {
                replica: self.rng.pick(&members(base))?,
            }),
            Intent::Both(..) | Intent::Late(_) | Intent::Again | Intent::Usurp => return None,
        }
        self.refit(intent, base, &mut steps);
        Some(steps)
    }

    /// Names the heavy ones anew where a change needs it, the liars first.
    fn refit(&mut self, intent: &Intent, base: &View, steps: &mut Vec<Step>) {
        let weighs = *intent == Intent::Weights;
        let wanted = match weighs {
            true => base.fast.is_empty() || self.rng.chance(60),
            false => !base.fast.is_empty(),
        };
        if !weighs && !wanted {
            return;
        }
        let (mut after, mut f) = (base.replicas.clone(), base.f);
        for step in steps.iter() {
            match step {
                Step::AddReplica { id, key, .. } => drop(after.insert(*id, *key)),
                Step::RemoveReplica { id } => drop(after.remove(id)),
                Step::SetFaults { f: other } => f = *other,
                _ => {}
            }
        }
        let mut order: Vec<_> = after.into_iter().collect();
        self.rng.shuffle(&mut order);
        order.sort_by_key(|(_, key)| !self.checks.views.is_liar(key));
        let count = match base.mode {
            consensus::Mode::Byzantine => 2 * usize::from(f),
            consensus::Mode::CrashOnly => f.into(),
        };
        let fast = order.into_iter().map(|(id, _)| id).take(count);
        let replicas = fast.filter(|_| wanted).collect();
        steps.push(Step::SetFast { replicas });
    }

    /// A machine that is no member: one that was, or a fresh one.
    fn join(&mut self, base: &View, habits: Option<BTreeSet<crate::Habit>>) -> Step {
        let idle = self.nodes.iter().filter(|(id, node)| {
            let named = base.replicas.contains_key(id) || self.view.replicas.contains_key(id);
            !named && node.liar.is_some() == habits.is_some()
        });
        let idle: Vec<_> = idle.map(|(id, _)| *id).collect();
        let Some(id) = self.rng.pick(&idle).filter(|_| self.rng.chance(60)) else {
            return self.newcomer(habits);
        };
        let node = self.nodes.get_mut(&id).expect("it was just seen");
        node.off = false;
        let key = node.keys.last().expect("every machine has a key").public;
        self.restart(id);
        let contact = "here again".to_owned();
        Step::AddReplica { id, key, contact }
    }

    fn newcomer(&mut self, habits: Option<BTreeSet<crate::Habit>>) -> Step {
        let id = ReplicaId(self.next_replica);
        self.next_replica += 1;
        let key = self.fresh_key();
        let public = key.public;
        self.install_machine(id, key, habits);
        self.restart(id);
        let contact = "a new machine".to_owned();
        let key = public;
        Step::AddReplica { id, key, contact }
    }

    fn victim(&mut self, base: &View) -> Option<ReplicaId> {
        let mut others = members(base);
        others.retain(|id| !self.plan.anchors.contains(id));
        self.rng.pick(&others)
    }

    /// A machine is lost, disk and all; an empty one is set up in its place. Only if that can be borne in the newest view
    /// and in all that may follow it.
    fn renew(&mut self, base: &View, id: ReplicaId) -> Option<PublicKey> {
        // All keys of the machine, also one that a change under way would name.
        let keys = self.nodes.get(&id)?.keys.iter().map(|key| key.public);
        let mut all = self.administration.lost.clone();
        all.extend(keys.chain(self.view.replicas.get(&id).copied()));
        let bearable = |view: &View| self.is_bearable(view, &all);
        if base.id != self.view.id
            || !self.is_known_beside(id)
            || !bearable(&self.view)
            || !self.administration.possible.iter().all(bearable)
        {
            return None;
        }
        self.trace.line(self.now, || format!("{id} IS LOST"));
        self.crash(id);
        self.administration.lost = all;
        let key = self.fresh_key();
        let public = key.public;
        self.install_machine(id, key, None);
        self.restart(id);
        Some(public)
    }

    /// Whether another correct member has the decision that made the newest view. Until then the members of the view before, who
    /// would have to make it again, count on this one too.
    fn is_known_beside(&self, id: ReplicaId) -> bool {
        let made_at = self.checks.views.newest().since - 1;
        let others = self.nodes.iter().filter(|(other, node)| {
            let member = self.view.replicas.contains_key(other);
            **other != id && member && node.liar.is_none()
        });
        let mut holders = others.filter(|(_, node)| node.disk.decided(made_at).is_some());
        made_at == 0 || holders.next().is_some()
    }

    /// A thief signs with the key that a client has now, and sends it while the key changes and long after.
    fn steal(&mut self, index: usize) {
        for number in 0..4 {
            let Some(signed) = self.clients[index].stolen(number, &self.view) else {
                return;
            };
            let at = self.now + self.rng.between(0, 600);
            self.at(at, Event::Stolen { index, signed });
        }
    }

    fn ask_again(&mut self) {
        let Some((index, old)) = self.rng.pick(&self.administration.asked) else {
            return;
        };
        self.say_to_members(index, &old);
        // Under a new number it may have an effect for the first time: if what it was made for is still the newest view,
        // the change was found bearable for it.
        let op = old.request.op.to_vec();
        if let Some(signed) = self.clients[index].ask(op, &self.view) {
            self.say_to_members(index, &signed);
        }
    }

    /// A client that administers nothing asks for a change.
    fn usurp(&mut self) {
        let key = self.fresh_key().public;
        let add = Step::AddReplica {
            id: ReplicaId(900),
            key,
            contact: String::new(),
        };
        let change = Change {
            base: self.view.id,
            steps: vec![add],
        };
        if let Some(signed) = self.clients[0].ask(change.encode(), &self.view) {
            self.say_to_members(0, &signed);
        }
    }

    /// Takes note of a view that a decision made.
    pub(super) fn follow_views(&mut self) {
        let era = self.checks.views.newest();
        if era.view.id == self.view.id {
            return;
        }
        let (view, since) = (era.view.clone(), era.since);
        self.trace.line(self.now, || {
            let members: Vec<_> = view.replicas.keys().map(|id| id.0).collect();
            let (id, f, heavy) = (view.id, view.f, view.fast.len());
            format!("VIEW {id} from height {since}: f = {f}, {heavy} heavy, members {members:?}")
        });
        let before = std::mem::replace(&mut self.view, view);
        self.administration.past.push(before);
        self.administration.possible.clear();
        self.administration.views += 1;
        for client in &mut self.clients {
            client.follow(&self.view);
        }
        for id in members(&self.view) {
            // It was switched off since it was asked for.
            let off = self.nodes.get_mut(&id).map(|node| &mut node.off);
            if off.is_some_and(std::mem::take) {
                self.at(self.now + 50, Event::Restart(id));
            }
        }
        let others = self.nodes.keys();
        let gone = others.filter(|id| !self.view.replicas.contains_key(id));
        for replica in gone.copied().collect::<Vec<_>>() {
            let at = self.now + self.rng.between(20, 1_500);
            self.at(at, Event::Removed { replica, since });
        }
    }

    /// One that is no member any more: a liar goes on, another's machine may be switched off, once a member that stays
    /// has the decision that removed it.
    pub(super) fn removed(&mut self, replica: ReplicaId, since: Height) {
        if self.view.replicas.contains_key(&replica) {
            return;
        }
        let known = |id: &ReplicaId| {
            let node = self.nodes.get(id);
            node.is_some_and(|node| node.disk.decided(since - 1).is_some())
        };
        let known = self.plan.anchors.iter().any(known);
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.liar.is_some() {
            if self.now < HEAL_AT + 1_000 {
                self.rant(replica);
                let at = self.now + self.rng.between(40, 300);
                self.at(at, Event::Removed { replica, since });
            }
        } else if !known {
            self.at(self.now + 100, Event::Removed { replica, since });
        } else if replica.0.is_multiple_of(2) {
            node.off = true;
            self.crash(replica);
        }
    }

    fn rant(&mut self, replica: ReplicaId) {
        let Some(to) = self.rng.pick(&members(&self.view)) else {
            return;
        };
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let Some(liar) = &mut node.liar else { return };
        let words = liar.rant(&self.minds[node.mind], &self.view);
        self.lies += words.len() as u64;
        for message in words {
            self.carry(replica, to, 0, &message);
        }
    }
}

fn members(view: &View) -> Vec<ReplicaId> {
    view.replicas.keys().copied().collect()
}
