//! What the Byzantine replica says: anything that its key allows.

use consensus::{Digest, Message, ReplicaId, StopState, Sync, sign_accept};
use model::{Claim, Value, claims};

use super::{CORRECT, HEIGHT, TURN, Walk, key};

impl Walk<'_> {
    /// Something for one replica, mostly about the regency that it is in.
    pub fn lie(&mut self, i: usize) -> Message {
        let stale = self.below(8) == 0;
        let model_regency = if stale {
            self.below(usize::from(self.instance.regencies)) as u64
        } else {
            self.regency(i)
        };
        let (height, regency) = (HEIGHT, model_regency * TURN);
        let batch = self.values[self.below(2)].clone();
        let digest = batch.digest();
        match self.below(10) {
            0..3 => Message::Propose {
                height,
                regency,
                batch,
            },
            3..6 => Message::Write {
                height,
                regency,
                digest,
            },
            6 => Message::Accept {
                height,
                regency,
                digest,
                signature: sign_accept(&key(0), &self.view, height, regency, &digest),
            },
            7 => Message::Status {
                view: self.view.id,
                regency,
                free_from: Some(height + self.below(2) as u64),
                decided: 0,
            },
            _ => Message::Sync(Box::new(self.sync(model_regency))),
        }
    }

    /// Some of the states that there are, and a claim.
    fn sync(&mut self, regency: u64) -> Sync {
        let left_out = self.below(CORRECT + 1) as u16;
        let claims = claims(regency as u8, self.instance.values);
        let mut states = Vec::new();
        for replica in (0..=CORRECT as u16).map(ReplicaId) {
            let claim = &claims[self.below(claims.len())];
            let claimed = self.stop_state(replica, regency, claim);
            let signed = self.signed.get(&(regency as u8, replica)).cloned();
            let (rare, hidden) = (self.below(16) == 0, self.below(5) == 0);
            if replica.0 == 0 && !hidden {
                let signature = claimed.sign(&key(0));
                states.push((claimed, signature));
            } else if replica.0 != left_out {
                // Now and then a state that its replica did not sign so.
                let shown = signed.map(|(state, signature)| {
                    let shown = if rare { claimed } else { state };
                    (shown, signature)
                });
                states.extend(shown.filter(|(state, _)| state.decided < HEIGHT));
            }
        }
        Sync {
            regency: regency * TURN,
            states,
            last: None,
        }
    }

    /// A claim in the words of the cores.
    pub fn stop_state(&self, replica: ReplicaId, regency: u64, claim: &Claim) -> StopState {
        let pair = |(at, value): &(u8, Value)| -> (u64, Digest) {
            let batch = &self.values[usize::from(value.0)];
            (u64::from(*at) * TURN, batch.digest())
        };
        StopState {
            view: self.view.id,
            regency: regency * TURN,
            replica,
            decided: 0,
            votes: model::votes(
                1,
                claim.lock.as_ref().map(pair),
                claim.writeset.iter().map(pair),
            ),
        }
    }
}
