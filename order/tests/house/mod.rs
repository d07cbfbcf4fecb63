//! Four replicas of a toy service over real links and real files, in one process.
#![allow(clippy::unwrap_used)] // a helper of tests panics as tests do

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster::channel;
use consensus::transfer::TransferLimits;
use consensus::{
    Decided, Digest, Height, PublicKey, Reason, ReplicaId, Request, Settings, Status, View,
};
use net::{Directory, Endpoint, EndpointConfig, Event, Events, Identity, Limits, PeerId};
use order::checkpoint::Checkpoints;
use order::log::{Log, LogError, LogOptions};
use order::{Inbound, OrderEvents, OrderHandle, OrderParts, StateParts, ToService, Wire};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Nothing in these scenarios takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Heights between checkpoints.
pub const EVERY: Height = 10;
/// Bytes of the service's state: a few chunks.
const STATE: usize = 700_000;

/// A service whose state depends on every operation and its place in the order.
#[derive(Clone, PartialEq, Eq)]
pub struct Toy {
    pub height: Height,
    bytes: Vec<u8>,
    /// The heights at which its state was replaced, since it was started.
    pub restored: Vec<Height>,
}

impl Toy {
    fn new() -> Toy {
        Toy {
            height: 0,
            bytes: vec![0; STATE],
            restored: Vec::new(),
        }
    }

    fn execute(&mut self, decided: &Decided) {
        assert_eq!(decided.height, self.height + 1, "no gap and no repetition");
        self.height = decided.height;
        for request in &decided.requests {
            let digest = Digest::of_result(&[&self.bytes[..32], &request.op[..]].concat());
            let at = usize::from(digest.0[0]) * 2_048;
            self.bytes[..32].copy_from_slice(&digest.0);
            self.bytes[at + 32..at + 64].copy_from_slice(&digest.0);
        }
    }
}

struct ToyWire;

impl Wire for ToyWire {
    fn request(&self, request: &Request) -> Bytes {
        postcard::to_stdvec(request).unwrap().into()
    }

    fn rejected(&self, _: u64, _: u64, _: &Reason) -> Bytes {
        Bytes::new()
    }
}

/// A running replica.
pub struct Running {
    pub handle: OrderHandle,
    pub status: watch::Receiver<Status>,
    pub toy: Arc<Mutex<Toy>>,
    pub log: Log,
    /// Its log failed: it stopped.
    pub stopped: Arc<AtomicBool>,
    endpoint: Endpoint,
    tasks: Vec<JoinHandle<()>>,
}

/// The cluster: keys, addresses, disks.
pub struct House {
    identities: Vec<Identity>,
    addresses: Vec<SocketAddr>,
    disks: PathBuf,
    /// Deletes them in the end.
    dir: Option<TempDir>,
    segment_bytes: u32,
    pub running: Vec<Option<Running>>,
}

impl House {
    pub async fn new() -> House {
        let dir = TempDir::new().unwrap();
        let mut house = House::at(dir.path(), 4_000).await;
        house.dir = Some(dir);
        house
    }

    /// On disks that were there before, or are to be there afterwards.
    pub async fn at(disks: &Path, segment_bytes: u32) -> House {
        // None that the kernel gives to somebody else while a replica is down.
        let ports = net::free_ports(4, 0);
        let mut house = House {
            identities: (1..=4).map(|i| Identity::from_seed([i; 32])).collect(),
            addresses: ports
                .iter()
                .map(|port| (Ipv4Addr::LOCALHOST, *port).into())
                .collect(),
            disks: disks.to_owned(),
            dir: None,
            segment_bytes,
            running: Vec::new(),
        };
        for i in 0..4 {
            house.running.push(None);
            house.start(i).await;
        }
        house
    }

    pub fn path(&self, i: usize) -> PathBuf {
        self.disks.join(i.to_string())
    }

    pub fn view(&self) -> View {
        let keys = self
            .identities
            .iter()
            .map(|identity| PublicKey(identity.public_key()));
        let replicas = (0..).map(ReplicaId).zip(keys).collect();
        View {
            id: 1,
            f: 1,
            replicas,
            clients: Default::default(),
            ..View::default()
        }
    }

    pub async fn start(&mut self, i: usize) {
        let (log, replay) = self.open_log(i).await;
        let checkpoints = Checkpoints::open(self.path(i).join("checkpoints")).unwrap();
        let begin = checkpoints.newest(&self.view()).unwrap();
        let summary = begin.as_ref().map(|begin| begin.summary.clone());
        let recovered = order::recover_from(summary, replay, self.view()).unwrap();
        let (endpoint, events) = self.endpoint(i).await;
        let (handle, from_order) = order::start(OrderParts {
            me: ReplicaId(i as u16),
            key: self.identities[i].signing_key().clone(),
            view: self.view(),
            spare_keys: Vec::new(),
            links_since: 0,
            own_record: false,
            settings: Settings {
                checkpoint_every: EVERY,
                ..Settings::default()
            },
            log: log.clone(),
            endpoint: endpoint.clone(),
            wire: Arc::new(ToyWire),
            recovered,
            finished: None,
            state: Some(StateParts {
                checkpoints,
                limits: TransferLimits::default(),
                begin,
                later: false,
                needed: None,
            }),
        });
        let OrderEvents {
            decided,
            status,
            durable: _,
            repeats: _,
            view: _,
        } = from_order;
        let toy = Arc::new(Mutex::new(Toy::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let tasks = vec![
            tokio::spawn(watch_log(log.clone(), stopped.clone())),
            tokio::spawn(serve(decided, toy.clone())),
            tokio::spawn(dispatch(events, handle.clone())),
        ];
        self.running[i] = Some(Running {
            handle,
            status,
            toy,
            log,
            stopped,
            endpoint,
            tasks,
        });
    }

    /// The one before may not have let go of it yet.
    async fn open_log(&self, i: usize) -> (Log, order::log::Replay) {
        let options = || LogOptions {
            segment_bytes: self.segment_bytes,
            ..LogOptions::default()
        };
        for _ in 0..3_000 {
            match Log::open(self.path(i).join("log"), options()) {
                Err(LogError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                other => return other.unwrap(),
            }
        }
        panic!("the log stays in use");
    }

    async fn endpoint(&self, i: usize) -> (Endpoint, Events) {
        let peer = |i: usize| PeerId::Replica(i as u16);
        let keys = self.identities.iter().enumerate();
        let config = EndpointConfig {
            me: peer(i),
            identity: self.identities[i].clone(),
            directory: Directory::new(keys.map(|(i, key)| (peer(i), key.public_key()))).unwrap(),
            listen: Some(self.addresses[i]),
            dial: (0..i).map(|j| (peer(j), self.addresses[j])).collect(),
            limits: Limits::default(),
        };
        Endpoint::start(config).await.unwrap()
    }

    /// The process ends without a word; what was written stays, and nothing more is written from then on.
    pub async fn kill(&mut self, i: usize) {
        let Some(Running {
            handle,
            status,
            toy,
            log,
            stopped: _,
            endpoint,
            tasks,
        }) = self.running[i].take()
        else {
            return;
        };
        tasks.iter().for_each(JoinHandle::abort);
        endpoint.shutdown().await;
        drop((handle, status, toy, log));
        drop(self.open_log(i).await);
    }

    pub fn replica(&self, i: usize) -> &Running {
        self.running[i].as_ref().unwrap()
    }

    pub fn toy(&self, i: usize) -> Toy {
        self.replica(i).toy.lock().unwrap().clone()
    }

    /// Orders operations of one replica, one height each.
    pub async fn order(&self, by: usize, count: u64) {
        for _ in 0..count {
            // Either may be told of a height a moment before the other.
            let executed = self.replica(by).toy.lock().unwrap().height;
            let before = self.replica(by).status.borrow().height.max(executed);
            self.replica(by)
                .handle
                .submit(before.to_le_bytes().to_vec());
            self.reaches(by, before + 1).await;
        }
    }

    /// The heights of a replica's checkpoints. A third may be there for a moment, before the first of them is deleted.
    pub fn kept(&self, i: usize) -> Vec<Height> {
        let checkpoints = Checkpoints::open(self.path(i).join("checkpoints")).unwrap();
        checkpoints.heights().unwrap()
    }

    /// Waits until a replica's service has executed a height.
    pub async fn reaches(&self, i: usize, height: Height) {
        let arrived = async {
            while self.replica(i).toy.lock().unwrap().height < height {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, arrived).await.is_err() {
            let status = *self.replica(i).status.borrow();
            panic!("replica {i} does not reach {height}: {status:?}");
        }
    }

    /// Waits for something on a disk.
    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..3_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came true: {what}");
    }

    /// All services that run have executed this height and have the same state.
    pub async fn assert_equal(&self, height: Height) {
        let up = (0..4).filter(|i| self.running[*i].is_some());
        let mut first: Option<Toy> = None;
        for i in up {
            self.reaches(i, height).await;
            let toy = self.toy(i);
            let first = first.get_or_insert_with(|| toy.clone());
            assert_eq!(
                (toy.height, toy.bytes == first.bytes),
                (height, true),
                "replica {i}"
            );
        }
    }
}

/// As a replica does: what cannot be made durable any more is not done.
async fn watch_log(log: Log, stopped: Arc<AtomicBool>) {
    log.failed().await;
    stopped.store(true, Ordering::SeqCst);
}

async fn serve(mut tasks: mpsc::Receiver<ToService>, toy: Arc<Mutex<Toy>>) {
    while let Some(task) = tasks.recv().await {
        let mut toy = toy.lock().unwrap();
        match task {
            ToService::Execute(delivered) => toy.execute(&delivered.decided),
            ToService::Tentative(_) => panic!("nobody set this"),
            ToService::Snapshot { height, reply } => {
                assert_eq!(height, toy.height);
                let _ = reply.send(toy.bytes.clone().into());
            }
            ToService::Restore { height, state } => {
                toy.restored.push(height);
                (toy.height, toy.bytes) = (height, state.to_vec());
            }
        }
    }
}

async fn dispatch(mut events: Events, order: OrderHandle) {
    while let Some(event) = events.recv().await {
        match order::inbound(event) {
            Ok(inbound) => order.inbound(inbound).await,
            Err(Event::Frame {
                channel: channel::CLIENT,
                payload,
                ..
            }) => {
                let requests = vec![postcard::from_bytes(&payload).unwrap()];
                order.inbound(Inbound::Requests(requests)).await;
            }
            Err(_) => {}
        }
    }
}
