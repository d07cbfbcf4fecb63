//! The place of one peer: at most one connection at a time, the newest one, proven under a view that still holds.

use std::sync::{Arc, Mutex, MutexGuard as StdGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex as TurnMutex, Notify, OwnedMutexGuard};

use crate::events::EventSender;
use crate::outbox::Outbox;
use crate::{Event, Limits, PeerId, SendError, link};

/// A peer of the directory, connected or not.
pub struct Slot {
    peer: PeerId,
    state: Mutex<State>,
    /// Held by the connection that speaks for the peer, until its `Down` is told.
    turn: Arc<TurnMutex<()>>,
    /// Signalled to all whenever a connection leaves.
    left: Notify,
}

struct State {
    current: Option<Arc<Outbox>>,
    newest: u64,
    closed: bool,
    /// The first view under which a proven key counts; none does for a peer that is not listed.
    proofs_from: Option<u64>,
}

/// The right of one connection to speak for the peer.
pub struct Seat {
    slot: Arc<Slot>,
    outbox: Arc<Outbox>,
    _turn: OwnedMutexGuard<()>,
}

impl Slot {
    /// The place of a peer that the view with this number lists.
    pub fn new(peer: PeerId, view: u64) -> Slot {
        Slot {
            peer,
            state: Mutex::new(State {
                current: None,
                newest: 0,
                closed: false,
                proofs_from: Some(view),
            }),
            turn: Arc::new(TurnMutex::new(())),
            left: Notify::new(),
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

    /// Waits until no connection speaks for the peer.
    pub async fn vacant(&self) {
        loop {
            // Made before the look, so that who leaves after it is not missed.
            let left = self.left.notified();
            if !self.connected() {
                return;
            }
            left.await;
        }
    }

    /// Lets the connection send what is queued and end; no other may follow.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(outbox) = &state.current {
            outbox.finish();
        }
    }

    /// From now on only keys proven under the view `from` or a later one count, or none at all. The connection
    /// that there is stays.
    pub fn admit_from(&self, from: Option<u64>) {
        self.lock().proofs_from = from;
    }

    /// [`admit_from`](Slot::admit_from), and the connection that there is ends at once, with what is queued for it.
    pub fn expel(&self, from: Option<u64>, reason: &'static str) {
        let mut state = self.lock();
        state.proofs_from = from;
        if let Some(outbox) = state.current.take() {
            outbox.stop(reason);
        }
        drop(state);
        self.left.notify_waiters();
    }

    /// Asks to speak for the peer with a key proven under the view `proven`, ends the connection that does, and waits
    /// for its end. Refused when yet another connection came meanwhile, the view changed, or the endpoint shuts down.
    pub async fn enter(
        self: &Arc<Slot>,
        proven: u64,
        limits: &Limits,
    ) -> Result<Seat, &'static str> {
        let ticket = {
            let mut state = self.lock();
            // Before it can end a connection that is better proven.
            state.check(proven)?;
            state.newest += 1;
            if let Some(older) = &state.current {
                older.stop("replaced by a newer connection of the same peer");
            }
            state.newest
        };
        let turn = self.turn.clone().lock_owned().await;
        let mut state = self.lock();
        state.check(proven)?;
        if state.newest != ticket {
            return Err("replaced by a newer connection");
        }
        let outbox = Arc::new(Outbox::new(limits.queue_bytes, limits.max_message));
        state.current = Some(outbox.clone());
        drop(state);
        Ok(Seat {
            slot: self.clone(),
            outbox,
            _turn: turn,
        })
    }

    fn vacate(&self) {
        self.lock().current = None;
        self.left.notify_waiters();
    }
}

impl State {
    fn check(&self, proven: u64) -> Result<(), &'static str> {
        match self.proofs_from {
            _ if self.closed => Err("this side shuts down"),
            None => Err("the view no longer lists the peer"),
            Some(from) if proven < from => Err("the view changed during the handshake"),
            Some(_) => Ok(()),
        }
    }
}

impl Seat {
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
        self.slot.vacate();
        tracing::info!(%peer, reason, "disconnected");
        // Nobody to tell is no news: the endpoint ends.
        let _ = events.send(Event::Down(peer, reason)).await;
    }
}

impl Drop for Seat {
    /// However the connection ended; the turn is given up after this.
    fn drop(&mut self) {
        self.slot.vacate();
    }
}
