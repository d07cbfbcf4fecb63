//! Answers to ordered requests: sent when final and durable, kept for clients that ask again.

use super::Executor;
use bytes::Bytes;
use consensus::{ClientId, Height};
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
        let bytes = postcard::to_stdvec(&ReplicaMessage::Reply(reply))
            .expect("these types have no unserialisable parts");
        let message = Bytes::from(bytes);
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
