//! The client's side of the protocol as a value: calls, answers and the time go in, messages and results come out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use consensus::service::{Call, MAX_QUERY_BYTES, Refusal, ToClient, ToReplica};
use consensus::{Author, ClientId, Height, ReplicaId, SigningKey, View};

use super::error::InvokeError;
use super::pace::Pace;
use super::pending::{Asked, Pending, Purpose, Verdict};
use super::quorum::Quorums;
use super::reading::{Next, Reading};
use super::settings::Settings;
use crate::links::Announced;

/// Names a call between the engine and whoever waits for it.
pub type Ticket = u64;

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this; when the replica is not connected, forget it.
    Send { to: ReplicaId, message: Bytes },
    /// A call has ended.
    Done {
        ticket: Ticket,
        result: Result<Bytes, InvokeError>,
    },
    /// The links are to follow this view.
    Follow(Box<View>),
}

/// Who the client is, and whom it asks.
pub struct Identity {
    pub me: ClientId,
    pub key: SigningKey,
    /// Greater than that of any earlier process with this identity.
    pub incarnation: u64,
    /// The membership as far as it is known.
    pub view: View,
}

/// One client. Time is what passed since the engine was made.
pub struct Engine {
    identity: Identity,
    author: Author,
    quorums: Quorums,
    settings: Settings,
    next_seq: u64,
    next_query: u64,
    requests: BTreeMap<u64, Pending>,
    /// By the number of their current round.
    queries: BTreeMap<u64, Reading>,
    /// The greatest height that a quorum told of.
    seen: Height,
    /// A request was given up: what follows gets a new incarnation, or the hole that it may leave would stop the window one day.
    renew: bool,
    announced: Announced,
    pace: Pace,
    out: Vec<Output>,
}

impl Engine {
    pub fn new(identity: Identity, settings: Settings) -> Self {
        Self {
            author: Author::new(identity.me, identity.key.clone()),
            quorums: Quorums::of(&identity.view),
            identity,
            settings,
            next_seq: 1,
            next_query: 1,
            requests: BTreeMap::new(),
            queries: BTreeMap::new(),
            seen: 0,
            renew: false,
            announced: Announced::default(),
            pace: Pace::default(),
            out: Vec::new(),
        }
    }

    /// Whether [`invoke`](Engine::invoke) may be called.
    pub fn takes_requests(&self) -> bool {
        self.room(self.settings.window as u64)
    }

    /// Whether [`query`](Engine::query) may be called.
    pub fn takes_queries(&self) -> bool {
        let ordered = self.requests.values();
        let ordered = ordered.filter(|p| p.purpose() == Purpose::Query).count();
        self.queries.len() + ordered < self.settings.queries
    }

    /// Nothing waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.queries.is_empty()
    }

    /// Takes what the engine wants done.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// Orders an operation.
    pub fn invoke(&mut self, now: Duration, ticket: Ticket, op: Bytes) {
        let op = Call::Execute(op).encode();
        self.order(now, now, ticket, Purpose::Operation, op);
    }

    /// Orders an administrator's change of the view.
    pub fn reconfigure(&mut self, now: Duration, ticket: Ticket, change: Bytes) {
        self.order(now, now, ticket, Purpose::Operation, change);
    }

    /// Answers a question, outside of the order if it can be.
    pub fn query(&mut self, now: Duration, ticket: Ticket, op: Bytes) {
        let reading = Reading::new(ticket, op, now);
        if reading.op().len() > MAX_QUERY_BYTES {
            self.queries
                .insert(self.next_query, reading.left_to_the_order());
            self.next_query += 1;
            self.order_queries(now);
        } else {
            self.ask(now, reading);
        }
    }

    /// What a replica said; its name is that of its link.
    pub fn receive(&mut self, now: Duration, from: ReplicaId, message: ToClient) {
        if !self.identity.view.replicas.contains_key(&from) {
            return;
        }
        match message {
            ToClient::Reply {
                incarnation,
                seq,
                outcome,
            } if incarnation == self.identity.incarnation => {
                if let Some(pending) = self.requests.get_mut(&seq)
                    && pending.vote(from, outcome, None)
                {
                    self.judge(now, seq);
                }
            }
            ToClient::Tentative {
                incarnation,
                seq,
                regency,
                value,
                outcome,
            } if incarnation == self.identity.incarnation => {
                if let Some(pending) = self.requests.get_mut(&seq)
                    && pending.vote(from, outcome, Some((regency, value)))
                {
                    self.judge(now, seq);
                }
            }
            ToClient::Refused {
                incarnation,
                seq,
                refusal,
            } if incarnation == self.identity.incarnation => {
                if let Some(pending) = self.requests.get_mut(&seq) {
                    pending.refuse(from, refusal);
                    self.judge(now, seq);
                    self.sign_if_told(seq);
                }
            }
            ToClient::Answer { id, outcome } => {
                if let Some(reading) = self.queries.get_mut(&id)
                    && reading.vote(from, outcome)
                {
                    self.judge_query(now, id);
                }
            }
            ToClient::View(view) => {
                let known = &self.identity.view;
                if let Some(view) = self.announced.hear(known, from, *view) {
                    self.follow(now, view);
                }
            }
            // Of an earlier incarnation.
            ToClient::Reply { .. } | ToClient::Refused { .. } | ToClient::Tentative { .. } => {}
        }
    }

    /// Another membership holds: what was asked of the old one is answered by the new one, whose links are yet to come up.
    fn follow(&mut self, now: Duration, view: View) {
        self.quorums = Quorums::of(&view);
        self.identity.view = view.clone();
        self.out.push(Output::Follow(Box::new(view)));
        for seq in self.requests.keys().copied().collect::<Vec<_>>() {
            if let Some(pending) = self.requests.get_mut(&seq) {
                pending.in_view(&self.identity.view);
            }
            self.judge(now, seq);
        }
        for id in self.queries.keys().copied().collect::<Vec<_>>() {
            // What was answered in the old view may be old.
            if let Some(reading) = self.queries.remove(&id)
                && !reading.is_for_the_order()
            {
                self.ask(now, reading);
            }
        }
    }

    /// Asks for the membership, in case that it has changed.
    fn ask_view(&mut self, replica: ReplicaId) {
        let known = self.identity.view.id;
        let message = encode(&ToReplica::View { known });
        self.out.push(send(replica, &message));
    }

    /// The link to a replica stands (again): it gets what it has not answered.
    pub fn link_up(&mut self, replica: ReplicaId) {
        self.ask_view(replica);
        for pending in self.requests.values() {
            if !pending.has(replica) {
                self.out.push(send(replica, pending.message()));
            }
        }
        for (id, reading) in &self.queries {
            if let Some(message) = reading.message_to(replica, *id, &self.identity) {
                self.out.push(send(replica, &message));
            }
        }
    }

    /// When [`tick`](Engine::tick) is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let patience = self.settings.patience;
        let requests = self.requests.values().map(|p| p.deadline(patience));
        let queries = self.queries.values().map(|r| r.deadline(patience));
        requests.chain(queries).min()
    }

    /// Time has passed. Also harmless at any other time.
    pub fn tick(&mut self, now: Duration) {
        let patience = self.settings.patience;
        let mut silent = BTreeSet::new();
        for seq in self.requests.keys().copied().collect::<Vec<_>>() {
            let Some(pending) = self.requests.get_mut(&seq) else {
                continue;
            };
            if now >= pending.asked() + patience {
                let error = pending.given_up(patience);
                self.renew = true;
                self.end(seq, Err(error));
                continue;
            }
            let due = pending.due(now, &self.identity.view, &self.quorums, &self.settings);
            if !due.is_empty() {
                // Whatever keeps a MAC vector from being ordered does not keep a signature.
                pending.sign(&self.author, self.identity.incarnation, seq);
            }
            for replica in due {
                self.out.push(send(replica, pending.message()));
                silent.insert(replica);
            }
        }
        // Perhaps it is the membership that has changed.
        for replica in silent {
            self.ask_view(replica);
        }
        for id in self.queries.keys().copied().collect::<Vec<_>>() {
            let reading = &self.queries[&id];
            if now >= reading.asked() + patience {
                self.end_query_unanswered(now, id);
            } else if reading.round_over(now) {
                self.next_round(now, id);
            }
        }
        self.order_queries(now);
    }

    /// The window slides with the oldest request, and stays shut while a new incarnation is due.
    fn room(&self, window: u64) -> bool {
        match self.requests.keys().next() {
            None => true,
            Some(oldest) => !self.renew && self.next_seq - oldest < window.max(1),
        }
    }

    /// `asked`: since when its caller waits.
    fn order(
        &mut self,
        now: Duration,
        asked: Duration,
        ticket: Ticket,
        purpose: Purpose,
        op: Bytes,
    ) {
        if self.renew && self.requests.is_empty() {
            self.identity.incarnation += 1;
            (self.next_seq, self.renew) = (1, false);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let Identity {
            incarnation, view, ..
        } = &self.identity;
        let request = self.author.request(view, *incarnation, seq, op.clone());
        let to_sign = (!request.auth.is_signature()).then_some(op);
        let message = encode(&ToReplica::Request(request));
        for replica in self.identity.view.replicas.keys() {
            self.out.push(send(*replica, &message));
        }
        let asked = Asked {
            ticket,
            purpose,
            since: asked,
        };
        let pause = self.pace.retransmit(&self.settings);
        let pending = Pending::new(asked, message, to_sign, now, pause);
        self.requests.insert(seq, pending);
    }

    /// Signs the same request, and all that follow, when a correct replica is among those who ask for it.
    fn sign_if_told(&mut self, seq: u64) {
        let Some(pending) = self.requests.get_mut(&seq) else {
            return;
        };
        if !pending.must_sign(&self.quorums) {
            return;
        }
        self.author.sign_from_now_on();
        pending.sign(&self.author, self.identity.incarnation, seq);
        for replica in self.identity.view.replicas.keys() {
            if !pending.has(*replica) {
                self.out.push(send(*replica, pending.message()));
            }
        }
    }

    fn judge(&mut self, now: Duration, seq: u64) {
        let Some(pending) = self.requests.get_mut(&seq) else {
            return;
        };
        match pending.verdict(now, &self.quorums, &self.settings) {
            Verdict::Open => {}
            Verdict::Result { height, result } => {
                self.seen = self.seen.max(height);
                self.pace.answered(now.saturating_sub(pending.sent()));
                self.end(seq, Ok(result));
            }
            Verdict::Refused(error) => {
                // Another process goes on from here: with its incarnation ours can do nothing any more.
                self.renew |= error != InvokeError::AnswerGone;
                self.end(seq, Err(error));
            }
        }
        self.order_queries(now);
    }

    fn end(&mut self, seq: u64, result: Result<Bytes, InvokeError>) {
        if let Some(pending) = self.requests.remove(&seq) {
            self.out.push(Output::Done {
                ticket: pending.ticket(),
                result,
            });
        }
    }

    /// A round of a query: everybody is asked, under a number of its own.
    fn ask(&mut self, now: Duration, mut reading: Reading) {
        let id = self.next_query;
        self.next_query += 1;
        reading.begin_round(now, self.seen, self.identity.view.id, &self.settings);
        for replica in self.identity.view.replicas.keys() {
            if let Some(message) = reading.message_to(*replica, id, &self.identity) {
                self.out.push(send(*replica, &message));
            }
        }
        self.queries.insert(id, reading);
    }

    fn judge_query(&mut self, now: Duration, id: u64) {
        let Some(reading) = self.queries.get_mut(&id) else {
            return;
        };
        let members = self.identity.view.replicas.keys().copied();
        match reading.next(now, members, &self.quorums, &self.settings) {
            Next::Wait => {}
            Next::Result { height, result } => {
                self.seen = self.seen.max(height);
                self.end_query(id, Ok(result));
            }
            Next::Round => {
                self.next_round(now, id);
                self.order_queries(now);
            }
        }
    }

    fn next_round(&mut self, now: Duration, id: u64) {
        let Some(reading) = self.queries.remove(&id) else {
            return;
        };
        let reading = reading.after_round(&self.quorums);
        let administers = self.identity.view.administers(self.identity.me);
        if administers && reading.rounds() >= self.settings.query_rounds {
            // What it has ordered changes the membership, and nothing else.
            self.queries.insert(id, reading);
            let replicas = self.identity.view.replicas.clone();
            replicas
                .into_keys()
                .for_each(|replica| self.ask_view(replica));
            self.end_query_unanswered(now, id);
        } else if reading.rounds() < self.settings.query_rounds {
            self.ask(now, reading);
        } else {
            self.queries.insert(id, reading.left_to_the_order());
        }
    }

    /// Queries that found no quorum outside of the order go into it, as the window allows.
    fn order_queries(&mut self, now: Duration) {
        let waiting = |reading: &Reading| reading.is_for_the_order();
        while self.room(consensus::service::CLIENT_WINDOW)
            && let Some(id) = self
                .queries
                .iter()
                .find(|(_, reading)| waiting(reading))
                .map(|(id, _)| *id)
            && let Some(reading) = self.queries.remove(&id)
        {
            let op = Call::Query(reading.op().clone()).encode();
            let (asked, ticket) = (reading.asked(), reading.ticket());
            self.order(now, asked, ticket, Purpose::Query, op);
        }
    }

    fn end_query_unanswered(&mut self, now: Duration, id: u64) {
        if let Some(reading) = self.queries.get(&id) {
            let error = InvokeError::NoQuorum {
                waited: now.saturating_sub(reading.asked()),
                answered: reading.answered(),
            };
            self.end_query(id, Err(error));
        }
    }

    fn end_query(&mut self, id: u64, result: Result<Bytes, InvokeError>) {
        if let Some(reading) = self.queries.remove(&id) {
            self.out.push(Output::Done {
                ticket: reading.ticket(),
                result,
            });
        }
    }
}

fn send(to: ReplicaId, message: &Bytes) -> Output {
    Output::Send {
        to,
        message: message.clone(),
    }
}

pub(super) fn encode(message: &ToReplica) -> Bytes {
    postcard::to_stdvec(message)
        .expect("these types have no unserialisable parts")
        .into()
}

/// Whether what a replica refuses for this reason it will refuse for ever.
pub(super) fn is_final(refusal: Refusal) -> Option<InvokeError> {
    match refusal {
        Refusal::AnswerGone => Some(InvokeError::AnswerGone),
        Refusal::Stale => Some(InvokeError::Superseded),
        Refusal::TooLarge => Some(InvokeError::TooLarge),
        Refusal::OutsideWindow
        | Refusal::TooMuchPending
        | Refusal::Conflict
        | Refusal::MustSign => None,
    }
}
