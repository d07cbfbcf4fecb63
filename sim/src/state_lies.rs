//! What a liar makes of the messages about checkpoints: false roots, lists and chunks, false regrets, silence.

use consensus::transfer::StateMessage;
use consensus::{Digest, Message};

use crate::rng::Rng;

/// What it says instead, if anything.
pub fn bend(rng: &mut Rng, message: Message) -> Option<Message> {
    match message {
        Message::State(message) => state(rng, message).map(Message::State),
        // "I have nothing of this any more": it sends a lagging replica away.
        Message::Decisions { decisions } if rng.chance(50) => {
            let from = decisions.first().map_or(1, |decided| decided.height);
            Some(Message::Gone {
                from,
                oldest: from + rng.between(1, 1 << 40),
            })
        }
        other => Some(other),
    }
}

fn state(rng: &mut Rng, message: StateMessage) -> Option<StateMessage> {
    if rng.chance(15) {
        return None;
    }
    match message {
        StateMessage::Offer {
            mut roots,
            mut kept,
        } if rng.chance(60) => {
            if rng.chance(50) {
                for (_, root) in &mut roots {
                    *root = Digest([6; 32]);
                }
            } else {
                // It vouches truly, and pretends to have what others wrote, and more.
                kept = roots
                    .iter()
                    .rev()
                    .map(|(height, _)| *height)
                    .take(3)
                    .collect();
                roots.push((1 << 40, Digest([6; 32])));
                kept.push(1 << 40);
            }
            Some(StateMessage::Offer { roots, kept })
        }
        StateMessage::List { mut list, last } if rng.chance(50) => {
            match rng.between(0, 3) {
                0 => list.chunks.reverse(),
                1 => list.length = u64::MAX,
                2 => list.chunk_bytes = 0,
                _ => list.height += 1,
            }
            Some(StateMessage::List { list, last })
        }
        StateMessage::Chunk {
            height,
            index,
            bytes,
        } if rng.chance(50) => {
            let mut bytes = bytes.to_vec();
            match (rng.between(0, 2), bytes.first_mut()) {
                (0, Some(first)) => *first ^= 1,
                (1, _) => bytes.truncate(1),
                _ => bytes = vec![0; 100_000],
            }
            Some(StateMessage::Chunk {
                height,
                index,
                bytes: bytes.into(),
            })
        }
        other => Some(other),
    }
}
