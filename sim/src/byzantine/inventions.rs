//! Words out of nothing.

use consensus::{Digest, Height, LastDecided, Message, Proof, Regency, Signature, Sync};

use super::Liar;
use super::mind::Mind;

impl Liar {
    pub(super) fn invention(&mut self, mind: &Mind) -> Message {
        let height = mind.heard.last().map_or(1, |heard| heard.height);
        match self.rng.between(0, 6) {
            0 => {
                let mut requests = mind.requests.clone();
                requests.truncate(16);
                for request in &mut requests {
                    request.op = format!("stolen {}", self.rng.next_u64()).into();
                    request.seq += self.rng.between(0, 2);
                }
                Message::Forward { requests }
            }
            1 => Message::Stop {
                view: self.view.id,
                regency: self.rng.between(1, 1_000_000),
            },
            2 => self.boast(0, self.rng.clone().next_u64() >> 24),
            3 => Message::Write {
                height,
                regency: 0,
                digest: Digest([5; 32]),
            },
            4 => Message::Accept {
                height: height + 1,
                regency: u64::MAX,
                digest: Digest([5; 32]),
                signature: Signature([1; 64]),
            },
            5 => {
                let last = Some(LastDecided {
                    height: 1 << 30,
                    digest: Digest([4; 32]),
                    proof: Proof {
                        regency: 0,
                        accepts: Vec::new(),
                    },
                });
                Message::Sync(Box::new(Sync {
                    regency: 1 << 20,
                    states: Vec::new(),
                    last,
                }))
            }
            _ => Message::FetchDecisions {
                from: 0,
                max: u32::MAX,
            },
        }
    }

    /// A claim to be further than anyone is.
    pub(super) fn boast(&mut self, regency: Regency, decided: Height) -> Message {
        Message::Status {
            view: self.view.id,
            regency: regency + self.rng.between(0, 3),
            free_from: Some(decided + self.rng.between(0, 9)),
            decided: decided + self.rng.between(0, 5),
        }
    }
}
