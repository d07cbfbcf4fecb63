//! A few cores on a table: messages in order, disks at once, time by hand.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod macs;
pub mod timed;
pub mod transferring;

use std::collections::{BTreeMap, VecDeque};

use consensus::{
    Action, Change, ClientId, Core, Decided, Input, Message, PublicKey, Reason, Record, RecordId,
    Recovered, ReplicaId, Request, Settings, SigningKey, Step, Summary, Tentative, Verified, View,
    Views,
};

pub const CLIENT: ClientId = ClientId(70_000);
pub const OTHER: ClientId = ClientId(70_001);
pub const ADMIN: ClientId = ClientId(70_002);

pub fn key(replica: u16) -> SigningKey {
    SigningKey::from_bytes(&[replica as u8 + 1; 32])
}

pub fn client_key(client: ClientId) -> SigningKey {
    SigningKey::from_bytes(&[(client.0 - 69_900) as u8; 32])
}

pub fn view(n: u16) -> View {
    View {
        id: 1,
        f: (n - 1) / 3,
        replicas: (0..n)
            .map(|i| (ReplicaId(i), PublicKey::of(&key(i))))
            .collect(),
        clients: [CLIENT, OTHER, ADMIN]
            .map(|id| (id, PublicKey::of(&client_key(id))))
            .into(),
        administrators: [ADMIN].into(),
        ..View::default()
    }
}

pub fn signed(client: ClientId, incarnation: u64, seq: u64, op: &str) -> Request {
    Request::sign(
        &client_key(client),
        client,
        incarnation,
        seq,
        op.as_bytes().to_vec(),
    )
}

/// What an administrator asks for, in view `base`.
pub fn change(seq: u64, base: u64, steps: &[Step]) -> Request {
    let change = Change {
        base,
        steps: steps.to_vec(),
    };
    Request::sign(&client_key(ADMIN), ADMIN, 1, seq, change.encode())
}

pub fn request(client: ClientId, seq: u64) -> Verified<Request> {
    signed(client, 1, seq, &format!("op {seq}"))
        .verify(&view(4))
        .expect("signed by its client")
}

#[derive(Clone, Debug)]
pub enum Logged {
    Record(RecordId, Record),
    Decided(Decided),
}

type Filter = Box<dyn Fn(ReplicaId, ReplicaId, &Message) -> bool>;

pub struct Table {
    /// The newest view that any of them is in.
    pub view: View,
    pub genesis: View,
    pub settings: Settings,
    pub now: u64,
    pub cores: Vec<Option<Core>>,
    pub logs: Vec<Vec<Logged>>,
    /// Whether fsyncs end at once.
    pub disks_work: bool,
    /// Whether fsyncs end with each step of time instead.
    pub disks_are_slow: bool,
    newest_record: Vec<RecordId>,
    pub decided: Vec<Vec<Decided>>,
    /// What each told before it was decided.
    pub tentative: Vec<(ReplicaId, Tentative)>,
    pub rejected: Vec<(ReplicaId, Reason)>,
    /// Each replica's log serves no decision below this height.
    pub log_begins: Vec<u64>,
    /// Who asked for a checkpoint, above which height.
    pub state_wanted: Vec<(ReplicaId, u64)>,
    /// Each replica's summaries at the heights where checkpoints are due.
    pub checkpoints: Vec<Vec<Summary>>,
    /// Everything that was sent, delivered or not.
    pub sent: Vec<(ReplicaId, ReplicaId, Message)>,
    pub inbox: VecDeque<(ReplicaId, ReplicaId, Message)>,
    /// What arrives.
    pub passes: Filter,
}

impl Table {
    pub fn of(n: u16) -> Self {
        Self::with(n, Settings::default())
    }

    pub fn with(n: u16, settings: Settings) -> Self {
        Self::in_view(view(n), settings)
    }

    pub fn in_view(view: View, settings: Settings) -> Self {
        let n = view.replicas.len() as u16;
        let mut table = Self {
            genesis: view.clone(),
            view,
            settings,
            now: 1_000_000_000,
            cores: Vec::new(),
            logs: vec![Vec::new(); n.into()],
            disks_work: true,
            disks_are_slow: false,
            newest_record: vec![0; n.into()],
            decided: vec![Vec::new(); n.into()],
            tentative: Vec::new(),
            rejected: Vec::new(),
            log_begins: vec![0; n.into()],
            state_wanted: Vec::new(),
            checkpoints: vec![Vec::new(); n.into()],
            sent: Vec::new(),
            inbox: VecDeque::new(),
            passes: Box::new(|_, _, _| true),
        };
        for i in 0..n {
            let core = table.fresh(i, Recovered::default());
            table.cores.push(Some(core));
        }
        table
    }

    pub fn fresh(&self, i: u16, recovered: Recovered) -> Core {
        let (settings, view) = (self.settings.clone(), self.genesis.clone());
        Core::new(settings, view, ReplicaId(i), key(i), recovered, self.now)
    }

    /// One more replica; no view names it yet. Its number is the next one.
    pub fn join(&mut self) -> u16 {
        let i = self.cores.len() as u16;
        let core = self.fresh(i, Recovered::default());
        self.cores.push(Some(core));
        self.logs.push(Vec::new());
        self.newest_record.push(0);
        self.decided.push(Vec::new());
        i
    }

    /// Feeds one input and carries out what follows, but delivers nothing.
    pub fn feed(&mut self, i: u16, input: Input) {
        let me = ReplicaId(i);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(core) = &mut self.cores[usize::from(i)] else {
                return;
            };
            let mut actions = Vec::new();
            core.handle(self.now, input, &mut actions);
            for action in actions {
                match action {
                    Action::Send { to, message } => self.say(me, to, message),
                    Action::Broadcast { message } => {
                        for to in self
                            .view
                            .replicas
                            .keys()
                            .copied()
                            .filter(|to| *to != me)
                            .collect::<Vec<_>>()
                        {
                            self.say(me, to, message.clone());
                        }
                    }
                    Action::Persist { id, record } => {
                        self.logs[usize::from(i)].push(Logged::Record(id, record));
                        self.newest_record[usize::from(i)] = id;
                        if self.disks_work && !self.disks_are_slow {
                            inputs.push_back(Input::Persisted(id));
                        }
                    }
                    Action::Decide(decided) => {
                        self.logs[usize::from(i)].push(Logged::Decided(decided.clone()));
                        self.decided[usize::from(i)].push(decided);
                    }
                    Action::Tentative(value) => {
                        // Its ACCEPT is durable, and the height below is decided.
                        assert_eq!(value.height, self.decided[usize::from(i)].len() as u64 + 1);
                        self.tentative.push((me, *value));
                    }
                    Action::ViewChanged(view) => {
                        if view.id > self.view.id {
                            self.view = view;
                        }
                    }
                    Action::LoadDecisions { to, from, .. }
                        if from < self.log_begins[usize::from(i)] =>
                    {
                        let oldest = self.log_begins[usize::from(i)];
                        inputs.push_back(Input::DecisionsGone { to, from, oldest });
                    }
                    Action::Checkpoint(summary) => {
                        self.checkpoints[usize::from(i)].push(*summary);
                    }
                    Action::FetchState { above } => self.state_wanted.push((me, above)),
                    Action::LoadDecisions { to, from, max } => {
                        let log = self.logs[usize::from(i)].iter();
                        let decisions = log.filter_map(|entry| match entry {
                            Logged::Decided(decided) if decided.height >= from => {
                                Some(decided.clone())
                            }
                            _ => None,
                        });
                        let decisions = decisions.take(max).collect();
                        inputs.push_back(Input::LoadedDecisions { to, decisions });
                    }
                    Action::Reject { reason, .. } => self.rejected.push((me, reason)),
                }
            }
        }
    }

    fn say(&mut self, from: ReplicaId, to: ReplicaId, message: Message) {
        self.sent.push((from, to, message.clone()));
        self.inbox.push_back((from, to, message));
    }

    /// Delivers until all is quiet.
    pub fn settle(&mut self) {
        while let Some((from, to, message)) = self.inbox.pop_front() {
            if (self.passes)(from, to, &message) {
                self.feed(to.0, Input::Message { from, message });
            }
        }
    }

    /// A message out of nowhere.
    pub fn tell(&mut self, from: u16, to: u16, message: Message) {
        self.feed(
            to,
            Input::Message {
                from: ReplicaId(from),
                message,
            },
        );
    }

    /// A client sends to all replicas.
    pub fn submit(&mut self, request: &Verified<Request>) {
        for i in 0..self.cores.len() as u16 {
            self.feed(i, Input::Request(request.clone()));
        }
    }

    /// Time passes in small steps; everyone's timer runs.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 10;
            for i in 0..self.cores.len() as u16 {
                let due = self.cores[usize::from(i)]
                    .as_ref()
                    .and_then(Core::next_deadline);
                if self.disks_are_slow {
                    self.feed(i, Input::Persisted(self.newest_record[usize::from(i)]));
                }
                if due.is_some_and(|due| due <= self.now) {
                    self.feed(i, Input::Timer);
                }
            }
            self.settle();
        }
    }

    pub fn crash(&mut self, i: u16) {
        self.cores[usize::from(i)] = None;
    }

    /// Starts again from the first `kept` log entries.
    pub fn restart(&mut self, i: u16, kept: usize) {
        let log = &mut self.logs[usize::from(i)];
        log.truncate(kept);
        let mut recovered = Recovered::in_view(self.genesis.clone());
        for entry in log.iter() {
            match entry {
                Logged::Record(_, record) => recovered.record(record.clone()),
                Logged::Decided(decided) => recovered.decided(decided).expect("no gap"),
            }
        }
        self.decided[usize::from(i)].truncate(recovered.height() as usize);
        let core = self.fresh(i, recovered);
        self.cores[usize::from(i)] = Some(core);
    }

    pub fn restart_whole(&mut self, i: u16) {
        let kept = self.logs[usize::from(i)].len();
        self.restart(i, kept);
    }

    pub fn core(&self, i: u16) -> &Core {
        self.cores[usize::from(i)].as_ref().expect("it runs")
    }

    pub fn height(&self, i: u16) -> u64 {
        self.core(i).status().height
    }

    pub fn heights(&self) -> Vec<u64> {
        self.cores
            .iter()
            .flatten()
            .map(|core| core.status().height)
            .collect()
    }

    pub fn regencies(&self) -> Vec<u64> {
        self.cores
            .iter()
            .flatten()
            .map(|core| core.status().regency)
            .collect()
    }

    /// No two replicas decided differently at a height, none twice; all proofs hold.
    pub fn assert_agreement(&self) {
        let mut agreed = BTreeMap::new();
        for (i, decisions) in self.decided.iter().enumerate() {
            let mut views = Views::genesis(self.genesis.clone());
            for (at, decided) in decisions.iter().enumerate() {
                assert_eq!(
                    decided.height,
                    at as u64 + 1,
                    "replica {i} left a gap or decided twice"
                );
                decided.check(&views.now).expect("a proof that holds");
                views.decided(decided);
                let digest = decided.batch.digest();
                assert_eq!(
                    *agreed.entry(decided.height).or_insert(digest),
                    digest,
                    "height {}",
                    decided.height
                );
            }
        }
    }

    pub fn count_sent(&self, name: &str) -> usize {
        self.sent
            .iter()
            .filter(|(_, _, message)| message.name() == name)
            .count()
    }
}
