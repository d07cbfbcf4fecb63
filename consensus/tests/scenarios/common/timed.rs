//! The same cores with time between them: messages travel, inputs cost their replica processor time, clients wait.

use std::collections::{BTreeMap, VecDeque};

use consensus::{ClientId, Input, Message, ReplicaId, Request, Settings, Verified, View};

use super::{CLIENT, OTHER, Table, signed};

/// How long a message takes, in milliseconds.
pub type Delay = Box<dyn FnMut(u16, u16, &Message) -> u64>;

pub struct Timed {
    pub table: Table,
    pub delay: Delay,
    /// How long a client's request takes to each replica.
    pub client_delay: Vec<u64>,
    /// What an input costs each replica, in microseconds.
    pub cost_us: Vec<u64>,
    /// Replicas that stand still until this time.
    pub still_until: Vec<u64>,
    travelling: BTreeMap<(u64, u64), (u16, Input)>,
    count: u64,
    waiting: Vec<VecDeque<Input>>,
    busy_until_us: Vec<u64>,
    next_seq: BTreeMap<ClientId, u64>,
    /// When each request was asked.
    pub asked: BTreeMap<(ClientId, u64), u64>,
    /// How long each took until replica `n - 1` had it decided, in the order of decisions.
    pub took: Vec<(u64, u64)>,
    looked_at: usize,
}

impl Timed {
    pub fn of(n: u16, settings: Settings) -> Self {
        Self::in_view(super::view(n), settings)
    }

    pub fn in_view(view: View, settings: Settings) -> Self {
        let size = view.replicas.len();
        Self {
            table: Table::in_view(view, settings),
            delay: Box::new(|_, _, _| 1),
            client_delay: vec![1; size],
            cost_us: vec![0; size],
            still_until: vec![0; size],
            travelling: BTreeMap::new(),
            count: 0,
            waiting: vec![VecDeque::new(); size],
            busy_until_us: vec![0; size],
            next_seq: BTreeMap::new(),
            asked: BTreeMap::new(),
            took: Vec::new(),
            looked_at: 0,
        }
    }

    fn travels(&mut self, after: u64, to: u16, input: Input) {
        self.count += 1;
        let at = self.table.now + after;
        self.travelling.insert((at, self.count), (to, input));
    }

    /// A client asks for its next request.
    pub fn ask(&mut self, client: ClientId) {
        let seq = self.next_seq.entry(client).or_insert(0);
        *seq += 1;
        let seq = *seq;
        let request: Request = signed(client, 1, seq, &format!("op {seq}"));
        let request: Verified<Request> = request.verify(&self.table.view).expect("signed");
        self.asked.insert((client, seq), self.table.now);
        for to in 0..self.client_delay.len() {
            let after = self.client_delay[to];
            self.travels(after, to as u16, Input::Request(request.clone()));
        }
    }

    fn send(&mut self) {
        while let Some((from, to, message)) = self.table.inbox.pop_front() {
            let after = (self.delay)(from.0, to.0, &message);
            self.travels(after, to.0, Input::Message { from, message });
        }
        self.table.sent.clear();
    }

    fn look(&mut self) {
        let decided = self.table.decided.last().expect("replicas");
        for decided in &decided[self.looked_at..] {
            for entry in &decided.batch.entries {
                let asked = self.asked.get(&(entry.client, entry.seq));
                let took = asked.map(|asked| (*asked, self.table.now - asked));
                self.took.extend(took);
            }
        }
        self.looked_at = decided.len();
    }

    /// One millisecond.
    pub fn step(&mut self) {
        self.table.now += 1;
        let now = self.table.now;
        while let Some(entry) = self.travelling.first_entry().filter(|e| e.key().0 <= now) {
            let (to, input) = entry.remove();
            self.waiting[usize::from(to)].push_back(input);
        }
        for i in 0..self.waiting.len() {
            let busy = &mut self.busy_until_us[i];
            *busy = (*busy)
                .max((now - 1) * 1_000)
                .max(self.still_until[i] * 1_000);
            while self.busy_until_us[i] < now * 1_000 {
                let core = self.table.cores[i].as_ref();
                let due = core.and_then(consensus::Core::next_deadline);
                let timer = due.is_some_and(|due| due <= now).then_some(Input::Timer);
                let Some(input) = timer.or_else(|| self.waiting[i].pop_front()) else {
                    break;
                };
                self.busy_until_us[i] += self.cost_us[i];
                self.table.feed(i as u16, input);
                self.send();
            }
        }
        self.look();
    }

    /// Time passes; every `every` ms both clients ask, unless so many of their requests wait.
    pub fn load(&mut self, ms: u64, every: u64, most: usize) {
        for at in 0..ms {
            if at % every == 0 {
                for client in [CLIENT, OTHER] {
                    if self.asked.len() < self.took.len() + most {
                        self.ask(client);
                    }
                }
            }
            self.step();
        }
    }

    pub fn regencies(&self) -> Vec<u64> {
        self.table.regencies()
    }

    /// The median of how long requests took that were asked in the last `ms`.
    pub fn median(&self, ms: u64) -> u64 {
        let since = self.table.now - ms;
        let recent = self.took.iter().filter(|(asked, _)| *asked >= since);
        let mut took: Vec<_> = recent.map(|(_, took)| *took).collect();
        took.sort_unstable();
        assert!(!took.is_empty(), "nothing was decided in the last {ms} ms");
        took[took.len() / 2]
    }

    /// Runs until the first replica that is not `but` left regency 0; how long that took.
    pub fn load_until_deposed(&mut self, every: u64, most: usize, at_most: u64) -> Option<u64> {
        (0..at_most / 100).find_map(|tenths| {
            self.load(100, every, most);
            let left = self
                .regencies()
                .iter()
                .filter(|regency| **regency > 0)
                .count();
            (left > self.client_delay.len() / 2).then_some(tenths * 100)
        })
    }

    pub fn is_led_by(&self, leader: u16) -> bool {
        let mut cores = self.table.cores.iter().flatten();
        cores.all(|core| core.status().leader == ReplicaId(leader))
    }
}
