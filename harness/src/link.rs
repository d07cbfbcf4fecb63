//! A member's or a client's link to the replicas over which anything can be said.

use bytes::Bytes;
use cluster::channel;
use consensus::{ClientId, Request};
use ed25519_dalek::SigningKey;
use net::{Endpoint, EndpointConfig, Event, Events, Identity, PeerId};
use std::time::{Duration, Instant};
use txn::Ordered;
use txn::client::{ClientMessage, ReplicaMessage};

/// A link to every replica over which anything can be said.
pub struct Link {
    endpoint: Endpoint,
    pub events: Events,
}

impl Link {
    /// Waits until all replicas are connected.
    pub async fn up(file: &cluster::Cluster, me: PeerId, identity: &Identity) -> Link {
        Link::to_most(file, me, identity, 0).await
    }

    /// Waits until all replicas but so many are connected.
    pub async fn to_most(
        file: &cluster::Cluster,
        me: PeerId,
        identity: &Identity,
        missing: usize,
    ) -> Link {
        let dial = file.replicas.iter().filter(|r| PeerId::Replica(r.id) != me);
        let config = EndpointConfig {
            me,
            identity: identity.clone(),
            directory: file.directory().unwrap(),
            listen: None,
            dial: dial.map(|r| (PeerId::Replica(r.id), r.address)).collect(),
            limits: net::Limits::default(),
        };
        let wanted = config.dial.len().saturating_sub(missing);
        let (endpoint, events) = Endpoint::start(config).await.unwrap();
        let until = Instant::now() + crate::PATIENCE;
        while endpoint.connected().len() < wanted {
            assert!(Instant::now() < until, "the replicas take the link");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Link { endpoint, events }
    }

    pub fn all(&self, on: u8, payload: impl Into<Bytes>) {
        let payload = payload.into();
        for peer in self.endpoint.connected() {
            let _ = self.endpoint.send(peer, on, payload.clone());
        }
    }

    /// To one replica.
    pub fn say_to(&self, replica: u16, message: &ClientMessage) {
        let payload = postcard::to_stdvec(message).unwrap();
        let peer = PeerId::Replica(replica);
        let _ = self.endpoint.send(peer, channel::CLIENT, payload.into());
    }

    /// What a replica says next to a client, and which.
    pub async fn heard(&mut self) -> (u16, ReplicaMessage) {
        loop {
            let event = self.events.recv().await.expect("the link is up");
            if let Event::Frame {
                from: PeerId::Replica(from),
                channel: channel::CLIENT,
                payload,
            } = event
            {
                return (from, postcard::from_bytes(&payload).unwrap());
            }
        }
    }

    pub fn say(&self, message: &ClientMessage) {
        self.all(channel::CLIENT, postcard::to_stdvec(message).unwrap());
    }

    pub fn request(
        &self,
        key: &SigningKey,
        client: ClientId,
        incarnation: u64,
        seq: u64,
        ordered: &Ordered,
    ) {
        let request = Request::sign(key, client, incarnation, seq, ordered.encode());
        self.say(&ClientMessage::Request(request));
    }

    pub async fn down(self) {
        self.endpoint.shutdown().await;
    }
}
