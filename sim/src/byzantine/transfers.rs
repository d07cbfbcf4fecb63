//! Lies to a replica that lags: decisions and bodies that are not what was ordered.

use consensus::{Decided, Message, Proof, sign_accept};

use super::Liar;

impl Liar {
    /// Decisions that were never made, or out of their place.
    pub(super) fn false_decisions(&mut self, mut decisions: Vec<Decided>) -> Vec<Decided> {
        match self.rng.between(0, 5) {
            0 | 1 => decisions
                .iter_mut()
                .for_each(|decided| self.retime(decided)),
            // Bodies that the batch does not name.
            2 => {
                for request in decisions.iter_mut().flat_map(|d| d.requests.iter_mut()) {
                    request.op = b"what nobody asked".as_slice().into();
                }
            }
            // The right decisions at the wrong heights.
            3 => {
                let first = decisions.first().map_or(0, |decided| decided.height);
                decisions.reverse();
                for (decided, height) in decisions.iter_mut().zip(first..) {
                    decided.height = height;
                }
            }
            // A request less.
            4 => {
                for decided in &mut decisions {
                    decided.requests.pop();
                    decided.batch.entries.pop();
                }
            }
            // A hole.
            _ => {
                decisions.pop();
                decisions.dedup_by_key(|decided| decided.height / 2);
            }
        }
        decisions
    }

    /// Another time, "accepted" by all in its own hand.
    fn retime(&mut self, decided: &mut Decided) {
        decided.batch.time_ms += 5;
        let digest = decided.batch.digest();
        let (height, regency) = (decided.height, decided.regency);
        let mine = sign_accept(&self.key, &self.view, height, regency, &digest);
        let signers = self.view.replicas.keys().map(|id| (*id, mine));
        decided.proof = Proof {
            regency,
            accepts: signers.collect(),
        };
    }

    /// Bodies with other contents under the same names.
    pub(super) fn false_bodies(&mut self, message: Message) -> Message {
        match message {
            Message::Bodies {
                height,
                mut requests,
            } => {
                for request in &mut requests {
                    request.op = b"swapped".as_slice().into();
                }
                Message::Bodies { height, requests }
            }
            Message::BatchOf { height, mut batch } => {
                batch.time_ms += 1;
                Message::BatchOf { height, batch }
            }
            other => other,
        }
    }
}
