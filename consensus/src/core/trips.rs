//! How far away the peers are: round trips of a question that only its receiver can answer.
//!
//! A peer can answer late, but not before it was asked: the nonce is secret until then. So a liar makes itself look
//! slower than it is, never faster. Question and answer go the way of every vote, through both cores' queues: what is
//! measured is what consensus can reach at this load, not what the wire can.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::Digest;
use crate::ids::ReplicaId;
use crate::message::Message;

use super::{Action, Core};

/// What makes nonces differ from everything else that is hashed.
const DOMAIN_PING: &[u8] = b"steeldb/1/ping";
/// Answers kept of each peer.
const KEPT: usize = 9;
/// The newest of them that the watch looks at: a network or a load that grows is believed at once, one that shrinks
/// after so many.
const RECENT: usize = 4;
/// Questions of one peer that are open at a time; an older one is given up.
const OPEN: usize = 4;

/// What is known of one peer.
#[derive(Debug, Default)]
struct Trip {
    /// Nonce and time of each question without an answer, the oldest first.
    open: VecDeque<(u64, u64)>,
    /// Milliseconds that answers took, the newest last.
    took: VecDeque<u64>,
    /// When its last question was answered.
    answered_at: Option<u64>,
}

/// Round trips to all peers.
#[derive(Debug, Default)]
pub(crate) struct Trips {
    peers: BTreeMap<ReplicaId, Trip>,
    asked: u64,
    next_at: u64,
}

impl Trip {
    fn heard(&mut self, now: u64, nonce: u64) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == nonce) else {
            return;
        };
        // Older ones are lost, or their answers are.
        let asked_at = self.open.drain(..=at).next_back();
        if self.took.len() >= KEPT {
            self.took.pop_front();
        }
        let took = asked_at.map(|(_, asked_at)| now.saturating_sub(asked_at));
        self.took.extend(took);
    }

    /// The worst of the newest answers; a question that waits longer than those counts as well.
    fn worst(&self, now: u64) -> Option<u64> {
        let worst = self.took.iter().rev().take(RECENT).max()?;
        let waits = self.open.front().map(|(_, at)| now.saturating_sub(*at));
        Some(waits.unwrap_or(0).max(*worst))
    }

    fn median(&self) -> Option<u64> {
        let mut took: Vec<_> = self.took.iter().copied().collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }
}

impl Trips {
    /// Whoever left is forgotten.
    pub fn retain(&mut self, stays: impl Fn(&ReplicaId) -> bool) {
        self.peers.retain(|peer, _| stays(peer));
    }

    /// The (f + 1)-th largest round trip now. At most f of `peers` lie or are gone, so a correct one is at
    /// least as far as this: liars cannot raise it beyond what is between correct replicas. `None`: not measured yet.
    pub fn reach(&self, now: u64, peers: impl Iterator<Item = ReplicaId>, f: usize) -> Option<u64> {
        let worst = |peer| self.peers.get(&peer).and_then(|trip| trip.worst(now));
        let mut all: Vec<u64> = peers.map(|peer| worst(peer).unwrap_or(u64::MAX)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let reach = all.get(f).or(all.last()).copied().unwrap_or(0);
        (reach < u64::MAX).then_some(reach)
    }

    /// The median of the last answers of each peer that answered.
    pub fn medians(&self) -> BTreeMap<ReplicaId, u64> {
        let medians = self.peers.iter();
        medians
            .filter_map(|(peer, trip)| Some((*peer, trip.median()?)))
            .collect()
    }
}

impl Core {
    /// Milliseconds to each peer and back: the median of the last answers. In whole milliseconds, as this core's clock.
    pub fn round_trips(&self) -> BTreeMap<ReplicaId, u64> {
        self.trips.medians()
    }

    /// Asks all peers when it is time.
    pub(crate) fn ask_round_trips(&mut self, now: u64, out: &mut Vec<Action>) {
        if now < self.trips.next_at || !self.is_member() {
            return;
        }
        self.trips.next_at = now + self.settings.ping_ms;
        for to in self.peers.all.keys().copied() {
            self.trips.asked += 1;
            let count = self.trips.asked.to_le_bytes();
            let secret = self.key.to_bytes();
            let digest = Digest::of(DOMAIN_PING, &[&secret, &count, &now.to_le_bytes()]);
            let nonce = digest
                .0
                .first_chunk()
                .map_or(0, |eight| u64::from_le_bytes(*eight));
            let trip = self.trips.peers.entry(to).or_default();
            if trip.open.len() >= OPEN {
                trip.open.pop_front();
            }
            trip.open.push_back((nonce, now));
            let message = Message::Ping { nonce };
            out.push(Action::Send { to, message });
        }
    }

    /// Answers a peer, four times as often as an honest one asks.
    pub(crate) fn on_ping(&mut self, now: u64, from: ReplicaId, nonce: u64, out: &mut Vec<Action>) {
        let trip = self.trips.peers.entry(from).or_default();
        let least = self.settings.ping_ms / 4;
        if trip.answered_at.is_some_and(|at| now < at + least) {
            return;
        }
        trip.answered_at = Some(now);
        let message = Message::Pong { nonce };
        out.push(Action::Send { to: from, message });
    }

    pub(crate) fn on_pong(&mut self, now: u64, from: ReplicaId, nonce: u64) {
        if let Some(trip) = self.trips.peers.get_mut(&from) {
            trip.heard(now, nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(took: &[&[u64]]) -> Trips {
        let mut trips = Trips::default();
        for (peer, took) in took.iter().enumerate() {
            let trip = trips.peers.entry(ReplicaId(peer as u16)).or_default();
            for (nonce, took) in took.iter().enumerate() {
                trip.open.push_back((nonce as u64, 1_000));
                trip.heard(1_000 + took, nonce as u64);
            }
        }
        trips
    }

    fn peers(n: u16) -> impl Iterator<Item = ReplicaId> {
        (0..n).map(ReplicaId)
    }

    #[test]
    fn f_liars_that_answer_late_do_not_raise_the_reach() {
        let trips = trips(&[&[9_000], &[3], &[2]]);
        assert_eq!(trips.reach(2_000, peers(3), 1), Some(3));
        assert_eq!(trips.reach(2_000, peers(3), 0), Some(9_000));
    }

    #[test]
    fn peers_that_never_answered_count_among_the_f() {
        let trips = trips(&[&[], &[3], &[2]]);
        assert_eq!(trips.reach(2_000, peers(3), 1), Some(3));
        assert_eq!(
            trips.reach(2_000, peers(4), 1),
            None,
            "two of them: nothing is known"
        );
    }

    #[test]
    fn a_slower_network_is_believed_at_once_and_a_faster_one_after_some_answers() {
        assert_eq!(trips(&[&[1, 1, 1, 80]]).reach(2_000, peers(1), 0), Some(80));
        assert_eq!(trips(&[&[80, 1, 1, 1]]).reach(2_000, peers(1), 0), Some(80));
        assert_eq!(
            trips(&[&[80, 1, 1, 1, 1]]).reach(2_000, peers(1), 0),
            Some(1)
        );
    }

    #[test]
    fn a_question_that_waits_counts_as_long_as_it_waits() {
        let mut trips = trips(&[&[1, 1]]);
        let trip = trips.peers.get_mut(&ReplicaId(0)).expect("it was asked");
        trip.open.push_back((7, 2_000));
        assert_eq!(trips.reach(2_500, peers(1), 0), Some(500));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_nothing() {
        let mut trip = Trip::default();
        trip.open.push_back((7, 1_000));
        trip.heard(1_001, 8);
        assert_eq!((trip.took.len(), trip.median()), (0, None));
        trip.heard(1_004, 7);
        trip.heard(1_004, 7);
        assert_eq!((trip.took.len(), trip.median()), (1, Some(4)));
    }
}
