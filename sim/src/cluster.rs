//! A whole cluster in virtual time: the queue of events, and when a run is over.

mod administration;
mod clientele;
mod faults;
mod machines;
mod node;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    ClientAuthentication, Core, Decided, Digest, Height, Input, PublicKey, ReplicaId, View,
};

use crate::byzantine::Mind;
use crate::checks::{Checks, Verdict, liveness};
use crate::clients::{Client, Manner, Signed};
use crate::keeper::Checkpoint;
use crate::network::Network;
use crate::plan::{DEADLINE, Fault, HEAL_AT, Plan};
use crate::rng::Rng;
use crate::trace::Trace;

use administration::Administration;
use node::{Key, Node};

/// Virtual Unix time at the start, so that clocks are not near zero.
const EPOCH: u64 = 1_000_000;
/// A run of more events than this gets nowhere (most have some ten thousand).
const MOST_EVENTS: u64 = 10_000_000;
/// A client repeats what is not ordered after this time.
const REPEAT_MS: u64 = 300;

/// What happens at a time.
#[derive(Clone, Debug)]
enum Event {
    Deliver {
        from: ReplicaId,
        /// The machine that said it.
        machine: u64,
        to: ReplicaId,
        bytes: Vec<u8>,
    },
    ClientSays {
        to: ReplicaId,
        signed: Signed,
    },
    Stolen {
        index: usize,
        signed: Signed,
    },
    Administer(usize),
    /// A replica is no member since this height.
    Removed {
        replica: ReplicaId,
        since: Height,
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
    Checkpointed {
        replica: ReplicaId,
        life: u64,
        checkpoint: Box<Checkpoint>,
    },
    StateTimer {
        replica: ReplicaId,
        life: u64,
    },
    Restart(ReplicaId),
    Break(u64, Fault),
    Mend(u64, Fault),
    Submit(usize),
    /// A replica has told a client to sign one of its requests.
    MustSign {
        index: usize,
        name: (u64, u64),
        from: ReplicaId,
    },
    ClientRestart(usize),
    Repeat(usize),
    Heal,
}

/// A cluster in virtual time.
pub struct Cluster {
    plan: Plan,
    genesis: View,
    /// The newest that a correct replica's decision made.
    view: View,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    nodes: BTreeMap<ReplicaId, Node>,
    /// Whose keys are on which machine.
    machines: BTreeMap<PublicKey, u64>,
    machines_made: u64,
    keys_made: u32,
    /// The next number that no replica had.
    next_replica: u16,
    /// What the liars know: each by itself, or all together.
    minds: Vec<Mind>,
    network: Network,
    clients: Vec<Client>,
    /// The last clients administer.
    first_administrator: usize,
    administration: Administration,
    checks: Checks,
    /// Correct replicas' states at the agreed heights.
    roots: BTreeMap<Height, Digest>,
    /// States that correct replicas installed.
    installed: u64,
    crashes: u64,
    /// What liars said instead of the truth.
    lies: u64,
    /// (View, regency) that correct replicas entered.
    regencies: BTreeSet<(u64, u64)>,
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
    /// States that correct replicas took over from peers.
    pub installed: u64,
    /// Views after the first one.
    pub views: u64,
    /// Regencies after the first of each view that correct replicas entered.
    pub regencies: u64,
    /// Crashes.
    pub crashes: u64,
    /// Words of liars that were not what their cores would have said.
    pub lies: u64,
}

impl Cluster {
    /// The cluster of a plan.
    pub fn new(plan: Plan, seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x51ed);
        let manners = honest(&plan, &mut rng).into_iter();
        let manners = manners.chain(plan.lying_clients.iter().copied());
        let mut clients: Vec<_> = manners
            .enumerate()
            .map(|(i, manner)| Client::new(i, manner))
            .collect();
        let first_administrator = clients.len();
        let more = if plan.changes.is_empty() { 0 } else { 2 };
        clients
            .extend((0..more).map(|i| Client::new(first_administrator + i, Manner::Administers)));
        let keys: Vec<_> = (0..plan.n).map(|i| Key::number(i.into())).collect();
        let members = (0..).map(ReplicaId).zip(keys.iter().map(|key| key.public));
        let view = View {
            id: 1,
            f: plan.f,
            mode: plan.mode,
            fast: plan.fast.clone(),
            client_authentication: match plan.macs {
                true => ClientAuthentication::Macs,
                false => ClientAuthentication::Signatures,
            },
            replicas: members.collect(),
            clients: clients
                .iter()
                .map(|client| (client.id, client.public_key()))
                .collect(),
            administrators: clients[first_administrator..]
                .iter()
                .map(|client| client.id)
                .collect(),
            ..View::default()
        };
        let mut cluster = Self {
            network: Network::new(&plan, rng.fork()),
            checks: Checks::new(view.clone(), plan.settings.clone()),
            genesis: view.clone(),
            view,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            nodes: BTreeMap::new(),
            machines: BTreeMap::new(),
            machines_made: 0,
            keys_made: 1_000,
            next_replica: plan.n,
            minds: Vec::new(),
            clients,
            first_administrator,
            administration: Administration::default(),
            roots: BTreeMap::new(),
            installed: 0,
            crashes: 0,
            lies: 0,
            regencies: BTreeSet::new(),
            rng,
            trace: Trace { on: trace },
            violation: Ok(()),
            healed: false,
            plan,
        };
        for (id, key) in (0..).map(ReplicaId).zip(keys) {
            let habits = cluster.plan.byzantine.get(&id).cloned();
            cluster.install_machine(id, key, habits);
        }
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
        for (index, (at, _)) in self.plan.changes.clone().into_iter().enumerate() {
            self.at(at, Event::Administer(index));
        }
        if let Some(steady) = self.plan.steady {
            for at in (10..steady.until).step_by(steady.every as usize) {
                (0..self.plan.clients.len()).for_each(|index| self.at(at, Event::Submit(index)));
            }
        }
        for index in 0..self.clients.len() {
            self.schedule_lies(index);
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
            if self.now > DEADLINE || self.events > MOST_EVENTS {
                liveness::expired(self.missing(), &self.standing())?;
            }
        }
        let heights = self
            .members()
            .filter_map(|(id, core)| Some((id, core?.status().height)))
            .collect();
        self.checks.ended(&heights)?;
        if let Some(steady) = self.plan.steady {
            let (since, bound) = (steady.promised_from, steady.median);
            self.checks.latency.ended(since, bound)?;
        }
        Ok(Summary {
            height: heights.values().copied().max().unwrap_or(0),
            regency: self
                .correct()
                .map(|(_, core)| core.status().regency)
                .max()
                .unwrap_or(0),
            took: self.now,
            events: self.events,
            installed: self.installed,
            views: self.administration.views,
            regencies: self.regencies.len() as u64,
            crashes: self.crashes,
            lies: self.lies,
        })
    }

    fn at(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.paused(&event) {
            self.at(until, event);
            return;
        }
        match event {
            Event::Deliver {
                from,
                machine,
                to,
                bytes,
            } => self.deliver((from, machine), to, &bytes),
            Event::ClientSays { to, signed } => self.hear_client(to, signed),
            Event::Stolen { index, signed } => self.say_to_members(index, &signed),
            Event::Administer(index) => {
                let intent = self.plan.changes[index].1.clone();
                self.administer(&intent);
            }
            Event::Removed { replica, since } => self.removed(replica, since),
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
            Event::Checkpointed {
                replica,
                life,
                checkpoint,
            } => {
                if self.lives(replica, life) {
                    self.checkpointed(replica, checkpoint);
                }
            }
            Event::StateTimer { replica, life } => {
                if self.lives(replica, life) {
                    self.state_timer(replica);
                }
            }
            Event::Restart(replica) => self.restart(replica),
            Event::Break(number, fault) => self.breaks(number, fault),
            Event::Mend(number, fault) => self.mends(number, &fault),
            Event::Submit(index) => self.submit(index),
            Event::MustSign { index, name, from } => self.must_sign(index, name, from),
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

    /// The correct members of the newest view that are not lost.
    fn members(&self) -> impl Iterator<Item = (ReplicaId, Option<&Core>)> {
        let lost = &self.administration.lost;
        let members = self.view.replicas.iter();
        let correct = members.filter(|(_, key)| !lost.contains(key));
        correct.filter_map(|(id, _)| {
            let node = self.nodes.get(id).filter(|node| node.liar.is_none())?;
            Some((*id, node.core.as_ref()))
        })
    }

    fn missing(&self) -> usize {
        let honest = self.clients.iter().filter(|c| c.manner.is_honest());
        let waiting = honest.flat_map(|c| c.waiting.keys().map(move |name| (c.id, name)));
        waiting
            .filter(|(id, name)| !self.checks.once.is_ordered(*id, name.0, name.1))
            .count()
    }

    /// All honest requests ordered, and all correct members at one height, in the newest view.
    fn is_done(&self) -> bool {
        let until = self.plan.steady.map_or(0, |steady| steady.until);
        if self.now < until.max(HEAL_AT + 500) || self.missing() > 0 {
            return false;
        }
        let highest = self.checks.agreement.highest();
        let stands = |core: &Core| {
            let status = core.status();
            status.height == highest && status.view == self.view.id && status.member
        };
        self.members().all(|(_, core)| core.is_some_and(stands))
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
                "{id}: height {} view {} regency {}{waits}, {} pending",
                s.height, s.view, s.regency, s.pending_requests
            )
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

/// How the clients behave that the order serves; some reach one correct replica only.
fn honest(plan: &Plan, rng: &mut Rng) -> Vec<Manner> {
    let correct = (0..plan.n).map(ReplicaId);
    let correct: Vec<_> = correct
        .filter(|id| !plan.byzantine.contains_key(id))
        .filter(|id| plan.anchors.is_empty() || plan.anchors.contains(id))
        .collect();
    let manner = |_| {
        let home = rng.pick(&correct).filter(|_| rng.chance(15));
        home.map_or(Manner::Honest, Manner::Quiet)
    };
    plan.clients.iter().map(manner).collect()
}
