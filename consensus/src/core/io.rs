//! What goes into a core and what comes out of it.

use crate::ids::{ClientId, Height, Regency, ReplicaId};
use crate::message::Message;
use crate::proof::Decided;
use crate::record::{Record, RecordId, Summary};
use crate::request::{Request, RequestError, Verified};
use crate::view::View;

use super::Tentative;

/// What happens to a core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's request, its signature verified by the runtime.
    Request(Verified<Request>),
    /// Many of them, for one batch if they fit: they are looked at together.
    Requests(Vec<Verified<Request>>),
    /// A request (client, incarnation, number) that came over its client's own link and did not convince the runtime.
    Unverified((ClientId, u64, u64), RequestError),
    /// A message of a peer; `from` is the link's authenticated identity.
    Message {
        /// The peer.
        from: ReplicaId,
        /// What it said.
        message: Message,
    },
    /// The deadline passed. Also harmless at any other time.
    Timer,
    /// This record and all before it are durable.
    Persisted(RecordId),
    /// The link to a peer is gone.
    LinkDown(ReplicaId),
    /// The link to a peer stands.
    LinkUp(ReplicaId),
    /// The answer to [`Action::LoadDecisions`]; may hold fewer than asked, or none.
    LoadedDecisions {
        /// Who asked.
        to: ReplicaId,
        /// Consecutive heights from the one asked.
        decisions: Vec<Decided>,
    },
    /// The other answer to [`Action::LoadDecisions`]: the log begins only later.
    DecisionsGone {
        /// Who asked.
        to: ReplicaId,
        /// The height asked for.
        from: Height,
        /// The first height that the log holds.
        oldest: Height,
    },
    /// A checkpoint with this summary is durable here, and the service has its state (or will have it before
    /// anything that is decided from now on). Passed over if it is not above the last decided height, or not proven.
    StateInstalled(Box<Summary>),
}

/// What a core wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To one peer.
    Send {
        /// The peer.
        to: ReplicaId,
        /// What to say.
        message: Message,
    },
    /// To all other replicas.
    Broadcast {
        /// What to say.
        message: Message,
    },
    /// Append to the log; feed [`Input::Persisted`] when it is durable. What waits for
    /// it is held back by the core. Losing power before loses nothing that was said.
    Persist {
        /// Names the record.
        id: RecordId,
        /// What to append.
        record: Record,
    },
    /// The next height is decided: append it to the same log, execute it.
    Decide(Decided),
    /// This replica is durably locked on a value: with [`Settings::tentative`](crate::Settings::tentative), execute it, and be ready to undo it if another one is
    /// decided at its height. Said again when it is locked in a later regency.
    Tentative(Box<Tentative>),
    /// The height just decided made this view: it holds from the next one on. Links, keys and broadcasts follow it; a
    /// replica that it does not name stops.
    ViewChanged(View),
    /// Read decisions from the log for a peer; feed [`Input::LoadedDecisions`].
    LoadDecisions {
        /// The peer.
        to: ReplicaId,
        /// First height.
        from: Height,
        /// At most so many.
        max: usize,
    },
    /// The height just decided is one at which checkpoints are taken: this summary belongs to it.
    Checkpoint(Box<Summary>),
    /// The decisions above this height are gone from the logs of f + 1 peers: get a checkpoint, make it durable, feed
    /// [`Input::StateInstalled`]. Said again while that lasts.
    FetchState {
        /// The last decided height here.
        above: Height,
    },
    /// A client's request was not taken.
    Reject {
        /// The client.
        client: ClientId,
        /// Its incarnation.
        incarnation: u64,
        /// Its number.
        seq: u64,
        /// Why.
        reason: Reason,
    },
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It was ordered before: look for its answer.
    #[error("the request was ordered before")]
    Ordered,
    /// A newer incarnation of the client had a request ordered.
    #[error("a newer incarnation of the client took over")]
    Stale,
    /// Too far ahead of the client's oldest unordered request.
    #[error("the sequence number lies beyond the window: wait for earlier requests")]
    OutsideWindow,
    /// The operation is longer than [`Settings::max_request_bytes`](crate::Settings::max_request_bytes).
    #[error("the operation is too long")]
    TooLarge,
    /// The client's, or all clients', share of memory is used up.
    #[error("too much is pending: wait and send again")]
    TooMuchPending,
    /// Another request of the client waits under the same number.
    #[error("another request is pending under this number")]
    Conflict,
    /// Its MAC vector does not do here: the client is to sign the same request.
    #[error("the request must be signed")]
    MustSign,
}

/// Where a core stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The regency that it is in.
    pub regency: Regency,
    /// That regency's leader.
    pub leader: ReplicaId,
    /// Last decided height.
    pub height: Height,
    /// Requests waiting to be ordered.
    pub pending_requests: usize,
    /// Their operations' bytes.
    pub pending_bytes: usize,
    /// Waiting for the SYNC of its regency.
    pub synchronizing: bool,
    /// A peer claims to be further.
    pub lagging: bool,
    /// Consensus time of the last batch, Unix milliseconds.
    pub time_ms: u64,
    /// [`View::id`] of its view.
    pub view: u64,
    /// Whether that view knows it, by a key that it has.
    pub member: bool,
}
