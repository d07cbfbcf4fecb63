//! Liars: a correct core whose words are bent on their way out. A liar has its own key
//! and no other; it knows all that its core hears.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{
    Batch, Decided, Digest, Entry, Height, LastDecided, Message, Proof, Regency, ReplicaId,
    Request, Signature, SigningKey, StopData, Sync, View, sign_accept,
};

use crate::rng::Rng;

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Habit {
    /// Two values as leader, and votes for each to those who saw it.
    Equivocate,
    /// Says nothing to some.
    Withhold,
    /// Lies about its votes when a regency ends, and collects as it likes.
    LieInStopData,
    /// Proposes what was ordered before.
    Repeat,
    /// Says old things again.
    Replay,
    /// Invents requests, decisions, signatures, heights and regencies.
    Forge,
    /// Speaks late.
    Delay,
}

impl Habit {
    /// All habits.
    pub const ALL: [Self; 7] = [
        Self::Equivocate,
        Self::Withhold,
        Self::LieInStopData,
        Self::Repeat,
        Self::Replay,
        Self::Forge,
        Self::Delay,
    ];
}

/// A liar's mind.
pub struct Liar {
    me: ReplicaId,
    key: SigningKey,
    view: View,
    habits: BTreeSet<Habit>,
    rng: Rng,
    /// Second value that it pretends to for a first one.
    twins: BTreeMap<Digest, Digest>,
    /// A regency whose SYNC it forged, to have another value decided.
    betrayed: Option<Regency>,
    /// Digests that it heard of, for lies that look true.
    heard: Vec<(Height, Digest)>,
    /// What it may say again.
    said: Vec<Message>,
    /// Requests that it knows, signed by their clients.
    requests: Vec<Request>,
}

impl Liar {
    /// A liar with its own key.
    pub fn new(
        me: ReplicaId,
        key: SigningKey,
        view: View,
        habits: BTreeSet<Habit>,
        rng: Rng,
    ) -> Self {
        Self {
            me,
            key,
            view,
            habits,
            rng,
            twins: BTreeMap::new(),
            betrayed: None,
            heard: Vec::new(),
            said: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn does(&mut self, habit: Habit, percent: u64) -> bool {
        self.habits.contains(&habit) && self.rng.chance(percent)
    }

    /// Remembers what it hears; it answers for bodies that its core would not give.
    pub fn hear(&mut self, message: &Message) -> Option<Message> {
        match message {
            Message::Write { height, digest, .. } | Message::Accept { height, digest, .. } => {
                if self.heard.len() >= 64 {
                    self.heard.remove(0);
                }
                self.heard.push((*height, *digest));
            }
            Message::FetchBodies { height, entries } => {
                let known = self.requests.iter();
                let asked = known.filter(|r| entries.iter().any(|entry| entry.names(r)));
                let requests = asked.cloned().collect();
                return Some(Message::Bodies {
                    height: *height,
                    requests,
                });
            }
            _ => {}
        }
        None
    }

    /// Remembers a request of a client.
    pub fn know(&mut self, request: &Request) {
        if self.requests.len() < 256 {
            self.requests.push(request.clone());
        }
    }

    /// What it says to `to` instead of `message`: what, and how much later.
    pub fn bend(&mut self, to: ReplicaId, message: Message) -> Vec<(u64, Message)> {
        let mut words = Vec::new();
        if self.habits.contains(&Habit::Replay) {
            if let Some(old) = self.rng.pick(&self.said).filter(|_| self.rng.chance(10)) {
                words.push((0, old));
            }
            if self.said.len() < 200 {
                self.said.push(message.clone());
            }
        }
        if self.does(Habit::Forge, 8) {
            words.push((0, self.invention()));
        }
        if self.does(Habit::Withhold, 35) {
            return words;
        }
        let message = self.twist(to, message);
        let late = if self.does(Habit::Delay, 30) {
            self.rng.between(50, 400)
        } else {
            0
        };
        words.push((late, message));
        words
    }

    fn twist(&mut self, to: ReplicaId, message: Message) -> Message {
        let regency = match &message {
            Message::Propose { regency, .. }
            | Message::Write { regency, .. }
            | Message::Accept { regency, .. } => Some(*regency),
            _ => None,
        };
        let betrays = regency.is_some() && regency == self.betrayed;
        let second = betrays || (self.habits.contains(&Habit::Equivocate) && to.0 % 2 == 1);
        match message {
            Message::Propose {
                height,
                regency,
                mut batch,
            } => {
                if second {
                    batch = self.twin(&batch);
                } else if self.habits.contains(&Habit::Equivocate) {
                    self.twin(&batch);
                }
                if self.does(Habit::Repeat, 30) {
                    batch = self.repetition(batch);
                }
                Message::Propose {
                    height,
                    regency,
                    batch,
                }
            }
            Message::Write {
                height,
                regency,
                digest,
            } if second => {
                let digest = self.twins.get(&digest).copied().unwrap_or(digest);
                Message::Write {
                    height,
                    regency,
                    digest,
                }
            }
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } if second => {
                let digest = self.twins.get(&digest).copied().unwrap_or(digest);
                let signature = sign_accept(&self.key, &self.view, height, regency, &digest);
                Message::Accept {
                    height,
                    regency,
                    digest,
                    signature,
                }
            }
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } if self.does(Habit::Forge, 50) => Message::Accept {
                height,
                regency,
                digest,
                signature: Signature([7; 64]),
            },
            Message::StopData(data) if self.does(Habit::LieInStopData, 80) => {
                Message::StopData(Box::new(self.false_state(*data)))
            }
            Message::Sync(sync) if self.habits.contains(&Habit::LieInStopData) => {
                Message::Sync(Box::new(self.false_sync(*sync)))
            }
            Message::Decisions { decisions } if self.does(Habit::Forge, 60) => Message::Decisions {
                decisions: self.false_decisions(decisions),
            },
            other => other,
        }
    }

    /// Another valid value: the same requests at another time, or fewer.
    fn twin(&mut self, batch: &Batch) -> Batch {
        let mut twin = batch.clone();
        twin.time_ms += 1;
        if batch.entries.len() > 1 && batch.time_ms.is_multiple_of(3) {
            twin.entries.pop();
        }
        self.twins.insert(batch.digest(), twin.digest());
        twin
    }

    /// The batch with a request in it that was ordered long ago.
    fn repetition(&mut self, mut batch: Batch) -> Batch {
        let digest = batch.digest();
        if let Some(request) = self.requests.first() {
            let Request {
                client,
                incarnation,
                seq,
                ..
            } = *request;
            batch.entries.push(Entry {
                client,
                incarnation,
                seq,
                digest: request.digest(),
            });
        }
        self.twins.insert(digest, batch.digest());
        batch
    }

    fn false_state(&mut self, data: StopData) -> StopData {
        let StopData {
            mut state,
            mut last,
            ..
        } = data;
        let heard = self.rng.pick(&self.heard);
        match self.rng.between(0, 4) {
            0 => (state.lock, state.writeset) = (None, Vec::new()),
            1 => {
                let (_, value) = heard.unwrap_or((0, Digest([3; 32])));
                let at = state.regency.saturating_sub(1);
                state.lock = Some((at, value));
                state.writeset = vec![(at, value)];
            }
            2 => (state.decided, last) = (0, None),
            3 => state.decided += 3,
            _ => {
                let at = state.regency.saturating_sub(1);
                state.lock = Some((at, Digest([9; 32])));
            }
        }
        let signature = state.sign(&self.key);
        StopData {
            state,
            signature,
            last,
        }
    }

    fn false_sync(&mut self, mut sync: Sync) -> Sync {
        // One lie per regency, told to most.
        let lie = (sync.regency.wrapping_mul(5) + u64::from(self.me.0)) % 6;
        if lie > 3 || (lie > 0 && self.rng.chance(40)) {
            return sync;
        }
        match lie {
            // It bends the others' states, whose signatures no longer hold, to propose
            // another value than the one that they locked.
            0 => {
                self.betrayed = Some(sync.regency);
                for (state, _) in &mut sync.states {
                    (state.lock, state.writeset) = (None, Vec::new());
                }
            }
            // Its own state twice.
            1 => {
                if let Some(mine) = sync
                    .states
                    .iter()
                    .find(|(s, _)| s.replica == self.me)
                    .cloned()
                {
                    sync.states = vec![mine; sync.states.len()];
                }
            }
            // It forgets one that it was told.
            2 => drop(sync.states.pop()),
            // It claims an older end of the log.
            _ => sync.last = None,
        }
        sync
    }

    fn false_decisions(&mut self, mut decisions: Vec<Decided>) -> Vec<Decided> {
        for decided in &mut decisions {
            if self.rng.chance(50) {
                decided.batch.time_ms += 5;
                let digest = decided.batch.digest();
                let (height, regency) = (decided.height, decided.regency);
                let mine = sign_accept(&self.key, &self.view, height, regency, &digest);
                let signers = self.view.replicas.keys().map(|id| (*id, mine));
                decided.proof = Proof {
                    regency,
                    accepts: signers.collect(),
                };
            }
        }
        decisions
    }

    fn invention(&mut self) -> Message {
        let height = self.heard.last().map_or(1, |(height, _)| *height);
        match self.rng.between(0, 6) {
            0 => {
                let mut requests = self.requests.clone();
                for request in &mut requests {
                    request.op = format!("stolen {}", self.rng.next_u64()).into();
                    request.seq += self.rng.between(0, 2);
                }
                Message::Forward { requests }
            }
            1 => Message::Stop {
                view: self.view.id,
                regency: self.rng.between(1, 1_000_000),
            },
            2 => Message::Status {
                view: self.view.id,
                regency: self.rng.between(0, 1 << 40),
                free_from: Some(self.rng.between(0, 1 << 40)),
                decided: self.rng.between(0, 1 << 40),
            },
            3 => Message::Write {
                height,
                regency: 0,
                digest: Digest([5; 32]),
            },
            4 => Message::Accept {
                height: height + 1,
                regency: u64::MAX,
                digest: Digest([5; 32]),
                signature: Signature([1; 64]),
            },
            5 => {
                let digest = Digest([4; 32]);
                let proof = Proof {
                    regency: 0,
                    accepts: Vec::new(),
                };
                let last = Some(LastDecided {
                    height: 1 << 30,
                    digest,
                    proof,
                });
                Message::Sync(Box::new(Sync {
                    regency: 1 << 20,
                    states: Vec::new(),
                    last,
                }))
            }
            _ => Message::FetchDecisions {
                from: 0,
                max: u32::MAX,
            },
        }
    }
}
