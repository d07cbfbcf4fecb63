//! What all handles of a client share: its key and numbers, its links, and what waits for an answer.

mod answers;
mod errand;
mod listen;
mod route;
mod silence;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, channel};
use consensus::{Author, ClientId, Digest, Height, PublicKey, ReplicaId, Signature, View};
use net::{Endpoint, Identity, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use txn::client::{ClientMessage, Outcome, Reason, ReplicaStatus, Reply};
use txn::receipt::Given;
use txn::word::Account;
use txn::{Evidence, Ordered, TxId};

use crate::count::ReplyCounter;
use crate::error::ShimError;
use crate::links::{self, Announced};
use crate::settings::Settings;
use crate::shim::AuditReport;
pub(crate) use answers::Answers;
pub(crate) use silence::Silence;

/// Silence after which a request is sent again.
const REPEAT_AFTER: Duration = Duration::from_millis(1_500);
/// And after twice as long each time, up to this: what is slow because of load is not helped by more of it.
const REPEAT_AT_MOST: Duration = Duration::from_secs(6);

/// An operation's provisional answer, or why the transaction is over.
#[derive(Debug)]
pub(crate) enum MasterAnswer {
    Outcome {
        outcome: Outcome,
        evidence: Box<Evidence>,
        ran_at: Height,
        word: Option<Signature>,
    },
    /// The epoch is the one that the master names.
    Doomed { reason: Reason, epoch: u64 },
    /// Not made of whole messages of a known kind.
    Malformed,
}

pub(crate) struct ReadAnswer {
    pub from: ReplicaId,
    pub height: Height,
    pub digest: Digest,
    pub failed: Option<String>,
    pub outcome: Option<Outcome>,
}

pub(crate) struct Pending {
    message: Bytes,
    /// Its operation, while it is not signed.
    to_sign: Option<Bytes>,
    /// Who wants it signed.
    must_sign: BTreeSet<ReplicaId>,
    counter: ReplyCounter,
    done: Option<oneshot::Sender<Result<Reply, String>>>,
    sent: Instant,
    /// Until it is sent again.
    pause: Duration,
}

#[derive(Default)]
pub(crate) struct Waiting {
    pub ordered: HashMap<u64, Pending>,
    operations: HashMap<(TxId, u32), oneshot::Sender<MasterAnswer>>,
    /// What replicas say that the master told them of these.
    brought: HashMap<TxId, errand::Said>,
    reads: HashMap<u64, Answers<ReadAnswer>>,
    pub infos: HashMap<u64, Answers<(ReplicaId, ReplicaStatus)>>,
    pub receipts: HashMap<u64, Answers<(ReplicaId, Given)>>,
    pub audits: HashMap<u64, Answers<(ReplicaId, AuditReport)>>,
    /// The epoch that each replica last named.
    epochs: BTreeMap<ReplicaId, u64>,
    views: Announced,
}
pub(crate) struct Inner {
    pub me: ClientId,
    key: PublicKey,
    author: Mutex<Author>,
    pub incarnation: u64,
    /// The membership as this client knows it.
    view: RwLock<Arc<View>>,
    pub endpoint: Endpoint,
    pub settings: Settings,
    next_seq: AtomicU64,
    next_id: AtomicU64,
    waiting: Mutex<Waiting>,
    /// The master epoch that f+1 replicas vouch for.
    pub epoch: watch::Sender<u64>,
    links: watch::Sender<u64>,
    /// The first epoch whose master this client has not complained of.
    uncomplained: AtomicU64,
    /// Highest height that a quorum told this client of.
    pub seen: AtomicU64,
    /// Consensus time there, milliseconds.
    pub time_ms: AtomicU64,
}

impl Inner {
    /// Starts the links to all replicas.
    pub async fn start(
        cluster: &Cluster,
        me: ClientId,
        identity: Identity,
        settings: Settings,
    ) -> Result<Arc<Inner>, ShimError> {
        let failed = |e: &dyn std::fmt::Display| {
            ShimError::new("08001", format!("cannot join the cluster: {e}"))
        };
        let key = identity.signing_key().clone();
        let (endpoint, events) = links::connect(cluster, me, identity, net::Limits::default())
            .await
            .map_err(|e| failed(&e))?;
        let incarnation = links::incarnation();
        let inner = Arc::new(Inner {
            me,
            key: PublicKey::of(&key),
            author: Mutex::new(Author::new(me, key)),
            incarnation,
            view: RwLock::new(Arc::new(cluster.membership())),
            endpoint,
            settings,
            next_seq: AtomicU64::new(1),
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
            epoch: watch::channel(0).0,
            links: watch::channel(0).0,
            uncomplained: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            time_ms: AtomicU64::new(incarnation / 1_000_000),
        });
        tokio::spawn(listen::listen(Arc::downgrade(&inner), events));
        Ok(inner)
    }

    /// The membership now.
    pub fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The master by what this client knows.
    pub fn master(&self) -> ReplicaId {
        self.master_of(*self.epoch.borrow())
    }

    pub fn master_of(&self, epoch: u64) -> ReplicaId {
        let view = self.view();
        let place = (epoch % view.replicas.len() as u64) as usize;
        let ids: Vec<_> = view.replicas.keys().copied().collect();
        ids[place]
    }

    /// Tells the replicas, once, that what this epoch's master says is worthless; the error for whom it concerned.
    pub fn complain(self: &Arc<Self>, epoch: u64, why: &str) -> ShimError {
        let error = ShimError::retry(format!("could not serialize access: {why}"));
        if self.uncomplained.fetch_max(epoch + 1, Ordering::Relaxed) > epoch {
            return error;
        }
        tracing::warn!(epoch, "{why}");
        let (inner, seq) = (self.clone(), self.next_seq());
        let receiver = self.order(seq, &Ordered::MasterChange { epoch });
        tokio::spawn(async move { inner.answered(seq, receiver).await });
        error
    }

    /// Whether it is the word of an epoch's master for what it answered.
    pub fn is_word(&self, epoch: u64, account: &Account, word: Option<Signature>) -> bool {
        let view = self.view();
        let signed = word.zip(view.replica_key(self.master_of(epoch)));
        signed.is_some_and(|(word, key)| account.is_signed(&word, key))
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
        let mut waiting = self.waiting();
        waiting.operations.remove(&(tx, step));
        waiting.brought.remove(&tx);
    }

    pub fn expect_read(&self, id: u64) -> mpsc::UnboundedReceiver<ReadAnswer> {
        let (sender, receiver) = Answers::channel();
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
        self.order_bytes(seq, ordered.encode())
    }

    pub fn order_bytes(&self, seq: u64, op: Vec<u8>) -> oneshot::Receiver<Result<Reply, String>> {
        let op = Bytes::from(op);
        let request = self
            .author()
            .request(&self.view(), self.incarnation, seq, op.clone());
        let to_sign = (!request.auth.is_signature()).then_some(op);
        let message = encode(&ClientMessage::Request(request));
        let (sender, receiver) = oneshot::channel();
        let pending = Pending {
            message: message.clone(),
            to_sign,
            must_sign: BTreeSet::new(),
            counter: ReplyCounter::new(self.view()),
            done: Some(sender),
            sent: Instant::now(),
            pause: REPEAT_AFTER,
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
        for replica in self.view().replicas.keys() {
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

    /// Sends again what has waited, to everybody; a replica answers from its reply store when it was ordered already.
    fn repeat(&self) {
        let mut waiting = self.waiting();
        let now = Instant::now();
        for (seq, pending) in &mut waiting.ordered {
            if now.duration_since(pending.sent) >= pending.pause {
                pending.sent = now;
                pending.pause = (pending.pause * 2).min(REPEAT_AT_MOST);
                // Whatever keeps a MAC vector from being ordered does not keep a signature.
                self.sign(*seq, pending);
                self.broadcast(&pending.message);
            }
        }
    }

    fn author(&self) -> MutexGuard<'_, Author> {
        self.author.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Signs a request, if it is not: the same operation under the same number.
    fn sign(&self, seq: u64, pending: &mut Pending) {
        if let Some(op) = pending.to_sign.take() {
            let request = self.author().signed(self.incarnation, seq, op);
            pending.message = encode(&ClientMessage::Request(request));
        }
    }

    /// A replica wants a request signed. When a correct one must be among those who do, it and all that follow are.
    fn must_sign(&self, waiting: &mut Waiting, from: ReplicaId, seq: u64) {
        let Some(pending) = waiting.ordered.get_mut(&seq) else {
            return;
        };
        let view = self.view();
        if pending.to_sign.is_none() || view.replica_key(from).is_none() {
            return;
        }
        pending.must_sign.insert(from);
        if pending.must_sign.len() >= view.one_correct() {
            self.author().sign_from_now_on();
            self.sign(seq, pending);
            self.broadcast(&pending.message);
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

pub(crate) fn encode(message: &ClientMessage) -> Bytes {
    Bytes::from(postcard::to_stdvec(message).expect("these types have no unserialisable parts"))
}
