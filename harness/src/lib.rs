//! What the rooms that attack and compare have in common: a cluster in this process, four replicas, each with a runtime
//! and a PostgreSQL of its own, and a proxy; and [`Link`], over which anything can be said to replicas.
//!
//! For tests alone. With the feature `lies` a replica lies when a test tells it to.

// Whoever starts it is a test: what goes wrong ends it, with the place where it did.
#![allow(clippy::unwrap_used)]

mod claim;
mod clients;
mod link;
mod observe;
mod votes;

pub use claim::inserted;
pub use link::Link;
pub use observe::{column, failure};
pub use votes::Vote;

#[path = "../../migrations/tests/scenarios/server/programs.rs"]
mod programs;

use client_shim::Shim;
use cluster::{ClientEntry, FIRST_CLIENT, ReplicaEntry};
use consensus::ClientId;
use net::{Identity, PeerId};
use proxy::{Proxy, ProxyConfig};
#[cfg(feature = "lies")]
use replica::executor::lies::{self, Lie};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

/// How long a cluster may take to start, and what is waited for to come: two tests' clusters may share two slow cores. Nothing that is
/// measured waits so long.
const START: Duration = Duration::from_secs(180);
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One cluster at a time: two cores carry no more.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Panics of the threads of replicas and of the proxy.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Who may speak to the replicas besides each other.
pub const PROXY: ClientId = ClientId(FIRST_CLIENT);
pub const OPERATOR: ClientId = ClientId(FIRST_CLIENT + 1);
pub const MALLORY: ClientId = ClientId(FIRST_CLIENT + 2);
/// Whoever changes the membership; what it has ordered is read as such a change and nothing else.
pub const ADMINISTRATOR: ClientId = ClientId(FIRST_CLIENT + 3);

/// The master of epoch 0, which leads the first regency too.
pub const MASTER: u16 = 0;

pub struct Cluster {
    pub file: cluster::Cluster,
    /// Where clients connect.
    pub front: SocketAddr,
    /// The operator's own link to the replicas: status and audit.
    pub operator: Shim,
    dir: tempfile::TempDir,
    keys: BTreeMap<String, Identity>,
    setting: Setting,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    /// Replicas that ended by themselves, and why.
    ended: Arc<Mutex<Vec<String>>>,
    // Last: the next cluster starts when everything above is gone.
    _one: tokio::sync::MutexGuard<'static, ()>,
}

/// How the replicas are set.
struct Setting {
    audit_every_s: u64,
    copy_from_height: u64,
    checkpoint_every: Option<u64>,
    master_timeout: Duration,
    /// Directories of the replicas' servers; none: the machine's own.
    servers: [Option<PathBuf>; 4],
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            audit_every_s: 0,
            copy_from_height: u64::MAX,
            checkpoint_every: None,
            // Who stands still for a moment on a busy machine stays the master: what is attacked is mostly not silence.
            master_timeout: Duration::from_secs(20),
            servers: Default::default(),
        }
    }
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::start_with(Setting::default()).await
    }

    /// One whose replicas compare a table so often in the background.
    pub async fn start_auditing(audit_every_s: u64) -> Cluster {
        Cluster::start_with(Setting {
            audit_every_s,
            ..Setting::default()
        })
        .await
    }

    /// One whose replicas copy the database whenever they make their data anew.
    pub async fn start_copying() -> Cluster {
        Cluster::start_with(Setting {
            copy_from_height: 0,
            ..Setting::default()
        })
        .await
    }

    /// One whose replicas look at their state every so many heights.
    pub async fn start_checkpointing(every: u64) -> Cluster {
        Cluster::start_with(Setting {
            checkpoint_every: Some(every),
            ..Setting::default()
        })
        .await
    }

    /// One whose replicas bear the master's silence for no longer than this.
    pub async fn start_impatient(patience: Duration) -> Cluster {
        Cluster::start_with(Setting {
            master_timeout: patience,
            ..Setting::default()
        })
        .await
    }

    /// One whose replicas run PostgreSQL of these majors; 0: the machine's own.
    pub async fn start_on(majors: [u32; 4]) -> Cluster {
        let servers = majors.map(|major| (major > 0).then(|| programs::programs(major)));
        Cluster::start_with(Setting {
            servers,
            ..Setting::default()
        })
        .await
    }

    async fn start_with(setting: Setting) -> Cluster {
        let one = ONE.lock().await;
        watch_panics();
        let dir = tempfile::Builder::new()
            .prefix("attacks")
            .tempdir_in("/tmp")
            .unwrap();
        // PostgreSQL's account has to pass.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let ports = net::free_ports(5, 0);
        let (file, keys) = members(&ports);
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, file.to_text()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let ended = Arc::default();
        let mut cluster = Cluster {
            front: SocketAddr::from(([127, 0, 0, 1], ports[4])),
            operator: connect(&file, OPERATOR, &keys["operator"]).await,
            file,
            dir,
            keys,
            setting,
            stop,
            threads: Vec::new(),
            ended,
            _one: one,
        };
        for id in 0..4 {
            cluster.start_replica(id, stopping.clone());
        }
        cluster.start_front(stopping);
        cluster
            .operator
            .ready(START)
            .await
            .expect("the cluster comes up");
        cluster.settle().await;
        cluster.wait_for_front().await;
        cluster
    }

    fn start_replica(&mut self, id: u16, stopping: watch::Receiver<bool>) {
        let data = self.dir.path().join(format!("r{id}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o711)).unwrap();
        let identity = self.dir.path().join(format!("r{id}.key"));
        self.keys[&format!("r{id}")].save(&identity).unwrap();
        let setting = &self.setting;
        let config = replica::Config {
            id,
            cluster: self.dir.path().join("cluster.toml"),
            identity,
            data,
            master_timeout_ms: Some(setting.master_timeout.as_millis() as u64),
            request_timeout_ms: None,
            pipeline: None,
            checkpoint_every: setting.checkpoint_every,
            log_segment_mib: None,
            sequence_window: None,
            postgres: replica::Postgres {
                bin_dir: setting.servers[usize::from(id)].clone(),
                tested_together: match setting.servers.iter().any(Option::is_some) {
                    true => migrations::MAJORS.collect(),
                    false => Default::default(),
                },
                may_differ: match setting.servers.iter().any(Option::is_some) {
                    true => [replica::Differing::Icu].into(),
                    false => Default::default(),
                },
                socket_dir: Some(self.dir.path().join(format!("s{id}"))),
                // What is tested here is not the disk.
                settings: [("fsync".into(), "off".into())].into(),
                ..Default::default()
            },
            repair: replica::Repair {
                audit_every_s: Some(setting.audit_every_s),
                automatic: None,
                copy_from_height: Some(setting.copy_from_height),
                copy_rate_mib_s: None,
            },
        };
        let ended = self.ended.clone();
        self.threads
            .push(thread(format!("replica-{id}"), async move {
                if let Err(error) = replica::run(config, stopped(stopping)).await {
                    ended.lock().unwrap().push(format!("replica {id}: {error}"));
                }
            }));
    }

    fn start_front(&mut self, stopping: watch::Receiver<bool>) {
        let (file, identity, listen) = (self.file.clone(), self.keys["proxy"].clone(), self.front);
        self.threads.push(thread("proxy".into(), async move {
            let shim = connect(&file, PROXY, &identity).await;
            let config = ProxyConfig {
                listen,
                ..ProxyConfig::default()
            };
            let proxy = Proxy::bind(config, shim).await.unwrap();
            proxy.run(stopped(stopping)).await;
        }));
    }

    async fn wait_for_front(&self) {
        let until = Instant::now() + PATIENCE;
        while self.try_client().await.is_err() {
            assert!(Instant::now() < until, "the proxy does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has a replica tell lies from now on.
    #[cfg(feature = "lies")]
    pub fn lies(&self, replica: u16, told: &[Lie]) {
        lies::of(self.key(&format!("r{replica}")).signing_key()).tell(told);
    }

    /// Has the master of the moment tell lies, and nobody else: one that lies too often is replaced. Which one that is.
    #[cfg(feature = "lies")]
    pub async fn master_lies(&self, told: &[Lie]) -> u16 {
        // Who has just been caught may be replaced a moment later: what was asked for is still on its way.
        let mut last = None;
        let statuses = loop {
            self.settle().await;
            let statuses = self.statuses().await;
            let now = statuses.values().map(|s| s.decided).max();
            if now == last {
                break statuses;
            }
            last = now;
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let newest = statuses.values().max_by_key(|status| status.epoch);
        let master = newest.expect("somebody answers").master;
        (0..4).for_each(|replica| self.lies(replica, &[]));
        self.lies(master, told);
        master
    }

    /// How many lies a replica has told to one that copies from it.
    #[cfg(feature = "lies")]
    pub fn lies_copied(&self, replica: u16) -> u32 {
        lies::of(self.key(&format!("r{replica}")).signing_key()).copied()
    }

    pub fn key(&self, name: &str) -> &Identity {
        &self.keys[name]
    }

    /// Where a replica listens to other replicas and to proxies.
    pub fn port_of(&self, replica: u16) -> SocketAddr {
        self.file.address(replica).unwrap()
    }

    /// A link to all replicas with the key of this name.
    pub async fn link(&self, me: PeerId, name: &str) -> Link {
        Link::up(&self.file, me, self.key(name)).await
    }

    /// A client that speaks to the replicas itself.
    pub async fn mallory(&self) -> Shim {
        let shim = connect(&self.file, MALLORY, self.key("mallory")).await;
        shim.ready(PATIENCE).await.unwrap();
        shim
    }

    /// An administrator.
    pub async fn administrator(&self) -> Shim {
        let key = self.key("administrator");
        let shim = connect(&self.file, ADMINISTRATOR, key).await;
        shim.ready(PATIENCE).await.unwrap();
        shim
    }

    /// The superuser of one replica's own server, past SteelDB.
    pub async fn at(&self, replica: u16) -> Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.dir.path().join(format!("s{replica}")))
            .port(5432)
            .user("steel")
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Asserts that nobody panicked and that every replica still runs; then stops everything. What each replica voted, as
    /// its log holds it.
    pub async fn end(mut self) -> Vec<Vec<Vote>> {
        assert!(
            self.ended.lock().unwrap().is_empty(),
            "{:?}",
            self.ended.lock().unwrap()
        );
        let until = Instant::now() + PATIENCE;
        while self.statuses().await.len() < 4 {
            assert!(Instant::now() < until, "every replica answers");
        }
        self.stop();
        let panics = std::mem::take(&mut *PANICS.lock().unwrap());
        assert!(panics.is_empty(), "{panics:#?}");
        (0..4).map(|replica| self.votes(replica)).collect()
    }

    fn stop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // Its panic was noted already.
            let _ = thread.join();
        }
        #[cfg(feature = "lies")]
        for id in 0..4 {
            lies::of(self.keys[&format!("r{id}")].signing_key()).tell(&[]);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn connect(file: &cluster::Cluster, me: ClientId, identity: &Identity) -> Shim {
    Shim::connect(file, me, identity.clone(), Default::default())
        .await
        .unwrap()
}

fn members(ports: &[u16]) -> (cluster::Cluster, BTreeMap<String, Identity>) {
    let mut keys = BTreeMap::new();
    let mut fresh = |name: &str| {
        let identity = Identity::generate();
        let key = hex::encode(identity.public_key());
        keys.insert(name.to_owned(), identity);
        key
    };
    let replicas = (0..4u16)
        .map(|id| ReplicaEntry {
            id,
            address: SocketAddr::from(([127, 0, 0, 1], ports[usize::from(id)])),
            key: fresh(&format!("r{id}")),
        })
        .collect();
    let clients = [
        (PROXY, "proxy"),
        (OPERATOR, "operator"),
        (MALLORY, "mallory"),
        (ADMINISTRATOR, "administrator"),
    ]
    .into_iter()
    .map(|(id, name)| ClientEntry {
        id: id.0,
        name: name.into(),
        key: fresh(name),
    })
    .collect();
    (
        cluster::Cluster {
            f: 1,
            mode: Default::default(),
            fast: Default::default(),
            client_authentication: Default::default(),
            administrators: [ADMINISTRATOR.0].into(),
            leader: Default::default(),
            view: 0,
            replicas,
            clients,
        },
        keys,
    )
}

/// Runs a future in a thread with a runtime of its own.
fn thread(name: String, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let named = format!("steel-{name}");
    let run = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(format!("steel-{name}"))
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work);
        runtime.shutdown_timeout(Duration::from_secs(2));
    };
    std::thread::Builder::new().name(named).spawn(run).unwrap()
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The sender is gone: as good as a word.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(filter) = std::env::var("STEELDB_LOG") {
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_thread_names(true)
                .init();
        }
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("steel-")) {
                PANICS
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .push(info.to_string());
            }
            usual(info);
        }));
    });
}
