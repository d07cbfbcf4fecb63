//! A whole cluster in virtual time: replicas, disks, clients and the queue of events.

use std::collections::BTreeMap;

use consensus::{
    Action, ClientId, Core, Decided, Height, Input, Message, PublicKey, ReplicaId, Request,
    SigningKey, Verified, View,
};

use crate::byzantine::Liar;
use crate::checks::{Checks, Verdict, liveness};
use crate::clients::Client;
use crate::disk::{Disk, Entry};
use crate::network::Network;
use crate::plan::{DEADLINE, Fault, HEAL_AT, Plan};
use crate::rng::Rng;
use crate::trace::{Trace, words};

/// Virtual Unix time at the start, so that clocks are not near zero.
const EPOCH: u64 = 1_000_000;
/// A client repeats what is not ordered after this time.
const REPEAT_MS: u64 = 300;

/// What happens at a time.
#[derive(Clone, Debug)]
enum Event {
    Deliver {
        from: ReplicaId,
        to: ReplicaId,
        bytes: Vec<u8>,
    },
    ClientSays {
        to: ReplicaId,
        request: Verified<Request>,
    },
    Timer {
        replica: ReplicaId,
        life: u64,
    },
    Synced {
        replica: ReplicaId,
        life: u64,
    },
    Loaded {
        replica: ReplicaId,
        life: u64,
        to: ReplicaId,
        decisions: Vec<Decided>,
    },
    Restart(ReplicaId),
    Break(u64, Fault),
    Mend(u64, Fault),
    Submit(usize),
    ClientRestart(usize),
    Repeat(usize),
    Heal,
}

/// One replica and its machine.
struct Node {
    core: Option<Core>,
    disk: Disk,
    /// Counts restarts; events of an earlier life are void.
    life: u64,
    liar: Option<Liar>,
    timer_at: u64,
    fsync_ms: Option<u64>,
}

/// A cluster in virtual time.
pub struct Cluster {
    plan: Plan,
    view: View,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    nodes: BTreeMap<ReplicaId, Node>,
    network: Network,
    clients: Vec<Client>,
    checks: Checks,
    rng: Rng,
    trace: Trace,
    violation: Verdict,
    healed: bool,
}

/// What a run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Heights decided.
    pub height: Height,
    /// The highest regency that a correct replica reached.
    pub regency: u64,
    /// Virtual milliseconds until everything was ordered.
    pub took: u64,
    /// Events handled.
    pub events: u64,
}

impl Cluster {
    /// The cluster of a plan.
    pub fn new(plan: Plan, seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x51ed);
        let liar_client = usize::from(plan.lying_client);
        let count = plan.clients.len();
        let clients: Vec<_> = (0..count + liar_client)
            .map(|i| Client::new(i, i < count))
            .collect();
        let view = View {
            id: 1,
            f: plan.f,
            replicas: (0..plan.n)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
                .collect(),
            clients: clients
                .iter()
                .map(|client| (client.id, client.public_key()))
                .collect(),
        };
        let mut nodes = BTreeMap::new();
        for i in 0..plan.n {
            let id = ReplicaId(i);
            let habits = plan.byzantine.get(&id).cloned();
            let liar = habits.map(|habits| Liar::new(id, key(i), view.clone(), habits, rng.fork()));
            let disk = Disk::default();
            nodes.insert(
                id,
                Node {
                    core: None,
                    disk,
                    life: 0,
                    liar,
                    timer_at: 0,
                    fsync_ms: None,
                },
            );
        }
        let mut cluster = Self {
            network: Network::new(&plan, rng.fork()),
            plan,
            view,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            nodes,
            clients,
            checks: Checks::default(),
            rng,
            trace: Trace { on: trace },
            violation: Ok(()),
            healed: false,
        };
        cluster.schedule();
        cluster
    }

    fn schedule(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.at(0, Event::Restart(id));
        }
        for (number, (at, fault)) in self.plan.faults.clone().into_iter().enumerate() {
            self.at(at, Event::Break(number as u64, fault));
        }
        for (index, count) in self.plan.clients.clone().into_iter().enumerate() {
            for _ in 0..count {
                let at = self.rng.between(10, HEAL_AT - 100);
                self.at(at, Event::Submit(index));
            }
            // One more when all is well again.
            let at = self.rng.between(HEAL_AT + 1, HEAL_AT + 300);
            self.at(at, Event::Submit(index));
            if self.rng.chance(15) {
                let at = self.rng.between(1_000, HEAL_AT - 100);
                self.at(at, Event::ClientRestart(index));
            }
        }
        for index in 0..self.clients.len() {
            if !self.clients[index].honest {
                (1..6).for_each(|i| self.at(i * 700, Event::Submit(index)));
            }
            self.at(REPEAT_MS, Event::Repeat(index));
        }
        self.at(HEAL_AT, Event::Heal);
    }

    /// Runs to the end; the first violation stops it.
    pub fn run(mut self) -> Result<Summary, String> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.happen(event);
            if let Err(violation) = std::mem::replace(&mut self.violation, Ok(())) {
                self.trace
                    .line(self.now, || format!("VIOLATION {violation}"));
                return Err(violation);
            }
            if self.healed && self.is_done() {
                break;
            }
            if self.now > DEADLINE {
                liveness::expired(self.missing(), &self.standing())?;
            }
        }
        let heights = self
            .correct()
            .map(|(id, core)| (id, core.status().height))
            .collect();
        self.checks.ended(&heights)?;
        Ok(Summary {
            height: heights.values().copied().max().unwrap_or(0),
            regency: self
                .correct()
                .map(|(_, core)| core.status().regency)
                .max()
                .unwrap_or(0),
            took: self.now,
            events: self.events,
        })
    }

    fn at(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, bytes } => self.deliver(from, to, &bytes),
            Event::ClientSays { to, request } => {
                if let Some(liar) = self.nodes.get_mut(&to).and_then(|node| node.liar.as_mut()) {
                    liar.know(&request);
                }
                self.feed(to, Input::Request(request));
            }
            Event::Timer { replica, life } => {
                if self.lives(replica, life) {
                    if let Some(node) = self.nodes.get_mut(&replica) {
                        node.timer_at = u64::MAX;
                    }
                    self.feed(replica, Input::Timer);
                }
            }
            Event::Synced { replica, life } => self.synced(replica, life),
            Event::Loaded {
                replica,
                life,
                to,
                decisions,
            } => {
                if self.lives(replica, life) {
                    self.feed(replica, Input::LoadedDecisions { to, decisions });
                }
            }
            Event::Restart(replica) => self.restart(replica),
            Event::Break(number, fault) => self.breaks(number, fault),
            Event::Mend(number, fault) => self.mends(number, &fault),
            Event::Submit(index) => self.submit(index),
            Event::ClientRestart(index) => self.clients[index].restart(),
            Event::Repeat(index) => self.repeat(index),
            Event::Heal => self.heal(),
        }
    }

    fn lives(&self, replica: ReplicaId, life: u64) -> bool {
        self.nodes
            .get(&replica)
            .is_some_and(|node| node.life == life && node.core.is_some())
    }

    fn correct(&self) -> impl Iterator<Item = (ReplicaId, &Core)> {
        let honest = self.nodes.iter().filter(|(_, node)| node.liar.is_none());
        honest.filter_map(|(id, node)| Some((*id, node.core.as_ref()?)))
    }

    // ---- replicas -------------------------------------------------------------------

    fn restart(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.core.is_some() {
            return;
        }
        let recovered = match node.disk.replay() {
            Ok(recovered) => recovered,
            Err(error) => {
                self.violation = Err(format!("durability: {replica} cannot restart: {error}"));
                return;
            }
        };
        node.life += 1;
        node.timer_at = u64::MAX;
        let clock = EPOCH + self.now + self.plan.clocks.get(&replica).copied().unwrap_or(0);
        let height = recovered.height();
        self.trace
            .line(self.now, || format!("{replica} starts at height {height}"));
        if node.liar.is_none() {
            self.checks.restarted(replica, height);
        }
        let (settings, view) = (self.plan.settings.clone(), self.view.clone());
        node.core = Some(Core::new(
            settings,
            view,
            replica,
            key(replica.0),
            recovered,
            clock,
        ));
        self.feed(replica, Input::Timer);
        self.tell_links(replica, true);
    }

    fn crash(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.core.take().is_some() {
            node.disk.crash(&mut self.rng);
            self.trace.line(self.now, || format!("{replica} CRASHES"));
            self.tell_links(replica, false);
        }
    }

    /// Links to `replica` break or come up; both ends hear it, if the plan says so.
    fn tell_links(&mut self, replica: ReplicaId, up: bool) {
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

    fn is_up(&self, replica: ReplicaId) -> bool {
        self.nodes
            .get(&replica)
            .is_some_and(|node| node.core.is_some())
    }

    fn feed(&mut self, replica: ReplicaId, input: Input) {
        let clock = EPOCH + self.now + self.plan.clocks.get(&replica).copied().unwrap_or(0);
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        let Some(core) = node.core.as_mut() else {
            return;
        };
        let mut actions = Vec::new();
        core.handle(clock, input, &mut actions);
        let deadline = core
            .next_deadline()
            .map(|at| (at - clock.min(at)).max(1) + self.now);
        let life = node.life;
        if let Some(at) = deadline.filter(|at| *at < node.timer_at) {
            node.timer_at = at;
            self.at(at, Event::Timer { replica, life });
        }
        for action in actions {
            self.act(replica, life, action);
        }
    }

    fn act(&mut self, replica: ReplicaId, life: u64, action: Action) {
        match action {
            Action::Send { to, message } => self.say(replica, to, message),
            Action::Broadcast { message } => {
                let others = self.nodes.keys().copied().filter(|id| *id != replica);
                for to in others.collect::<Vec<_>>() {
                    self.say(replica, to, message.clone());
                }
            }
            Action::Persist { id, record } => self.append(replica, Entry::Record(id, record)),
            Action::Decide(decided) => {
                let (height, digest) = (decided.height, decided.batch.digest());
                self.trace.line(self.now, || {
                    format!("{replica} DECIDES height {height} value {digest}")
                });
                if self
                    .nodes
                    .get(&replica)
                    .is_some_and(|node| node.liar.is_none())
                {
                    let verdict = self.checks.decided(&self.view, replica, &decided);
                    self.violation = std::mem::replace(&mut self.violation, Ok(())).and(verdict);
                }
                self.append(replica, Entry::Decided(decided));
            }
            Action::LoadDecisions { to, from, max } => {
                let Some(node) = self.nodes.get(&replica) else {
                    return;
                };
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

    // ---- disks ----------------------------------------------------------------------

    fn append(&mut self, replica: ReplicaId, entry: Entry) {
        let Some(node) = self.nodes.get_mut(&replica) else {
            return;
        };
        if node.disk.append(entry) {
            self.fsync(replica);
        }
    }

    fn fsync(&mut self, replica: ReplicaId) {
        let Some(node) = self.nodes.get(&replica) else {
            return;
        };
        let (low, high) = self.plan.fsync;
        let (life, slow) = (node.life, node.fsync_ms);
        let takes = slow.unwrap_or_else(|| self.rng.between(low, high));
        self.at(self.now + takes, Event::Synced { replica, life });
    }

    fn synced(&mut self, replica: ReplicaId, life: u64) {
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

    // ---- messages -------------------------------------------------------------------

    fn say(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        let Some(node) = self.nodes.get_mut(&from) else {
            return;
        };
        let words = match &mut node.liar {
            Some(liar) => liar.bend(to, message),
            None => {
                let verdict = self.checks.says(from, &message, &node.disk);
                self.violation = std::mem::replace(&mut self.violation, Ok(())).and(verdict);
                vec![(0, message)]
            }
        };
        for (late, message) in words {
            self.trace.line(self.now, || {
                format!("{from} → {to}  {}", crate::trace::words(&message))
            });
            let bytes = message.encode();
            for delay in self.network.carry(from, to, &message) {
                let bytes = bytes.clone();
                self.at(self.now + late + delay, Event::Deliver { from, to, bytes });
            }
        }
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, bytes: &[u8]) {
        match Message::decode(bytes) {
            Ok(message) => {
                let Some(node) = self.nodes.get_mut(&to) else {
                    return;
                };
                let answer = node.liar.as_mut().and_then(|liar| liar.hear(&message));
                self.trace
                    .line(self.now, || format!("  {to} ← {from}  {}", words(&message)));
                self.feed(to, Input::Message { from, message });
                if let Some(answer) = answer {
                    self.say(to, from, answer);
                }
            }
            Err(error) => self.violation = Err(format!("codec: {error}")),
        }
    }

    // ---- faults ---------------------------------------------------------------------

    fn breaks(&mut self, number: u64, fault: Fault) {
        if self.healed {
            return;
        }
        self.trace.line(self.now, || format!("FAULT {fault:?}"));
        let lasts = match &fault {
            Fault::Crash { replica, down } => {
                self.crash(*replica);
                *down
            }
            Fault::CrashAll { down } => {
                self.nodes
                    .keys()
                    .copied()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|id| self.crash(id));
                *down
            }
            Fault::Partition { side, lasts } => {
                self.network.part(number, side.clone());
                self.tell_parted(side, false);
                *lasts
            }
            Fault::OneWay { from, to, lasts } => {
                self.network.cut(number, *from, *to);
                *lasts
            }
            Fault::Lonely { replica, lasts } => {
                self.network.isolate_decision(number, *replica);
                *lasts
            }
            Fault::SlowDisk { replica, ms, lasts } => {
                if let Some(node) = self.nodes.get_mut(replica) {
                    node.fsync_ms = Some(*ms);
                }
                *lasts
            }
        };
        let at = (self.now + lasts).min(HEAL_AT);
        self.at(at, Event::Mend(number, fault));
    }

    fn mends(&mut self, number: u64, fault: &Fault) {
        match fault {
            Fault::Crash { replica, .. } => self.restart(*replica),
            Fault::CrashAll { .. } => self.start_all(),
            Fault::Partition { side, .. } => {
                self.network.mend(number);
                self.tell_parted(side, true);
            }
            Fault::OneWay { .. } | Fault::Lonely { .. } => self.network.mend(number),
            Fault::SlowDisk { replica, .. } => {
                if let Some(node) = self.nodes.get_mut(replica) {
                    node.fsync_ms = None;
                }
            }
        }
    }

    fn start_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.restart(id);
        }
    }

    fn tell_parted(&mut self, side: &std::collections::BTreeSet<ReplicaId>, up: bool) {
        if !self.plan.link_events {
            return;
        }
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for a in ids.iter().filter(|id| side.contains(id)) {
            for b in ids.iter().filter(|id| !side.contains(id)) {
                let link = |id| {
                    if up {
                        Input::LinkUp(id)
                    } else {
                        Input::LinkDown(id)
                    }
                };
                if !up || self.network.connects(*a, *b) {
                    self.feed(*a, link(*b));
                    self.feed(*b, link(*a));
                }
            }
        }
    }

    fn heal(&mut self) {
        self.trace.line(self.now, || "HEAL".to_owned());
        self.healed = true;
        self.network.heal();
        for node in self.nodes.values_mut() {
            node.fsync_ms = None;
        }
        self.start_all();
        if self.plan.link_events {
            let ids: Vec<_> = self.nodes.keys().copied().collect();
            for id in ids {
                self.tell_links(id, true);
            }
        }
    }

    // ---- clients --------------------------------------------------------------------

    fn submit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(request) = client.submit(&self.view) else {
            return;
        };
        let twin = if client.honest {
            None
        } else {
            client.twin(&request, &self.view)
        };
        // Some clients begin with one replica only; the others hear by FORWARD.
        let only = self
            .rng
            .chance(10)
            .then(|| self.rng.between(0, self.plan.n.into()) as u16);
        for to in self.nodes.keys().copied().collect::<Vec<_>>() {
            if only.is_none_or(|only| only == to.0) {
                let odd = twin.as_ref().filter(|_| to.0 % 2 == 1);
                self.client_says(to, odd.unwrap_or(&request).clone());
            }
        }
    }

    fn client_says(&mut self, to: ReplicaId, request: Verified<Request>) {
        if !self.network.loses() {
            let at = self.now + self.network.delay();
            self.at(at, Event::ClientSays { to, request });
        }
    }

    fn repeat(&mut self, index: usize) {
        let ordered = |client: ClientId, name: &(u64, u64)| {
            self.checks.validity.is_ordered(client, name.0, name.1)
        };
        let id = self.clients[index].id;
        let done: Vec<_> = {
            let waiting = self.clients[index].waiting.keys().copied();
            waiting.filter(|name| ordered(id, name)).collect()
        };
        for name in done {
            self.clients[index].waiting.remove(&name);
        }
        if self.clients[index].honest {
            for request in self.clients[index]
                .waiting
                .values()
                .cloned()
                .collect::<Vec<_>>()
            {
                for to in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.client_says(to, request.clone());
                }
            }
        }
        self.at(self.now + REPEAT_MS, Event::Repeat(index));
    }

    fn missing(&self) -> usize {
        let honest = self.clients.iter().filter(|client| client.honest);
        let waiting = honest.flat_map(|c| c.waiting.keys().map(move |name| (c.id, name)));
        waiting
            .filter(|(id, name)| !self.checks.validity.is_ordered(*id, name.0, name.1))
            .count()
    }

    /// All honest requests ordered, and all correct replicas at one height.
    fn is_done(&self) -> bool {
        if self.now < HEAL_AT + 500 || self.missing() > 0 {
            return false;
        }
        let highest = self.checks.agreement.highest();
        self.correct()
            .all(|(_, core)| core.status().height == highest)
    }

    fn standing(&self) -> String {
        let each = self.correct().map(|(id, core)| {
            let s = core.status();
            let waits = if s.synchronizing {
                " synchronizing"
            } else {
                ""
            };
            format!(
                "{id}: height {} regency {}{waits}, {} pending",
                s.height, s.regency, s.pending_requests
            )
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

fn key(replica: u16) -> SigningKey {
    let mut secret = [0x5e; 32];
    secret[..2].copy_from_slice(&replica.to_le_bytes());
    SigningKey::from_bytes(&secret)
}
