//! Four replicas of a map over real sockets, and what can be wrong with one of them.
#![allow(dead_code)] // each scenario file uses its part
#![allow(clippy::unwrap_used)] // a helper of tests panics as tests do

pub mod impostor;
pub mod map;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use client_shim::invoker::{Client, Settings};
use cluster::{ClientEntry, Cluster, FIRST_CLIENT, ReplicaEntry};
use consensus::{ClientAuthentication, ClientId, Height, ReplicaId};
use net::Identity;
use order::node::{Node, NodeConfig, NodeError, Service};
use tempfile::TempDir;

use map::Map;

/// No scenario waits longer for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Clients that a group knows.
const CLIENTS: u32 = 4;

/// A cluster file, everybody's keys, and the replicas that run.
pub struct Group {
    pub cluster: Cluster,
    pub replicas: Vec<Identity>,
    clients: Vec<Identity>,
    pub nodes: Vec<Option<Node>>,
    dir: TempDir,
}

impl Group {
    /// Keys and addresses of four replicas, of which none runs.
    pub fn new() -> Group {
        let replicas: Vec<_> = (0..4).map(|_| Identity::generate()).collect();
        let clients: Vec<_> = (0..CLIENTS).map(|_| Identity::generate()).collect();
        let cluster = Cluster {
            f: 1,
            mode: Default::default(),
            fast: Default::default(),
            client_authentication: Default::default(),
            administrators: Default::default(),
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
            dir: TempDir::new().unwrap(),
        }
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
        let mut group = Group::new();
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
        NodeConfig::new(
            self.cluster.clone(),
            ReplicaId(id),
            identity,
            self.log_dir(id),
        )
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
