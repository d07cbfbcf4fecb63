//! What the order is started with, takes in and hands out.

use std::sync::Arc;

use bytes::Bytes;
use cluster::channel;
use consensus::{
    ClientId, Decided, Height, Reason, Recovered, ReplicaId, Request, SigningKey, Status,
    Tentative, View,
};
use net::{Endpoint, Event, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::log::{Log, Position};
use crate::state::StateParts;

/// A decided batch, in height order without gaps.
#[derive(Debug)]
pub struct Delivered {
    pub decided: Decided,
    /// The view in which it was decided.
    pub view: Arc<View>,
    /// Where it lies in the log; `None` when it was replayed from there.
    pub position: Option<Position>,
}

/// What the service is to do, in this order. A service without checkpoints gets batches only.
#[derive(Debug)]
pub enum ToService {
    /// Execute this batch.
    Execute(Delivered),
    /// With `Settings::tentative`: this value is likely the next batch; another may come instead.
    Tentative(Box<Tentative>),
    /// Give the bytes of your state, as it is after this height: equal at all correct replicas. The order waits for
    /// nothing here; a service that can make a cheap copy may encode it elsewhere.
    Snapshot {
        height: Height,
        reply: oneshot::Sender<Bytes>,
    },
    /// Replace your state by this one, which is the state after this height. Batches go on after it.
    Restore { height: Height, state: Bytes },
}

/// What comes in.
pub enum Inbound {
    /// A peer's consensus or state transfer message (channels `CONSENSUS` and `STATE`), still encoded.
    Consensus {
        from: ReplicaId,
        payload: Bytes,
    },
    /// A client's request, not yet verified.
    Request(Request),
    /// This replica's own wish.
    Submit(Vec<u8>),
    Link {
        peer: ReplicaId,
        up: bool,
    },
}

/// Feeds the order.
#[derive(Clone)]
pub struct OrderHandle {
    pub(super) inbox: mpsc::Sender<Inbound>,
    pub(super) own: mpsc::UnboundedSender<Vec<u8>>,
}

impl OrderHandle {
    /// Asks for the ordering of a request of this replica's own.
    pub fn submit(&self, op: Vec<u8>) {
        // The order is gone only when the replica stops.
        let _ = self.own.send(op);
    }

    /// Hands in what came over a link; waits while the core is behind, so that peers feel it.
    pub async fn inbound(&self, message: Inbound) {
        let _ = self.inbox.send(message).await;
    }
}

/// A request that was ordered before came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub client: ClientId,
    pub incarnation: u64,
    pub seq: u64,
    /// It was ordered at this height or below.
    pub by: Height,
}

/// What the order tells the service.
pub struct OrderEvents {
    pub decided: mpsc::Receiver<ToService>,
    /// Decisions up to this height are durable, by [`OrderParts::own_record`]'s measure.
    pub durable: watch::Receiver<Height>,
    /// Requests that were ordered before and came again; what finds no room is dropped, and comes again.
    pub repeats: mpsc::Receiver<Repeat>,
    pub status: watch::Receiver<Status>,
    /// The view that holds now.
    pub view: watch::Receiver<Arc<View>>,
}

/// How the service's clients and replicas speak: the order itself sends two messages on the clients' channel.
pub trait Wire: Send + Sync + 'static {
    /// A request on its way to a replica.
    fn request(&self, request: &Request) -> Bytes;
    /// To a client: its request was not taken, and nothing was done.
    fn rejected(&self, incarnation: u64, seq: u64, reason: &Reason) -> Bytes;
}

/// What the order is started with.
pub struct OrderParts {
    pub me: ReplicaId,
    pub key: SigningKey,
    /// Keys that it signs with once a view names them.
    pub spare_keys: Vec<SigningKey>,
    /// The view that the links were started with; they follow none before it.
    pub links_since: u64,
    /// The first view; what the log knows of later ones comes with `recovered`.
    pub view: View,
    pub settings: consensus::Settings,
    pub log: Log,
    pub endpoint: Endpoint,
    pub wire: Arc<dyn Wire>,
    pub recovered: Recovered,
    /// The last height that the service has finished; without it nothing is held back.
    pub finished: Option<watch::Receiver<Height>>,
    /// Checkpoints, if the service offers its state. Then `recovered` begins with the checkpoint in here, the service is given
    /// that state and the decisions after it, and `settings.checkpoint_every` says when the next are due.
    pub state: Option<StateParts>,
    /// A decision counts as durable only when this replica's own log holds it. Without this it does as soon as it is made, since a
    /// quorum's logs hold what leads to it: nothing is lost either way, but after a restart the replica may find
    /// itself behind what it has told, until its peers help.
    pub own_record: bool,
}

/// What is the order's of all that comes over the links: replicas that come and go, and what they say on its channels. Anything
/// else is given back: it is the service's.
///
/// # Errors
/// With the event, when it is not the order's.
pub fn inbound(event: Event) -> Result<Inbound, Event> {
    match event {
        Event::Up(PeerId::Replica(id)) => Ok(Inbound::Link {
            peer: ReplicaId(id),
            up: true,
        }),
        Event::Down(PeerId::Replica(id), _) => Ok(Inbound::Link {
            peer: ReplicaId(id),
            up: false,
        }),
        Event::Frame {
            from: PeerId::Replica(id),
            channel: channel::CONSENSUS | channel::STATE,
            payload,
        } => Ok(Inbound::Consensus {
            from: ReplicaId(id),
            payload,
        }),
        other => Err(other),
    }
}
