//! A whole cluster in virtual time: the queue of events, and when a run is over.

mod clientele;
mod faults;
mod machines;
mod state;

use std::collections::BTreeMap;

use consensus::{
    Core, Decided, Digest, Height, Input, PublicKey, ReplicaId, Request, SigningKey, Verified, View,
};

use crate::byzantine::{Liar, Mind};
use crate::checks::{Checks, Verdict, liveness};
use crate::clients::{Client, Manner};
use crate::disk::Disk;
use crate::keeper::{Checkpoint, Keeper};
use crate::network::Network;
use crate::plan::{DEADLINE, Fault, HEAL_AT, Plan};
use crate::rng::Rng;
use crate::trace::Trace;

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
    ClientRestart(usize),
    Repeat(usize),
    Heal,
}

/// One replica and its machine.
struct Node {
    core: Option<Core>,
    disk: Disk,
    keeper: Keeper,
    /// Counts restarts; events of an earlier life are void.
    life: u64,
    liar: Option<Liar>,
    /// Which of the minds it lies with.
    mind: usize,
    timer_at: u64,
    fsync_ms: Option<u64>,
    /// No fsync succeeds; true inside: one waits for that to end.
    full: Option<bool>,
    /// It stands still until this time.
    paused_until: u64,
    /// Its clock's lead on the true time, in milliseconds.
    clock_ahead: i64,
}

/// A cluster in virtual time.
pub struct Cluster {
    plan: Plan,
    view: View,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    nodes: BTreeMap<ReplicaId, Node>,
    /// What the liars know: each by itself, or all together.
    minds: Vec<Mind>,
    network: Network,
    clients: Vec<Client>,
    checks: Checks,
    /// Correct replicas' states at the agreed heights.
    roots: BTreeMap<Height, Digest>,
    /// States that correct replicas installed.
    installed: u64,
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
}

impl Cluster {
    /// The cluster of a plan.
    pub fn new(plan: Plan, seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x51ed);
        let manners = honest(&plan, &mut rng).into_iter();
        let manners = manners.chain(plan.lying_clients.iter().copied());
        let clients: Vec<_> = manners
            .enumerate()
            .map(|(i, manner)| Client::new(i, manner))
            .collect();
        let view = View {
            id: 1,
            f: plan.f,
            fast: plan.fast.clone(),
            replicas: (0..plan.n)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
                .collect(),
            clients: clients
                .iter()
                .map(|client| (client.id, client.public_key()))
                .collect(),
            ..View::default()
        };
        let (mut nodes, mut minds) = (BTreeMap::new(), Vec::new());
        for i in 0..plan.n {
            let id = ReplicaId(i);
            if plan.byzantine.contains_key(&id) && (minds.is_empty() || !plan.collude) {
                minds.push(Mind {
                    other_side: rng.next_u64(),
                    ..Mind::default()
                });
            }
            let node = Node::new(&plan, &view, id, minds.len().saturating_sub(1), &mut rng);
            nodes.insert(id, node);
        }
        let checks = Checks::new(view.clone(), plan.settings.clone(), plan.byzantine.keys());
        let mut cluster = Self {
            network: Network::new(&plan, rng.fork()),
            plan,
            view,
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            nodes,
            minds,
            clients,
            checks,
            roots: BTreeMap::new(),
            installed: 0,
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
            .correct()
            .map(|(id, core)| (id, core.status().height))
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
            Event::Deliver { from, to, bytes } => self.deliver(from, to, &bytes),
            Event::ClientSays { to, request } => {
                if let Some(node) = self.nodes.get(&to).filter(|node| node.liar.is_some()) {
                    self.minds[node.mind].know(&request);
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

    fn missing(&self) -> usize {
        let honest = self.clients.iter().filter(|c| c.manner.is_honest());
        let waiting = honest.flat_map(|c| c.waiting.keys().map(move |name| (c.id, name)));
        waiting
            .filter(|(id, name)| !self.checks.once.is_ordered(*id, name.0, name.1))
            .count()
    }

    /// All honest requests ordered, and all correct replicas at one height.
    fn is_done(&self) -> bool {
        let until = self.plan.steady.map_or(0, |steady| steady.until);
        if self.now < until.max(HEAL_AT + 500) || self.missing() > 0 {
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

impl Node {
    fn new(plan: &Plan, view: &View, id: ReplicaId, mind: usize, rng: &mut Rng) -> Self {
        let patience = plan.settings.request_timeout_ms;
        let habits = plan.byzantine.get(&id).cloned();
        let liar = habits.map(|habits| {
            let view = view.clone();
            Liar::new(
                id,
                key(id.0),
                view,
                habits,
                plan.collude,
                patience,
                rng.fork(),
            )
        });
        Self {
            core: None,
            disk: Disk::default(),
            keeper: Keeper::new(view, id),
            life: 0,
            liar,
            mind,
            timer_at: 0,
            fsync_ms: None,
            full: None,
            paused_until: 0,
            clock_ahead: plan.clocks.get(&id).copied().unwrap_or(0),
        }
    }

    /// The replica's clock at a true time since the start.
    fn clock(&self, now: u64) -> u64 {
        (EPOCH + now).saturating_add_signed(self.clock_ahead)
    }
}

/// How the clients behave that the order serves; some reach one correct replica only.
fn honest(plan: &Plan, rng: &mut Rng) -> Vec<Manner> {
    let correct = (0..plan.n).map(ReplicaId);
    let correct: Vec<_> = correct
        .filter(|id| !plan.byzantine.contains_key(id))
        .collect();
    let manner = |_| {
        let home = rng.pick(&correct).filter(|_| rng.chance(15));
        home.map_or(Manner::Honest, Manner::Quiet)
    };
    plan.clients.iter().map(manner).collect()
}

fn key(replica: u16) -> SigningKey {
    let mut secret = [0x5e; 32];
    secret[..2].copy_from_slice(&replica.to_le_bytes());
    SigningKey::from_bytes(&secret)
}
