//! One query on its way to a quorum of equal answers, in rounds.
//!
//! A read is linearizable because its quorum intersects, in a correct replica, that of every operation answered
//! before (operations need equal answers of a quorum that *executed* them) and that of every read answered before. Since one
//! faulty replica and one that lags keep such a quorum from forming, and a leader could bring that about on purpose, a query that
//! finds none is ordered, where it is answered as any operation is (Berger, Reiser, Bessani, SRDS 2021). The other half of that
//! repair is the replicas': one that a leader passed over hears of decisions from its peers and fetches them with
//! their proofs, so that ordered operations find their quorum among the correct replicas alone.

use std::time::Duration;

use bytes::Bytes;
use consensus::service::{Outcome, ToReplica, designated};
use consensus::{Height, ReplicaId};

use super::engine::{Identity, Ticket, encode};
use super::quorum::Quorums;
use super::settings::Settings;
use super::votes::Votes;

/// A query until it is answered, ordered or given up.
pub struct Reading {
    ticket: Ticket,
    op: Bytes,
    asked: Duration,
    rounds: u32,
    round_ends: Duration,
    min_height: Height,
    votes: Votes,
    for_the_order: bool,
}

/// What a query needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More answers, or the end of the round.
    Wait,
    /// A quorum gave this result at this height.
    Result { height: Height, result: Bytes },
    /// Another round: this one cannot succeed.
    Round,
}

impl Reading {
    pub fn new(ticket: Ticket, op: Bytes, asked: Duration) -> Self {
        Self {
            ticket,
            op,
            asked,
            rounds: 0,
            round_ends: asked,
            min_height: 0,
            votes: Votes::default(),
            for_the_order: false,
        }
    }

    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub fn op(&self) -> &Bytes {
        &self.op
    }

    /// Since when its caller waits.
    pub fn asked(&self) -> Duration {
        self.asked
    }

    /// Replicas that answered in this round.
    pub fn answered(&self) -> usize {
        self.votes.answered()
    }

    /// Rounds that ended.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// `seen`: what this client knows to be past; `view`: the one that it asks in. Whoever has not come to that view may miss what
    /// was answered in it.
    pub fn begin_round(&mut self, now: Duration, seen: Height, view: u64, settings: &Settings) {
        self.round_ends = now + settings.query_wait;
        self.min_height = self.min_height.max(seen);
        self.votes = Votes::since(view);
    }

    /// The question to a replica that has not answered; none when it is not asked any more. In the first round one replica sends the
    /// result whole, later all do: one that answers again may be further and have another.
    pub fn message_to(&self, replica: ReplicaId, id: u64, identity: &Identity) -> Option<Bytes> {
        if self.for_the_order || self.votes.has(replica) {
            return None;
        }
        let whole = self.rounds > 0 || designated(&identity.view, identity.me, id) == Some(replica);
        Some(encode(&ToReplica::Query {
            id,
            min_height: self.min_height,
            op: self.op.clone(),
            whole,
        }))
    }

    /// Counts an answer; false when it contradicts itself.
    pub fn vote(&mut self, from: ReplicaId, outcome: Outcome) -> bool {
        !self.for_the_order && self.votes.add(from, outcome, None)
    }

    pub fn next(
        &mut self,
        now: Duration,
        members: impl Iterator<Item = ReplicaId>,
        quorums: &Quorums,
        settings: &Settings,
    ) -> Next {
        match self.votes.matched(quorums) {
            Some(matched) => match matched.result {
                Some(result) => Next::Result {
                    height: matched.height,
                    result,
                },
                None => {
                    // The one that was to send it is slow, or faulty.
                    self.round_ends = self.round_ends.min(now + settings.fetch_after);
                    Next::Wait
                }
            },
            None if self.votes.open(members, quorums) => Next::Wait,
            None => Next::Round,
        }
    }

    pub fn round_over(&self, now: Duration) -> bool {
        !self.for_the_order && now >= self.round_ends
    }

    /// The next round asks for no less than what a correct replica has reached, so that those behind catch up before they answer.
    pub fn after_round(mut self, quorums: &Quorums) -> Self {
        self.rounds += 1;
        self.min_height = self.min_height.max(self.votes.reached(quorums));
        self
    }

    pub fn left_to_the_order(mut self) -> Self {
        self.for_the_order = true;
        self
    }

    pub fn is_for_the_order(&self) -> bool {
        self.for_the_order
    }

    /// When something is due.
    pub fn deadline(&self, patience: Duration) -> Duration {
        let given_up = self.asked + patience;
        if self.for_the_order {
            given_up
        } else {
            given_up.min(self.round_ends)
        }
    }
}
