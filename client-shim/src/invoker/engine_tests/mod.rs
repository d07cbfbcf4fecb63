//! The invoker's protocol in virtual time: four replicas, of which one may lie.

mod macs;
mod operations;
mod queries;
mod views;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus::service::{Outcome, Refusal, ToClient, ToReplica};
use consensus::{ClientId, Height, PublicKey, ReplicaId, Request, SigningKey, View};

use super::engine::{Engine, Identity, Output, Ticket};
use super::error::InvokeError;
use super::settings::Settings;

const ME: ClientId = ClientId(70_000);

/// An engine, and what it said and decided so far.
struct Scene {
    engine: Engine,
    now: Duration,
    sent: Vec<(u16, ToReplica)>,
    /// Who was asked for a later view than which.
    asked: Vec<(u16, u64)>,
    followed: Vec<u64>,
    done: BTreeMap<Ticket, Result<Bytes, InvokeError>>,
}

fn view() -> View {
    let key = |seed| PublicKey::of(&SigningKey::from_bytes(&[seed; 32]));
    View {
        id: 3,
        f: 1,
        replicas: (0..4)
            .map(|id| (ReplicaId(id), key(id as u8 + 1)))
            .collect(),
        clients: BTreeMap::from([(ME, key(99))]),
        ..View::default()
    }
}

impl Scene {
    fn new() -> Scene {
        Scene::with(Settings::default())
    }

    fn with(settings: Settings) -> Scene {
        Scene::of(view(), settings)
    }

    fn of(view: View, settings: Settings) -> Scene {
        let identity = Identity {
            me: ME,
            key: SigningKey::from_bytes(&[99; 32]),
            incarnation: 5,
            view,
        };
        Scene {
            engine: Engine::new(identity, settings),
            now: Duration::ZERO,
            sent: Vec::new(),
            asked: Vec::new(),
            followed: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    fn gather(&mut self) {
        for output in self.engine.outputs() {
            match output {
                Output::Send { to, message } => match postcard::from_bytes(&message).unwrap() {
                    ToReplica::View { known } => self.asked.push((to.0, known)),
                    message => self.sent.push((to.0, message)),
                },
                Output::Follow(view) => self.followed.push(view.id),
                Output::Done { ticket, result } => {
                    assert!(self.done.insert(ticket, result).is_none(), "told twice");
                }
            }
        }
    }

    fn invoke(&mut self, ticket: Ticket) {
        assert!(self.engine.takes_requests());
        let op = Bytes::from_static(b"op");
        self.engine.invoke(self.now, ticket, op);
        self.gather();
    }

    fn query(&mut self, ticket: Ticket) {
        let op = Bytes::from_static(b"?");
        self.engine.query(self.now, ticket, op);
        self.gather();
    }

    fn hear(&mut self, from: u16, message: ToClient) {
        self.engine.receive(self.now, ReplicaId(from), message);
        self.gather();
    }

    fn reply(&mut self, from: u16, seq: u64, outcome: Outcome) {
        let incarnation = 5;
        self.hear(
            from,
            ToClient::Reply {
                incarnation,
                seq,
                outcome,
            },
        );
    }

    fn refuse(&mut self, from: u16, seq: u64, refusal: Refusal) {
        let incarnation = 5;
        self.hear(
            from,
            ToClient::Refused {
                incarnation,
                seq,
                refusal,
            },
        );
    }

    fn answer(&mut self, from: u16, id: u64, outcome: Outcome) {
        self.hear(from, ToClient::Answer { id, outcome });
    }

    /// Lets the engine sleep until it wants something; returns what it sent then.
    fn sleep(&mut self) -> Vec<(u16, ToReplica)> {
        self.sent.clear();
        self.now = self.engine.next_deadline().expect("something waits");
        self.engine.tick(self.now);
        self.gather();
        std::mem::take(&mut self.sent)
    }

    fn requests(&self) -> Vec<(u16, Request)> {
        let requests = self.sent.iter().filter_map(|(to, message)| match message {
            ToReplica::Request(request) => Some((*to, request.clone())),
            ToReplica::Query { .. } | ToReplica::View { .. } => None,
        });
        requests.collect()
    }

    /// To whom the newest round of queries went: number, least height, who was asked for the whole result.
    fn round(&self) -> (u64, Height, Vec<u16>) {
        let queries = self.sent.iter().filter_map(|(to, message)| match message {
            ToReplica::Query {
                id,
                min_height,
                whole,
                ..
            } => Some((*id, *min_height, *to, *whole)),
            ToReplica::Request(_) | ToReplica::View { .. } => None,
        });
        let all: Vec<_> = queries.collect();
        let (id, height, ..) = *all.last().expect("a query was sent");
        let whole = all.iter().filter(|q| q.0 == id && q.3).map(|q| q.2);
        (id, height, whole.collect())
    }
}

fn whole(height: Height, result: &'static [u8]) -> Outcome {
    Outcome::new(3, height, Bytes::from_static(result), true)
}

const LONG: &[u8] = &[7; 1_000];

fn digest(height: Height) -> Outcome {
    Outcome::new(3, height, Bytes::from_static(LONG), false)
}

fn to(sent: &[(u16, ToReplica)]) -> Vec<u16> {
    sent.iter().map(|(to, _)| *to).collect()
}
