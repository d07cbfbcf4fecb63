//! One task owns the core, feeds it and does what it says.

mod checkpoints;
mod doing;
mod feed;
mod inbox;
mod leaving;
mod parts;

use crate::log::{Log, Position};
use cluster::channel;
use consensus::{
    Action, ClientId, Core, Decided, Height, Input, Message, PublicKey, ReplicaId, Request,
    SigningKey, Status, Verifier, View,
};
use net::{Budget, Endpoint, PeerId, Share};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};

use crate::background::Background;
use crate::state::{State, StateDone};

use feed::Feed;
pub use feed::size;
use inbox::INBOX;
use leaving::Leaving;

pub use inbox::{Inbound, OrderHandle, RoundTrips};
pub use leaving::LAST_WORDS;
pub use parts::{Delivered, OrderEvents, OrderParts, Repeat, ToService, Wire, inbound};

/// Records of the total order in the decision log.
pub mod record {
    /// A decision; key: height.
    pub const DECIDED: u8 = 1;
    /// What the core must remember; key: number of the record.
    pub const CORE: u8 = 2;
}

/// Messages taken in at once, so that signatures are verified together.
const GULP: usize = 512;
/// Decided batches that wait for the service, and their bytes.
const OUTBOX: usize = 4_096;
const OUTBOX_BYTES: usize = 512 << 20;
/// Bytes of decisions read again from the log that wait for the service.
const REPLAY_BYTES: usize = 64 << 20;
/// What a message or a batch counts beyond what its sender chose the length of.
const OVERHEAD: usize = 512;
/// Repeated requests that wait for the service.
const REPEATS: usize = 4_096;
/// Decided heights that the service has not finished, from which on the leader holds clients' requests back: what waits
/// goes together in the next batch, and a batch costs the same however many requests it holds.
const HOLD_AT: Height = 1;
/// The longest that a request is held back, and how many are.
const HOLD_FOR: Duration = Duration::from_millis(15);
const HOLD_MOST: usize = 1_024;
const HOLD_MOST_BYTES: usize = 64 << 20;

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
    /// What waits in there, in bytes.
    decided_room: Budget,
    durable: watch::Sender<Height>,
    repeats: mpsc::Sender<Repeat>,
    status: watch::Sender<Status>,
    round_trips: watch::Sender<RoundTrips>,
    done: mpsc::UnboundedSender<Done>,
    /// Reads and cuts of the log.
    log_work: Background,
    leaving: Leaving,
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
    /// Time is up for the replicas that this view has left behind.
    Parted {
        view: u64,
    },
    LoadedForLeaver {
        to: ReplicaId,
        decisions: Vec<Decided>,
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
            let mut state = State::new(&parts, me, at, every, links, state_sender);
            let (out, decided) = mpsc::channel(64);
            let (log, last) = (log.clone(), recovered.height());
            let feed = Feed {
                log,
                first: view.clone(),
                every,
                last,
                out,
                room: Budget::new(REPLAY_BYTES),
                done,
                later: parts.later,
            };
            state.tasks().spawn(feed.run(parts.begin, live));
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
        verifier: Verifier::of(me, std::iter::once(&key).chain(&spare_keys)),
        me,
        key,
        spare_keys,
        links_since,
        view: now,
        views,
        log,
        endpoint,
        wire,
        core,
        incarnation: since_epoch.as_nanos() as u64,
        next_seq: 1,
        decided: decided_sender,
        decided_room: Budget::new(OUTBOX_BYTES),
        durable: durable_sender,
        repeats: repeats_sender,
        status: status_sender,
        round_trips: trips_sender,
        done: done_sender,
        log_work: Background::default(),
        leaving: Leaving::default(),
    };
    tokio::spawn(order.run(inbox, own, done, state_done));
    let handle = OrderHandle::new(inbox_sender, own_sender, round_trips);
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
        inbox: mpsc::Receiver<(Inbound, Share)>,
        own: mpsc::UnboundedReceiver<Vec<u8>>,
        done: mpsc::UnboundedReceiver<Done>,
        state_done: mpsc::UnboundedReceiver<StateDone>,
    ) {
        self.serve(inbox, own, done, state_done).await;
        // Whoever waits for the end may open the files again.
        let Order {
            state,
            decided,
            mut log_work,
            ..
        } = self;
        drop(decided);
        log_work.finish().await;
        if let Some(mut state) = state {
            state.tasks().finish().await;
        }
    }

    async fn serve(
        &mut self,
        mut inbox: mpsc::Receiver<(Inbound, Share)>,
        mut own: mpsc::UnboundedReceiver<Vec<u8>>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut state_done: mpsc::UnboundedReceiver<StateDone>,
    ) {
        let mut gulp = Vec::with_capacity(GULP);
        let mut actions = Vec::new();
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let mut slept_for = None;
        let mut look = tokio::time::interval(leaving::LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
                _ = look.tick() => self.look_for_peers(),
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
            Done::Parted { view } => return self.parted(view),
            Done::LoadedForLeaver { to, decisions } => {
                return self.answer_leaver(to, &Message::Decisions { decisions });
            }
        };
        self.core.handle(now_ms(), input, actions);
    }

    fn take(&mut self, gulp: &mut Vec<(Inbound, Share)>, actions: &mut Vec<Action>) {
        let now = now_ms();
        let mut requests = Vec::new();
        for (message, _share) in gulp.drain(..) {
            match message {
                Inbound::Requests(some) => {
                    for request in &some {
                        tracing::trace!(target: "timeline", at = "request", client = %request.client, seq = request.seq);
                    }
                    requests.extend(some);
                }
                Inbound::Consensus { from, payload } => match Message::decode(&payload) {
                    Ok(Message::State(message)) => {
                        if let Some(state) = &mut self.state {
                            state.hear(now, from, message);
                        }
                    }
                    Ok(message) if self.hear_leaver(from, &message) => {}
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
                Inbound::WantState { above } => {
                    if let Some(state) = &mut self.state {
                        state.want_behind(now, above);
                    }
                }
            }
        }
        if requests.is_empty() {
            return;
        }
        let busy = self.backlog() >= HOLD_AT && self.core.status().leader == self.me;
        let waiting = self.held.iter().chain(&requests);
        let bytes: usize = waiting.map(|request| request.op.len()).sum();
        let few = self.held.len() + requests.len() <= HOLD_MOST && bytes <= HOLD_MOST_BYTES;
        if busy && few {
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
        let mut held = std::mem::take(&mut self.held);
        // Under overload most of what comes was sent again; to verify that too is what keeps a queue long.
        held.retain(|request| !self.core.waits_here(request));
        let names = held.iter().map(|r| (r.client, r.incarnation, r.seq));
        let names: Vec<_> = names.collect();
        let verified = self.verifier.verify_batch(held, &self.view);
        for (name, verified) in names.into_iter().zip(verified) {
            match verified {
                Ok(request) => requests.push(request),
                Err(error) => {
                    tracing::warn!(%error, "a request was dropped");
                    self.core
                        .handle(now_ms(), Input::Unverified(name, error), actions);
                }
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
