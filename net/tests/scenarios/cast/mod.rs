//! Peers with keys, for the scenarios.
#![allow(dead_code)] // each scenario file uses its part
#![allow(clippy::unwrap_used)] // a helper of tests panics as tests do

pub mod cable;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use net::{
    Directory, Endpoint, EndpointConfig, Event, Events, Identity, Limits, Membership, PeerId,
};

/// No scenario waits longer for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ZERO: PeerId = PeerId::Replica(0);
pub const ONE: PeerId = PeerId::Replica(1);
pub const TWO: PeerId = PeerId::Replica(2);
pub const CLIENT: PeerId = PeerId::Client(70_000);

/// Four peers and everybody's keys.
pub struct Cast {
    pub identities: Vec<(PeerId, Identity)>,
    pub limits: Limits,
}

impl Cast {
    pub fn new() -> Cast {
        let peers = [ZERO, ONE, TWO, CLIENT];
        Cast {
            identities: peers
                .map(|peer| (peer, Identity::generate()))
                .into_iter()
                .collect(),
            limits: Limits::default(),
        }
    }

    pub fn with(limits: Limits) -> Cast {
        Cast {
            limits,
            ..Cast::new()
        }
    }

    /// The same peers, one of them with another key.
    pub fn rekeyed(&self, peer: PeerId) -> Cast {
        let mut cast = Cast {
            identities: self.identities.clone(),
            limits: self.limits.clone(),
        };
        let found = cast.identities.iter_mut().find(|(id, _)| *id == peer);
        found.unwrap().1 = Identity::generate();
        cast
    }

    /// The membership of everybody.
    pub fn all(&self, dial: &[(PeerId, SocketAddr)]) -> Membership {
        self.without(&[], dial)
    }

    /// The membership of everybody but some.
    pub fn without(&self, out: &[PeerId], dial: &[(PeerId, SocketAddr)]) -> Membership {
        let kept = self.identities.iter().filter(|(id, _)| !out.contains(id));
        let keys = kept.map(|(peer, identity)| (*peer, identity.public_key()));
        Membership {
            directory: Directory::new(keys).unwrap(),
            dial: dial.to_vec(),
        }
    }

    pub fn identity(&self, peer: PeerId) -> Identity {
        let found = self.identities.iter().find(|(id, _)| *id == peer);
        found.unwrap().1.clone()
    }

    pub fn directory(&self) -> Directory {
        let keys = self
            .identities
            .iter()
            .map(|(peer, identity)| (*peer, identity.public_key()));
        Directory::new(keys).unwrap()
    }

    pub fn config(&self, me: PeerId, dial: &[(PeerId, SocketAddr)]) -> EndpointConfig {
        EndpointConfig {
            me,
            identity: self.identity(me),
            directory: self.directory(),
            listen: Some(any_port()),
            dial: dial.to_vec(),
            limits: self.limits.clone(),
        }
    }

    pub async fn start(&self, me: PeerId, dial: &[(PeerId, SocketAddr)]) -> (Endpoint, Events) {
        Endpoint::start(self.config(me, dial)).await.unwrap()
    }

    /// Replica 0 listens, `other` dials it; both see each other.
    pub async fn pair(&self, other: PeerId) -> ((Endpoint, Events), (Endpoint, Events)) {
        let (listener, mut listener_events) = self.start(ZERO, &[]).await;
        let (dialler, mut dialler_events) = self.start(other, &[(ZERO, address(&listener))]).await;
        assert_eq!(next(&mut listener_events).await, Event::Up(other));
        assert_eq!(next(&mut dialler_events).await, Event::Up(ZERO));
        ((listener, listener_events), (dialler, dialler_events))
    }
}

pub fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_addr().unwrap()
}

pub fn frame(from: PeerId, channel: u8, payload: impl Into<Bytes>) -> Event {
    Event::Frame {
        from,
        channel,
        payload: payload.into(),
    }
}

pub async fn next(events: &mut Events) -> Event {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    event.expect("an event in time").expect("an open endpoint")
}

pub async fn next_down(events: &mut Events) -> (PeerId, String) {
    match next(events).await {
        Event::Down(peer, reason) => (peer, reason),
        other => panic!("expected a Down, got {other:?}"),
    }
}

/// Nothing happens for a while.
pub async fn silence(events: &mut Events) {
    let event = tokio::time::timeout(Duration::from_millis(300), events.recv()).await;
    assert!(event.is_err(), "{event:?}");
}

/// A message gets through, and nothing before it.
pub async fn passes(from: (&Endpoint, PeerId), to: (PeerId, &mut Events)) {
    from.0.send(to.0, 5, "passes".into()).expect("connected");
    assert_eq!(next(to.1).await, frame(from.1, 5, "passes"));
}
