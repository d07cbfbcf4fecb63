//! The client's end of the cluster: requests, replies, and who is master.

use crate::count::ReplyCounter;
use crate::error::ShimError;
use crate::transaction::Transaction;
use bytes::Bytes;
use cluster::{Cluster, channel};
use consensus::{ClientId, Digest, Height, ReplicaId, Request, View};
use net::{Endpoint, EndpointConfig, Event, Events, Identity, PeerId};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use txn::client::{ClientMessage, Outcome, Reason, ReplicaMessage, ReplicaStatus, Reply};
use txn::ordered::SessionSettings;
use txn::{Evidence, Ordered, TxId};

mod autocommit;
mod read;

/// How reads outside of the order are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// f+1 matching answers at a height that this client has already seen.
    Session,
    /// ⌈(n+f+1)/2⌉ matching answers: nothing committed before by anybody is missed.
    Linearizable,
}

/// A client's options.
#[derive(Clone, Debug)]
pub struct Settings {
    pub reads: Reads,
    /// How long an ordered request may stay unanswered before its outcome is called unknown.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            reads: Reads::Session,
            patience: Duration::from_secs(30),
        }
    }
}

/// One replica's tables at one height.
#[derive(Clone, Debug)]
pub struct AuditReport {
    pub height: Height,
    /// (name, rows, digest), sorted by name.
    pub tables: Vec<(String, u64, Digest)>,
    pub error: Option<String>,
}

/// An operation's provisional answer, or why the transaction is over.
#[derive(Debug)]
pub(crate) enum MasterAnswer {
    Outcome {
        outcome: Outcome,
        evidence: Evidence,
        ran_at: Height,
    },
    Doomed(Reason),
}

pub(crate) struct ReadAnswer {
    pub from: ReplicaId,
    pub height: Height,
    pub digest: Digest,
    pub failed: Option<String>,
    pub outcome: Option<Outcome>,
}

struct Pending {
    message: Bytes,
    counter: ReplyCounter,
    done: Option<oneshot::Sender<Result<Reply, String>>>,
    sent: Instant,
}

#[derive(Default)]
struct Waiting {
    ordered: HashMap<u64, Pending>,
    operations: HashMap<(TxId, u32), oneshot::Sender<MasterAnswer>>,
    reads: HashMap<u64, mpsc::UnboundedSender<ReadAnswer>>,
    infos: HashMap<u64, mpsc::UnboundedSender<(ReplicaId, ReplicaStatus)>>,
    audits: HashMap<u64, mpsc::UnboundedSender<(ReplicaId, AuditReport)>>,
    /// The epoch that each replica last named.
    epochs: BTreeMap<ReplicaId, u64>,
}

/// A handle to the cluster; cheap to clone.
#[derive(Clone)]
pub struct Shim(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub me: ClientId,
    key: ed25519_dalek::SigningKey,
    pub incarnation: u64,
    pub view: View,
    pub endpoint: Endpoint,
    pub settings: Settings,
    next_seq: AtomicU64,
    next_id: AtomicU64,
    waiting: Mutex<Waiting>,
    /// The master epoch that f+1 replicas vouch for.
    pub epoch: watch::Sender<u64>,
    links: watch::Sender<u64>,
    /// Highest height that a quorum told this client of.
    pub seen: AtomicU64,
    /// Consensus time there, milliseconds.
    pub time_ms: AtomicU64,
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The master by what this client knows.
    pub fn master(&self) -> ReplicaId {
        self.master_of(*self.epoch.borrow())
    }

    pub fn master_of(&self, epoch: u64) -> ReplicaId {
        let place = (epoch % self.view.replicas.len() as u64) as usize;
        let ids: Vec<_> = self.view.replicas.keys().copied().collect();
        ids[place]
    }

    /// A number for a read, an inquiry or an autocommit write.
    pub fn fresh(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn send(&self, to: ReplicaId, message: &ClientMessage) -> bool {
        self.endpoint
            .send(PeerId::Replica(to.0), channel::CLIENT, encode(message))
            .is_ok()
    }

    pub fn connected(&self) -> Vec<ReplicaId> {
        let peers = self.endpoint.connected();
        peers
            .into_iter()
            .filter_map(|peer| match peer {
                PeerId::Replica(id) => Some(ReplicaId(id)),
                PeerId::Client(_) => None,
            })
            .collect()
    }

    pub fn expect_operation(&self, tx: TxId, step: u32) -> oneshot::Receiver<MasterAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().operations.insert((tx, step), sender);
        receiver
    }

    pub fn forget_operation(&self, tx: TxId, step: u32) {
        self.waiting().operations.remove(&(tx, step));
    }

    pub fn expect_read(&self, id: u64) -> mpsc::UnboundedReceiver<ReadAnswer> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.waiting().reads.insert(id, sender);
        receiver
    }

    pub fn forget_read(&self, id: u64) {
        self.waiting().reads.remove(&id);
    }

    /// Takes the next sequence number, so that what it names can be spoken of before it is ordered.
    pub fn next_seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request to all replicas and waits for a quorum of matching answers (Alg. 1).
    pub fn order(&self, seq: u64, ordered: &Ordered) -> oneshot::Receiver<Result<Reply, String>> {
        let request = Request::sign(&self.key, self.me, self.incarnation, seq, ordered.encode());
        let message = encode(&ClientMessage::Request(request));
        let (sender, receiver) = oneshot::channel();
        let pending = Pending {
            message: message.clone(),
            counter: ReplyCounter::new(self.view.quorum()),
            done: Some(sender),
            sent: Instant::now(),
        };
        self.waiting().ordered.insert(seq, pending);
        self.broadcast(&message);
        receiver
    }

    /// Notices every link that goes up or down from now on.
    pub fn links_changed(&self) -> watch::Receiver<u64> {
        self.links.subscribe()
    }

    fn broadcast(&self, message: &Bytes) {
        for replica in self.view.replicas.keys() {
            // A replica that cannot be reached gets it with the next repetition.
            let _ =
                self.endpoint
                    .send(PeerId::Replica(replica.0), channel::CLIENT, message.clone());
        }
    }

    /// Waits for the answer to an ordered request; `None` when it stays out.
    pub async fn answered(
        &self,
        seq: u64,
        receiver: oneshot::Receiver<Result<Reply, String>>,
    ) -> Option<Result<Reply, String>> {
        let answer = timeout(self.settings.patience, receiver).await;
        self.waiting().ordered.remove(&seq);
        match answer {
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn note_epoch(&self, waiting: &mut Waiting, from: ReplicaId, epoch: u64) {
        let known = waiting.epochs.entry(from).or_insert(0);
        *known = (*known).max(epoch);
        let mut named: Vec<u64> = waiting.epochs.values().copied().collect();
        named.sort_unstable_by(|a, b| b.cmp(a));
        // f+1 replicas name it or a later one: one of them is correct.
        if let Some(vouched) = named.get(usize::from(self.view.f)) {
            self.epoch.send_if_modified(|current| {
                let moved = *vouched > *current;
                *current = (*current).max(*vouched);
                moved
            });
        }
    }

    fn route(&self, from: ReplicaId, message: ReplicaMessage) {
        let mut waiting = self.waiting();
        match message {
            ReplicaMessage::Reply(reply) => {
                if reply.incarnation != self.incarnation {
                    return;
                }
                self.note_epoch(&mut waiting, from, reply.epoch);
                let seq = reply.seq;
                let Some(pending) = waiting.ordered.get_mut(&seq) else {
                    return;
                };
                if let Some(matched) = pending.counter.add(from, reply) {
                    self.seen.fetch_max(matched.height, Ordering::Relaxed);
                    self.time_ms.fetch_max(matched.time_ms, Ordering::Relaxed);
                    if let Some(done) = pending.done.take() {
                        let _ = done.send(Ok(matched));
                    }
                    waiting.ordered.remove(&seq);
                }
            }
            ReplicaMessage::Rejected {
                incarnation,
                seq,
                reason,
            } => {
                if incarnation != self.incarnation {
                    return;
                }
                let replicas = self.view.replicas.len();
                let Some(pending) = waiting.ordered.get_mut(&seq) else {
                    return;
                };
                if let Some(why) = pending.counter.reject(from, replicas, reason) {
                    if let Some(done) = pending.done.take() {
                        let _ = done.send(Err(why));
                    }
                    waiting.ordered.remove(&seq);
                }
            }
            ReplicaMessage::Operation {
                tx,
                step,
                outcome,
                evidence,
                ran_at,
            } => {
                if from != self.master() {
                    return;
                }
                if !txn::result::is_whole(&outcome.frames) {
                    tracing::warn!(%from, "an answer that is not whole messages");
                    let reason = malformed();
                    if let Some(done) = waiting.operations.remove(&(tx, step)) {
                        let _ = done.send(MasterAnswer::Doomed(reason));
                    }
                    return;
                }
                if let Some(done) = waiting.operations.remove(&(tx, step)) {
                    let _ = done.send(MasterAnswer::Outcome {
                        outcome,
                        evidence,
                        ran_at,
                    });
                }
            }
            ReplicaMessage::Doomed { tx, reason, epoch } => {
                self.note_epoch(&mut waiting, from, epoch);
                // No other replica has a say in a transaction that is open at the master.
                if from != self.master() {
                    return;
                }
                let steps: Vec<_> = waiting
                    .operations
                    .keys()
                    .filter(|(t, _)| *t == tx)
                    .copied()
                    .collect();
                for step in steps {
                    if let Some(done) = waiting.operations.remove(&step) {
                        let _ = done.send(MasterAnswer::Doomed(reason.clone()));
                    }
                }
            }
            ReplicaMessage::Read {
                id,
                height,
                digest,
                failed,
                outcome,
            } => {
                if outcome
                    .as_ref()
                    .is_some_and(|o| !txn::result::is_whole(&o.frames))
                {
                    tracing::warn!(%from, "an answer that is not whole messages");
                    return;
                }
                if let Some(reads) = waiting.reads.get(&id) {
                    let _ = reads.send(ReadAnswer {
                        from,
                        height,
                        digest,
                        failed,
                        outcome,
                    });
                }
            }
            ReplicaMessage::Info { id, status } => {
                self.note_epoch(&mut waiting, from, status.epoch);
                if let Some(infos) = waiting.infos.get(&id) {
                    let _ = infos.send((from, status));
                }
            }
            ReplicaMessage::Audit {
                incarnation,
                seq,
                height,
                tables,
                error,
            } => {
                if incarnation == self.incarnation
                    && let Some(audits) = waiting.audits.get(&seq)
                {
                    let _ = audits.send((
                        from,
                        AuditReport {
                            height,
                            tables,
                            error,
                        },
                    ));
                }
            }
            ReplicaMessage::Epoch { epoch, .. } => self.note_epoch(&mut waiting, from, epoch),
        }
    }

    /// Sends again what has waited, to everybody; a replica answers from its reply store when it was ordered already.
    fn repeat(&self) {
        let mut waiting = self.waiting();
        let now = Instant::now();
        for pending in waiting.ordered.values_mut() {
            if now.duration_since(pending.sent) >= REPEAT_AFTER {
                pending.sent = now;
                self.broadcast(&pending.message);
            }
        }
    }

    fn repeat_to(&self, replica: ReplicaId) {
        let waiting = self.waiting();
        for pending in waiting.ordered.values() {
            let _ = self.endpoint.send(
                PeerId::Replica(replica.0),
                channel::CLIENT,
                pending.message.clone(),
            );
        }
    }
}

fn malformed() -> Reason {
    Reason {
        sqlstate: "40001".into(),
        message: "the master's answer is not made of whole messages".into(),
        detail: String::new(),
    }
}

const REPEAT_AFTER: Duration = Duration::from_millis(1_500);
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn encode(message: &ClientMessage) -> Bytes {
    Bytes::from(postcard::to_stdvec(message).expect("these types have no unserialisable parts"))
}

impl Shim {
    /// Starts the links to all replicas. Returns at once; see [`Shim::ready`].
    ///
    /// # Errors
    /// When the identity is not the one that the cluster file lists for `me`.
    pub async fn connect(
        cluster: &Cluster,
        me: ClientId,
        identity: Identity,
        settings: Settings,
    ) -> Result<Shim, ShimError> {
        let failed = |e: &dyn std::fmt::Display| {
            ShimError::new("08001", format!("cannot join the cluster: {e}"))
        };
        let key = identity.signing_key().clone();
        let config = EndpointConfig {
            me: PeerId::Client(me.0),
            identity,
            directory: cluster.directory().map_err(|e| failed(&e))?,
            listen: None,
            dial: cluster
                .replicas
                .iter()
                .map(|r| (PeerId::Replica(r.id), r.address))
                .collect(),
            limits: net::Limits::default(),
        };
        let (endpoint, events) = Endpoint::start(config).await.map_err(|e| failed(&e))?;
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let inner = Arc::new(Inner {
            me,
            key,
            // Grows with every start, so that the replicas' windows for this client begin anew.
            incarnation: since_epoch.as_nanos() as u64,
            view: cluster.membership(),
            endpoint,
            settings,
            next_seq: AtomicU64::new(1),
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
            epoch: watch::channel(0).0,
            links: watch::channel(0).0,
            seen: AtomicU64::new(0),
            time_ms: AtomicU64::new(since_epoch.as_millis() as u64),
        });
        tokio::spawn(listen(Arc::downgrade(&inner), events));
        Ok(Shim(inner))
    }

    /// Waits until a quorum of replicas is connected and the master is known.
    ///
    /// # Errors
    /// 57P03 when that takes longer than `wait`.
    pub async fn ready(&self, wait: Duration) -> Result<(), ShimError> {
        let until = Instant::now() + wait;
        loop {
            if self.0.connected().len() >= self.0.view.quorum() {
                let left = until.saturating_duration_since(Instant::now());
                let each = left
                    .min(Duration::from_secs(2))
                    .max(Duration::from_millis(50));
                if self.statuses(each).await.len() >= self.0.view.quorum() {
                    return Ok(());
                }
            }
            if Instant::now() >= until {
                return Err(no_quorum(self.0.connected().len(), self.0.view.quorum()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What each replica says of itself; those that do not answer within `wait` are missing.
    pub async fn statuses(&self, wait: Duration) -> BTreeMap<ReplicaId, ReplicaStatus> {
        let id = self.0.fresh();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.0.waiting().infos.insert(id, sender);
        let asked = self
            .0
            .connected()
            .into_iter()
            .filter(|r| self.0.send(*r, &ClientMessage::Info { id }))
            .count();
        let mut statuses = BTreeMap::new();
        let until = Instant::now() + wait;
        while statuses.len() < asked {
            match tokio::time::timeout_at(until, receiver.recv()).await {
                Ok(Some((from, status))) => {
                    statuses.insert(from, status);
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.0.waiting().infos.remove(&id);
        statuses
    }

    /// PostgreSQL's reported parameters of a new session, as f+1 replicas report them.
    ///
    /// # Errors
    /// 57P03 when too few replicas answer.
    pub async fn parameters(&self) -> Result<Vec<(String, String)>, ShimError> {
        let needed = usize::from(self.0.view.f) + 1;
        for _ in 0..20 {
            let statuses = self.statuses(Duration::from_secs(1)).await;
            for status in statuses.values() {
                let same = statuses
                    .values()
                    .filter(|s| s.parameters == status.parameters);
                if !status.parameters.is_empty() && same.count() >= needed {
                    return Ok(status.parameters.clone());
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Err(no_quorum(self.0.connected().len(), needed))
    }

    /// Orders a request and waits for its answer.
    ///
    /// # Errors
    /// 53400 when the replicas refuse it, 08007 when no quorum answers in time.
    pub async fn invoke(&self, ordered: &Ordered) -> Result<Reply, ShimError> {
        let seq = self.0.next_seq();
        let receiver = self.0.order(seq, ordered);
        match self.0.answered(seq, receiver).await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(why)) => Err(ShimError::new(
                "53400",
                format!("the replicas do not accept the request: {why}"),
            )),
            None => Err(ShimError::unknown_outcome()),
        }
    }

    /// Begins a transaction: its `Begin` is on its way when this returns.
    pub fn begin(&self, settings: SessionSettings, read_only: bool) -> Transaction {
        Transaction::begin(self.0.clone(), settings, read_only)
    }

    /// Every replica's tables at one height; those that do not answer within `wait` are missing.
    ///
    /// # Errors
    /// As [`Shim::invoke`].
    pub async fn audit(
        &self,
        wait: Duration,
    ) -> Result<BTreeMap<ReplicaId, AuditReport>, ShimError> {
        let seq = self.0.next_seq();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.0.waiting().audits.insert(seq, sender);
        // An audit is answered by its reports, not by matching replies.
        let _ordered = self.0.order(seq, &Ordered::Audit);
        let until = Instant::now() + wait;
        let mut reports = BTreeMap::new();
        while reports.len() < self.0.view.replicas.len() {
            // Replicas that are not connected will not answer; wait for them only a little once the others have.
            let enough = reports.len() >= self.0.connected().len();
            let until = if enough {
                until.min(Instant::now() + Duration::from_millis(500))
            } else {
                until
            };
            match tokio::time::timeout_at(until, receiver.recv()).await {
                Ok(Some((from, report))) => {
                    reports.insert(from, report);
                }
                Ok(None) | Err(_) => break,
            }
        }
        let mut waiting = self.0.waiting();
        waiting.audits.remove(&seq);
        waiting.ordered.remove(&seq);
        drop(waiting);
        Ok(reports)
    }

    /// Changes whenever a link goes up or down.
    pub fn links(&self) -> watch::Receiver<u64> {
        self.0.links.subscribe()
    }
}

fn no_quorum(connected: usize, needed: usize) -> ShimError {
    ShimError::new("57P03", "the cluster is not ready: too few replicas answer")
        .detail(format!(
            "{connected} replicas are connected, {needed} are needed."
        ))
        .hint("Look at `steeldb status`; start the missing replicas with `steeldb start`.")
}

/// Owns the endpoint's events; ends when the last handle to the shim is gone.
async fn listen(inner: std::sync::Weak<Inner>, mut events: Events) {
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
            } => match postcard::from_bytes(&payload) {
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
