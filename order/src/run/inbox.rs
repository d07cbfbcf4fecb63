//! What comes in: bounded by number and by bytes, so that one who sends much waits instead of taking memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Height, ReplicaId, Request};
use net::{Budget, Share};
use tokio::sync::{mpsc, watch};

use super::OVERHEAD;

/// Messages that wait for the core, and their bytes.
pub(super) const INBOX: usize = 8_192;
const INBOX_BYTES: usize = 256 << 20;

/// What comes in.
pub enum Inbound {
    /// A peer's consensus or state transfer message (channels `CONSENSUS` and `STATE`), still encoded.
    Consensus {
        from: ReplicaId,
        payload: Bytes,
    },
    /// Clients' requests, not yet verified. A request with a MAC vector is to come over its client's own link: who
    /// sends a wrong one is blamed for it.
    Requests(Vec<Request>),
    /// This replica's own wish.
    Submit(Vec<u8>),
    /// The service needs a peer's checkpoint above this height to begin with, whatever the order has reached.
    WantState {
        above: Height,
    },
    Link {
        peer: ReplicaId,
        up: bool,
    },
}

impl Inbound {
    /// What it holds in memory, about.
    fn bytes(&self) -> usize {
        let chosen = match self {
            Self::Consensus { payload, .. } => payload.len(),
            Self::Requests(requests) => requests.iter().map(|r| r.op.len() + OVERHEAD).sum(),
            Self::Submit(op) => op.len(),
            Self::Link { .. } | Self::WantState { .. } => 0,
        };
        chosen + OVERHEAD
    }
}

/// Feeds the order.
#[derive(Clone)]
pub struct OrderHandle {
    inbox: mpsc::Sender<(Inbound, Share)>,
    room: Budget,
    own: mpsc::UnboundedSender<Vec<u8>>,
    round_trips: watch::Receiver<RoundTrips>,
}

/// Milliseconds to each peer and back.
pub type RoundTrips = BTreeMap<ReplicaId, u64>;

impl OrderHandle {
    pub(super) fn new(
        inbox: mpsc::Sender<(Inbound, Share)>,
        own: mpsc::UnboundedSender<Vec<u8>>,
        round_trips: watch::Receiver<RoundTrips>,
    ) -> Self {
        Self {
            inbox,
            room: Budget::new(INBOX_BYTES),
            own,
            round_trips,
        }
    }

    /// How far away the peers are: the median of the last measurements of each that answered.
    pub fn round_trips(&self) -> RoundTrips {
        self.round_trips.borrow().clone()
    }

    /// Asks for the ordering of a request of this replica's own.
    pub fn submit(&self, op: Vec<u8>) {
        // The order is gone only when the replica stops.
        let _ = self.own.send(op);
    }

    /// Hands in what came over a link; waits while the core is behind, so that peers feel it.
    pub async fn inbound(&self, message: Inbound) {
        let share = self.room.take(message.bytes()).await;
        let _ = self.inbox.send((message, share)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_waits_for_the_core_is_bounded_in_bytes_and_small_messages_by_number() {
        let (inbox, mut waiting) = mpsc::channel(INBOX);
        let round_trips = watch::channel(RoundTrips::new()).1;
        let handle = OrderHandle::new(inbox, mpsc::unbounded_channel().0, round_trips);
        let message = |bytes: usize| Inbound::Consensus {
            from: ReplicaId(1),
            payload: Bytes::from(vec![0; bytes]),
        };
        let megabytes =
            (0..).take_while(|_| handle.inbound(message(1 << 20)).now_or_never().is_some());
        assert_eq!(megabytes.count(), INBOX_BYTES / ((1 << 20) + OVERHEAD));
        // What is taken makes room again.
        assert!(waiting.try_recv().is_ok());
        assert!(handle.inbound(message(1 << 20)).now_or_never().is_some());
        while waiting.try_recv().is_ok() {}
        let empty = (0..).take_while(|_| handle.inbound(message(0)).now_or_never().is_some());
        assert_eq!(empty.count(), INBOX);
    }
}
