//! A proxy that somebody took over: a client's key, and no rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use client_shim::Operation;
use cluster::Cluster;
use consensus::{ClientId, ReplicaId, Request};
use harness::{Link, inserted};
use net::{Identity, PeerId};
use order::log::{Log, LogOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;
use txn::client::{Answer, ClientMessage, ReplicaMessage};
use txn::{Auto, Ballot, Begin, Commit, Evidence, Isolation, Ordered, Step, TxId, VotePart};

use crate::actor::{answer, orders};

/// Its name in the cluster file.
pub const NAME: &str = "mallory";
/// For an answer that is sure to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Silence after which a request is said again.
const QUIET: Duration = Duration::from_secs(2);
/// Requests said at once.
const IN_FLIGHT: usize = 200;

/// The process. Orders: `unrun`, `equivocate`, `replay DIRECTORY`, `forge`, `garbage SEED`, `open COUNT`.
pub async fn run(file: &Path) {
    let cluster = Cluster::load(file).unwrap();
    let identity = Identity::load(file.with_file_name(NAME)).unwrap();
    let mut orders = orders();
    for incarnation in 1.. {
        let Some(order) = orders.next_line().await.unwrap() else {
            return;
        };
        let (what, argument) = order.split_once(' ').unwrap_or((&order, ""));
        let me = cluster.client(NAME).unwrap();
        let missing = usize::from(cluster.f);
        let peer = PeerId::Client(me.0);
        let mut mallory = Mallory {
            link: Link::to_most(&cluster, peer, &identity, missing).await,
            me,
            // Greater than that of a process before this one.
            incarnation: now_ms() + incarnation,
            seq: 0,
            cluster: &cluster,
            identity: &identity,
        };
        let done = match what {
            "unrun" => mallory.unrun().await,
            "equivocate" => mallory.equivocate().await,
            "replay" => mallory.replay(Path::new(argument)),
            "forge" => mallory.forge().await,
            "garbage" => mallory.garbage(argument.parse().unwrap()),
            "open" => mallory.open(argument.parse().unwrap()).await,
            other => panic!("no attack {other}"),
        };
        // What was said is under way.
        tokio::time::sleep(Duration::from_millis(200)).await;
        mallory.link.down().await;
        answer(&done);
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

struct Mallory<'a> {
    link: Link,
    me: ClientId,
    incarnation: u64,
    seq: u64,
    cluster: &'a Cluster,
    identity: &'a Identity,
}

/// What a master answered to an operation.
type Answered = (Step, Option<consensus::Signature>);

impl Mallory<'_> {
    fn sign(&self, seq: u64, ordered: &Ordered) -> ClientMessage {
        let key = self.identity.signing_key();
        let body = ordered.encode();
        ClientMessage::Request(Request::sign(key, self.me, self.incarnation, seq, body))
    }

    /// Has a request ordered; the answer of f+1 replicas.
    async fn invoke(&mut self, ordered: &Ordered) -> Answer {
        self.seq += 1;
        let (seq, incarnation) = (self.seq, self.incarnation);
        self.link.say(&self.sign(seq, ordered));
        let mut said: BTreeMap<u16, Answer> = BTreeMap::new();
        let enough = usize::from(self.cluster.f) + 1;
        let answered = async {
            loop {
                let (from, message) = self.link.heard().await;
                for reply in replies(message) {
                    if (reply.incarnation, reply.seq) != (incarnation, seq) {
                        continue;
                    }
                    said.insert(from, reply.answer.clone());
                    if said.values().filter(|a| **a == reply.answer).count() >= enough {
                        return reply.answer;
                    }
                }
            }
        };
        timeout(PATIENCE, answered).await.expect("an answer")
    }

    fn name(&self, seq: u64) -> TxId {
        TxId {
            client: self.me,
            incarnation: self.incarnation,
            seq,
        }
    }

    /// (epoch, master, a height that is final there), by the replica with the latest epoch.
    async fn state(&mut self) -> (u64, u16, u64) {
        self.link.say(&ClientMessage::Info { id: 1 });
        let mut said = Vec::new();
        let missing = usize::from(self.cluster.f);
        let told = async {
            while said.len() < self.cluster.replicas.len() - missing {
                if let (_, ReplicaMessage::Info { status, .. }) = self.link.heard().await {
                    said.push((status.epoch, status.master, status.applied));
                }
            }
        };
        timeout(PATIENCE, told).await.expect("the replicas' state");
        said.into_iter().max().unwrap()
    }

    /// None when the master changed meanwhile, or too much is open.
    async fn begin(&mut self, epoch: u64) -> Option<TxId> {
        let begun = self.invoke(&begin(epoch)).await == Answer::Begun;
        begun.then(|| self.name(self.seq))
    }

    /// Runs an operation at the master; none when the transaction is over.
    async fn operation(&mut self, tx: TxId, at: u64, step: u32, sql: &str) -> Option<Answered> {
        let operation = Operation::text(sql);
        let message = ClientMessage::Operation {
            tx,
            step,
            operation: operation.clone(),
        };
        self.link.say(&message);
        let ran = async {
            loop {
                match self.link.heard().await.1 {
                    ReplicaMessage::Operation {
                        tx: of,
                        step: number,
                        outcome,
                        evidence,
                        word,
                        ..
                    } if (of, number) == (tx, step) => {
                        let result = txn::result::digest(&outcome.frames, None);
                        let evidence = Evidence { result, ..evidence };
                        return Some((
                            Step {
                                operation,
                                evidence,
                            },
                            word,
                        ));
                    }
                    ReplicaMessage::Doomed { tx: of, epoch, .. } if of == tx && epoch > at => {
                        return None;
                    }
                    _ => {}
                }
            }
        };
        // The master may be silent.
        timeout(PATIENCE, ran).await.ok().flatten()
    }

    /// Operation lists other than those that were run; `(what, answer)` of each, then of one that was run.
    async fn unrun(&mut self) -> String {
        let (epoch, ..) = self.state().await;
        let mut done = Vec::new();
        for what in ["never run", "one more", "one less", "swapped", "as it ran"] {
            let answer = self.ordered_as(epoch, what).await;
            let answer = answer.map_or("over".to_owned(), |answer| format!("{answer:?}"));
            done.push(format!("{what}: {answer}"));
        }
        done.join(", ")
    }

    /// Runs two operations, and claims others.
    async fn ordered_as(&mut self, epoch: u64, what: &str) -> Option<Answer> {
        let tx = self.begin(epoch).await?;
        let [first, second] = ["INSERT INTO loot VALUES (1)", "INSERT INTO loot VALUES (2)"];
        let (first, _) = self.operation(tx, epoch, 0, first).await?;
        let (second, word) = self.operation(tx, epoch, 1, second).await?;
        let third = inserted("loot", 3);
        let steps = match what {
            "never run" => vec![third],
            "one more" => vec![first, second, third],
            "one less" => vec![first],
            "swapped" => vec![second, first],
            _ => vec![first, second],
        };
        let commit = Commit {
            tx,
            epoch,
            steps,
            word,
        };
        Some(self.invoke(&Ordered::Commit(commit)).await)
    }

    /// Two bodies under one number, one to each half of the replicas; then both halves of each pair to everybody.
    async fn equivocate(&mut self) -> String {
        for round in 0..10 {
            let (epoch, _, ran_at) = self.state().await;
            self.seq += 1;
            let halves = [0, 1].map(|half| {
                let auto = Auto {
                    tx: self.name(1 << 63 | self.seq),
                    epoch,
                    ran_at,
                    settings: Vec::new(),
                    step: inserted("loot", 1_000 + 2 * round + half),
                    word: None,
                };
                self.sign(self.seq, &Ordered::Auto(auto))
            });
            for replica in &self.cluster.replicas {
                let half = usize::from(replica.id % 2);
                self.link.say_to(replica.id, &halves[half]);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            halves.iter().for_each(|half| self.link.say(half));
        }
        "equivocated".to_owned()
    }

    /// Everything that others have signed, as a replica's log holds it, once more.
    fn replay(&self, log: &Path) -> String {
        let (log, _) = Log::open(log, LogOptions::default()).unwrap();
        let mut next = 1;
        let mut replayed = 0;
        loop {
            let decided = order::load(&log, next, 1_000);
            for request in decided.iter().flat_map(|decided| &decided.requests) {
                self.link.say(&ClientMessage::Request(request.clone()));
                replayed += 1;
            }
            match decided.last() {
                Some(last) => next = last.height + 1,
                None => return replayed.to_string(),
            }
        }
    }

    /// In others' names: requests, and votes for heights to come.
    async fn forge(&mut self) -> String {
        let (epoch, _, height) = self.state().await;
        let key = self.identity.signing_key();
        let proxy = self.cluster.client("proxy").unwrap();
        for seq in 1..50 {
            let auto = Auto {
                tx: TxId {
                    client: proxy,
                    incarnation: u64::MAX,
                    seq: 1 << 63 | seq,
                },
                epoch,
                ran_at: height,
                settings: Vec::new(),
                step: inserted("loot", 5_000),
                word: None,
            };
            self.link
                .request(key, proxy, u64::MAX, seq, &Ordered::Auto(auto));
        }
        for replica in &self.cluster.replicas {
            let name = ClientId::of(ReplicaId(replica.id));
            let change = Ordered::MasterChange { epoch };
            self.link.request(key, name, u64::MAX, 1, &change);
        }
        let replicas = self.cluster.replicas.iter();
        let forged = replicas.flat_map(|replica| {
            let voter = ReplicaId(replica.id);
            let abort =
                move |height| VotePart::sign(key, 0, voter, height, 0, vec![(0, Ballot::Abort)]);
            (height + 1..height + 50).map(abort)
        });
        let forged: Vec<VotePart> = forged.collect();
        for part in &forged {
            let message = txn::peer::PeerMessage::Vote(part.clone());
            let payload = postcard::to_stdvec(&message).unwrap();
            self.link.all(cluster::channel::PEER, payload);
        }
        let next = forged.into_iter().filter(|part| part.height == height + 1);
        let answer = self.invoke(&Ordered::Votes(next.collect())).await;
        format!("votes: {answer:?}")
    }

    /// On every channel.
    fn garbage(&self, seed: u64) -> String {
        let mut draws = StdRng::seed_from_u64(seed);
        for _ in 0..500 {
            let length = draws.random_range(0..2_000);
            let bytes: Vec<u8> = (0..length).map(|_| draws.random()).collect();
            self.link.all(draws.random_range(0..6), Bytes::from(bytes));
        }
        "thrown".to_owned()
    }

    /// Opens so many transactions and goes away: how many begun, were refused by the order, or rejected before it.
    async fn open(&mut self, count: u64) -> String {
        let (epoch, ..) = self.state().await;
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        for seq in 1..=count {
            waiting.insert(seq);
            self.link.say(&self.sign(seq, &begin(epoch)));
            // The replicas keep room for so many of one client.
            let most = if seq == count { 0 } else { IN_FLIGHT };
            while waiting.len() > most {
                let Ok((_, message)) = timeout(QUIET, self.link.heard()).await else {
                    // Said again, as any client may.
                    for seq in &waiting {
                        self.link.say(&self.sign(*seq, &begin(epoch)));
                    }
                    continue;
                };
                if let ReplicaMessage::Rejected { seq, .. } = &message
                    && waiting.remove(seq)
                {
                    *counted.entry("rejected").or_default() += 1;
                }
                for reply in replies(message) {
                    if waiting.remove(&reply.seq) {
                        let what = match reply.answer {
                            Answer::Begun => "begun",
                            Answer::Refused => "refused",
                            Answer::Moved => "moved",
                            other => panic!("a Begin is answered {other:?}"),
                        };
                        *counted.entry(what).or_default() += 1;
                    }
                }
            }
        }
        let count = |what| counted.get(what).copied().unwrap_or_default();
        format!(
            "begun {} refused {} rejected {}",
            count("begun"),
            count("refused"),
            count("rejected")
        )
    }
}

fn begin(epoch: u64) -> Ordered {
    Ordered::Begin(Begin {
        epoch,
        settings: Vec::new(),
        isolation: Isolation::Snapshot,
        read_only: false,
    })
}

fn replies(message: ReplicaMessage) -> Vec<txn::client::Reply> {
    match message {
        ReplicaMessage::Reply(reply) => vec![reply],
        ReplicaMessage::Replies(replies) => replies,
        _ => Vec::new(),
    }
}
