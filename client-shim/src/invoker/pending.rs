//! One ordered request on its way to a quorum of equal answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use consensus::service::{Outcome, Refusal, ToReplica};
use consensus::{Author, Height, ReplicaId, View};

use super::engine::{Ticket, encode, is_final};
use super::error::InvokeError;
use super::quorum::Quorums;
use super::settings::Settings;
use super::votes::{Lock, Votes};

/// Why it is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To change the state.
    Operation,
    /// It is a query that found no quorum outside of the order.
    Query,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough.
    Open,
    /// A quorum gave this result at this height.
    Result { height: Height, result: Bytes },
    /// A correct replica said that there will be no result.
    Refused(InvokeError),
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub ticket: Ticket,
    pub purpose: Purpose,
    /// Since when its caller waits.
    pub since: Duration,
}

/// A request until it is answered or given up.
pub struct Pending {
    ticket: Ticket,
    purpose: Purpose,
    message: Bytes,
    /// Its operation, while it is not signed.
    to_sign: Option<Bytes>,
    asked: Duration,
    votes: Votes,
    refusals: BTreeMap<ReplicaId, Refusal>,
    /// When it was sent first.
    sent: Duration,
    send_at: Duration,
    /// Until it is sent again the next time.
    pause: Duration,
    /// When the result is asked for that a quorum has but nobody sent.
    fetch_at: Option<Duration>,
}

impl Pending {
    /// `pause`: until it is sent again.
    pub fn new(
        asked: Asked,
        message: Bytes,
        to_sign: Option<Bytes>,
        now: Duration,
        pause: Duration,
    ) -> Self {
        Self {
            ticket: asked.ticket,
            purpose: asked.purpose,
            message,
            to_sign,
            asked: asked.since,
            votes: Votes::default(),
            refusals: BTreeMap::new(),
            sent: now,
            send_at: now + pause,
            pause,
            fetch_at: None,
        }
    }

    /// When it was sent first.
    pub fn sent(&self) -> Duration {
        self.sent
    }

    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// Since when its caller waits.
    pub fn asked(&self) -> Duration {
        self.asked
    }

    /// Whether the replica has given a result.
    pub fn has(&self, replica: ReplicaId) -> bool {
        self.votes.has(replica)
    }

    /// Counts an answer, final or standing on a lock; false when it contradicts itself.
    pub fn vote(&mut self, from: ReplicaId, outcome: Outcome, lock: Option<Lock>) -> bool {
        let counted = self.votes.add(from, outcome, lock);
        if counted {
            self.refusals.remove(&from);
        }
        counted
    }

    /// Whose answers count from now on.
    pub fn in_view(&mut self, view: &View) {
        self.votes.in_view(view);
        self.refusals
            .retain(|replica, _| view.replicas.contains_key(replica));
    }

    /// Whether a correct replica is among those who want it signed, and it is not.
    pub fn must_sign(&self, quorums: &Quorums) -> bool {
        let said = self.refusals.iter();
        let said = said.filter(|(_, refusal)| **refusal == Refusal::MustSign);
        let said: BTreeSet<ReplicaId> = said.map(|(replica, _)| *replica).collect();
        self.to_sign.is_some() && (quorums.one_correct)(&said)
    }

    /// Signs it, if it is not: the same operation under the same number.
    pub fn sign(&mut self, author: &Author, incarnation: u64, seq: u64) {
        if let Some(op) = self.to_sign.take() {
            let request = author.signed(incarnation, seq, op);
            self.message = encode(&ToReplica::Request(request));
            self.refusals.retain(|_, said| *said != Refusal::MustSign);
        }
    }

    /// A replica has no result. What it answered before stands.
    pub fn refuse(&mut self, from: ReplicaId, refusal: Refusal) {
        self.refusals.insert(from, refusal);
    }

    /// What the answers say so far.
    pub fn verdict(&mut self, now: Duration, quorums: &Quorums, settings: &Settings) -> Verdict {
        if let Some(matched) = self.votes.matched(quorums) {
            match matched.result {
                Some(result) => {
                    return Verdict::Result {
                        height: matched.height,
                        result,
                    };
                }
                None => {
                    let soon = now + settings.fetch_after;
                    self.fetch_at.get_or_insert(soon);
                }
            }
        }
        let mut by_error: BTreeMap<u8, (InvokeError, BTreeSet<ReplicaId>)> = BTreeMap::new();
        for (replica, refusal) in &self.refusals {
            if let Some(error) = is_final(*refusal) {
                let said = by_error.entry(*refusal as u8);
                said.or_insert((error, BTreeSet::new())).1.insert(*replica);
            }
        }
        by_error
            .into_values()
            .find(|(_, replicas)| (quorums.one_correct)(replicas))
            .map_or(Verdict::Open, |(error, _)| Verdict::Refused(error))
    }

    /// Whom to send it now, and plans the next time.
    pub fn due(
        &mut self,
        now: Duration,
        view: &View,
        quorums: &Quorums,
        settings: &Settings,
    ) -> Vec<ReplicaId> {
        if now >= self.send_at {
            self.pause = (self.pause * 2).min(settings.retransmit_max.max(settings.retransmit));
            self.send_at = now + self.pause;
            self.fetch_at = self.fetch_at.map(|_| self.send_at);
            let fetches = self.fetch_at.is_some();
            let members = view.replicas.keys().copied();
            return members.filter(|r| fetches || !self.has(*r)).collect();
        }
        if self.fetch_at.is_some_and(|at| now >= at) {
            self.fetch_at = Some(self.send_at);
            return self.a_correct_one(quorums);
        }
        Vec::new()
    }

    /// As few as must hold a correct one of those who agree: sent again, it is answered whole.
    fn a_correct_one(&self, quorums: &Quorums) -> Vec<ReplicaId> {
        let Some(matched) = self.votes.matched(quorums) else {
            return Vec::new();
        };
        let mut asked = BTreeSet::new();
        for replica in matched.replicas {
            asked.insert(replica);
            if (quorums.one_correct)(&asked) {
                break;
            }
        }
        asked.into_iter().collect()
    }

    /// When something is due.
    pub fn deadline(&self, patience: Duration) -> Duration {
        let fetch = self.fetch_at.unwrap_or(self.send_at);
        fetch.min(self.send_at).min(self.asked + patience)
    }

    /// What its caller is told when patience ran out.
    pub fn given_up(&self, waited: Duration) -> InvokeError {
        let answered = self.votes.answered();
        match self.purpose {
            Purpose::Query => InvokeError::NoQuorum { waited, answered },
            Purpose::Operation => InvokeError::OutcomeUnknown {
                waited,
                answered,
                refusal: self.refusals.values().next().copied(),
            },
        }
    }
}
