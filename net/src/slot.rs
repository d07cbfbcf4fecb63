//! The place of one peer: at most one connection at a time, the newest one.

use std::sync::{Arc, Mutex, MutexGuard as StdGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex as TurnMutex, MutexGuard as TurnGuard};

use crate::events::EventSender;
use crate::outbox::Outbox;
use crate::{Event, Limits, PeerId, SendError, link};

/// A peer of the directory, connected or not.
pub struct Slot {
    peer: PeerId,
    state: Mutex<State>,
    /// Held by the connection that speaks for the peer, until its `Down` is told.
    turn: TurnMutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Outbox>>,
    newest: u64,
    closed: bool,
}

/// The right of one connection to speak for the peer.
pub struct Seat<'a> {
    slot: &'a Slot,
    outbox: Arc<Outbox>,
    _turn: TurnGuard<'a, ()>,
}

impl Slot {
    pub fn new(peer: PeerId) -> Slot {
        Slot {
            peer,
            state: Mutex::default(),
            turn: TurnMutex::new(()),
        }
    }

    fn lock(&self) -> StdGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn send(&self, channel: u8, payload: Bytes) -> Result<(), SendError> {
        match &self.lock().current {
            Some(outbox) => outbox.push(channel, payload),
            None => Err(SendError::NotConnected(self.peer)),
        }
    }

    pub fn connected(&self) -> bool {
        self.lock().current.is_some()
    }

    /// Lets the connection send what is queued and end; no other may follow.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(outbox) = &state.current {
            outbox.finish();
        }
    }

    /// Asks to speak for the peer, ends the connection that does, and waits for its end. `None`: yet another connection
    /// came meanwhile, or the endpoint shuts down.
    pub async fn enter(&self, limits: &Limits) -> Option<Seat<'_>> {
        let ticket = {
            let mut state = self.lock();
            state.newest += 1;
            if let Some(older) = &state.current {
                older.stop("replaced by a newer connection of the same peer");
            }
            state.newest
        };
        let turn = self.turn.lock().await;
        let mut state = self.lock();
        if state.newest != ticket || state.closed {
            return None;
        }
        let outbox = Arc::new(Outbox::new(limits.queue_bytes, limits.max_message));
        state.current = Some(outbox.clone());
        Some(Seat {
            slot: self,
            outbox,
            _turn: turn,
        })
    }
}

impl Seat<'_> {
    /// Runs the connection to its end and tells its story.
    pub async fn carry<S: AsyncRead + AsyncWrite>(
        self,
        stream: S,
        events: &EventSender,
        limits: &Limits,
    ) {
        let peer = self.slot.peer;
        tracing::info!(%peer, "connected");
        if events.send(Event::Up(peer)).await.is_err() {
            return;
        }
        let reason = link::run(stream, peer, &self.outbox, events, limits).await;
        self.slot.lock().current = None;
        tracing::info!(%peer, reason, "disconnected");
        // Nobody to tell is no news: the endpoint ends.
        let _ = events.send(Event::Down(peer, reason)).await;
    }
}

impl Drop for Seat<'_> {
    /// However the connection ended; the turn is given up after this.
    fn drop(&mut self) {
        self.slot.lock().current = None;
    }
}
