//! A random schedule of three real cores, followed by the model.
//!
//! The Byzantine replica is number 0 and leads regencies 0, 4 and 8; the cores go from one of these
//! to the next, so that every regency's leader is Byzantine, as in the model.

mod liar;

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    Action, Batch, ClientId, Core, Decided, Entry, Input, Message, Mutation, PublicKey, Record,
    RecordId, Recovered, ReplicaId, Request, Settings, Signature, SigningKey, Start, StopState,
    Verified, View,
};
use model::{Instance, State, Step, Value};
use stateright::Model;

/// The correct replicas.
pub const CORRECT: usize = 3;
/// Between two regencies that the Byzantine replica leads.
const TURN: u64 = 4;
const CLIENT: ClientId = ClientId(70_000);
/// The instance that the model is about.
pub const HEIGHT: u64 = 1;
const EVENTS: usize = 500;

/// What happened, so that a test can tell that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub decided: [usize; 3],
    pub free: usize,
    pub bound: usize,
    pub closed: usize,
    pub restarts: usize,
}

/// One core with its disk.
struct Host {
    core: Core,
    durable: Recovered,
    /// Appended, not durable yet.
    pending: Vec<(RecordId, Record)>,
    decided: bool,
}

pub struct Walk<'a> {
    instance: &'a Instance,
    view: View,
    settings: Settings,
    values: [Batch; 2],
    request: Verified<Request>,
    hosts: Vec<Host>,
    now: u64,
    random: u64,
    /// How rarely leaders are given up and ACCEPTs arrive; schedules differ in it.
    patience: usize,
    /// All that correct replicas said; each message may arrive any number of times.
    sent: Vec<(ReplicaId, ReplicaId, Message)>,
    /// Their STOPDATA, by regency of the model.
    signed: BTreeMap<(u8, ReplicaId), (StopState, Signature)>,
    state: State,
    pub states: BTreeSet<State>,
    pub counts: Counts,
}

fn key(replica: u16) -> SigningKey {
    SigningKey::from_bytes(&[replica as u8 + 1; 32])
}

fn client_key() -> SigningKey {
    SigningKey::from_bytes(&[99; 32])
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.decided.iter_mut().zip(other.decided) {
            *sum += count;
        }
        self.free += other.free;
        self.bound += other.bound;
        self.closed += other.closed;
        self.restarts += other.restarts;
    }
}

impl<'a> Walk<'a> {
    pub fn new(seed: u64, instance: &'a Instance, planted: Option<Mutation>) -> Self {
        let view = View {
            id: 1,
            f: 1,
            replicas: (0..4)
                .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
                .collect(),
            clients: [(CLIENT, PublicKey::of(&client_key()))].into(),
            ..View::default()
        };
        let request = Request::sign(&client_key(), CLIENT, 1, 1, b"op".to_vec());
        let request = request.verify(&view).expect("signed by its client");
        let now = 1_000_000;
        let mut values = [0, 1].map(|later| Batch {
            time_ms: now + later,
            entries: vec![Entry::of(&request)],
        });
        // The rule prefers larger digests where all else is equal; so the model's order is theirs.
        values.sort_by_key(Batch::digest);
        let mut walk = Self {
            instance,
            view,
            settings: Settings {
                // Proposals are judged by their content only, whenever they arrive.
                clock_skew_ms: u64::MAX / 4,
                mutation: planted,
                ..Settings::default()
            },
            values,
            request,
            hosts: Vec::new(),
            now,
            random: seed,
            patience: [2, 6, 12][(seed % 3) as usize],
            sent: Vec::new(),
            signed: BTreeMap::new(),
            state: State::default(),
            states: BTreeSet::new(),
            counts: Counts::default(),
        };
        for i in 0..CORRECT {
            let host = walk.start(i, Recovered::default());
            walk.hosts.push(host);
        }
        walk
    }

    fn start(&self, i: usize, durable: Recovered) -> Host {
        let me = i as u16 + 1;
        let (settings, view, kept) = (self.settings.clone(), self.view.clone(), durable.clone());
        let core = Core::new(settings, view, ReplicaId(me), key(me), kept, self.now);
        Host {
            core,
            durable,
            pending: Vec::new(),
            decided: false,
        }
    }

    /// Runs the schedule; an error tells what the model did not allow.
    pub fn run(&mut self) -> Result<(), String> {
        for i in 0..CORRECT {
            self.feed(i, Input::Request(self.request.clone()))?;
        }
        for _ in 0..EVENTS {
            let i = self.below(CORRECT);
            // Whoever decided has left the instance.
            if !self.hosts[i].decided {
                self.happen(i)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, i: usize) -> Result<(), String> {
        match self.below(100) {
            0..30 => self.deliver(i),
            30..50 => self.sync_disk(i),
            50..52 => self.restart(i),
            52..54 => {
                self.now += 100;
                self.feed(i, Input::Timer)
            }
            54..60 if self.below(self.patience) == 0 => self.stop(i),
            _ => {
                let message = self.lie(i);
                self.tell(i, ReplicaId(0), message)
            }
        }
    }

    /// SplitMix64, below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// The model's regency that a core is in.
    fn regency(&self, i: usize) -> u64 {
        self.hosts[i].core.status().regency / TURN
    }

    fn tell(&mut self, i: usize, from: ReplicaId, message: Message) -> Result<(), String> {
        self.feed(i, Input::Message { from, message })
    }

    /// Something that another correct replica said to this one.
    fn deliver(&mut self, i: usize) -> Result<(), String> {
        let me = ReplicaId(i as u16 + 1);
        let to_me = self.sent.iter().filter(|(_, to, _)| *to == me);
        let count = to_me.clone().count();
        let chosen = self.below(count.max(1));
        let rare = self.below(self.patience) > 0;
        let to_me = self.sent.iter().filter(|(_, to, _)| *to == me);
        let Some((from, _, message)) = to_me.clone().nth(chosen).cloned() else {
            return Ok(());
        };
        // STOPs of the cores are for regencies that a correct replica leads.
        let left_out = matches!(message, Message::Stop { .. })
            || matches!(message, Message::Accept { .. }) && rare;
        if left_out {
            return Ok(());
        }
        self.tell(i, from, message)
    }

    /// Two others want the next regency of the Byzantine leader, or the one after it.
    fn stop(&mut self, i: usize) -> Result<(), String> {
        let next = self.regency(i) + 1 + u64::from(self.below(8) == 0);
        if next >= u64::from(self.instance.regencies) {
            return Ok(());
        }
        let others = (0..=CORRECT).filter(|other| *other != i + 1).take(2);
        for other in others.collect::<Vec<_>>() {
            let regency = next * TURN;
            self.tell(
                i,
                ReplicaId(other as u16),
                Message::Stop { view: 1, regency },
            )?;
        }
        Ok(())
    }

    fn restart(&mut self, i: usize) -> Result<(), String> {
        self.counts.restarts += 1;
        // What was not durable is lost, and nothing of it was said.
        self.hosts[i] = self.start(i, self.hosts[i].durable.clone());
        self.feed(i, Input::Request(self.request.clone()))
    }

    /// Some of what was appended becomes durable: these are the steps that the model knows.
    fn sync_disk(&mut self, i: usize) -> Result<(), String> {
        let pending = self.hosts[i].pending.len();
        if pending == 0 {
            return Ok(());
        }
        let count = 1 + self.below(pending);
        let durable: Vec<_> = self.hosts[i].pending.drain(..count).collect();
        let (last, _) = durable[count - 1];
        for (_, record) in durable {
            self.hosts[i].durable.record(record.clone());
            self.follow(i, &record)?;
        }
        self.feed(i, Input::Persisted(last))
    }

    /// Takes the model's step for a record; an error if it has none.
    fn follow(&mut self, replica: usize, record: &Record) -> Result<(), String> {
        match record {
            Record::Regency { regency, start, .. } => {
                let at = (regency / TURN) as u8;
                // A regency that was passed over was entered and left in silence.
                while self.state.replicas[replica].regency < at {
                    self.step(Step::Enter { replica })?;
                }
                start.map_or(Ok(()), |start| self.begin(at, start))
            }
            Record::Write { digest, .. } => {
                let value = self.value(digest);
                self.step(Step::Write { replica, value })
            }
            Record::Accept {
                regency, digest, ..
            } => self.step(Step::Accept {
                replica,
                regency: (regency / TURN) as u8,
                value: self.value(digest),
            }),
        }
    }

    /// The SYNC that a core took, or heard of, says what one can say in the model.
    fn begin(&mut self, regency: u8, start: Start) -> Result<(), String> {
        if start.open > HEIGHT {
            // It heard that others are further: the instance is closed to it in this regency.
            self.counts.closed += 1;
            return Ok(());
        }
        let outcomes = self.instance.outcomes(&self.state, regency);
        let known = match start.bound {
            None => outcomes.free,
            Some(digest) => outcomes.bound.contains(self.value(&digest)),
        };
        self.counts.free += usize::from(start.bound.is_none());
        self.counts.bound += usize::from(start.bound.is_some());
        if known {
            Ok(())
        } else {
            Err(format!("{start:?} in regency {regency}, {:?}", self.state))
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let mut allowed = Vec::new();
        self.instance.actions(&self.state, &mut allowed);
        if !allowed.contains(&step) {
            return Err(format!("{step:?} is not allowed in {:?}", self.state));
        }
        let next = self.instance.next_state(&self.state, step);
        self.state = next.expect("an allowed step leads somewhere");
        self.states.insert(self.state);
        Ok(())
    }

    fn value(&self, digest: &consensus::Digest) -> Value {
        let at = self
            .values
            .iter()
            .position(|batch| batch.digest() == *digest);
        Value(at.expect("no other value was proposed") as u8)
    }

    /// Feeds one input and takes note of what follows.
    fn feed(&mut self, i: usize, input: Input) -> Result<(), String> {
        let me = ReplicaId(i as u16 + 1);
        let mut actions = Vec::new();
        self.hosts[i].core.handle(self.now, input, &mut actions);
        for action in actions {
            match action {
                Action::Send { to, message } => self.note(me, to, message)?,
                Action::Broadcast { message } => {
                    for to in (0..=CORRECT as u16).map(ReplicaId).filter(|to| *to != me) {
                        self.note(me, to, message.clone())?;
                    }
                }
                Action::Persist { id, record } => self.hosts[i].pending.push((id, record)),
                Action::Decide(decided) => self.decide(i, &decided)?,
                Action::ViewChanged(_)
                | Action::Tentative(_)
                | Action::Checkpoint(_)
                | Action::FetchState { .. }
                | Action::LoadDecisions { .. }
                | Action::Reject { .. } => {}
            }
        }
        Ok(())
    }

    /// A replica says only what the model has it say.
    fn note(&mut self, me: ReplicaId, to: ReplicaId, message: Message) -> Result<(), String> {
        if let Message::StopData(data) = &message {
            let regency = (data.state.regency / TURN) as u8;
            let i = usize::from(me.0) - 1;
            let snapshot = self.state.replicas[i].snapshot(regency, None);
            if data.state.decided == 0 && !self.is_as_told(&data.state, &snapshot.into()) {
                return Err(format!("{:?}, but {snapshot:?}", data.state));
            }
            let signed = (data.state.clone(), data.signature);
            self.signed.insert((regency, me), signed);
        }
        if to.0 > 0
            && !self
                .sent
                .iter()
                .any(|said| *said == (me, to, message.clone()))
        {
            self.sent.push((me, to, message));
        }
        Ok(())
    }

    fn is_as_told(&self, state: &StopState, claim: &model::Claim) -> bool {
        let told = self.stop_state(state.replica, state.regency / TURN, claim);
        let sorted = |state: &StopState| {
            let mut writeset = state.writeset.clone();
            writeset.sort_unstable();
            (state.lock, writeset)
        };
        sorted(&told) == sorted(state)
    }

    fn decide(&mut self, i: usize, decided: &Decided) -> Result<(), String> {
        let regency = decided.proof.regency / TURN;
        let value = self.value(&decided.batch.digest());
        self.hosts[i].decided = true;
        self.counts.decided[regency as usize] += 1;
        let known = self.instance.decided(&self.state, regency as u8);
        if known.contains(value) {
            Ok(())
        } else {
            Err(format!("Decide {value} in {regency}, {:?}", self.state))
        }
    }
}
