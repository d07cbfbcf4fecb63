//! The cluster of a run: four replicas and several proxies in a temporary directory, with ways that can be cut.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cluster::{ClientEntry, Cluster};
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use super::wires::{End, Wires};
use crate::commands::Shape;
use crate::commands::init;
use crate::directory::{self, Purpose};
use crate::failure::Failure;
use crate::initialise;
use crate::layout::{Layout, Member};
use crate::proxy_file::{ProxyFile, Reads};
use crate::{members, ports, spawn};

/// How long a commit may stay unanswered before a proxy calls its outcome unknown.
const PATIENCE_S: u64 = 10;
/// How long `up` may take, and then each further proxy.
const START: Duration = Duration::from_secs(120);

/// A running cluster; it is stopped and removed when this is dropped.
pub struct Running {
    pub layout: Layout,
    pub cluster: Cluster,
    pub wires: Wires,
    /// Beside the first, which the supervisor cares for.
    further: Vec<Front>,
    first: SocketAddr,
    // Last, for everything lies in it.
    _scratch: tempfile::TempDir,
}

/// A proxy of our own.
struct Front {
    config: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Running {
    /// Makes and starts it, with so many proxies.
    pub async fn start(proxies: u16, reads: Reads, cuts: bool) -> Result<Running, Failure> {
        let scratch = tempfile::Builder::new()
            .prefix("steeldb-isolation-")
            .tempdir()
            .map_err(|error| Failure::new("cannot make a temporary directory").cause(error))?;
        let layout = Layout::new(&scratch.path().join("db"))?;
        let free = ports::free(usize::from(proxies), 0)?;
        let front = |port| init::front(Ipv4Addr::LOCALHOST.into(), port);
        let plan = initialise::Plan {
            spread: true,
            // The whole history is run again at the end.
            shared: initialise::Shared {
                checkpoint_every: Some(0),
                ..Default::default()
            },
            ..init::on_this_machine(&Shape::default(), front(free[0]))?
        };
        let mut running = Running {
            cluster: init::create(&layout, &plan)?,
            wires: Wires::default(),
            further: Vec::new(),
            first: plan.front.listen,
            layout,
            _scratch: scratch,
        };
        for port in &free[1..] {
            running.add_proxy(front(*port), reads)?;
        }
        let mut first = ProxyFile::new("cluster.toml", plan.front);
        (first.reads, first.patience_s) = (reads, PATIENCE_S);
        directory::write(&running.layout.config(Member::Proxy), &first.to_text())?;
        running.spread(cuts).await?;
        running.up().await?;
        for proxy in 1..proxies {
            running.start_proxy(proxy)?;
        }
        for address in running.fronts() {
            served(address).await?;
        }
        Ok(running)
    }

    /// Where applications connect, one address a proxy.
    pub fn fronts(&self) -> Vec<SocketAddr> {
        let further = self.further.iter().map(|front| front.address);
        [self.first].into_iter().chain(further).collect()
    }

    /// The directory, key and configuration of one more proxy, and its entry among the clients.
    fn add_proxy(&mut self, front: proxy::ProxyConfig, reads: Reads) -> Result<(), Failure> {
        let name = format!("proxy-{}", self.further.len() + 1);
        let home = self.layout.root().join(&name);
        directory::make(&home, Purpose::Private)?;
        let key = initialise::key(&home.join("identity"))?;
        let ids = self.cluster.clients.iter().map(|client| client.id);
        let id = ids.max().unwrap_or(cluster::FIRST_CLIENT) + 1;
        self.cluster.clients.push(ClientEntry { id, name, key });
        let address = front.listen;
        let mut file = ProxyFile::new("cluster.toml", front);
        (file.reads, file.patience_s) = (reads, PATIENCE_S);
        let config = home.join("proxy.toml");
        directory::write(&config, &file.to_text())?;
        self.further.push(Front {
            config,
            address,
            child: None,
        });
        Ok(())
    }

    /// Every member's cluster file, in which whom it dials stands at the address of the way there.
    async fn spread(&mut self, cuts: bool) -> Result<(), Failure> {
        let root = self.layout.cluster_file();
        directory::write(&root, &self.cluster.to_text())?;
        let replicas = self.cluster.replicas.iter().map(|entry| entry.id);
        let mut homes: Vec<(End, PathBuf)> = replicas
            .map(|id| (End::Replica(id), self.layout.home(Member::Replica(id))))
            .collect();
        homes.push((End::Proxy(0), self.layout.home(Member::Proxy)));
        for (number, front) in (1..).zip(&self.further) {
            let home = front.config.parent().unwrap_or(Path::new("."));
            homes.push((End::Proxy(number), home.to_owned()));
        }
        for (end, home) in homes {
            let mut own = self.cluster.clone();
            for entry in own.replicas.iter_mut().filter(|_| cuts) {
                // Of two replicas the one with the greater number dials.
                let dials = match end {
                    End::Replica(id) => entry.id < id,
                    End::Proxy(_) => true,
                };
                if dials {
                    entry.address = self.wires.lay(end, entry.id, entry.address).await?;
                }
            }
            directory::write(&home.join("cluster.toml"), &own.to_text())?;
        }
        Ok(())
    }

    async fn up(&self) -> Result<(), Failure> {
        let mut command = Command::from(self.command("up")?);
        command.arg("--detach").kill_on_drop(true);
        let output = tokio::time::timeout(START, command.output()).await;
        let failed = |cause: String| Failure::new("the cluster does not start").cause(cause);
        match output {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("nothing was ready within {START:?}"))),
        }
    }

    /// `steeldb verify`: what it says, and whether all replicas hold the same.
    pub async fn verify(&self) -> Result<(bool, String), Failure> {
        let output = Command::from(self.command("verify")?).output().await;
        let output = output.map_err(|error| Failure::new("cannot run verify").cause(error))?;
        let equal = output.status.success();
        let said = match equal {
            true => output.stdout,
            false => [output.stdout, output.stderr].concat(),
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((equal, said))
    }

    fn command(&self, what: &str) -> Result<std::process::Command, Failure> {
        let program = spawn::program()
            .map_err(|error| Failure::new("this program's file is not known").cause(error))?;
        let mut command = std::process::Command::new(program);
        command.arg(what).arg("--data").arg(self.layout.root());
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// SIGKILL of a proxy. The first is started again by the supervisor.
    pub async fn kill_proxy(&mut self, proxy: u16) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new("cannot kill a proxy").cause(error);
        let own = usize::from(proxy).checked_sub(1);
        match own.and_then(|place| self.further.get_mut(place)) {
            None => match members::process(&self.layout, Member::Proxy) {
                Some(process) => process.signal(Signal::SIGKILL).map_err(failed),
                None => Ok(()),
            },
            Some(front) => match front.child.take() {
                Some(mut child) => child.kill().await.map_err(failed),
                None => Ok(()),
            },
        }
    }

    /// Starts a proxy that is ours to start.
    pub fn start_proxy(&mut self, proxy: u16) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new("cannot start a proxy").cause(error);
        let own = usize::from(proxy).checked_sub(1);
        let Some(front) = own.and_then(|place| self.further.get_mut(place)) else {
            return Ok(());
        };
        let log = front.config.with_file_name("proxy.log");
        let log = OpenOptions::new().create(true).append(true).open(log);
        let child = Command::new(spawn::program().map_err(failed)?)
            .arg("proxy")
            .arg("--config")
            .arg(&front.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(failed)?)
            .kill_on_drop(true)
            .spawn();
        front.child = Some(child.map_err(failed)?);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for front in &mut self.further {
            if let Some(child) = &mut front.child {
                // One that has ended is no trouble.
                let _ = child.start_kill();
            }
        }
        let down = self.command("down").map(|mut down| {
            down.stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map_err(|error| Failure::new("cannot run down").cause(error))
        });
        if let Err(error) = down.and_then(|done| done) {
            tracing::warn!(%error, "the cluster may still run");
        }
    }
}

/// Waits until a statement through a proxy is answered.
async fn served(address: SocketAddr) -> Result<(), Failure> {
    let until = tokio::time::Instant::now() + START;
    loop {
        let dsn = super::client::dsn(address);
        if let Ok((client, connection)) = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await
        {
            let connection = tokio::spawn(connection);
            let answered = client.simple_query("SELECT 1").await;
            drop(client);
            // Whatever it says, the answer counts.
            let _ = connection.await;
            if answered.is_ok() {
                return Ok(());
            }
        }
        if tokio::time::Instant::now() >= until {
            return Err(
                Failure::new(format!("the proxy at {address} does not serve"))
                    .cause(format!("no statement was answered within {START:?}")),
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
