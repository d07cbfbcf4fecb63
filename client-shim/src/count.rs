//! Counting matching replies, sans-I/O (Alg. 1, l. 10-14).

use consensus::{Height, ReplicaId, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use txn::client::{Answer, Reason, Reply};

/// Replies to one request, counted until enough of them match.
///
/// Two replies match when place and answer are equal; the reason, the frames and the epoch are each replica's own words.
#[derive(Debug)]
pub struct ReplyCounter {
    view: Arc<View>,
    replies: BTreeMap<ReplicaId, Reply>,
    rejected: BTreeMap<ReplicaId, String>,
}

type Key<'a> = (Height, u32, &'a Answer);

fn key(reply: &Reply) -> Key<'_> {
    (reply.height, reply.index, &reply.answer)
}

impl ReplyCounter {
    /// Counts until matching replies come from a quorum, by weight.
    pub fn new(view: Arc<View>) -> ReplyCounter {
        ReplyCounter {
            view,
            replies: BTreeMap::new(),
            rejected: BTreeMap::new(),
        }
    }

    /// From now on a quorum is one of this view; what came from members that stay counts.
    pub fn in_view(&mut self, view: Arc<View>) {
        self.view = view;
    }

    /// A reply; only the last one of each replica counts. Returns the matched reply once there are enough.
    pub fn add(&mut self, from: ReplicaId, reply: Reply) -> Option<Reply> {
        self.rejected.remove(&from);
        self.replies.insert(from, reply);
        let wanted = key(self.replies.get(&from)?);
        let matching = self.replies.iter().filter(|(_, r)| key(r) == wanted);
        let (senders, matching): (Vec<ReplicaId>, Vec<&Reply>) = matching.unzip();
        if !self.view.is_quorum(senders) {
            return None;
        }
        let mut matched = (*matching.first()?).clone();
        matched.reason = self.reason(&matching);
        // Numbers that do not enter the match: the smallest is one that a correct replica vouches for at least.
        matched.time_ms = matching.iter().map(|r| r.time_ms).min().unwrap_or(0);
        matched.epoch = matching.iter().map(|r| r.epoch).min().unwrap_or(0);
        if let Answer::Executed { result } = matched.answer {
            // Frames are each replica's own words too: only those that have the matched digest are passed on.
            let agreed = |r: &&&Reply| {
                txn::result::is_whole(&r.frames) && txn::result::digest(&r.frames, None) == result
            };
            matched.frames = matching.iter().find(agreed)?.frames.clone();
        }
        Some(matched)
    }

    /// A replica does not accept the request. Returns why once so many refuse that no quorum can form.
    pub fn reject(&mut self, from: ReplicaId, reason: String) -> Option<String> {
        if !self.replies.contains_key(&from) {
            self.rejected.insert(from, reason.clone());
        }
        let members = self.view.replicas.keys();
        let left = members.filter(|id| !self.rejected.contains_key(id));
        (!self.view.is_quorum(left.copied())).then_some(reason)
    }

    /// The SQLSTATE that most replicas give, with the words of one of them.
    fn reason(&self, matching: &[&Reply]) -> Option<Reason> {
        let mut counts: BTreeMap<&str, (usize, &Reason)> = BTreeMap::new();
        for reason in matching.iter().filter_map(|r| r.reason.as_ref()) {
            counts.entry(&reason.sqlstate).or_insert((0, reason)).0 += 1;
        }
        let (_, reason) = counts.into_values().max_by_key(|(count, _)| *count)?;
        Some(reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::PublicKey;

    fn four() -> Arc<View> {
        Arc::new(View {
            id: 0,
            f: 1,
            replicas: (0..4)
                .map(|i| (ReplicaId(i), PublicKey([i as u8; 32])))
                .collect(),
            clients: BTreeMap::new(),
            ..View::default()
        })
    }

    fn reply(height: Height, answer: Answer) -> Reply {
        Reply {
            incarnation: 1,
            seq: 1,
            height,
            index: 0,
            time_ms: height,
            epoch: 0,
            answer,
            reason: None,
            frames: vec![],
        }
    }

    #[test]
    fn three_matching_replies_of_four_are_a_quorum() {
        let mut counter = ReplyCounter::new(four());
        assert!(
            counter
                .add(ReplicaId(0), reply(5, Answer::Committed))
                .is_none()
        );
        assert!(
            counter
                .add(ReplicaId(1), reply(5, Answer::Aborted))
                .is_none(),
            "a liar"
        );
        assert!(
            counter
                .add(ReplicaId(2), reply(5, Answer::Committed))
                .is_none()
        );
        let matched = counter
            .add(ReplicaId(3), reply(5, Answer::Committed))
            .unwrap();
        assert_eq!(matched.answer, Answer::Committed);
    }

    #[test]
    fn one_replica_that_repeats_itself_counts_once() {
        let mut counter = ReplyCounter::new(four());
        for _ in 0..5 {
            assert!(
                counter
                    .add(ReplicaId(0), reply(5, Answer::Committed))
                    .is_none()
            );
        }
    }

    #[test]
    fn frames_come_from_a_replica_whose_frames_have_the_agreed_digest() {
        let frame = |tag: &'static [u8]| vec![bytes::Bytes::from_static(tag)];
        let honest = frame(b"C\0\0\0\x0bVACUUM\0");
        let result = txn::result::digest(&honest, None);
        let mut counter = ReplyCounter::new(four());
        let mut executed = |replica, frames| {
            let answer = Answer::Executed { result };
            let reply = Reply {
                frames,
                ..reply(5, answer)
            };
            counter.add(ReplicaId(replica), reply)
        };
        assert!(executed(0, frame(b"C\0\0\0\x0bREMOVE\0")).is_none());
        assert!(executed(1, honest.clone()).is_none());
        assert_eq!(executed(2, honest.clone()).unwrap().frames, honest);
    }

    #[test]
    fn replies_for_different_places_do_not_match() {
        let mut counter = ReplyCounter::new(four());
        for replica in 0..4 {
            let place = u64::from(replica) + 5;
            assert!(
                counter
                    .add(ReplicaId(replica), reply(place, Answer::Committed))
                    .is_none()
            );
        }
    }

    #[test]
    fn a_request_fails_only_when_no_quorum_can_form_any_more() {
        let mut counter = ReplyCounter::new(four());
        assert!(counter.reject(ReplicaId(0), "full".into()).is_none());
        assert!(counter.reject(ReplicaId(1), "full".into()).is_some());
    }
}
