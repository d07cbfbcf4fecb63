//! Replicas on their machines: lives, disks and what they say to each other.

use consensus::{Action, Core, Input, Message, Reason, ReplicaId, View};

use crate::checks::Verdict;
use crate::checks::promises;
use crate::disk::Entry;
use crate::state_lies;
use crate::trace::words;

use super::{Cluster, Event};

impl Cluster {
    pub(super) fn restart(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.core.is_some() || node.off {
            return;
        }
        let genesis = &self.genesis;
        let recovered = match node.disk.replay(node.keeper.newest(), genesis) {
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
        let settings = self.plan.settings.clone();
        node.view = recovered.view().unwrap_or(genesis).clone();
        let log = node.disk.decisions(0, usize::MAX);
        let every = settings.checkpoint_every;
        node.keeper
            .restart(genesis, &node.view, replica, every, log.iter());
        let mut keys = node.keys.iter().map(|key| key.secret.clone());
        let first = keys.next().expect("every machine has a key");
        let mut core = Core::new(settings, genesis.clone(), replica, first, recovered, clock);
        keys.for_each(|key| core.offer_key(key));
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
            self.crashes += 1;
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
            let stands = (status.view, status.regency);
            if node.stood != stands {
                node.stood = stands;
                self.regencies
                    .extend((status.regency > 0).then_some(stands));
            }
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
                for to in self.audience(replica) {
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
                    self.checks.latency.decided(self.now, &decided);
                    let verdict = self.checks.decided(replica, &decided);
                    self.note(verdict);
                    self.follow_views();
                }
                if let Some(node) = self.nodes.get_mut(&replica) {
                    node.keeper.execute(&decided);
                    node.keeper.sink.reached(height);
                }
                self.append(replica, Entry::Decided(decided));
            }
            Action::ViewChanged(view) => self.view_changed(replica, view),
            // The service of these plans executes what is final; its clients could go by this.
            Action::Tentative(told) => {
                if let Some(node) = self.nodes.get(&replica).filter(|node| node.liar.is_none()) {
                    let verdict = self.checks.tells(replica, &told, &node.disk);
                    self.note(verdict);
                }
            }
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
                if reason == Reason::MustSign {
                    self.wants_signature(replica, client, (incarnation, seq));
                }
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
            Some(liar) => {
                let truth = message.clone();
                let said = liar.bend(&mut self.minds[node.mind], to, message);
                let lied = !matches!(said.as_slice(), [(0, one)] if *one == truth);
                self.lies += u64::from(lied);
                said
            }
            None => {
                let verdict = self.checks.says(from, &message, &node.disk);
                self.note(verdict);
                vec![(0, message)]
            }
        };
        for (late, message) in said {
            self.trace
                .line(self.now, || format!("{from} → {to}  {}", words(&message)));
            self.carry(from, to, late, &message);
        }
    }

    /// A message travels, or is lost.
    pub(super) fn carry(&mut self, from: ReplicaId, to: ReplicaId, late: u64, message: &Message) {
        let machine = self.nodes.get(&from).map_or(0, |node| node.machine);
        let bytes = message.encode();
        for delay in self.network.carry(from, to, message) {
            let bytes = bytes.clone();
            let at = self.now + late + delay;
            self.at(
                at,
                Event::Deliver {
                    from,
                    machine,
                    to,
                    bytes,
                },
            );
        }
    }

    /// To whom a replica speaks when it speaks to all: to the members of its view; a liar to whomever it finds.
    pub(super) fn audience(&self, replica: ReplicaId) -> Vec<ReplicaId> {
        let others = |ids: &mut dyn Iterator<Item = &ReplicaId>| {
            ids.copied().filter(|id| *id != replica).collect()
        };
        match self.nodes.get(&replica) {
            Some(node) if node.liar.is_none() => others(&mut node.view.replicas.keys()),
            _ => others(&mut self.nodes.keys()),
        }
    }

    /// A core is in another view: everything around it follows.
    fn view_changed(&mut self, replica: ReplicaId, view: View) {
        self.trace.line(self.now, || {
            let member = view.replicas.contains_key(&replica);
            format!("{replica} BEGINS VIEW {}; a member: {member}", view.id)
        });
        if self.is_correct(replica) {
            let verdict = self.checks.begins(replica, &view);
            self.note(verdict);
        }
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        node.keeper.sink.in_view(view.clone());
        if let Some(liar) = &mut node.liar {
            let named = view.replicas.get(&replica);
            let mut keys = node.keys.iter();
            let key = keys.find(|key| Some(&key.public) == named);
            liar.follow(view.clone(), key.map(|key| key.secret.clone()));
        }
        node.view = view;
    }

    /// Whether a message of this machine, under this number, reaches the core: a link stands to the machine whose key the
    /// receiver's view names. To one that it does not name none stands in truth; here the core has to see to that.
    fn is_linked(&self, (from, machine): (ReplicaId, u64), to: ReplicaId) -> bool {
        let node = self.nodes.get(&to);
        let named = node.and_then(|node| node.view.replicas.get(&from));
        named.is_none_or(|key| self.machines.get(key) == Some(&machine))
    }

    pub(super) fn deliver(&mut self, sender: (ReplicaId, u64), to: ReplicaId, bytes: &[u8]) {
        if !self.is_linked(sender, to) {
            return;
        }
        let from = sender.0;
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
