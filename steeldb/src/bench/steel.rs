//! SteelDB as a system under test: each replica with its PostgreSQL on a host of its own, the proxy beside the clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client_shim::ReplicaStatus;
use cluster::Cluster;
use nix::sys::signal::Signal;
use testbed::{Daemon, Error, Ground, Host, Later, Relay, Route, Setup, System};

use crate::directory;
use crate::failure::Failure;
use crate::initialise::{self, Plan};
use crate::layout::{Layout, Member};
use crate::members;
use crate::operator::Operator;

/// The port of each replica and of the proxy: every host has an address of its own.
const PORT: u16 = 7400;
/// How long the replicas, and then the proxy, may take to serve.
const START: Duration = Duration::from_secs(120);
/// A replica gives a leader or a master at least so many of the longest round trips before it is suspected.
const PATIENCE_ROUND_TRIPS: u32 = 6;
/// Round trips below this change no time-out.
const SHORT: Duration = Duration::from_millis(20);

/// The smallest cluster: as many servers as the other systems have.
const F: u16 = 1;
const REPLICAS: u16 = 3 * F + 1;

/// Replica `i` at site `i`.
pub struct SteelDb {
    setup: Setup,
    running: Option<Running>,
}

/// In the order in which things must end.
struct Running {
    daemons: Vec<Daemon>,
    routes: Vec<Route>,
    hosts: Vec<Host>,
    proxy: Host,
    root: PathBuf,
    front: SocketAddr,
}

impl SteelDb {
    pub fn new(setup: Setup) -> SteelDb {
        SteelDb {
            setup,
            running: None,
        }
    }

    async fn set_up(&mut self) -> Result<(), Error> {
        let ground = &self.setup.ground;
        let hosts = (0..REPLICAS)
            .map(|i| Host::new(&format!("replica-{i}"), "replica", ground))
            .collect::<Result<Vec<Host>, Error>>()?;
        // A sidecar of the application: it has what the application's machine has.
        let beside = Ground {
            cores: None,
            ..ground.clone()
        };
        let proxy = Host::new("proxy", "proxy", &beside)?;
        let root = ground.base.join(format!("{}-cluster", proxy.name()));
        let layout = Layout::new(&root).map_err(plain)?;
        let front = SocketAddr::from((proxy.address(), PORT));
        let plan = Plan {
            mode: Default::default(),
            fast: Default::default(),
            f: F,
            replicas: hosts.iter().map(|host| at(host.address())).collect(),
            front: proxy::ProxyConfig {
                listen: front,
                allow_remote: !proxy.address().is_loopback(),
                max_connections: self.setup.settings.max_connections as usize,
                ..proxy::ProxyConfig::default()
            },
            spread: true,
            servers: Default::default(),
            shared: Default::default(),
        };
        let cluster = initialise::create(&layout, &plan).map_err(plain)?;
        let mut running = Running {
            daemons: Vec::new(),
            routes: Vec::new(),
            hosts,
            proxy,
            root,
            front,
        };
        for id in 0..REPLICAS {
            self.configure(&layout, id)?;
            // Of two replicas the one with the greater number dials.
            let dialled: Vec<u16> = (0..id).collect();
            self.lay_routes(
                &layout,
                Member::Replica(id),
                &cluster,
                &dialled,
                &mut running,
            )?;
        }
        let all: Vec<u16> = (0..REPLICAS).collect();
        self.lay_routes(&layout, Member::Proxy, &cluster, &all, &mut running)?;
        let running = self.running.insert(running);
        running.start_all(&layout)?;
        running.replicas_ready(&layout, &cluster).await?;
        running.proxy_ready().await
    }

    /// The cluster file of a member, in which whom it dials stands at the address of the way there.
    fn lay_routes(
        &self,
        layout: &Layout,
        member: Member,
        cluster: &Cluster,
        dialled: &[u16],
        running: &mut Running,
    ) -> Result<(), Error> {
        let site = match member {
            Member::Replica(id) => usize::from(id),
            Member::Proxy | Member::Supervisor => self.setup.client_site,
        };
        let mut own = cluster.clone();
        for entry in &mut own.replicas {
            if dialled.contains(&entry.id) {
                let route = self
                    .setup
                    .route(site, usize::from(entry.id), entry.address)?;
                entry.address = route.address;
                running.routes.push(route);
            }
        }
        directory::write(&layout.home(member).join("cluster.toml"), &own.to_text()).map_err(plain)
    }

    /// The settings that all systems share; time-outs that fit the distances.
    fn configure(&self, layout: &Layout, id: u16) -> Result<(), Error> {
        let path = layout.config(Member::Replica(id));
        let mut config: replica::Config = crate::config_file::load(&path).map_err(plain)?;
        let settings = &self.setup.settings;
        config.postgres.socket_dir = Some(socket_dir(layout, id));
        config.postgres.bin_dir = Some(settings.bin_dir.clone());
        config.postgres.shared_buffers_mib = Some(settings.shared_buffers_mib);
        config.postgres.max_connections = Some(settings.max_connections);
        let far = self.longest_round_trip();
        if far > SHORT {
            let patience = (far * PATIENCE_ROUND_TRIPS).as_millis() as u64;
            config.request_timeout_ms = Some(patience.max(800));
            config.master_timeout_ms = Some((2 * patience).max(1500));
        }
        let text = toml::to_string_pretty(&config)
            .map_err(|error| Error::new("cannot write a replica's configuration").cause(error))?;
        directory::write(&path, &text).map_err(plain)
    }

    fn longest_round_trip(&self) -> Duration {
        let sites = 0..usize::from(REPLICAS);
        let pairs = sites
            .clone()
            .flat_map(|a| sites.clone().map(move |b| (a, b)));
        pairs
            .filter_map(|(a, b)| self.setup.links.between(a, b))
            .map(|link| link.there.mean + link.back.mean)
            .max()
            .unwrap_or_default()
    }
}

impl Running {
    fn start_all(&mut self, layout: &Layout) -> Result<(), Error> {
        let program = crate::spawn::program()
            .map_err(|error| Error::new("this program's file is not known").cause(error))?;
        for (id, host) in (0..).zip(&self.hosts) {
            let daemon = start(
                host,
                &program,
                "replica",
                &layout.config(Member::Replica(id)),
            )?;
            self.daemons.push(daemon);
        }
        let config = layout.config(Member::Proxy);
        self.daemons
            .push(start(&self.proxy, &program, "proxy", &config)?);
        Ok(())
    }

    /// Waits until all replicas serve, and counts each PostgreSQL apart from its replica.
    async fn replicas_ready(&mut self, layout: &Layout, cluster: &Cluster) -> Result<(), Error> {
        let operator = Operator::connect(layout, cluster).await.map_err(plain)?;
        let (shim, hosts) = (&operator.shim, &self.hosts);
        let probe = || async move {
            let statuses = shim.statuses(Duration::from_secs(1)).await;
            let serving = |status: &&ReplicaStatus| {
                status.postgres_pid > 0 && status.connected.len() + 1 == hosts.len()
            };
            let serving: Vec<&ReplicaStatus> = statuses.values().filter(serving).collect();
            if serving.len() < hosts.len() {
                let so_many = format!("{} of {} replicas serve", serving.len(), hosts.len());
                return Err(Error::new(so_many));
            }
            for status in serving {
                hosts[usize::from(status.replica)].assign("postgresql", status.postgres_pid)?;
            }
            Ok(())
        };
        self.daemons[0].ready(START, probe).await
    }

    async fn proxy_ready(&mut self) -> Result<(), Error> {
        let dsn = dsn(self.front);
        let probe = || async {
            let (client, connection) = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await?;
            let connection = tokio::spawn(connection);
            let answered = client.simple_query("SELECT 1").await;
            drop(client);
            // Whatever it says, the answer counts.
            let _ = connection.await;
            answered.map(drop).map_err(Error::from)
        };
        let daemon = self.daemons.last_mut();
        daemon
            .ok_or_else(|| Error::new("the proxy was not started"))?
            .ready(START, probe)
            .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.daemons.clear();
        for host in self.hosts.iter().chain([&self.proxy]) {
            host.kill();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.root) {
            tracing::warn!(dir = %self.root.display(), %error, "a cluster's directory stays behind");
        }
    }
}

impl System for SteelDb {
    fn name(&self) -> &str {
        "steeldb"
    }

    fn description(&self) -> String {
        format!(
            "SteelDB {}, {} replicas (f = {}) with {}, REPEATABLE READ judged by all; a commit is on the disks of {}",
            env!("CARGO_PKG_VERSION"),
            REPLICAS,
            F,
            self.setup.settings.version(),
            (REPLICAS + F + 1).div_ceil(2)
        )
    }

    fn start(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(self.set_up())
    }

    fn dsn(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(String::new, |running| dsn(running.front))
    }

    fn hosts(&self) -> Vec<&Host> {
        let running = self.running.iter();
        running
            .flat_map(|running| running.hosts.iter().chain([&running.proxy]))
            .collect()
    }

    fn relays(&self) -> Vec<&Relay> {
        let running = self.running.iter();
        running
            .flat_map(|running| &running.routes)
            .filter_map(|route| route.relay.as_ref())
            .collect()
    }

    fn settle(&self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            let Some(running) = &self.running else {
                return Ok(());
            };
            let layout = Layout::new(&running.root).map_err(plain)?;
            let cluster = members::load(&layout).map_err(plain)?;
            for entry in &cluster.replicas {
                checkpoint(&socket_dir(&layout, entry.id)).await?;
            }
            Ok(())
        })
    }

    /// Replicas that are stopped for a while suspect each other when they go on: it would not be the same system.
    fn can_pause(&self) -> bool {
        false
    }

    fn stop(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            let Some(mut running) = self.running.take() else {
                return Ok(());
            };
            for daemon in std::mem::take(&mut running.daemons) {
                daemon.stop().await?;
            }
            Ok(())
        })
    }
}

fn at(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((address, PORT))
}

fn dsn(front: SocketAddr) -> String {
    format!("postgresql://postgres@{front}/postgres")
}

fn start(host: &Host, program: &Path, what: &str, config: &Path) -> Result<Daemon, Error> {
    let mut command = host.command(program);
    command.arg(what).arg("--config").arg(config);
    Daemon::start(host, what, command, Signal::SIGTERM)
}

/// Short, for the path of a socket is.
fn socket_dir(layout: &Layout, id: u16) -> PathBuf {
    layout.root().join(format!("s{id}"))
}

/// A checkpoint at a replica's own server, as all systems have one before each measurement.
async fn checkpoint(socket_dir: &Path) -> Result<(), Error> {
    let mut login = tokio_postgres::Config::new();
    login.host_path(socket_dir).user("steel").dbname("postgres");
    let (client, connection) = login.connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute("CHECKPOINT").await?;
    drop(client);
    let _ = connection.await;
    Ok(())
}

fn plain(failure: Failure) -> Error {
    Error::new(failure.to_string())
}
