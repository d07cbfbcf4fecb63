//! Stories about four replicas, told with their engines alone.

use super::*;
use crate::operation::{Evidence, Operation, Step};
use crate::ordered::{Auto, Begin, Commit};
use consensus::{Digest, PublicKey};
use ed25519_dalek::SigningKey;

pub const CLIENT: ClientId = ClientId(1 << 16);

fn key(replica: u16) -> SigningKey {
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
    seq: u64,
    now: u64,
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

    fn tx(&self) -> TxId {
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
        let begin = Ordered::Begin(Begin {
            epoch: 0,
            settings: vec![],
            read_only: false,
        });
        let placed = self.place(CLIENT, begin);
        let tx = self.tx();
        self.decide(vec![placed]);
        tx
    }

    pub fn commit(&mut self, tx: TxId, schema_change: bool) -> Placed {
        let epoch = self.engines[0].epoch();
        self.place(
            CLIENT,
            Ordered::Commit(Commit {
                tx,
                epoch,
                steps: vec![step(schema_change)],
            }),
        )
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
            schema_change,
            unvalidated: false,
        },
    }
}

#[test]
fn four_equal_votes_commit_without_being_ordered() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    assert_eq!(
        group.verdicts(0, height),
        None,
        "nobody commits on its own vote"
    );
    group.exchange();
    for replica in 0..4 {
        assert_eq!(
            group.verdicts(replica, height),
            Some(vec![(0, Verdict::Commit)])
        );
    }
}

#[test]
fn a_dissenter_adopts_what_the_ordered_votes_decide() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.judge(3, height, 0, Ballot::Abort);
    group.exchange();
    assert_eq!(
        group.verdicts(0, height),
        None,
        "four votes that differ decide nothing by themselves"
    );
    group.order_votes(height, &[3, 0, 1]);
    for replica in 0..4 {
        assert_eq!(
            group.verdicts(replica, height),
            Some(vec![(0, Verdict::Commit)])
        );
    }
    let own = group.done[3].iter().find_map(|a| match a {
        Action::Apply { own, .. } => Some(*own),
        _ => None,
    });
    assert_eq!(
        own,
        Some(Some(Ballot::Abort)),
        "so the executor knows that it must adopt"
    );
}

#[test]
fn one_commit_vote_of_three_is_an_abort() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    group.judge(0, height, 0, Ballot::Commit);
    for replica in 1..4 {
        group.judge(replica, height, 0, Ballot::Abort);
    }
    group.exchange();
    group.order_votes(height, &[0, 1, 2]);
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn the_leader_asks_for_the_ordering_of_votes_when_one_replica_is_silent() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    group.engines[0].network(true, true);
    let deadline = group.engines[0].next_deadline().expect("votes are waiting");
    let mut out = Vec::new();
    group.engines[0].timer(deadline, &mut out);
    let ordered = out.iter().find_map(|a| match a {
        Action::OrderVotes(parts) => Some(parts.len()),
        _ => None,
    });
    assert_eq!(ordered, Some(3));
}

#[test]
fn nothing_is_voted_on_behind_an_item_whose_effects_may_be_missing() {
    let mut group = Group4::new();
    let (first, second) = (group.begin(), group.begin());
    let batch = vec![group.commit(first, false), group.commit(second, false)];
    let height = group.decide(batch);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    // Replica 3 refused the first and, without its effects, would accept the second.
    group.judge(3, height, 0, Ballot::Abort);
    group.judge(3, height, 1, Ballot::Commit);
    let voted: Vec<u32> = group.done[3]
        .iter()
        .filter_map(|a| match a {
            Action::Cast(part) => Some(part.items().map(|(i, _)| i).collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(voted, vec![0]);
    group.exchange();
    group.order_votes(height, &[0, 1, 2]);
    assert_eq!(
        group.judgements(3, height, 1),
        2,
        "after the adoption the second item is judged again"
    );
}

#[test]
fn an_autocommit_write_reads_what_everything_ordered_earlier_left() {
    let mut group = Group4::new();
    let tx = group.begin();
    let auto = Ordered::Auto(Auto {
        tx: TxId {
            client: CLIENT,
            incarnation: 1,
            seq: 1 << 63,
        },
        epoch: 0,
        ran_at: group.height,
        settings: vec![],
        step: step(false),
    });
    let batch = vec![group.commit(tx, false), group.place(CLIENT, auto)];
    let height = group.decide(batch);
    for replica in 0..4 {
        assert_eq!(group.judgements(replica, height, 1), 0);
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    for replica in 0..4 {
        assert_eq!(group.judgements(replica, height, 1), 1);
    }
}

#[test]
fn a_snapshot_is_taken_only_when_every_verdict_up_to_its_height_is_applied() {
    let mut group = Group4::new();
    let tx = group.begin();
    let begin = Ordered::Begin(Begin {
        epoch: 0,
        settings: vec![],
        read_only: false,
    });
    let batch = vec![group.place(CLIENT, begin), group.commit(tx, false)];
    let height = group.decide(batch);
    let asked = |group: &Group4| {
        let wanted = |a: &Action| matches!(a, Action::Snapshots { height: h, .. } if *h == height);
        group.done[1].iter().any(wanted)
    };
    assert!(!asked(&group));
    for replica in 0..4 {
        group.judge(replica, height, 1, Ballot::Commit);
    }
    assert!(!asked(&group));
    group.exchange();
    assert!(asked(&group));
}

#[test]
fn a_committed_schema_change_aborts_what_began_before_it() {
    let mut group = Group4::new();
    let (old, ddl) = (group.begin(), group.begin());
    let commit = group.commit(ddl, true);
    let height = group.decide(vec![commit]);
    for replica in 0..4 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    group.exchange();
    let doomed = group.done[2]
        .iter()
        .any(|a| matches!(a, Action::Drop { tx, doom: Doom::SchemaChanged } if *tx == old));
    assert!(doomed);
    let commit = group.commit(old, false);
    let height = group.decide(vec![commit]);
    group.apply_all();
    assert_eq!(group.judgements(2, height, 0), 0, "nobody needs to vote");
    assert_eq!(group.verdicts(2, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn the_epoch_moves_by_two_replicas_votes_and_takes_open_transactions_with_it() {
    let mut group = Group4::new();
    let tx = group.begin();
    let change = |epoch| Ordered::MasterChange { epoch };
    for _ in 0..3 {
        let vote = group.place(ClientId::of(ReplicaId(2)), change(0));
        group.decide(vec![vote]);
    }
    assert_eq!(
        group.engines[1].epoch(),
        0,
        "one replica alone cannot move the master"
    );
    let stranger = group.place(CLIENT, change(0));
    group.decide(vec![stranger]);
    assert_eq!(group.engines[1].epoch(), 0, "a client has no say");
    let vote = group.place(ClientId::of(ReplicaId(3)), change(0));
    group.decide(vec![vote]);
    assert_eq!(
        (group.engines[1].epoch(), group.engines[1].master()),
        (1, ReplicaId(1))
    );
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    group.apply_all();
    assert_eq!(group.verdicts(0, height), Some(vec![(0, Verdict::Abort)]));
}

#[test]
fn a_commit_of_another_client_ends_nothing() {
    let mut group = Group4::new();
    let tx = group.begin();
    let thief = ClientId(CLIENT.0 + 1);
    let theft = Ordered::Commit(Commit {
        tx,
        epoch: 0,
        steps: vec![],
    });
    let placed = group.place(thief, theft);
    let height = group.decide(vec![placed]);
    group.apply_all();
    assert_eq!(group.verdicts(0, height), Some(vec![(0, Verdict::Abort)]));
    assert!(group.engines[0].is_open(&tx));
}

#[test]
fn a_client_that_starts_anew_leaves_nothing_open() {
    let mut group = Group4::new();
    let tx = group.begin();
    let mut placed = group.place(CLIENT, Ordered::Nothing(vec![]));
    placed.incarnation = 2;
    group.decide(vec![placed]);
    assert!(!group.engines[3].is_open(&tx));
}

#[test]
fn forged_and_repeated_votes_count_nothing() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let height = group.decide(vec![commit]);
    for replica in 0..3 {
        group.judge(replica, height, 0, Ballot::Commit);
    }
    let forged = VotePart::sign(
        &key(0),
        0,
        ReplicaId(3),
        height,
        0,
        vec![(0, Ballot::Commit)],
    );
    let other_view = VotePart::sign(
        &key(3),
        9,
        ReplicaId(3),
        height,
        0,
        vec![(0, Ballot::Commit)],
    );
    for part in [forged, other_view] {
        let done = &mut group.done[0];
        group.engines[0].vote(1_000, part, done);
    }
    group.exchange();
    assert_eq!(group.verdicts(0, height), None);
}

#[test]
fn a_restarted_replica_stands_by_its_vote_and_adopts_what_it_held() {
    let mut group = Group4::new();
    let tx = group.begin();
    let commit = group.commit(tx, false);
    let recorded = Recorded {
        ballots: BTreeMap::from([(0, Ballot::Commit)]),
        verdicts: BTreeMap::new(),
    };
    let height = group.height + 1;
    let (engine, done) = (&mut group.engines[3], &mut group.done[3]);
    engine.decided(1_000, height, 1_000, vec![commit.clone()], &recorded, done);
    assert_eq!(
        group.judgements(3, height, 0),
        0,
        "what was voted is not judged again"
    );
    let mut out = Vec::new();
    for replica in 0..4 {
        let part = VotePart::sign(
            &key(replica),
            0,
            ReplicaId(replica),
            height,
            0,
            vec![(0, Ballot::Commit)],
        );
        group.engines[3].vote(1_000, part, &mut out);
    }
    let adopts = out.iter().any(|a| {
        matches!(
            a,
            Action::Apply {
                verdict: Verdict::Commit,
                own: None,
                ..
            }
        )
    });
    assert!(adopts, "{out:?}");
}
