//! Replicas on their machines: lives, disks and what they say to each other.

use consensus::{Action, Core, Input, Message, ReplicaId};

use crate::checks::Verdict;
use crate::checks::promises;
use crate::disk::Entry;
use crate::state_lies;
use crate::trace::words;

use super::{Cluster, Event, key};

impl Cluster {
    pub(super) fn restart(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.core.is_some() {
            return;
        }
        let recovered = match node.disk.replay(node.keeper.newest()) {
            Ok(recovered) => recovered,
            Err(error) => {
                self.violation = Err(format!("durability: {replica} cannot restart: {error}"));
                return;
            }
        };
        node.life += 1;
        node.timer_at = u64::MAX;
        let clock = node.clock(self.now);
        let height = recovered.height();
        self.trace
            .line(self.now, || format!("{replica} starts at height {height}"));
        if node.liar.is_none() {
            self.checks.restarted(replica, height);
        }
        let (settings, view) = (self.plan.settings.clone(), self.view.clone());
        let log = node.disk.decisions(0, usize::MAX);
        let every = settings.checkpoint_every;
        node.keeper.restart(&view, replica, every, log.iter());
        let core = Core::new(settings, view, replica, key(replica.0), recovered, clock);
        if node.liar.is_none() {
            let standing = core.standing_records();
            let verdict = promises::restarted(replica, height, node.disk.promises(), &standing);
            self.violation = std::mem::replace(&mut self.violation, Ok(())).and(verdict);
        }
        node.core = Some(core);
        self.feed(replica, Input::Timer);
        self.tell_links(replica, true);
    }

    pub(super) fn crash(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.core.take().is_some() {
            let survived = node.disk.crash(&mut self.rng);
            (node.paused_until, node.full) = (0, node.full.map(|_| false));
            self.note(survived);
            self.trace.line(self.now, || format!("{replica} CRASHES"));
            self.tell_links(replica, false);
        }
    }

    /// Links to `replica` break or come up; both ends hear it, if the plan says so.
    pub(super) fn tell_links(&mut self, replica: ReplicaId, up: bool) {
        if !self.plan.link_events {
            return;
        }
        for peer in self
            .nodes
            .keys()
            .copied()
            .filter(|id| *id != replica)
            .collect::<Vec<_>>()
        {
            if up && !(self.network.connects(peer, replica) && self.is_up(peer)) {
                continue;
            }
            let link = |id| {
                if up {
                    Input::LinkUp(id)
                } else {
                    Input::LinkDown(id)
                }
            };
            self.feed(peer, link(replica));
            self.feed(replica, link(peer));
        }
    }

    pub(super) fn is_up(&self, replica: ReplicaId) -> bool {
        self.nodes
            .get(&replica)
            .is_some_and(|node| node.core.is_some())
    }

    pub(super) fn feed(&mut self, replica: ReplicaId, input: Input) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let clock = node.clock(self.now);
        let Some(core) = node.core.as_mut() else {
            return;
        };
        let mut actions = Vec::new();
        core.handle(clock, input, &mut actions);
        let deadline = core
            .next_deadline()
            .map(|at| (at - clock.min(at)).max(1) + self.now);
        let (life, status) = (node.life, core.status());
        let watched = node.liar.is_none();
        if watched {
            self.checks.clock(clock);
        }
        if let Some(at) = deadline.filter(|at| *at < node.timer_at) {
            node.timer_at = at;
            self.at(at, Event::Timer { replica, life });
        }
        for action in actions {
            self.act(replica, life, action);
        }
        if watched {
            let verdict = self.checks.stands(replica, &status);
            self.note(verdict);
        }
    }

    /// Keeps the first violation.
    fn note(&mut self, verdict: Verdict) {
        self.violation = std::mem::replace(&mut self.violation, Ok(())).and(verdict);
    }

    fn is_correct(&self, replica: ReplicaId) -> bool {
        self.nodes
            .get(&replica)
            .is_some_and(|node| node.liar.is_none())
    }

    pub(super) fn act(&mut self, replica: ReplicaId, life: u64, action: Action) {
        match action {
            Action::Send { to, message } => self.say(replica, to, message),
            Action::Broadcast { message } => {
                let others = self.nodes.keys().copied().filter(|id| *id != replica);
                for to in others.collect::<Vec<_>>() {
                    self.say(replica, to, message.clone());
                }
            }
            Action::Persist { id, record } => {
                if self.is_correct(replica) {
                    let verdict = self.checks.records(replica, &record);
                    self.note(verdict);
                }
                self.append(replica, Entry::Record(id, record));
            }
            Action::Decide(decided) => {
                let (height, digest) = (decided.height, decided.batch.digest());
                self.trace.line(self.now, || {
                    format!("{replica} DECIDES height {height} value {digest}")
                });
                if self.is_correct(replica) {
                    let verdict = self.checks.decided(replica, &decided);
                    self.note(verdict);
                }
                if let Some(node) = self.nodes.get_mut(&replica) {
                    node.keeper.execute(&decided);
                    node.keeper.sink.reached(height);
                }
                self.append(replica, Entry::Decided(decided));
            }
            // No client of these plans is an administrator.
            Action::ViewChanged(_) | Action::Tentative(_) => {}
            Action::LoadDecisions { to, from, max } => {
                let Some(node) = self.nodes.get(&replica) else {
                    return;
                };
                if let Some(oldest) = node.disk.begins_after(from) {
                    let gone = Input::DecisionsGone { to, from, oldest };
                    self.feed(replica, gone);
                    return;
                }
                let decisions = node.disk.decisions(from, max);
                let at = self.now + self.rng.between(0, 5);
                self.at(
                    at,
                    Event::Loaded {
                        replica,
                        life,
                        to,
                        decisions,
                    },
                );
            }
            Action::Checkpoint(summary) => self.checkpoint(replica, life, *summary),
            Action::FetchState { above } => self.fetch_state(replica, above),
            Action::Reject {
                client,
                incarnation,
                seq,
                reason,
            } => {
                self.trace.line(self.now, || {
                    format!("{replica} rejects {client} {incarnation}.{seq}: {reason}")
                });
            }
        }
    }

    pub(super) fn append(&mut self, replica: ReplicaId, entry: Entry) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.disk.append(entry) {
            self.fsync(replica);
        }
    }

    pub(super) fn fsync(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if let Some(waits) = &mut node.full {
            *waits = true;
            return;
        }
        let (low, high) = self.plan.fsync;
        let (life, slow) = (node.life, node.fsync_ms);
        let takes = slow.unwrap_or_else(|| self.rng.between(low, high));
        self.at(self.now + takes, Event::Synced { replica, life });
    }

    pub(super) fn synced(&mut self, replica: ReplicaId, life: u64) {
        if !self.lives(replica, life) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let (newest, again) = node.disk.synced();
        if again {
            self.fsync(replica);
        }
        if let Some(id) = newest {
            self.feed(replica, Input::Persisted(id));
        }
    }

    pub(super) fn say(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let Some(node) = self.nodes.get_mut(&from) else {
            return;
        };
        let lies_about_state = node.liar.is_some() && self.plan.settings.checkpoint_every > 0;
        let message = if lies_about_state {
            state_lies::bend(&mut self.rng, message)
        } else {
            Some(message)
        };
        let Some(message) = message else { return };
        let said = match &mut node.liar {
            Some(liar) => liar.bend(&mut self.minds[node.mind], to, message),
            None => {
                let verdict = self.checks.says(from, &message, &node.disk);
                self.note(verdict);
                vec![(0, message)]
            }
        };
        for (late, message) in said {
            self.trace
                .line(self.now, || format!("{from} → {to}  {}", words(&message)));
            let bytes = message.encode();
            for delay in self.network.carry(from, to, &message) {
                let bytes = bytes.clone();
                self.at(self.now + late + delay, Event::Deliver { from, to, bytes });
            }
        }
    }

    pub(super) fn deliver(&mut self, from: ReplicaId, to: ReplicaId, bytes: &[u8]) {
        match Message::decode(bytes) {
            Ok(message) => {
                let Some(node) = self.nodes.get_mut(&to) else {
                    return;
                };
                let mind = node.mind;
                let liar = node.liar.as_mut();
                let answer = liar.and_then(|liar| liar.hear(&mut self.minds[mind], &message));
                self.trace
                    .line(self.now, || format!("  {to} ← {from}  {}", words(&message)));
                match message {
                    Message::State(message) => self.hear_state(to, from, message),
                    message => self.feed(to, Input::Message { from, message }),
                }
                if let Some(answer) = answer {
                    self.say(to, from, answer);
                }
            }
            Err(error) => self.violation = Err(format!("codec: {error}")),
        }
    }
}
