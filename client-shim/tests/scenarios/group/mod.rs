//! Four replicas of a map over real sockets, and what can be wrong with one of them.
#![allow(dead_code)] // each scenario file uses its part
#![allow(clippy::unwrap_used)] // a helper of tests panics as tests do

pub mod impostor;
pub mod map;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use client_shim::invoker::{Client, Settings};
use cluster::{ClientEntry, Cluster, FIRST_CLIENT, ReplicaEntry};
use consensus::{ClientAuthentication, ClientId, Height, ReplicaId};
use net::Identity;
use order::log::LogOptions;
use order::node::{Node, NodeConfig, NodeError, Service};
use tempfile::TempDir;

use map::Map;

/// No scenario waits longer for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Heights between checkpoints where logs are short.
pub const EVERY: Height = 5;
const FIRST_SEGMENT: &str = "0000000001.segment";
/// Clients that a group knows.
const CLIENTS: u32 = 4;
/// The place of the one that changes the membership, and does nothing else.
pub const ADMINISTRATOR: u32 = CLIENTS;

/// A cluster file, everybody's keys, and the replicas that run.
pub struct Group {
    pub cluster: Cluster,
    pub replicas: Vec<Identity>,
    clients: Vec<Identity>,
    pub nodes: Vec<Option<Node>>,
    /// Of all replicas that are started from now on.
    pub settings: consensus::Settings,
    pub log_options: LogOptions,
    dir: TempDir,
}

impl Group {
    /// Keys and addresses of four replicas, of which none runs.
    pub fn new() -> Group {
        let replicas: Vec<_> = (0..4).map(|_| Identity::generate()).collect();
        let clients: Vec<_> = (0..=CLIENTS).map(|_| Identity::generate()).collect();
        let cluster = Cluster {
            f: 1,
            mode: Default::default(),
            fast: Default::default(),
            client_authentication: Default::default(),
            administrators: [FIRST_CLIENT + ADMINISTRATOR].into(),
            leader: None,
            view: 0,
            replicas: (0..)
                .zip(&replicas)
                .map(|(id, identity)| ReplicaEntry {
                    id,
                    address: free_address(),
                    key: hex(identity),
                })
                .collect(),
            clients: (FIRST_CLIENT..)
                .zip(&clients)
                .map(|(id, identity)| ClientEntry {
                    id,
                    name: format!("client-{id}"),
                    key: hex(identity),
                })
                .collect(),
        };
        Group {
            cluster,
            replicas,
            clients,
            nodes: (0..4).map(|_| None).collect(),
            settings: consensus::Settings {
                checkpoint_every: order::node::bounds::CHECKPOINT_EVERY,
                ..consensus::Settings::default()
            },
            log_options: LogOptions::default(),
            dir: TempDir::new().unwrap(),
        }
    }

    /// Checkpoints every few heights, and logs that are cut behind them.
    pub fn with_short_logs() -> Group {
        let mut group = Group::new();
        group.settings.checkpoint_every = EVERY;
        group.log_options.segment_bytes = 4_000;
        group
    }

    /// Four replicas of the map whose clients use MACs.
    pub async fn with_macs() -> Group {
        let mut group = Group::new();
        group.cluster.client_authentication = ClientAuthentication::Macs;
        for id in 0..4 {
            group.start(id, Map::default()).await;
        }
        group
    }

    /// Four replicas of the map.
    pub async fn running() -> Group {
        Group::new().started().await
    }

    pub async fn started(self) -> Group {
        let mut group = self;
        for id in 0..4 {
            group.start(id, Map::default()).await;
        }
        group
    }

    pub fn log_dir(&self, id: u16) -> PathBuf {
        self.dir.path().join(format!("log-{id}"))
    }

    pub fn config(&self, id: u16) -> NodeConfig {
        let identity = self.replicas[usize::from(id)].clone();
        let (cluster, log) = (self.cluster.clone(), self.log_dir(id));
        NodeConfig {
            settings: self.settings.clone(),
            log_options: self.log_options.clone(),
            ..NodeConfig::new(cluster, ReplicaId(id), identity, log)
        }
    }

    /// The heights of a replica's checkpoints.
    pub fn checkpoints(&self, id: u16) -> Vec<Height> {
        let Ok(files) = std::fs::read_dir(self.log_dir(id).join("checkpoints")) else {
            return Vec::new();
        };
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let heights = names.filter_map(|name| name.strip_suffix(".checkpoint")?.parse().ok());
        let mut heights: Vec<Height> = heights.collect();
        heights.sort_unstable();
        heights
    }

    /// Whether a replica's log begins later than at genesis.
    pub fn is_cut(&self, id: u16) -> bool {
        !self.log_dir(id).join(FIRST_SEGMENT).exists()
    }

    /// Orders this operation until all that run have cut their logs, and none of them can bring one back that stands where it stood
    /// before this; returns how many.
    pub async fn age(&self, client: &Client, op: &'static str) -> u64 {
        let running = (0..4).filter(|id| self.nodes[*id].is_some());
        let running: Vec<u16> = running.map(|id| id as u16).collect();
        let before = self.height();
        for count in 1..2_000 {
            client.invoke(op).await.unwrap();
            let old = |id: &u16| {
                let kept = self.checkpoints(*id);
                self.is_cut(*id) && kept.len() >= 2 && kept[0] > before
            };
            if running.iter().all(old) {
                return count;
            }
        }
        panic!("some log is never cut");
    }

    pub async fn start(&mut self, id: u16, service: impl Service) {
        let node = Node::start(self.config(id), service).await.unwrap();
        self.nodes[usize::from(id)] = Some(node);
    }

    pub async fn stop(&mut self, id: u16) -> Result<(), NodeError> {
        self.nodes[usize::from(id)].take().unwrap().shutdown().await
    }

    pub fn node(&self, id: u16) -> &Node {
        self.nodes[usize::from(id)].as_ref().unwrap()
    }

    /// Waits until all four are at the height that was reached now, and holds them to equal states.
    pub async fn assert_equal(&self) {
        let height = self.height();
        let mut snapshots = BTreeSet::new();
        for id in 0..4 {
            self.executed(id, height).await;
            snapshots.insert(self.node(id).snapshot().await.unwrap());
        }
        assert_eq!(snapshots.len(), 1);
    }

    /// The greatest height that one of them has executed.
    pub fn height(&self) -> Height {
        let running = self.nodes.iter().flatten();
        running.map(|node| *node.executed().borrow()).max().unwrap()
    }

    /// Waits until a replica has executed a height.
    pub async fn executed(&self, id: u16, height: Height) {
        let mut executed = self.node(id).executed();
        let reached = executed.wait_for(|at| *at >= height);
        in_time(reached).await.unwrap();
    }

    /// A client by its place, with an identity of its own.
    pub async fn client(&self, place: u32) -> Client {
        self.client_with(
            place,
            Settings {
                patience: PATIENCE,
                ..Settings::default()
            },
        )
        .await
    }

    pub async fn client_with(&self, place: u32, settings: Settings) -> Client {
        self.client_of(&self.cluster, place, settings).await
    }

    /// A client that has another cluster file.
    pub async fn client_of(&self, cluster: &Cluster, place: u32, settings: Settings) -> Client {
        let identity = self.clients[place as usize].clone();
        Client::connect(cluster, Self::client_id(place), identity, settings)
            .await
            .unwrap()
    }

    pub fn client_identity(&self, place: u32) -> Identity {
        self.clients[place as usize].clone()
    }

    pub fn client_id(place: u32) -> ClientId {
        ClientId(FIRST_CLIENT + place)
    }
}

pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

pub async fn wait_until(met: impl Fn() -> bool) {
    in_time(async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn hex(identity: &Identity) -> String {
    identity
        .public_key()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An address of the loopback network that no other process of these tests uses: this process' number is in it. A port below those that
/// the system gives to connections cannot be lost between its choice and its use.
pub fn free_address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 + high % 64, middle, low);
    (IpAddr::V4(host), PORT.fetch_add(1, Ordering::Relaxed)).into()
}
