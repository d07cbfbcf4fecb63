//! Clients of a ledger: each lane writes its entries one after another, at a steady pace if one is set, and remembers what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ::consensus::ClientId;
use client_shim::invoker::{Client, InvokeError, Settings};
use cluster::Cluster;
use net::Identity;
use tokio::task::JoinSet;

use super::ledger::{Entry, LaneId};
use crate::failure::Failure;

/// How long an entry may stay unanswered: longer than any spell in which none can be.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Lanes of each client; one client's identity and links carry them all.
    pub lanes: u16,
    /// Entries a second, all together, at moments that are drawn; without, each lane goes on as soon as it is answered.
    pub rate: Option<f64>,
    /// What an entry carries.
    pub bytes: usize,
}

/// A client's place: who it is, and the cluster as it is seen from there.
pub struct Seat {
    pub me: ClientId,
    pub identity: Identity,
    pub cluster: Cluster,
}

/// An answered entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// When it came, from the load's start.
    pub at: Duration,
    /// Since it was asked for.
    pub took: Duration,
}

/// What became of a lane's entries.
#[derive(Debug)]
pub struct LaneRecord {
    pub id: LaneId,
    /// Entries 1 to this were sent.
    pub issued: u64,
    /// Those whose outcome the client never learnt, ascending.
    pub unknown: Vec<u64>,
    /// Of all others, in their order.
    pub answers: Vec<Answer>,
    /// What an answer said that cannot be.
    pub wrong: Option<String>,
}

impl LaneRecord {
    /// Whether the lane's client was told that the entry is applied.
    pub fn acknowledged(&self, number: u64) -> bool {
        number <= self.issued && self.unknown.binary_search(&number).is_err()
    }
}

/// Clients at work.
pub struct Load {
    lanes: JoinSet<Result<LaneRecord, Failure>>,
    shared: Arc<Shared>,
    clients: Vec<Client>,
    /// Of each client's lanes.
    numbers: std::ops::Range<u16>,
}

struct Shared {
    began: Instant,
    stop: AtomicBool,
    answered: AtomicU64,
}

impl Shared {
    fn new() -> Shared {
        Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        }
    }
}

impl Load {
    /// Connects the clients of these seats and lets them begin. Their lanes are numbered from `first_lane`: a lane that wrote
    /// before must not write again.
    pub async fn start(seats: Vec<Seat>, shape: Shape, first_lane: u16) -> Result<Load, Failure> {
        let mut clients = Vec::new();
        for Seat {
            me,
            identity,
            cluster,
        } in seats
        {
            let settings = Settings {
                patience: PATIENCE,
                ..Settings::default()
            };
            let connected = Client::connect(&cluster, me, identity, settings).await;
            let client = connected
                .map_err(|error| Failure::new(format!("client {me} cannot start")).cause(error))?;
            clients.push((me, client));
        }
        let all = clients.len() as f64 * f64::from(shape.lanes);
        let shared = Arc::new(Shared::new());
        let mut lanes = JoinSet::new();
        for (index, (me, client)) in clients.iter().enumerate() {
            for lane in 0..shape.lanes {
                let interval = shape.rate.map(|rate| Duration::from_secs_f64(all / rate));
                let place = (index * usize::from(shape.lanes) + usize::from(lane)) as f64 / all;
                let task = Lane {
                    client: client.clone(),
                    id: (me.0, first_lane + lane),
                    bytes: shape.bytes,
                    first: interval.map(|interval| interval.mul_f64(place)),
                    interval,
                    shared: shared.clone(),
                };
                lanes.spawn(task.run());
            }
        }
        let clients = clients.into_iter().map(|(_, client)| client).collect();
        Ok(Load {
            lanes,
            shared,
            clients,
            numbers: first_lane..first_lane + shape.lanes,
        })
    }

    /// Nobody at work, where there will be a load whose first lane is this.
    pub fn idle(first_lane: u16) -> Load {
        Load {
            lanes: JoinSet::new(),
            shared: Arc::new(Shared::new()),
            clients: Vec::new(),
            numbers: first_lane..first_lane,
        }
    }

    /// The number of its clients' first lanes.
    pub fn first_lane(&self) -> u16 {
        self.numbers.start
    }

    /// The first number that no lane has.
    pub fn end_lane(&self) -> u16 {
        self.numbers.end
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Relaxed)
    }

    /// Waits until something more is answered.
    ///
    /// # Errors
    /// When nothing is within the limit.
    pub async fn answers_again(&self, limit: Duration) -> Result<(), Failure> {
        let (before, until) = (self.answered(), Instant::now() + limit);
        while self.answered() == before {
            if Instant::now() > until {
                return Err(
                    Failure::new(format!("nothing was answered within {limit:?}"))
                        .next("run it with STEELDB_LOG=info to see what the replicas say"),
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Fails if a lane ended before its time.
    pub async fn check(&mut self) -> Result<(), Failure> {
        match self.lanes.try_join_next() {
            None => Ok(()),
            Some(Ok(Err(failure))) => Err(failure),
            Some(_) => Err(Failure::new("a client ended before its time")),
        }
    }

    /// Lets every lane wait for its last answer, and ends.
    pub async fn finish(mut self) -> Result<Vec<LaneRecord>, Failure> {
        self.shared.stop.store(true, Relaxed);
        let mut records = Vec::new();
        while let Some(ended) = self.lanes.join_next().await {
            let record = ended.map_err(|error| Failure::new("a client failed").cause(error))??;
            records.push(record);
        }
        for client in self.clients.drain(..) {
            client.close().await;
        }
        records.sort_by_key(|record| record.id);
        Ok(records)
    }
}

struct Lane {
    client: Client,
    id: LaneId,
    bytes: usize,
    first: Option<Duration>,
    interval: Option<Duration>,
    shared: Arc<Shared>,
}

impl Lane {
    async fn run(self) -> Result<LaneRecord, Failure> {
        let mut record = LaneRecord {
            id: self.id,
            issued: 0,
            unknown: Vec::new(),
            answers: Vec::new(),
            wrong: None,
        };
        tokio::time::sleep(self.first.unwrap_or_default()).await;
        while !self.shared.stop.load(Relaxed) {
            let asked = Instant::now();
            record.issued += 1;
            self.write(asked, &mut record).await?;
            // What was late is not made up for: a spell without answers is not followed by a flood.
            if let Some(interval) = self.interval {
                let drawn = interval.mul_f64(rand::random_range(0.5..1.5));
                tokio::time::sleep_until((asked + drawn).into()).await;
            }
        }
        Ok(record)
    }

    async fn write(&self, asked: Instant, record: &mut LaneRecord) -> Result<(), Failure> {
        let entry = Entry {
            lane: self.id.1,
            number: record.issued,
            bytes: self.bytes,
        };
        match self.client.invoke(entry.encode()).await {
            Ok(result) => self.check(&result, record),
            // It was executed, and what it gave is not known any more.
            Err(InvokeError::AnswerGone) => {}
            Err(InvokeError::OutcomeUnknown { .. }) => {
                record.unknown.push(record.issued);
                return Ok(());
            }
            Err(error) => {
                let (client, lane) = self.id;
                return Err(
                    Failure::new(format!("lane {lane} of client {client} cannot go on"))
                        .cause(error),
                );
            }
        }
        record.answers.push(Answer {
            at: self.shared.began.elapsed(),
            took: asked.elapsed(),
        });
        self.shared.answered.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A result says how many of the lane are applied: all that were acknowledged, and of the unknown ones some.
    fn check(&self, result: &[u8], record: &mut LaneRecord) {
        let most = record.issued;
        let least = most - record.unknown.len() as u64;
        let said = result.first_chunk().copied().map(u64::from_be_bytes);
        if !said.is_some_and(|said| (least..=most).contains(&said)) && record.wrong.is_none() {
            record.wrong = Some(format!(
                "the answer to entry {most} says that {said:?} are applied; it must be {least} to {most}"
            ));
        }
    }
}
