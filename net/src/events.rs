//! What an endpoint tells its owner, in a queue bounded by number and, per peer, by bytes.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Budget, Limits, PeerId, Share};

/// What happened on a link. For one peer: `Up`, then its frames, then `Down`, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is connected and has proven its key.
    Up(PeerId),
    /// The connection is gone, and why. What was queued for the peer is dropped.
    Down(PeerId, String),
    /// A message.
    Frame {
        /// The peer, as its key names it.
        from: PeerId,
        /// The channel it came on.
        channel: u8,
        /// The message as it was given to [`Endpoint::send`](crate::Endpoint::send).
        payload: Bytes,
    },
}

/// The receiving end of an endpoint's events. A slow reader makes peers wait, not memory grow.
pub struct Events {
    queue: mpsc::Receiver<Queued>,
}

struct Queued {
    event: Event,
    /// Gives the bytes back to the peer's budget when the event is taken.
    _budget: Share,
}

impl Events {
    /// The next event; `None` once the endpoint has ended. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        Some(self.queue.recv().await?.event)
    }

    /// The next event if one waits.
    pub fn try_recv(&mut self) -> Option<Event> {
        Some(self.queue.try_recv().ok()?.event)
    }
}

/// The sending end, shared by all connections.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: mpsc::Sender<Queued>,
}

/// The owner of the endpoint stopped listening.
pub(crate) struct NobodyListens;

pub(crate) fn channel(limits: &Limits) -> (EventSender, Events) {
    let (sender, receiver) = mpsc::channel(limits.event_queue.max(1));
    (EventSender { queue: sender }, Events { queue: receiver })
}

impl EventSender {
    pub async fn send(&self, event: Event) -> Result<(), NobodyListens> {
        let queued = Queued {
            event,
            _budget: Share::default(),
        };
        self.queue.send(queued).await.map_err(|_| NobodyListens)
    }

    /// Waits until the peer's budget and the queue have room.
    pub async fn send_counted(
        &self,
        event: Event,
        bytes: usize,
        budget: &Budget,
    ) -> Result<(), NobodyListens> {
        let queued = Queued {
            event,
            _budget: budget.take(bytes).await,
        };
        self.queue.send(queued).await.map_err(|_| NobodyListens)
    }
}
