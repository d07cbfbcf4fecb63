//! The task that owns a client's links.

use std::sync::Weak;
use std::time::Duration;

use cluster::channel;
use consensus::ReplicaId;
use net::{Event, Events, PeerId};
use txn::client::ClientMessage;

use super::Inner;

/// How often it is looked what must be said again.
const TICK: Duration = Duration::from_millis(500);

/// Owns the endpoint's events; ends when the last handle to the shim is gone.
pub(super) async fn listen(inner: Weak<Inner>, mut events: Events) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = tick.tick() => {
                let Some(inner) = inner.upgrade() else { return };
                inner.repeat();
                continue;
            }
        };
        let (Some(event), Some(inner)) = (event, inner.upgrade()) else {
            return;
        };
        match event {
            Event::Frame {
                from: PeerId::Replica(from),
                channel: channel::CLIENT,
                payload,
            } => match consensus::decode(&payload) {
                Ok(message) => inner.route(ReplicaId(from), message),
                Err(error) => tracing::warn!(replica = from, %error, "unreadable message dropped"),
            },
            Event::Frame { from, channel, .. } => {
                tracing::warn!(%from, channel, "message on an unexpected channel dropped")
            }
            Event::Up(PeerId::Replica(id)) => {
                inner.send(ReplicaId(id), &ClientMessage::Info { id: 0 });
                inner.repeat_to(ReplicaId(id));
                inner.links.send_modify(|n| *n += 1);
            }
            Event::Up(PeerId::Client(_)) => {}
            Event::Down(peer, why) => {
                tracing::debug!(%peer, why, "link down");
                inner.links.send_modify(|n| *n += 1);
            }
        }
    }
}
