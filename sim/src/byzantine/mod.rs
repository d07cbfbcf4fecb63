//! Liars: a correct core whose words are bent on their way out. A liar has its own key
//! and no other; it knows all that its core hears, and colluders what all of them hear.

mod habit;
mod inventions;
mod mind;
mod proposals;
mod removed;
mod states;
mod transfers;

use std::collections::BTreeSet;

use consensus::{Message, ReplicaId, Signature, SigningKey, View, sign_accept};

use crate::rng::Rng;

pub use habit::Habit;
pub use mind::Mind;

/// Who bends the words.
pub struct Liar {
    me: ReplicaId,
    key: SigningKey,
    view: View,
    habits: BTreeSet<Habit>,
    rng: Rng,
    /// Whether it lies as the others do.
    colludes: bool,
    /// The client that it starves.
    victim: Option<u32>,
    /// A suspected leader is given up after twice this time.
    patience: u64,
    /// What share of that it drags, in percent.
    drags: u64,
}

impl Liar {
    /// A liar with its own key. `patience`: one stage of the others' time-outs.
    pub fn new(
        me: ReplicaId,
        key: SigningKey,
        view: View,
        habits: BTreeSet<Habit>,
        colludes: bool,
        patience: u64,
        mut rng: Rng,
    ) -> Self {
        let drags = match habits.contains(&Habit::Drag) {
            true => rng.between(30, 85),
            false => 0,
        };
        Self {
            me,
            key,
            view,
            habits,
            rng,
            colludes,
            victim: None,
            patience,
            drags,
        }
    }

    fn does(&mut self, habit: Habit, percent: u64) -> bool {
        self.habits.contains(&habit) && self.rng.chance(percent)
    }

    /// Remembers what it hears; it answers for bodies that its core would not give.
    pub fn hear(&mut self, mind: &mut Mind, message: &Message) -> Option<Message> {
        mind.hear(message);
        let Message::FetchBodies { height, entries } = message else {
            return None;
        };
        let known = mind.requests.iter();
        let asked = known.filter(|r| entries.iter().any(|entry| entry.names(r)));
        Some(Message::Bodies {
            height: *height,
            requests: asked.cloned().collect(),
        })
    }

    /// What it says to `to` instead of `message`: what, and how much later.
    pub fn bend(
        &mut self,
        mind: &mut Mind,
        to: ReplicaId,
        message: Message,
    ) -> Vec<(u64, Message)> {
        let mut words = Vec::new();
        if self.habits.contains(&Habit::Replay) {
            if let Some(old) = self.rng.pick(&mind.said).filter(|_| self.rng.chance(10)) {
                words.push((0, old));
            }
            mind.note_said(&message);
        }
        if self.does(Habit::Forge, 8) {
            words.push((0, self.invention(mind)));
        }
        if self.does(Habit::Agitate, 15)
            && let Some(heard) = mind.heard.last()
        {
            let regency = heard.regency.saturating_add(1);
            words.push((
                0,
                Message::Stop {
                    view: self.view.id,
                    regency,
                },
            ));
        }
        if self.does(Habit::Withhold, 35) {
            return words;
        }
        let late = self.lateness(&message);
        words.extend(self.twist(mind, to, message).map(|twisted| (late, twisted)));
        words
    }

    fn lateness(&mut self, message: &Message) -> u64 {
        if matches!(message, Message::Propose { .. }) && self.drags > 0 {
            return self.patience * 2 * self.drags / 100;
        }
        let leads = matches!(message, Message::Propose { .. } | Message::Sync(_));
        if leads && self.does(Habit::Stall, 50) {
            self.patience * 2 * self.rng.between(80, 98) / 100
        } else if self.does(Habit::Delay, 30) {
            self.rng.between(50, 400)
        } else {
            0
        }
    }

    fn twist(&mut self, mind: &mut Mind, to: ReplicaId, message: Message) -> Option<Message> {
        let faced = (mind.other_side >> (to.0 % 64)) & 1 == 1;
        let regency = match &message {
            Message::Propose { regency, .. }
            | Message::Write { regency, .. }
            | Message::Accept { regency, .. } => Some(*regency),
            _ => None,
        };
        let betrays = regency.is_some_and(|regency| mind.betrayed.contains(&regency));
        let equivocates = self.habits.contains(&Habit::Equivocate)
            || (self.colludes && self.habits.contains(&Habit::LieInStopData));
        // Now and then both faces to the same one.
        let proposes = matches!(message, Message::Propose { .. });
        let slips = proposes && self.does(Habit::Equivocate, 15);
        let second = betrays || ((faced ^ slips) && equivocates);
        Some(match message {
            Message::Propose {
                height,
                regency,
                batch,
            } => Message::Propose {
                height,
                regency,
                batch: self.false_batch(mind, second, batch)?,
            },
            Message::Write {
                height,
                regency,
                digest,
            } => Message::Write {
                height,
                regency,
                digest: self.false_vote(mind, second, digest),
            },
            Message::Accept {
                height,
                regency,
                digest,
                signature: mine,
            } => {
                let voted = self.false_vote(mind, second, digest);
                let signature = if self.does(Habit::Forge, 50) {
                    Signature([7; 64])
                } else if voted == digest {
                    mine
                } else {
                    sign_accept(&self.key, &self.view, height, regency, &voted)
                };
                Message::Accept {
                    height,
                    regency,
                    digest: voted,
                    signature,
                }
            }
            Message::StopData(data) if self.does(Habit::LieInStopData, 80) => {
                Message::StopData(Box::new(self.false_state(mind, *data)))
            }
            Message::Sync(sync) if self.habits.contains(&Habit::LieInStopData) => {
                Message::Sync(Box::new(self.false_sync(mind, *sync)?))
            }
            Message::Decisions { decisions } if self.does(Habit::LieInTransfer, 70) => {
                Message::Decisions {
                    decisions: self.false_decisions(decisions),
                }
            }
            lent @ (Message::Bodies { .. } | Message::BatchOf { .. })
                if self.does(Habit::LieInTransfer, 70) =>
            {
                self.false_bodies(lent)
            }
            Message::Status {
                regency, decided, ..
            } if self.does(Habit::Boast, 70) => self.boast(regency, decided),
            other => other,
        })
    }
}
