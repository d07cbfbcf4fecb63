//! Answers to ordered requests: sent when final and durable, kept for clients that ask again.

use super::Executor;
use bytes::Bytes;
use consensus::{ClientId, Height};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use txn::client::{Answer, ReplicaMessage, Reply};
use txn::engine::Action;
use txn::limits;

/// Answers by client, the last ones of each.
#[derive(Default)]
pub struct Replies {
    kept: BTreeMap<ClientId, Kept>,
    /// Executions whose answer is not known yet: who asked.
    expected: BTreeMap<(Height, u32), (ClientId, u64, u64)>,
    /// Answers that wait for their decision to be durable.
    waiting: BTreeMap<Height, Vec<(ClientId, Bytes)>>,
    durable: Height,
    /// Answers of heights that are not final here, by their places.
    unsettled: BTreeMap<(Height, u32), Unsettled>,
    settled: Settled,
}

struct Unsettled {
    client: ClientId,
    incarnation: u64,
    seq: u64,
    time_ms: u64,
    answer: Answer,
}

/// The last answers to each client as they are in a checkpoint: equal at all replicas, so without what each says of its own
/// accord (why it aborted, what an `Exec` came to).
pub type Settled = BTreeMap<ClientId, SettledOf>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledOf {
    incarnation: u64,
    by_seq: BTreeMap<u64, (Height, u32, u64, Answer)>,
}

#[derive(Default)]
struct Kept {
    incarnation: u64,
    by_seq: BTreeMap<u64, Bytes>,
}

impl Replies {
    pub fn expect(
        &mut self,
        height: Height,
        index: u32,
        client: ClientId,
        incarnation: u64,
        seq: u64,
    ) {
        self.expected
            .insert((height, index), (client, incarnation, seq));
    }

    pub fn expected(&mut self, height: Height, index: u32) -> Option<(ClientId, u64, u64)> {
        self.expected.remove(&(height, index))
    }

    fn keep(&mut self, client: ClientId, incarnation: u64, seq: u64, message: Bytes) {
        let kept = self.kept.entry(client).or_default();
        if incarnation > kept.incarnation {
            *kept = Kept {
                incarnation,
                by_seq: BTreeMap::new(),
            };
        }
        if incarnation == kept.incarnation {
            kept.by_seq.insert(seq, message);
            while kept.by_seq.len() > limits::REPLIES_PER_CLIENT {
                kept.by_seq.pop_first();
            }
        }
    }

    /// A height is final: its answers are known, in the order of their places.
    pub fn settle(&mut self, height: Height) {
        let later = self.unsettled.split_off(&(height + 1, 0));
        let settled = std::mem::replace(&mut self.unsettled, later);
        for ((height, index), unsettled) in settled {
            let Unsettled {
                client,
                incarnation,
                seq,
                time_ms,
                answer,
            } = unsettled;
            let of = self.settled.entry(client).or_default();
            if incarnation > of.incarnation {
                *of = SettledOf {
                    incarnation,
                    ..SettledOf::default()
                };
            }
            if incarnation == of.incarnation {
                of.by_seq.insert(seq, (height, index, time_ms, answer));
                while of.by_seq.len() > limits::REPLIES_PER_CLIENT {
                    of.by_seq.pop_first();
                }
            }
        }
    }

    /// Answers of all heights up to the last final one.
    pub fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Begins with the answers of a checkpoint.
    pub fn restore(&mut self, settled: Settled, epoch: u64) {
        for (client, of) in &settled {
            for (seq, (height, index, time_ms, answer)) in &of.by_seq {
                let reply = Reply {
                    incarnation: of.incarnation,
                    seq: *seq,
                    height: *height,
                    index: *index,
                    time_ms: *time_ms,
                    epoch,
                    answer: answer.clone(),
                    reason: None,
                    frames: Vec::new(),
                };
                self.keep(*client, of.incarnation, *seq, encoded(reply));
            }
        }
        self.settled = settled;
    }

    fn find(&self, client: ClientId, incarnation: u64, seq: u64) -> Option<Bytes> {
        let kept = self
            .kept
            .get(&client)
            .filter(|k| k.incarnation == incarnation)?;
        kept.by_seq.get(&seq).cloned()
    }
}

impl Executor {
    /// An [`Action::Answer`].
    pub(super) fn answer(&mut self, action: Action) {
        let Action::Answer {
            client,
            incarnation,
            seq,
            height,
            index,
            time_ms,
            epoch,
            answer,
        } = action
        else {
            return;
        };
        // What an `Exec` came to is each replica's own, and a restart does not run it again: it is not kept there.
        if client.as_replica().is_none() {
            let settles = Unsettled {
                client,
                incarnation,
                seq,
                time_ms,
                answer: answer.clone(),
            };
            self.replies.unsettled.insert((height, index), settles);
        }
        #[cfg(feature = "lies")]
        let answer = self.bench.lies.reply(answer);
        let reason = self
            .items
            .get(&(height, index))
            .and_then(|i| i.reason.clone());
        let reason = reason.filter(|_| answer == Answer::Aborted);
        let reply = Reply {
            incarnation,
            seq,
            height,
            index,
            time_ms,
            epoch,
            answer,
            reason,
            frames: Vec::new(),
        };
        self.reply(client, reply);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn answer_executed(
        &mut self,
        client: ClientId,
        incarnation: u64,
        seq: u64,
        (height, index): (Height, u32),
        time_ms: u64,
        epoch: u64,
        answer: Answer,
        frames: Vec<Bytes>,
    ) {
        let reply = Reply {
            incarnation,
            seq,
            height,
            index,
            time_ms,
            epoch,
            answer,
            reason: None,
            frames,
        };
        self.reply(client, reply);
    }

    fn reply(&mut self, client: ClientId, reply: Reply) {
        if client.as_replica().is_some() {
            return;
        }
        let (height, incarnation, seq) = (reply.height, reply.incarnation, reply.seq);
        let message = encoded(reply);
        self.replies.keep(client, incarnation, seq, message.clone());
        if self.history.as_ref().is_some_and(|h| h.is_replayed(height)) {
            return;
        }
        if height <= self.replies.durable {
            self.send_client(client, message);
        } else {
            self.replies
                .waiting
                .entry(height)
                .or_default()
                .push((client, message));
        }
    }

    /// Decisions up to this height are durable: their answers may go.
    pub(super) fn decisions_durable(&mut self, height: Height) {
        self.replies.durable = self.replies.durable.max(height);
        let rest = self.replies.waiting.split_off(&(height + 1));
        let ready = std::mem::replace(&mut self.replies.waiting, rest);
        for (client, message) in ready.into_values().flatten() {
            self.send_client(client, message);
        }
    }

    /// A client sent a request again that was ordered before.
    pub(super) fn repeat_reply(&mut self, client: ClientId, incarnation: u64, seq: u64) {
        if let Some(message) = self.replies.find(client, incarnation, seq) {
            self.send_client(client, message);
        }
    }
}

fn encoded(reply: Reply) -> Bytes {
    let bytes = postcard::to_stdvec(&ReplicaMessage::Reply(reply));
    bytes
        .expect("these types have no unserialisable parts")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId(1 << 16);

    fn answered(replies: &mut Replies, place: (Height, u32), incarnation: u64, seq: u64) {
        let answer = Unsettled {
            client: CLIENT,
            incarnation,
            seq,
            time_ms: 7,
            answer: Answer::Committed,
        };
        replies.unsettled.insert(place, answer);
    }

    /// Decisions run ahead of verdicts, differently at each replica; what is settled up to a height does not depend on it.
    #[test]
    fn what_is_settled_up_to_a_height_is_equal_whatever_is_known_of_later_ones() {
        let (mut one, mut other) = (Replies::default(), Replies::default());
        for replies in [&mut one, &mut other] {
            answered(replies, (5, 0), 1, 1);
        }
        // At one of them the client's later request, in a new incarnation, is answered already.
        answered(&mut other, (6, 0), 2, 1);
        answered(&mut one, (5, 1), 1, 2);
        answered(&mut other, (5, 1), 1, 2);
        one.settle(5);
        other.settle(5);
        assert_eq!(one.settled(), other.settled());
        assert_eq!(one.settled()[&CLIENT].by_seq.len(), 2);
        answered(&mut one, (6, 0), 2, 1);
        one.settle(6);
        other.settle(6);
        assert_eq!(one.settled(), other.settled());
        assert_eq!(one.settled()[&CLIENT].by_seq.len(), 1, "a new incarnation");
    }

    #[test]
    fn who_begins_with_a_checkpoint_answers_again_what_was_answered() {
        let mut replies = Replies::default();
        for seq in 1..=limits::REPLIES_PER_CLIENT as u64 + 9 {
            answered(&mut replies, (seq, 0), 3, seq);
        }
        replies.settle(1 << 20);
        let settled = replies.settled().clone();
        assert_eq!(settled[&CLIENT].by_seq.len(), limits::REPLIES_PER_CLIENT);
        let mut begun = Replies::default();
        begun.restore(settled.clone(), 4);
        assert_eq!(*begun.settled(), settled);
        assert_eq!(begun.find(CLIENT, 3, 9), None, "too old");
        assert_eq!(begun.find(CLIENT, 2, 10), None, "another incarnation");
        let found = begun.find(CLIENT, 3, 10).expect("it is kept");
        let reply = Reply {
            incarnation: 3,
            seq: 10,
            height: 10,
            index: 0,
            time_ms: 7,
            epoch: 4,
            answer: Answer::Committed,
            reason: None,
            frames: vec![],
        };
        assert_eq!(found, encoded(reply));
    }
}
