//! The core of one replica: inputs in, actions out.

mod bodies;
mod catchup;
mod changing;
mod choice;
mod early;
mod fairness;
mod install;
mod instance;
mod normal;
mod peers;
mod persist;
#[cfg(feature = "mutation")]
mod planted;
mod pool;
mod proposing;
mod regency;
mod stopping;
mod tick;
mod trips;
mod watch;

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;

use crate::ids::{ClientId, Height, Regency, ReplicaId};
use crate::message::Message;
use crate::proof::Decided;
use crate::reconfigure::Views;
use crate::record::{Record, RecordId, Recovered, Start, Summary, VoteState};
use crate::request::{Request, Verified};
use crate::settings::Settings;
use crate::view::View;
use crate::window::Place;

#[cfg(feature = "model")]
pub(crate) use choice::choose;
use early::Early;
use instance::Instance;
use peers::Peers;
use persist::Held;
use pool::Pool;
use stopping::Stopping;
use tick::Clock;
use trips::Trips;
use watch::Watch;

/// What happens to a core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's request, its signature verified by the runtime.
    Request(Verified<Request>),
    /// Many of them, for one batch if they fit: they are looked at together.
    Requests(Vec<Verified<Request>>),
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
    /// The operation is longer than [`Settings::max_request_bytes`].
    #[error("the operation is too long")]
    TooLarge,
    /// The client's, or all clients', share of memory is used up.
    #[error("too much is pending: wait and send again")]
    TooMuchPending,
    /// Another request of the client waits under the same number.
    #[error("another request is pending under this number")]
    Conflict,
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

/// One replica's total order.
pub struct Core {
    settings: Settings,
    view: View,
    me: ReplicaId,
    key: SigningKey,
    /// Keys that a later view may name.
    spare_keys: Vec<SigningKey>,
    /// Whether the view knows this replica by its key.
    member: bool,
    /// What is decided.
    summary: Summary,
    regency: Regency,
    /// How the regency began; none until its SYNC is known.
    start: Option<Start>,
    /// `start` was learnt from peers' claims; a SYNC may still refine it.
    start_is_claimed: bool,
    /// The open instance: `summary.height() + 1`.
    instance: Instance,
    /// Durable votes of instances that come later, after a hole in the log.
    ahead: BTreeMap<Height, VoteState>,
    /// When a checkpoint was last asked for.
    state_asked: Option<(Height, u64)>,
    early: BTreeMap<ReplicaId, Early>,
    pool: Pool,
    stopping: Stopping,
    peers: Peers,
    held: BTreeMap<RecordId, Held>,
    next_record: RecordId,
    clock: Clock,
    /// How far away the peers are.
    trips: Trips,
    /// Whether the leader keeps up.
    watch: Watch,
}

impl Core {
    /// A core that continues where `recovered` ends; `Recovered::default()` is genesis.
    pub fn new(
        settings: Settings,
        view: View,
        me: ReplicaId,
        key: SigningKey,
        recovered: Recovered,
        now_ms: u64,
    ) -> Self {
        #[cfg(feature = "mutation")]
        let recovered = planted::forget(&settings, recovered);
        let Recovered {
            mut summary,
            regency,
            start,
            mut votes,
        } = recovered;
        let genesis = || Views::genesis(view);
        let view = summary.views.get_or_insert_with(genesis).now.clone();
        // Regency 0 needs no SYNC: nothing came before it.
        let start = match (regency, start) {
            (0, None) => Some(Start {
                open: 1,
                bound: None,
            }),
            (_, start) => start,
        };
        let height = summary.height() + 1;
        let instance = Instance::new(height, votes.remove(&height).unwrap_or_default());
        let ahead = votes.split_off(&height);
        let mut core = Self {
            peers: Peers::of(&view, me),
            clock: Clock::new(&settings, now_ms),
            settings,
            view,
            me,
            key,
            spare_keys: Vec::new(),
            member: false,
            summary,
            regency,
            start,
            start_is_claimed: false,
            instance,
            ahead,
            state_asked: None,
            early: BTreeMap::new(),
            pool: Pool::default(),
            stopping: Stopping::default(),
            held: BTreeMap::new(),
            next_record: 1,
            trips: Trips::default(),
            watch: Watch::default(),
        };
        core.take_key();
        core.restore_votes();
        core
    }

    /// Takes one input at `now_ms`, the replica's clock in Unix milliseconds. Never panics,
    /// whatever a peer sends and however the clock steps.
    pub fn handle(&mut self, now_ms: u64, input: Input, out: &mut Vec<Action>) {
        let now = self.clock.read(now_ms);
        let before = out.len();
        match input {
            Input::Request(request) => self.on_requests(now, vec![request], out),
            Input::Requests(requests) => self.on_requests(now, requests, out),
            Input::Message { from, message } => {
                if from != self.me && self.view.replica_key(from).is_some() {
                    self.peers.heard(now, from);
                    self.on_message(now, from, message, out);
                }
            }
            Input::Timer => self.on_tick(now, out),
            Input::Persisted(id) => self.on_persisted(now, id, out),
            Input::LinkDown(peer) => self.peers.link_down(now, peer),
            Input::LinkUp(peer) => self.on_link_up(now, peer, out),
            Input::LoadedDecisions { to, decisions } => self.on_loaded(to, decisions, out),
            Input::DecisionsGone { to, from, oldest } => self.on_gone_here(to, from, oldest, out),
            Input::StateInstalled(summary) => self.on_state_installed(now, *summary, out),
        }
        self.watch_leader(now, before, out);
    }

    fn on_message(&mut self, now: u64, from: ReplicaId, message: Message, out: &mut Vec<Action>) {
        match message {
            Message::Propose {
                height,
                regency,
                batch,
            } => {
                self.on_propose(now, from, height, regency, batch, out);
            }
            Message::Write {
                height,
                regency,
                digest,
            } => {
                self.on_write(now, from, height, regency, digest, out);
            }
            Message::Accept {
                height,
                regency,
                digest,
                signature,
            } => {
                self.on_accept(now, from, height, regency, digest, signature, out);
            }
            Message::Forward { requests } => self.on_forward(now, requests, out),
            Message::Stop { view, regency } => self.on_stop(now, from, view, regency, out),
            Message::StopData(data) => self.on_stopdata(now, from, data, out),
            Message::Sync(sync) => self.on_sync(now, from, *sync, out),
            Message::FetchBatch { height, digest } => {
                self.on_fetch_batch(from, height, digest, out)
            }
            Message::BatchOf { height, batch } => self.on_batch_of(now, height, batch, out),
            Message::FetchBodies { height, entries } => {
                self.on_fetch_bodies(from, height, &entries, out);
            }
            Message::Bodies { height, requests } => self.on_bodies(now, height, requests, out),
            Message::FetchDecisions { from: first, max } => {
                self.on_fetch_decisions(now, from, first, max, out);
            }
            Message::Decisions { decisions } => self.on_decisions(now, from, decisions, out),
            Message::Status {
                view,
                regency,
                free_from,
                decided,
            } => {
                self.on_status(now, from, (view, regency), free_from, decided, out);
            }
            Message::Gone {
                from: first,
                oldest,
            } => self.on_gone(now, from, first, oldest, out),
            Message::Ping { nonce } => self.on_ping(now, from, nonce, out),
            Message::Pong { nonce } => self.on_pong(now, from, nonce),
            // For the transfer beside the core.
            Message::State(_) => {}
        }
    }

    /// Clients' requests. Alg. 2, l. 1-2 and 21-25.
    fn on_requests(&mut self, now: u64, requests: Vec<Verified<Request>>, out: &mut Vec<Action>) {
        let mut wanted = false;
        for request in requests {
            let (client, incarnation, seq) = (request.client, request.incarnation, request.seq);
            match self.admit(now, request) {
                Ok(new) => wanted |= new,
                Err(reason) => out.push(Action::Reject {
                    client,
                    incarnation,
                    seq,
                    reason,
                }),
            }
        }
        if wanted {
            self.after_admission(now, out);
        }
    }

    /// Puts a verified request into the pool; false: it was there.
    fn admit(&mut self, now: u64, request: Verified<Request>) -> Result<bool, Reason> {
        match self
            .summary
            .windows
            .place(request.client, request.incarnation, request.seq)
        {
            Place::Free => {}
            Place::Ordered => return Err(Reason::Ordered),
            Place::Stale => return Err(Reason::Stale),
            Place::Outside => return Err(Reason::OutsideWindow),
        }
        if request.op.len() > self.settings.max_request_bytes {
            return Err(Reason::TooLarge);
        }
        let waited_for = self.instance.fill(&request);
        let added = self.pool.add(now, &self.settings, request)?;
        Ok(added || waited_for)
    }

    /// New requests may complete a proposal or allow one.
    fn after_admission(&mut self, now: u64, out: &mut Vec<Action>) {
        self.clock.wake(now);
        self.advance(now, out);
    }

    /// When [`Input::Timer`] is due next.
    pub fn next_deadline(&self) -> Option<u64> {
        let tick = self.clock.next_tick();
        let bodies = self.instance.ask_bodies_at();
        Some(self.clock.on_wall(bodies.map_or(tick, |at| at.min(tick))))
    }

    /// Where this core stands.
    pub fn status(&self) -> Status {
        Status {
            regency: self.regency,
            leader: self.view.leader(self.regency),
            height: self.summary.height(),
            pending_requests: self.pool.len(),
            pending_bytes: self.pool.bytes(),
            synchronizing: self.start.is_none(),
            lagging: self.peers.furthest() > self.summary.height(),
            time_ms: self.summary.time_ms,
            view: self.view.id,
            member: self.member,
        }
    }

    /// What the decided batches left behind; for a checkpoint.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn leader(&self) -> ReplicaId {
        self.view.leader(self.regency)
    }

    fn i_lead(&self) -> bool {
        self.leader() == self.me
    }

    /// Whether these are Q votes of WRITE or ACCEPT.
    fn is_quorum(&self, replicas: impl IntoIterator<Item = ReplicaId>) -> bool {
        let planted = crate::settings::mutated!(self.settings, QuorumMinusOne);
        self.view.weigh(replicas) + usize::from(planted) >= self.view.sizes().quorum()
    }

    /// No WRITE phase: nobody equivocates.
    fn is_crash_only(&self) -> bool {
        self.view.mode == crate::quorum::Mode::CrashOnly
    }
}
