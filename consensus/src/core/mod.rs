//! The core of one replica: inputs in, actions out.

mod bodies;
mod catchup;
mod changing;
mod choice;
mod early;
mod fairness;
mod install;
mod instance;
mod io;
mod leading;
mod normal;
mod peers;
mod persist;
mod pipeline;
#[cfg(feature = "mutation")]
mod planted;
mod pool;
mod proposing;
mod regency;
mod stopping;
mod tentative;
mod tick;
mod trips;
mod turns;
mod vouching;
mod watch;

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;

use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::reconfigure::Views;
use crate::record::{Promised, RecordId, Recovered, Start, Summary};
use crate::request::{Request, Verified, Verifier};
use crate::settings::{MAX_PIPELINE, Settings, mutated};
use crate::view::View;
use crate::window::Place;

#[cfg(feature = "model")]
pub(crate) use choice::choose;
use early::Early;
pub use io::{Action, Input, Reason, Status};
use leading::Leading;
use peers::Peers;
use persist::Held;
use pipeline::Pipeline;
use pool::Pool;
use stopping::Stopping;
pub use tentative::Tentative;
use tick::Clock;
use trips::Trips;
use vouching::Vouching;
use watch::Watch;

/// One replica's total order.
pub struct Core {
    settings: Settings,
    view: View,
    me: ReplicaId,
    key: SigningKey,
    /// Keys that a later view may name.
    spare_keys: Vec<SigningKey>,
    /// Of requests that come from other replicas.
    verifier: Verifier,
    /// Whether the view knows this replica by its key.
    member: bool,
    /// What is decided.
    summary: Summary,
    regency: Regency,
    /// How the regency began; none until its SYNC is known.
    start: Option<Start>,
    /// `start` was learnt from peers' claims; a SYNC may still refine it.
    start_is_claimed: bool,
    /// The open instance, `summary.height() + 1`, and those that follow it in flight.
    pipeline: Pipeline,
    /// There is a hole in what this replica remembers of its votes, up to this height: it stood there once.
    stood_at: Height,
    /// Durable promises of views that come later, after a hole in the log.
    promised: Promised,
    /// When a checkpoint was last asked for.
    state_asked: Option<(Height, u64)>,
    early: BTreeMap<ReplicaId, Early>,
    pool: Pool,
    stopping: Stopping,
    leading: Leading,
    vouching: Vouching,
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
        let stood_at = recovered.stood_at();
        let Recovered {
            mut summary,
            regency,
            start,
            promised,
            votes,
            ..
        } = recovered;
        let genesis = || Views::genesis(view);
        let view = summary.views.get_or_insert_with(genesis).now.clone();
        let led = start.as_ref().map(|_| (view.id, regency));
        // Regency 0 needs no SYNC: nothing came before it.
        let start = match (regency, start) {
            (0, None) => Some(Start::free(1)),
            (_, start) => start,
        };
        let depth = settings.pipeline.clamp(1, MAX_PIPELINE);
        let pipeline = Pipeline::new(summary.height() + 1, depth, votes);
        let mut core = Self {
            peers: Peers::of(&view, me),
            clock: Clock::new(&settings, now_ms),
            settings,
            view,
            me,
            verifier: Verifier::of(me, [&key]),
            key,
            spare_keys: Vec::new(),
            member: false,
            summary,
            regency,
            start,
            start_is_claimed: false,
            pipeline,
            stood_at,
            promised,
            state_asked: None,
            early: BTreeMap::new(),
            pool: Pool::default(),
            stopping: Stopping::default(),
            leading: Leading::recovered(led),
            vouching: Vouching::default(),
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
            Input::Unverified(request, error) => self.on_unverified(now, request, error, out),
            Input::Message { from, message } => {
                let stranger = self.view.replica_key(from).is_none()
                    && !mutated!(self.settings, HearStrangers);
                if from != self.me && !stranger {
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
            Message::Forward { requests } => self.on_forward(now, from, requests, out),
            Message::AskVouch { entries, doubted } => {
                self.on_ask_vouch(now, from, entries, doubted, out)
            }
            Message::Vouch { digests } => self.on_vouch(now, from, digests, out),
            Message::Refuse {
                view,
                regency,
                height,
                entries,
            } => self.on_refuse(now, from, (view, regency, height), &entries, out),
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
        if !request.auth.is_signature() && self.vouching.must_sign(request.client) {
            // A proposal may have it nevertheless.
            return match self.pipeline.fill(&request) {
                true => Ok(true),
                false => Err(Reason::MustSign),
            };
        }
        self.admit_vouched(now, request)
    }

    /// The same, also with the vector of a client that must sign.
    fn admit_vouched(&mut self, now: u64, request: Verified<Request>) -> Result<bool, Reason> {
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
        let waited_for = self.pipeline.fill(&request);
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
        let bodies = self.pipeline.ask_bodies_at();
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

    /// Whether this very request waits for its place: who sends it again need not be verified again.
    pub fn waits_here(&self, request: &Request) -> bool {
        self.pool.has(request)
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
        let planted = mutated!(self.settings, QuorumMinusOne)
            || (self.is_crash_only() && mutated!(self.settings, MajorityMinusOne));
        #[cfg(feature = "mutation")]
        if mutated!(self.settings, HearStrangers) {
            return self.planted_quorum(replicas);
        }
        self.view.weigh(replicas) + usize::from(planted) >= self.view.sizes().quorum()
    }

    /// No WRITE phase: nobody equivocates.
    fn is_crash_only(&self) -> bool {
        self.view.mode == crate::quorum::Mode::CrashOnly
    }
}
