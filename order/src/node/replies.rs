//! The reply store: what makes "exactly once" visible to clients.
//!
//! It is part of the replicated state. It changes by decided requests only, so it is equal at equal heights on all replicas, and
//! a checkpoint holds it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consensus::{ClientId, Height};
use serde::{Deserialize, Serialize};

use super::bounds::{REPLIES_PER_CLIENT, REPLY_BYTES, REPLY_BYTES_PER_CLIENT, REPLY_OVERHEAD};

/// A kept result and where it was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's height.
    pub height: Height,
    /// The view in which it was executed.
    pub view: u64,
    /// The result.
    pub result: Bytes,
}

impl Reply {
    fn cost(&self) -> usize {
        self.result.len() + REPLY_OVERHEAD
    }
}

/// The newest answers to each client's newest incarnation, within bounds of number and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<ClientId, Kept>", into = "BTreeMap<ClientId, Kept>")]
pub struct ReplyStore {
    clients: BTreeMap<ClientId, Kept>,
    /// Clients by what they take, so that the greediest gives way first.
    by_bytes: BTreeSet<(usize, ClientId)>,
    bytes: usize,
    limits: Limits,
}

/// One client's answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    incarnation: u64,
    /// With their numbers, in the order of execution.
    replies: VecDeque<(u64, Reply)>,
    #[serde(skip)]
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    replies: usize,
    client_bytes: usize,
    bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replies: REPLIES_PER_CLIENT,
            client_bytes: REPLY_BYTES_PER_CLIENT,
            bytes: REPLY_BYTES,
        }
    }
}

impl ReplyStore {
    /// Keeps an answer. What the client's older incarnations left goes.
    pub fn add(&mut self, client: ClientId, incarnation: u64, seq: u64, reply: Reply) {
        let mut kept = self.take_out(client);
        if incarnation > kept.incarnation {
            kept = Kept {
                incarnation,
                ..Kept::default()
            };
        }
        kept.bytes += reply.cost();
        kept.replies.push_back((seq, reply));
        while kept.replies.len() > self.limits.replies
            || (kept.bytes > self.limits.client_bytes && kept.replies.len() > 1)
        {
            kept.drop_oldest();
        }
        self.put_back(client, kept);
        while self.bytes > self.limits.bytes {
            let Some((_, greediest)) = self.by_bytes.last().copied() else {
                return;
            };
            let mut kept = self.take_out(greediest);
            if greediest == client && kept.replies.len() == 1 {
                // What was computed just now has not even been sent.
                self.put_back(greediest, kept);
                return;
            }
            kept.drop_oldest();
            self.put_back(greediest, kept);
        }
    }

    /// The answer to a request that was executed.
    pub fn get(&self, client: ClientId, incarnation: u64, seq: u64) -> Option<&Reply> {
        let kept = self.clients.get(&client)?;
        if kept.incarnation != incarnation {
            return None;
        }
        let mut newest_first = kept.replies.iter().rev();
        newest_first
            .find(|(number, _)| *number == seq)
            .map(|(_, reply)| reply)
    }

    /// What all kept answers take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn take_out(&mut self, client: ClientId) -> Kept {
        let kept = self.clients.remove(&client).unwrap_or_default();
        self.by_bytes.remove(&(kept.bytes, client));
        self.bytes -= kept.bytes;
        kept
    }

    fn put_back(&mut self, client: ClientId, kept: Kept) {
        self.by_bytes.insert((kept.bytes, client));
        self.bytes += kept.bytes;
        self.clients.insert(client, kept);
    }
}

impl Kept {
    fn drop_oldest(&mut self) {
        if let Some((_, reply)) = self.replies.pop_front() {
            self.bytes -= reply.cost();
        }
    }
}

impl From<BTreeMap<ClientId, Kept>> for ReplyStore {
    fn from(clients: BTreeMap<ClientId, Kept>) -> Self {
        let mut store = Self::default();
        for (client, mut kept) in clients {
            kept.bytes = kept.replies.iter().map(|(_, reply)| reply.cost()).sum();
            store.put_back(client, kept);
        }
        store
    }
}

impl From<ReplyStore> for BTreeMap<ClientId, Kept> {
    fn from(store: ReplyStore) -> Self {
        store.clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId(70_001);
    const TWO: ClientId = ClientId(70_002);

    fn reply(height: Height, bytes: usize) -> Reply {
        Reply {
            height,
            view: 0,
            result: vec![height as u8; bytes].into(),
        }
    }

    fn small() -> ReplyStore {
        ReplyStore {
            limits: Limits {
                replies: 3,
                client_bytes: 1_000,
                bytes: 2_000,
            },
            ..ReplyStore::default()
        }
    }

    #[test]
    fn the_newest_answers_of_a_client_are_kept_in_the_order_of_execution() {
        let mut store = small();
        // Number 9 was executed first, so it goes first, though it is the highest.
        for (height, seq) in [(1, 9), (2, 1), (3, 2), (4, 3)] {
            store.add(ONE, 5, seq, reply(height, 10));
        }
        assert_eq!(store.get(ONE, 5, 9), None);
        for (seq, height) in [(1, 2), (2, 3), (3, 4)] {
            assert_eq!(store.get(ONE, 5, seq), Some(&reply(height, 10)));
        }
    }

    #[test]
    fn bytes_are_bounded_and_the_newest_answer_stays_however_long() {
        let mut store = small();
        store.add(ONE, 5, 1, reply(1, 400));
        store.add(ONE, 5, 2, reply(2, 1_500));
        assert_eq!(store.get(ONE, 5, 1), None);
        assert_eq!(store.get(ONE, 5, 2), Some(&reply(2, 1_500)));
        assert_eq!(store.bytes(), 1_500 + REPLY_OVERHEAD);
    }

    #[test]
    fn a_greedy_client_pushes_out_its_own_answers_not_others() {
        let mut store = small();
        store.add(ONE, 5, 1, reply(1, 100));
        for number in 2..20 {
            store.add(TWO, 5, number, reply(number, 800));
        }
        store.add(TWO, 5, 20, reply(20, 1_900));
        assert_eq!(store.get(ONE, 5, 1), Some(&reply(1, 100)));
        assert_eq!(store.get(TWO, 5, 20), Some(&reply(20, 1_900)));
    }

    #[test]
    fn an_old_incarnation_leaves_nothing() {
        let mut store = small();
        store.add(ONE, 5, 1, reply(1, 10));
        store.add(ONE, 6, 1, reply(2, 20));
        assert_eq!(store.get(ONE, 5, 1), None);
        assert_eq!(store.get(ONE, 6, 1), Some(&reply(2, 20)));
        assert_eq!(store.bytes(), 20 + REPLY_OVERHEAD);
    }

    #[test]
    fn a_store_read_back_goes_on_as_the_one_written() {
        let mut store = ReplyStore::default();
        for number in 1..50 {
            store.add(ONE, 5, number, reply(number, number as usize));
            store.add(TWO, 5, number, reply(number, 3));
        }
        let mut back: ReplyStore =
            postcard::from_bytes(&postcard::to_stdvec(&store).unwrap()).unwrap();
        assert_eq!(back, store);
        for store in [&mut store, &mut back] {
            store.add(ONE, 5, 50, reply(50, 1));
        }
        assert_eq!(back, store);
    }
}
