//! What the core wants done: messages, records, decisions, and what follows from a new view.

use std::sync::Arc;

use bytes::Bytes;
use cluster::channel;
use consensus::{Action, ClientId, Decided, Height, Message, Reason, ReplicaId, View};
use net::PeerId;
use tokio::sync::watch;

use crate::past::load;

use super::{Delivered, Done, OVERHEAD, Order, Repeat, ToService, now_ms, record};

/// As the log keeps it; with about as much room from the start, since growing by doubling copies it again and again.
fn encode(value: &impl serde::Serialize, weight: usize) -> Vec<u8> {
    postcard::to_extend(value, Vec::with_capacity(weight))
        .expect("records and decisions have no unserialisable parts")
}

impl Order {
    pub(super) fn view_changed(&mut self, view: View) {
        let (members, heavy) = (view.n(), view.fast.len());
        tracing::info!(
            view = view.id,
            members,
            f = view.f,
            heavy,
            "the view changed"
        );
        if let Some(state) = &mut self.state {
            state.in_view(&view);
        }
        let old = std::mem::replace(&mut self.view, Arc::new(view));
        // One that joins passes views that do not name it yet: its links are those of the view that does.
        if self.view.id >= self.links_since {
            self.links_follow(&old);
        }
        // Whoever sees the view finds the height that made it.
        self.status.send_replace(self.core.status());
        self.views.send_replace(self.view.clone());
    }

    /// False when nobody takes decisions any more.
    pub(super) async fn perform(&mut self, action: Action) -> bool {
        match action {
            Action::Send { to, message } => self.send(to, &Bytes::from(message.encode())),
            Action::Broadcast { message } => {
                if let Message::Propose { height, .. } = &message {
                    tracing::trace!(target: "timeline", at = "proposed", height);
                }
                let bytes = Bytes::from(message.encode());
                for peer in self.view.replicas.keys().filter(|r| **r != self.me) {
                    self.send(*peer, &bytes);
                }
            }
            Action::Persist { id, record } => {
                let payload = encode(&record, record.weight());
                let done = self.done.clone();
                self.log
                    .append_then(record::CORE, id, payload.into(), move |result| {
                        // A failed log stops the replica; nothing that waits for this record may leave.
                        if result.is_ok() {
                            let _ = done.send(Done::Persisted(id));
                        }
                    });
            }
            Action::Decide(decided) => return self.decided(decided).await,
            Action::Tentative(value) => {
                return self.decided.send(ToService::Tentative(value)).await.is_ok();
            }
            Action::ViewChanged(view) => self.view_changed(view),
            Action::LoadDecisions { to, from, max } => {
                let (log, done) = (self.log.clone(), self.done.clone());
                self.log_work.spawn_blocking(move || {
                    let decisions = load(&log, from, max);
                    // Decisions become durable in their order: if a later one is there, this one will never be.
                    let next = log.next_key(record::DECIDED, from);
                    let gone = next.filter(|next| *next > from);
                    let _ = done.send(match gone {
                        Some(oldest) => Done::Gone { to, from, oldest },
                        None => Done::Loaded { to, decisions },
                    });
                });
            }
            Action::Checkpoint(summary) => {
                let height = summary.height();
                let log = &self.log;
                if let Some(reply) = self
                    .state
                    .as_mut()
                    .and_then(|state| state.take(*summary, log))
                {
                    let task = ToService::Snapshot { height, reply };
                    return self.decided.send(task).await.is_ok();
                }
            }
            Action::FetchState { above } => match &mut self.state {
                Some(state) => state.want(now_ms(), above),
                None => tracing::error!(
                    above,
                    "the peers' logs begin later, and this service has no checkpoints: restore this replica from a backup"
                ),
            },
            Action::Reject {
                client,
                incarnation,
                seq,
                reason,
            } => self.reject(client, incarnation, seq, reason),
        }
        true
    }

    /// Hands a decision on; false when nobody takes it.
    ///
    /// But for [`OrderParts::own_record`] it is durable at once. A quorum accepted it, and each correct one of them made the value and its lock durable before
    /// it said so: if all lose power now, f+1 of any quorum still hold it, and no other value can be decided at this
    /// height (the same argument as for regency changes, Alg. 4). So nobody waits for this record; it saves asking the peers after a
    /// restart, and shares the next fsync.
    pub(super) async fn decided(&mut self, decided: Decided) -> bool {
        let payload = encode(&decided, decided.weight());
        let (height, bytes) = (decided.height, payload.len());
        // PostgreSQL applies an item after this replica's own vote for it or after votes decided at a later height; the
        // record of either takes this one to the disk. Heights learnt from peers have no such record.
        let position = if self.own_record {
            let durable = self.durable.clone();
            self.log
                .append_then(record::DECIDED, height, payload.into(), move |result| {
                    // A failed log stops the replica.
                    if result.is_ok() {
                        raise(&durable, height);
                    }
                })
        } else if self.core.status().lagging {
            self.log.append(record::DECIDED, height, payload.into())
        } else {
            self.log
                .append_lazily(record::DECIDED, height, payload.into())
        };
        let delivered = Delivered {
            decided,
            view: self.view.clone(),
            position: Some(position),
            // A service that is behind holds the order up here, not memory.
            share: self.decided_room.take(bytes + OVERHEAD).await,
        };
        tracing::trace!(target: "timeline", at = "decided", height);
        let taken = self
            .decided
            .send(ToService::Execute(delivered))
            .await
            .is_ok();
        if !self.own_record {
            raise(&self.durable, height);
        }
        taken
    }

    pub(super) fn send(&self, to: ReplicaId, bytes: &Bytes) {
        if let Err(error) =
            self.endpoint
                .send(PeerId::Replica(to.0), channel::CONSENSUS, bytes.clone())
        {
            tracing::trace!(%to, %error, "a consensus message was not sent");
        }
    }

    fn reject(&self, client: ClientId, incarnation: u64, seq: u64, reason: Reason) {
        if reason == Reason::Ordered {
            let _ = self.repeats.try_send(Repeat {
                client,
                incarnation,
                seq,
                by: self.core.status().height,
            });
            return;
        }
        if client.as_replica().is_some() {
            tracing::debug!(%client, seq, %reason, "a replica's request was not taken");
            return;
        }
        let bytes = self.wire.rejected(incarnation, seq, &reason);
        let _ = self
            .endpoint
            .send(PeerId::Client(client.0), channel::CLIENT, bytes);
    }
}

/// A record of a height below a checkpoint that was installed meanwhile may become durable after it.
pub(super) fn raise(durable: &watch::Sender<Height>, height: Height) {
    durable.send_if_modified(|known| {
        let higher = height > *known;
        *known = (*known).max(height);
        higher
    });
}
