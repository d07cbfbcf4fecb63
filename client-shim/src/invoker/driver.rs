//! The task that owns a client's links and its engine.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use cluster::channel;
use consensus::{ClientId, PublicKey, ReplicaId, View};
use net::{Endpoint, Event, Events, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::engine::{Engine, Output, Ticket};
use super::error::InvokeError;
use crate::links;

/// Who waits for a result.
pub type Waiter = oneshot::Sender<Result<Bytes, InvokeError>>;

/// What is to be ordered or asked.
pub enum Wish {
    Invoke(Bytes),
    Reconfigure(Bytes),
    Query(Bytes),
}

/// A call on its way to the engine.
pub struct Call {
    pub wish: Wish,
    pub done: Waiter,
}

pub struct Driver {
    pub engine: Engine,
    pub me: ClientId,
    pub key: PublicKey,
    pub views: watch::Sender<Arc<View>>,
    pub endpoint: Endpoint,
    pub events: Events,
    pub invokes: mpsc::Receiver<Call>,
    pub queries: mpsc::Receiver<Call>,
    pub stop: watch::Receiver<bool>,
}

impl Driver {
    /// Until told to stop, or until the last handle is gone and everything it asked is answered or given up.
    pub async fn run(mut self) {
        let began = Instant::now();
        let mut waiters: HashMap<Ticket, Waiter> = HashMap::new();
        let mut last_ticket: Ticket = 0;
        let (mut no_invokes, mut no_queries) = (false, false);
        while !(no_invokes && no_queries && self.engine.is_idle()) {
            let deadline = self.engine.next_deadline();
            let due = async move {
                match deadline {
                    Some(at) => tokio::time::sleep_until(began + at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // When the last handle is gone there is no wish to stop, only nobody to come.
                Ok(_) = self.stop.wait_for(|stop| *stop) => break,
                event = self.events.recv() => match event {
                    Some(event) => take(&mut self.engine, began, event),
                    None => break,
                },
                call = self.invokes.recv(), if !no_invokes && self.engine.takes_requests() => match call {
                    Some(call) => {
                        last_ticket += 1;
                        waiters.insert(last_ticket, call.done);
                        wish(&mut self.engine, began, last_ticket, call.wish);
                    }
                    None => no_invokes = true,
                },
                call = self.queries.recv(), if !no_queries && self.engine.takes_queries() => match call {
                    Some(call) => {
                        last_ticket += 1;
                        waiters.insert(last_ticket, call.done);
                        wish(&mut self.engine, began, last_ticket, call.wish);
                    }
                    None => no_queries = true,
                },
                () = due => self.engine.tick(began.elapsed()),
            }
            for output in self.engine.outputs() {
                match output {
                    Output::Send { to, message } => send(&self.endpoint, to, message),
                    Output::Follow(view) => {
                        links::follow(&self.endpoint, self.me, &self.key, &view);
                        self.views.send_replace(Arc::new(*view));
                    }
                    Output::Done { ticket, result } => {
                        if let Some(waiter) = waiters.remove(&ticket) {
                            // Whoever asked may not want to know any more.
                            let _ = waiter.send(result);
                        }
                    }
                }
            }
        }
        self.endpoint.shutdown().await;
    }
}

fn wish(engine: &mut Engine, began: Instant, ticket: Ticket, wish: Wish) {
    let now = began.elapsed();
    match wish {
        Wish::Invoke(op) => engine.invoke(now, ticket, op),
        Wish::Reconfigure(change) => engine.reconfigure(now, ticket, change),
        Wish::Query(op) => engine.query(now, ticket, op),
    }
}

fn take(engine: &mut Engine, began: Instant, event: Event) {
    match event {
        Event::Frame {
            from: PeerId::Replica(from),
            channel: channel::CLIENT,
            payload,
        } => match consensus::decode(&payload) {
            Ok(message) => engine.receive(began.elapsed(), ReplicaId(from), message),
            Err(error) => tracing::debug!(replica = from, %error, "unreadable message dropped"),
        },
        Event::Frame { from, channel, .. } => {
            tracing::debug!(%from, channel, "message on an unexpected channel dropped");
        }
        Event::Up(PeerId::Replica(id)) => engine.link_up(ReplicaId(id)),
        Event::Up(PeerId::Client(_)) => {}
        Event::Down(peer, why) => tracing::debug!(%peer, why, "link down"),
    }
}

fn send(endpoint: &Endpoint, to: ReplicaId, message: Bytes) {
    if let Err(error) = endpoint.send(PeerId::Replica(to.0), channel::CLIENT, message) {
        // It gets it when its link stands, or with the next repetition.
        tracing::trace!(%to, %error, "not sent");
    }
}
