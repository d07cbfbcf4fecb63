//! One task owns the core, feeds it and does what it says.

mod checkpoints;
mod doing;
mod feed;

use crate::log::{Log, Position};
use bytes::Bytes;
use cluster::channel;
use consensus::{
    Action, ClientId, Core, Decided, Height, Input, Message, PublicKey, Reason, Recovered,
    ReplicaId, Request, SigningKey, Status, Verifier, View,
};
use net::{Endpoint, PeerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::state::{State, StateDone, StateParts};

use feed::Feed;

/// Records of the total order in the decision log.
pub mod record {
    /// A decision; key: height.
    pub const DECIDED: u8 = 1;
    /// What the core must remember; key: number of the record.
    pub const CORE: u8 = 2;
}

/// Messages taken in at once, so that signatures are verified together.
const GULP: usize = 512;
/// Messages that wait for the core.
const INBOX: usize = 8_192;
/// Decided batches that wait for the service.
const OUTBOX: usize = 4_096;
/// Repeated requests that wait for the service.
const REPEATS: usize = 4_096;
/// Decided heights that the service has not finished, from which on the leader holds clients' requests back: what waits
/// goes together in the next batch, and a batch costs the same however many requests it holds.
const HOLD_AT: Height = 1;
/// The longest that a request is held back, and how many are.
const HOLD_FOR: Duration = Duration::from_millis(15);
const HOLD_MOST: usize = 1_024;

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
    inbox: mpsc::Sender<Inbound>,
    own: mpsc::UnboundedSender<Vec<u8>>,
    round_trips: watch::Receiver<RoundTrips>,
}

/// Milliseconds to each peer and back.
pub type RoundTrips = BTreeMap<ReplicaId, u64>;

impl OrderHandle {
    /// Asks for the ordering of a request of this replica's own.
    pub fn submit(&self, op: Vec<u8>) {
        // The order is gone only when the replica stops.
        let _ = self.own.send(op);
    }

    /// How far away the peers are: the median of the last measurements of each that answered.
    pub fn round_trips(&self) -> RoundTrips {
        self.round_trips.borrow().clone()
    }

    /// Hands in what came over a link; waits while the core is behind, so that peers feel it.
    pub async fn inbound(&self, message: Inbound) {
        let _ = self.inbox.send(message).await;
    }
}

/// What the order tells the service.
pub struct OrderEvents {
    pub decided: mpsc::Receiver<ToService>,
    /// Decisions up to this height are durable, by [`OrderParts::own_record`]'s measure.
    pub durable: watch::Receiver<Height>,
    /// Requests that were ordered before and came again; what finds no room is dropped, and comes again.
    pub repeats: mpsc::Receiver<(ClientId, u64, u64)>,
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

struct Order {
    state: Option<State>,
    finished: Option<watch::Receiver<Height>>,
    own_record: bool,
    /// Clients' requests that wait for the service, and since when.
    held: Vec<Request>,
    held_since: Option<tokio::time::Instant>,
    me: ReplicaId,
    key: SigningKey,
    spare_keys: Vec<SigningKey>,
    links_since: u64,
    view: Arc<View>,
    views: watch::Sender<Arc<View>>,
    verifier: Verifier,
    log: Log,
    endpoint: Endpoint,
    wire: Arc<dyn Wire>,
    core: Core,
    incarnation: u64,
    next_seq: u64,
    decided: mpsc::Sender<ToService>,
    durable: watch::Sender<Height>,
    repeats: mpsc::Sender<(ClientId, u64, u64)>,
    status: watch::Sender<Status>,
    round_trips: watch::Sender<RoundTrips>,
    done: mpsc::UnboundedSender<Done>,
    /// Reads of decisions for peers that lag.
    loads: JoinSet<()>,
}

enum Done {
    Persisted(consensus::RecordId),
    Loaded {
        to: ReplicaId,
        decisions: Vec<Decided>,
    },
    Gone {
        to: ReplicaId,
        from: Height,
        oldest: Height,
    },
    /// The core's standing records are durable, the first at this position: the log may begin there, or where the first decision
    /// above the height is.
    Standing {
        below: Height,
        position: Position,
    },
}

/// Starts the order's task. It ends when nobody takes its decisions any more.
pub fn start(parts: OrderParts) -> (OrderHandle, OrderEvents) {
    let OrderParts {
        me,
        key,
        spare_keys,
        links_since,
        view,
        settings,
        log,
        endpoint,
        wire,
        recovered,
        finished,
        state: state_parts,
        own_record,
    } = parts;
    let (inbox_sender, inbox) = mpsc::channel(INBOX);
    let (own_sender, own) = mpsc::unbounded_channel();
    let (decided_sender, live) = mpsc::channel(OUTBOX);
    let (repeats_sender, repeats) = mpsc::channel(REPEATS);
    let (done_sender, done) = mpsc::unbounded_channel();
    let (state_sender, state_done) = mpsc::unbounded_channel();
    let every = settings.checkpoint_every;
    let now = Arc::new(recovered.view().unwrap_or(&view).clone());
    let (state, decided) = match state_parts {
        None => (None, live),
        Some(parts) => {
            let at = View::clone(&now);
            let (links, done) = (endpoint.clone(), state_sender.clone());
            let state = State::new(&parts, me, at, every, links, state_sender);
            let (out, decided) = mpsc::channel(64);
            let (log, last) = (log.clone(), recovered.height());
            let feed = Feed {
                log,
                first: view.clone(),
                every,
                last,
                out,
                done,
            };
            tokio::spawn(feed.run(parts.begin, live));
            (Some(state), decided)
        }
    };
    let mut core = Core::new(settings, view, me, key.clone(), recovered, now_ms());
    for key in &spare_keys {
        core.offer_key(key.clone());
    }
    let (views, view) = watch::channel(now.clone());
    let (status_sender, status) = watch::channel(core.status());
    let (trips_sender, round_trips) = watch::channel(RoundTrips::new());
    let (durable_sender, durable) = watch::channel(core.status().height);
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let order = Order {
        state,
        finished,
        own_record,
        held: Vec::new(),
        held_since: None,
        me,
        key,
        spare_keys,
        links_since,
        verifier: Verifier::default(),
        view: now,
        views,
        log,
        endpoint,
        wire,
        core,
        incarnation: since_epoch.as_nanos() as u64,
        next_seq: 1,
        decided: decided_sender,
        durable: durable_sender,
        repeats: repeats_sender,
        status: status_sender,
        round_trips: trips_sender,
        done: done_sender,
        loads: JoinSet::new(),
    };
    tokio::spawn(order.run(inbox, own, done, state_done));
    let handle = OrderHandle {
        inbox: inbox_sender,
        own: own_sender,
        round_trips,
    };
    (
        handle,
        OrderEvents {
            decided,
            durable,
            repeats,
            status,
            view,
        },
    )
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

impl Order {
    async fn run(
        mut self,
        inbox: mpsc::Receiver<Inbound>,
        own: mpsc::UnboundedReceiver<Vec<u8>>,
        done: mpsc::UnboundedReceiver<Done>,
        state_done: mpsc::UnboundedReceiver<StateDone>,
    ) {
        self.serve(inbox, own, done, state_done).await;
        // Whoever waits for the end may open the log again.
        while self.loads.join_next().await.is_some() {}
    }

    async fn serve(
        &mut self,
        mut inbox: mpsc::Receiver<Inbound>,
        mut own: mpsc::UnboundedReceiver<Vec<u8>>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut state_done: mpsc::UnboundedReceiver<StateDone>,
    ) {
        let mut gulp = Vec::with_capacity(GULP);
        let mut actions = Vec::new();
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let mut slept_for = None;
        loop {
            let transfer = self.state.as_ref().and_then(State::next_deadline);
            let deadline = [self.core.next_deadline(), transfer]
                .into_iter()
                .flatten()
                .min();
            if let Some(at) = deadline.filter(|_| deadline != slept_for) {
                let wait = Duration::from_millis(at.saturating_sub(now_ms()).max(1));
                sleep.as_mut().reset(tokio::time::Instant::now() + wait);
                slept_for = deadline;
            }
            let (held_since, decided) = (self.held_since, self.core.status().height);
            let finished = self.finished.clone();
            // Until the service has caught up, or those that wait have waited enough.
            let free = async move {
                let (Some(since), Some(mut finished)) = (held_since, finished) else {
                    return std::future::pending().await;
                };
                let caught_up =
                    finished.wait_for(|height| decided.saturating_sub(*height) < HOLD_AT);
                let _ = tokio::time::timeout_at(since + HOLD_FOR, caught_up).await;
            };
            tokio::select! {
                biased;
                Some(done) = done.recv() => self.done(done, &mut actions),
                Some(done) = state_done.recv() => {
                    if !self.state_done(done, &mut actions).await {
                        return;
                    }
                }
                Some(op) = own.recv() => self.submit(op, &mut actions),
                count = inbox.recv_many(&mut gulp, GULP) => {
                    if count == 0 {
                        return;
                    }
                    self.take(&mut gulp, &mut actions);
                }
                () = sleep.as_mut(), if deadline.is_some() => {
                    slept_for = None;
                    self.tick(&mut actions);
                }
                () = free => self.release(&mut actions),
            }
            // Messages that never end do not keep the timers from being looked at: a leader may die under load.
            if self.core.next_deadline().is_some_and(|at| at <= now_ms()) {
                self.tick(&mut actions);
            }
            for action in std::mem::take(&mut actions) {
                if !self.perform(action).await {
                    return;
                }
            }
            let status = self.core.status();
            if let Some(state) = &mut self.state {
                state.reached(status.height);
            }
            self.status
                .send_if_modified(|known| std::mem::replace(known, status) != status);
        }
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        self.core.handle(now_ms(), Input::Timer, actions);
        if let Some(state) = &mut self.state {
            state.tick(now_ms());
        }
        let trips = self.core.round_trips();
        self.round_trips.send_if_modified(|known| {
            let changed = *known != trips;
            *known = trips;
            changed
        });
    }

    fn done(&mut self, done: Done, actions: &mut Vec<Action>) {
        let input = match done {
            Done::Persisted(id) => Input::Persisted(id),
            Done::Loaded { to, decisions } => Input::LoadedDecisions { to, decisions },
            Done::Gone { to, from, oldest } => Input::DecisionsGone { to, from, oldest },
            Done::Standing { below, position } => return self.cut(below, position),
        };
        self.core.handle(now_ms(), input, actions);
    }

    fn take(&mut self, gulp: &mut Vec<Inbound>, actions: &mut Vec<Action>) {
        let now = now_ms();
        let mut requests = Vec::new();
        for message in gulp.drain(..) {
            match message {
                Inbound::Request(request) => {
                    tracing::trace!(target: "timeline", at = "request", client = %request.client, seq = request.seq);
                    requests.push(request);
                }
                Inbound::Consensus { from, payload } => match Message::decode(&payload) {
                    Ok(Message::State(message)) => {
                        if let Some(state) = &mut self.state {
                            state.hear(now, from, message);
                        }
                    }
                    Ok(message) => self
                        .core
                        .handle(now, Input::Message { from, message }, actions),
                    Err(error) => {
                        tracing::warn!(%from, %error, "unreadable consensus message dropped")
                    }
                },
                Inbound::Link { peer, up: true } => {
                    self.core.handle(now, Input::LinkUp(peer), actions)
                }
                Inbound::Link { peer, up: false } => {
                    self.core.handle(now, Input::LinkDown(peer), actions)
                }
                Inbound::Submit(op) => self.submit(op, actions),
            }
        }
        if requests.is_empty() {
            return;
        }
        let busy = self.backlog() >= HOLD_AT && self.core.status().leader == self.me;
        if busy && self.held.len() + requests.len() <= HOLD_MOST {
            self.held_since
                .get_or_insert_with(tokio::time::Instant::now);
            self.held.append(&mut requests);
            return;
        }
        self.held.append(&mut requests);
        self.release(actions);
    }

    /// Decided heights that the service has not finished.
    fn backlog(&self) -> Height {
        let decided = self.core.status().height;
        self.finished
            .as_ref()
            .map_or(0, |finished| decided.saturating_sub(*finished.borrow()))
    }

    /// Gives the core what was held back.
    fn release(&mut self, actions: &mut Vec<Action>) {
        self.held_since = None;
        if self.held.is_empty() {
            return;
        }
        let mut requests = Vec::with_capacity(self.held.len());
        let held = std::mem::take(&mut self.held);
        for verified in self.verifier.verify_batch(held, &self.view) {
            match verified {
                Ok(request) => requests.push(request),
                Err(error) => tracing::warn!(%error, "a request was dropped"),
            }
        }
        self.core
            .handle(now_ms(), Input::Requests(requests), actions);
    }

    /// Signs a request of this replica and gives it to everybody, as any client does.
    fn submit(&mut self, op: Vec<u8>, actions: &mut Vec<Action>) {
        let client = ClientId::of(self.me);
        let Some(key) = self.key_now() else {
            tracing::debug!("a replica that is no member asks for nothing");
            return;
        };
        let request = Request::sign(key, client, self.incarnation, self.next_seq, op);
        self.next_seq += 1;
        let bytes = self.wire.request(&request);
        for peer in self.view.replicas.keys().filter(|r| **r != self.me) {
            let _ = self
                .endpoint
                .send(PeerId::Replica(peer.0), channel::CLIENT, bytes.clone());
        }
        for verified in consensus::verify_batch(vec![request], &self.view)
            .into_iter()
            .flatten()
        {
            self.core
                .handle(now_ms(), Input::Request(verified), actions);
        }
    }

    /// The key of this replica that the view names.
    fn key_now(&self) -> Option<&SigningKey> {
        let mine = self.view.replica_key(self.me)?;
        let mut keys = std::iter::once(&self.key).chain(&self.spare_keys);
        keys.find(|key| PublicKey::of(key) == *mine)
    }
}
