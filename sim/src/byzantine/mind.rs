//! What liars know: each its own mind, or all colluders one.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Digest, Height, Message, Regency, Request};

/// A vote that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Instance.
    pub height: Height,
    /// Regency.
    pub regency: Regency,
    /// The value.
    pub digest: Digest,
}

/// The knowledge behind lies that look true.
#[derive(Debug, Default)]
pub struct Mind {
    /// Second value that it pretends to for a first one.
    pub twins: BTreeMap<Digest, Digest>,
    /// The first value behind a twin.
    pub firsts: BTreeMap<Digest, Digest>,
    /// Those who are shown the twin, one bit each.
    pub other_side: u64,
    /// Values said to all in place of the core's own.
    pub instead: BTreeMap<Digest, Digest>,
    /// Regencies whose SYNC was forged, to have another value decided.
    pub betrayed: BTreeSet<Regency>,
    /// Votes heard, the newest last.
    pub heard: Vec<Heard>,
    /// What may be said again.
    pub said: Vec<Message>,
    /// What proposed values stand on.
    pub chain: BTreeMap<Digest, Digest>,
    /// Requests known, signed by their clients.
    pub requests: Vec<Request>,
}

impl Mind {
    /// What a value stands on, if it was heard.
    pub fn stands_on(&self, value: Digest) -> Option<Digest> {
        self.chain.get(&value).copied()
    }

    /// Remembers a vote, or what a proposal stands on.
    pub fn hear(&mut self, message: &Message) {
        if let Message::Propose { batch, .. } = message
            && self.chain.len() < 1_024
        {
            self.chain.insert(batch.digest(), batch.after);
        }
        if let Message::Write {
            height,
            regency,
            digest,
        }
        | Message::Accept {
            height,
            regency,
            digest,
            ..
        } = message
        {
            let heard = Heard {
                height: *height,
                regency: *regency,
                digest: *digest,
            };
            if self.heard.contains(&heard) {
                return;
            }
            if self.heard.len() >= 64 {
                self.heard.remove(0);
            }
            self.heard.push(heard);
        }
    }

    /// Remembers a request of a client.
    pub fn know(&mut self, request: &Request) {
        if self.requests.len() < 256 && !self.requests.contains(request) {
            self.requests.push(request.clone());
        }
    }

    /// Remembers what was said.
    pub fn note_said(&mut self, message: &Message) {
        if self.said.len() < 200 {
            self.said.push(message.clone());
        }
    }

    /// Another value that was voted on at a height, in its newest regency.
    pub fn rival(&self, height: Height, of: Option<Digest>) -> Option<Heard> {
        let there = self.heard.iter().rev();
        let mut rivals = there.filter(|heard| heard.height == height && Some(heard.digest) != of);
        rivals.next().copied()
    }
}
