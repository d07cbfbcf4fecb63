//! Four replicas for tests: their engines alone.

use super::*;
use crate::operation::{Evidence, Operation, Step};
use crate::ordered::{Begin, Commit};
use crate::word::Account;
use consensus::{Digest, PublicKey, Signature};
use ed25519_dalek::SigningKey;

pub const CLIENT: ClientId = ClientId(1 << 16);

pub(super) fn key(replica: u16) -> SigningKey {
    SigningKey::from_bytes(&[replica as u8 + 1; 32])
}

pub(super) fn view() -> View {
    View {
        id: 0,
        f: 1,
        replicas: (0..4)
            .map(|r| (ReplicaId(r), PublicKey::of(&key(r))))
            .collect(),
        clients: BTreeMap::new(),
        ..View::default()
    }
}

/// Four engines that decide the same batches; what each was told to do is kept.
pub(super) struct Group4 {
    pub engines: Vec<Engine>,
    pub done: Vec<Vec<Action>>,
    pub height: Height,
    pub seq: u64,
    pub now: u64,
}

impl Group4 {
    pub fn new() -> Group4 {
        Group4 {
            engines: (0..4)
                .map(|r| Engine::new(ReplicaId(r), key(r), view()))
                .collect(),
            done: vec![Vec::new(); 4],
            height: 0,
            seq: 0,
            now: 1_000,
        }
    }

    pub fn place(&mut self, client: ClientId, ordered: Ordered) -> Placed {
        self.seq += 1;
        Placed {
            client,
            incarnation: 1,
            seq: self.seq,
            ordered: Arc::new(ordered),
        }
    }

    /// A number for an autocommit write.
    pub fn auto(&self) -> TxId {
        TxId {
            seq: self.seq | TxId::AUTO,
            ..self.tx()
        }
    }

    pub fn tx(&self) -> TxId {
        TxId {
            client: CLIENT,
            incarnation: 1,
            seq: self.seq,
        }
    }

    pub fn decide(&mut self, batch: Vec<Placed>) -> Height {
        self.height += 1;
        for (engine, done) in self.engines.iter_mut().zip(&mut self.done) {
            engine.decided(
                self.now,
                self.height,
                self.now,
                batch.clone(),
                &Recorded::default(),
                done,
            );
        }
        self.settle();
        self.height
    }

    /// Takes snapshots and executions as done at once, everywhere.
    pub fn settle(&mut self) {
        for (engine, done) in self.engines.iter_mut().zip(&mut self.done) {
            let mut at = 0;
            while at < done.len() {
                if let Action::Snapshots { height, .. } = done[at]
                    && engine.final_height() < height
                {
                    engine.snapshots_taken(self.now, height, done);
                }
                at += 1;
            }
        }
    }

    pub fn begin(&mut self) -> TxId {
        self.begin_at(Isolation::Snapshot)
    }

    pub fn begin_at(&mut self, isolation: Isolation) -> TxId {
        let begin = Ordered::Begin(Begin {
            epoch: self.engines[0].epoch(),
            settings: vec![],
            isolation,
            read_only: false,
        });
        let placed = self.place(CLIENT, begin);
        let tx = self.tx();
        self.decide(vec![placed]);
        tx
    }

    pub fn commit(&mut self, tx: TxId, schema_change: bool) -> Placed {
        self.commit_of(tx, vec![step(schema_change)])
    }

    pub fn commit_of(&mut self, tx: TxId, steps: Vec<Step>) -> Placed {
        let epoch = self.engines[0].epoch();
        let word = self.word(tx, epoch, &steps);
        self.place(
            CLIENT,
            Ordered::Commit(Commit {
                tx,
                epoch,
                steps,
                word: Some(word),
            }),
        )
    }

    /// The master's.
    pub fn word(&self, tx: TxId, epoch: u64, steps: &[Step]) -> Signature {
        let master = self.engines[0].master_of(epoch);
        Account::of(tx, epoch, steps).sign(&key(master.0))
    }

    pub fn judge(&mut self, replica: usize, height: Height, index: u32, ballot: Ballot) {
        let done = &mut self.done[replica];
        self.engines[replica].judged(self.now, height, index, ballot, true, done);
    }

    /// Delivers all votes that were cast to everybody, and confirms what is to be applied, until nothing moves.
    pub fn exchange(&mut self) {
        loop {
            let cast: Vec<VotePart> = self
                .done
                .iter()
                .flatten()
                .filter_map(|a| match a {
                    Action::Cast(part) => Some(part.clone()),
                    _ => None,
                })
                .collect();
            let before: usize = self.done.iter().map(Vec::len).sum();
            for (engine, done) in self.engines.iter_mut().zip(&mut self.done) {
                for part in &cast {
                    engine.vote(self.now, part.clone(), done);
                }
            }
            self.apply_all();
            self.settle();
            if before == self.done.iter().map(Vec::len).sum::<usize>() {
                return;
            }
        }
    }

    pub fn apply_all(&mut self) {
        for (engine, done) in self.engines.iter_mut().zip(&mut self.done) {
            let mut at = 0;
            while at < done.len() {
                if let Action::Apply { height, index, .. } = done[at] {
                    engine.applied(self.now, height, index, done);
                }
                at += 1;
            }
        }
    }

    pub fn verdicts(&self, replica: usize, height: Height) -> Option<Vec<(u32, Verdict)>> {
        self.done[replica].iter().find_map(|a| match a {
            Action::Final {
                height: h,
                verdicts,
                ..
            } if *h == height => Some(verdicts.clone()),
            _ => None,
        })
    }

    pub fn judgements(&self, replica: usize, height: Height, index: u32) -> usize {
        let wanted = |a: &&Action| matches!(a, Action::Judge { height: h, index: i, .. } if (*h, *i) == (height, index));
        self.done[replica].iter().filter(wanted).count()
    }

    /// The votes of some replicas on a height, ordered as the next batch.
    pub fn order_votes(&mut self, height: Height, voters: &[usize]) {
        let votes: Vec<VotePart> = voters
            .iter()
            .flat_map(|r| &self.done[*r])
            .filter_map(|a| match a {
                Action::Cast(part) if part.height == height => Some(part.clone()),
                _ => None,
            })
            .collect();
        let placed = self.place(ClientId::of(ReplicaId(0)), Ordered::Votes(votes));
        self.decide(vec![placed]);
        self.apply_all();
        self.settle();
    }
}

pub fn step(schema_change: bool) -> Step {
    Step {
        operation: Operation::text("UPDATE t SET a = 1"),
        evidence: Evidence {
            result: Digest([1; 32]),
            write: Digest([2; 32]),
            sequences: vec![],
            claims: None,
            schema_change,
            adds_only: false,
            failed: false,
            unvalidated: false,
        },
    }
}
