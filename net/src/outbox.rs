//! What waits to be sent to one peer: bounded, in order per channel, channels taking turns.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::SendError;
use crate::frame::Piece;

/// A longer message is sent in pieces of this many bytes, so that other channels wait for one piece at most.
const FRAGMENT: usize = 64 << 10;
/// What a message counts beyond its payload, so that empty messages are bounded too.
const OVERHEAD: usize = 64;

/// The queue between [`Endpoint::send`](crate::Endpoint::send) and the connection's task.
pub struct Outbox {
    queue: Mutex<Queue>,
    /// Signalled when the queue stops being empty, and by `finish`.
    filled: Notify,
    stop: Notify,
}

struct Queue {
    /// Channels with something to send; the first has the turn.
    turns: VecDeque<Channel>,
    bytes: usize,
    limit: usize,
    /// Whole lengths of the fragmented messages that were begun. It stays within `max_message`, as the receiver demands.
    begun: usize,
    max_message: usize,
    /// The channel whose next message does not fit beside those begun; nobody begins another before it.
    next_large: Option<u8>,
    finishing: bool,
    stop_reason: Option<&'static str>,
}

struct Channel {
    id: u8,
    messages: VecDeque<Bytes>,
    /// Bytes of the first message that were handed out.
    sent: usize,
}

/// What the connection's task finds in the outbox.
#[derive(PartialEq, Eq, Debug)]
pub enum Taken {
    /// Pieces to write.
    Some,
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    Finished,
}

impl Outbox {
    pub fn new(queue_bytes: usize, max_message: usize) -> Outbox {
        Outbox {
            queue: Mutex::new(Queue {
                turns: VecDeque::new(),
                bytes: 0,
                limit: queue_bytes,
                begun: 0,
                max_message,
                next_large: None,
                finishing: false,
                stop_reason: None,
            }),
            filled: Notify::new(),
            stop: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, channel: u8, payload: Bytes) -> Result<(), SendError> {
        let was_empty = self.lock().push(channel, payload)?;
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves about `target` bytes into `pieces`.
    pub fn take(&self, target: usize, pieces: &mut Vec<Piece>) -> Taken {
        let mut queue = self.lock();
        let mut taken = 0;
        while taken < target && !queue.turns.is_empty() {
            taken += queue.turn(pieces);
        }
        match (pieces.is_empty(), queue.finishing) {
            (false, _) => Taken::Some,
            (true, true) => Taken::Finished,
            (true, false) => Taken::Nothing,
        }
    }

    /// Waits until there may be something to take.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Lets the connection end once everything queued is written.
    pub fn finish(&self) {
        self.lock().finishing = true;
        self.filled.notify_one();
    }

    /// Ends the connection at once.
    pub fn stop(&self, reason: &'static str) {
        self.lock().stop_reason.get_or_insert(reason);
        self.stop.notify_one();
    }

    pub async fn stopped(&self) -> &'static str {
        self.stop.notified().await;
        self.lock().stop_reason.unwrap_or("stopped")
    }
}

impl Queue {
    fn push(&mut self, id: u8, payload: Bytes) -> Result<bool, SendError> {
        if payload.len() > self.max_message {
            return Err(SendError::TooLong(payload.len(), self.max_message));
        }
        let cost = payload.len() + OVERHEAD;
        if self.bytes + cost > self.limit {
            return Err(SendError::Full);
        }
        self.bytes += cost;
        let was_empty = self.turns.is_empty();
        match self.turns.iter_mut().find(|channel| channel.id == id) {
            Some(channel) => channel.messages.push_back(payload),
            None => self.turns.push_back(Channel {
                id,
                messages: VecDeque::from([payload]),
                sent: 0,
            }),
        }
        Ok(was_empty)
    }

    /// One channel's turn: at least one frame unless its next message must wait, at most two fragments' bytes.
    fn turn(&mut self, pieces: &mut Vec<Piece>) -> usize {
        let Some(mut channel) = self.turns.pop_front() else {
            return 0;
        };
        let mut taken = 0;
        while taken < FRAGMENT {
            let Some(length) = channel.messages.front().map(Bytes::len) else {
                break;
            };
            let large = length > FRAGMENT;
            if large && channel.sent == 0 && !self.begin(channel.id, length) {
                break;
            }
            let end = length.min(channel.sent + FRAGMENT);
            let payload = channel.messages[0].slice(channel.sent..end);
            taken += payload.len() + OVERHEAD;
            let last = end == length;
            pieces.push(Piece {
                channel: channel.id,
                last,
                payload,
            });
            channel.sent = if last { 0 } else { end };
            if last {
                channel.messages.pop_front();
                self.bytes -= length + OVERHEAD;
                self.begun -= if large { length } else { 0 };
            }
        }
        if !channel.messages.is_empty() {
            self.turns.push_back(channel);
        }
        taken
    }

    /// Whether a channel may begin a fragmented message. One that may not waits for others that are begun, and those
    /// can always go on: so somebody always can.
    fn begin(&mut self, id: u8, length: usize) -> bool {
        let first = self.next_large.is_none_or(|next| next == id);
        if !first || self.begun + length > self.max_message {
            self.next_large.get_or_insert(id);
            return false;
        }
        self.next_large = None;
        self.begun += length;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &Outbox) -> Vec<(u8, bool, usize)> {
        let (mut pieces, mut all) = (Vec::new(), Vec::new());
        while outbox.take(1, &mut pieces) == Taken::Some {
            all.extend(
                pieces
                    .drain(..)
                    .map(|p| (p.channel, p.last, p.payload.len())),
            );
        }
        all
    }

    fn zeros(length: usize) -> Bytes {
        vec![0; length].into()
    }

    #[test]
    fn a_small_message_passes_between_the_pieces_of_a_large_one() {
        let outbox = Outbox::new(1 << 20, 1 << 20);
        outbox.push(1, zeros(3 * FRAGMENT)).unwrap();
        outbox.push(2, zeros(5)).unwrap();
        let order = drain(&outbox);
        let position = order.iter().position(|piece| piece.0 == 2).unwrap();
        assert!(position > 0 && position < order.len() - 1, "{order:?}");
    }

    #[test]
    fn messages_of_one_channel_keep_their_order() {
        let outbox = Outbox::new(1 << 20, 1 << 20);
        for length in [2, FRAGMENT + 3, 4] {
            outbox.push(7, zeros(length)).unwrap();
        }
        let expected = [
            (7, true, 2),
            (7, false, FRAGMENT),
            (7, true, 3),
            (7, true, 4),
        ];
        assert_eq!(drain(&outbox), expected);
    }

    #[test]
    fn large_messages_that_the_receiver_could_not_hold_together_come_one_after_another() {
        let large = 3 * FRAGMENT;
        let outbox = Outbox::new(1 << 20, 5 * FRAGMENT);
        for channel in [1, 2, 3] {
            outbox.push(channel, zeros(large)).unwrap();
        }
        let order = drain(&outbox);
        let (mut begun, mut most) = (0, 0);
        for (index, &(channel, last, length)) in order.iter().enumerate() {
            begun += length;
            most = most.max(begun);
            if last {
                begun -= large;
                assert!(order[index + 1..].iter().all(|piece| piece.0 != channel));
            }
        }
        assert!(most <= 5 * FRAGMENT);
        assert_eq!(order.len(), 9);
    }

    #[test]
    fn the_bound_counts_empty_messages_and_frees_what_was_taken() {
        let outbox = Outbox::new(2 * OVERHEAD, 100);
        outbox.push(0, zeros(0)).unwrap();
        outbox.push(1, zeros(0)).unwrap();
        assert_eq!(outbox.push(1, zeros(0)), Err(SendError::Full));
        assert_eq!(drain(&outbox).len(), 2);
        assert_eq!(outbox.push(1, zeros(0)), Ok(()));
        assert_eq!(
            outbox.push(1, zeros(101)),
            Err(SendError::TooLong(101, 100))
        );
    }
}
