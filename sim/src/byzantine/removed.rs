//! What a liar says that is no member any more: it goes on as if nothing had happened, and pretends to be in the new view.

use consensus::{Digest, Message, StopData, StopState, View, sign_accept};

use super::Liar;
use super::mind::Mind;

impl Liar {
    /// Words to a member of the newest view, signed with a key that does not count any more.
    pub fn rant(&mut self, mind: &Mind, newest: &View) -> Vec<Message> {
        let mut words = vec![self.invention(mind)];
        words.extend(self.rng.pick(&mind.said));
        let regency = self.rng.between(1, 3);
        words.push(Message::Stop {
            view: newest.id,
            regency,
        });
        let Some(heard) = mind.heard.last().copied() else {
            return words;
        };
        // Votes for the next heights too, which wait there until their time comes.
        for height in heard.height..heard.height + 3 {
            let digest = match self.rng.chance(50) {
                true => heard.digest,
                false => Digest([6; 32]),
            };
            let signature = sign_accept(&self.key, newest, height, heard.regency, &digest);
            let regency = heard.regency;
            words.push(Message::Write {
                height,
                regency,
                digest,
            });
            words.push(Message::Accept {
                height,
                regency,
                digest,
                signature,
            });
        }
        let state = StopState {
            view: newest.id,
            regency,
            replica: self.me,
            decided: heard.height.saturating_sub(1),
            votes: Vec::new(),
        };
        let (signature, last) = (state.sign(&self.key), None);
        words.push(Message::StopData(Box::new(StopData {
            state,
            signature,
            last,
        })));
        words.push(Message::Status {
            view: newest.id,
            regency: regency + 5,
            free_from: Some(1),
            decided: heard.height + 7,
        });
        words
    }

    /// Its core is in another view, or signs with another key.
    pub fn follow(&mut self, view: View, key: Option<consensus::SigningKey>) {
        self.key = key.unwrap_or(self.key.clone());
        self.view = view;
    }
}
