//! Pgpool-II over four PostgreSQL servers: replication by statements in a middleware, with snapshot isolation.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use nix::sys::signal::Signal;

use super::{DATABASE, Later, Setup, System};
use crate::daemon::Daemon;
use crate::links::Route;
use crate::network::free_port;
use crate::postgres::{Postgres, USER, dsn, execute};
use crate::relay::Relay;
use crate::{Error, Ground, Host};

/// Where Debian's package pgpool2 puts the program.
const PROGRAM: &str = "/usr/sbin/pgpool";

const BACKENDS: usize = 4;

/// Processes of Pgpool-II: one for each client at a time.
const CLIENTS: u32 = 100;

const START: Duration = Duration::from_secs(60);

/// Pgpool-II at the clients' site, a backend at each of the first four sites.
#[derive(Debug)]
pub struct Pgpool {
    setup: Setup,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    // Ended before its host, the ways to the backends and the backends are.
    pgpool: Daemon,
    host: Host,
    address: SocketAddr,
    routes: Vec<Route>,
    backends: Vec<Postgres>,
}

impl Pgpool {
    pub fn new(setup: Setup) -> Pgpool {
        Pgpool {
            setup,
            running: None,
        }
    }

    /// The backends, once started.
    pub fn backends(&self) -> &[Postgres] {
        self.running
            .as_ref()
            .map_or(&[], |running| &running.backends)
    }

    async fn run(&self) -> Result<Running, Error> {
        let program = Path::new(PROGRAM);
        if !program.is_file() {
            return Err(Error::new("there is no Pgpool-II")
                .cause(format!("{PROGRAM} is missing"))
                .next("apt-get install pgpool2 (and keep its service stopped)"));
        }
        let (ground, settings) = (&self.setup.ground, &self.setup.settings);
        let backends = (0..BACKENDS).map(|number| async move {
            let host = Host::new(&format!("backend{number}"), "postgresql", ground)?;
            let mut server = Postgres::make(host, settings, &[]).await?;
            server.start().await?;
            server
                .execute(&format!("CREATE DATABASE {DATABASE}"))
                .await?;
            Ok::<_, Error>(server)
        });
        let backends = try_join_all(backends).await?;
        let servers = backends.iter().enumerate();
        let routes = servers.map(|(site, server)| self.setup.from_client(site, server.address()));
        let routes = routes.collect::<Result<Vec<Route>, Error>>()?;
        // It stands on the clients' machine, which has no quota.
        let beside = Ground {
            cores: None,
            ..ground.clone()
        };
        let host = Host::new("pgpool", "pgpool", &beside)?;
        let address = free_port(host.address())?;
        let path = configure(&host, address, &routes)?;
        let mut command = host.command_as_account(program);
        command.arg("-n").arg("-D").arg("-f").arg(path);
        for (option, name) in [("-F", "pcp.conf"), ("-a", "pool_hba.conf")] {
            command.arg(option).arg(host.dir().join(name));
        }
        let mut pgpool = Daemon::start(&host, "pgpool", command, Signal::SIGQUIT)?;
        let dsn = dsn(address, DATABASE);
        pgpool
            .ready(START, || async { execute(&dsn, "SELECT 1").await })
            .await?;
        Ok(Running {
            pgpool,
            host,
            address,
            routes,
            backends,
        })
    }
}

/// Writes Pgpool-II's files into the host's directory.
fn configure(host: &Host, address: SocketAddr, routes: &[Route]) -> Result<PathBuf, Error> {
    let dir = host.dir();
    let own = dir.display();
    let mut text = format!(
        "backend_clustering_mode = 'snapshot_isolation'\n\
         listen_addresses = '{}'\nport = {}\n\
         socket_dir = '{own}'\npcp_socket_dir = '{own}'\nwd_ipc_socket_dir = '{own}'\npcp_listen_addresses = ''\n\
         pid_file_name = '{own}/pgpool.pid'\nlogdir = '{own}'\n\
         num_init_children = {CLIENTS}\nmax_pool = 1\nchild_life_time = 0\n\
         enable_pool_hba = off\npool_passwd = ''\n\
         load_balance_mode = off\nhealth_check_period = 0\nsr_check_period = 0\n\
         log_min_messages = fatal\n",
        address.ip(),
        address.port(),
    );
    for (number, route) in routes.iter().enumerate() {
        text += &format!(
            "backend_hostname{number} = '{}'\nbackend_port{number} = {}\nbackend_weight{number} = 1\n\
             backend_flag{number} = 'DISALLOW_TO_FAILOVER'\n",
            route.address.ip(),
            route.address.port(),
        );
    }
    text += &format!("sr_check_user = '{USER}'\n");
    let path = dir.join("pgpool.conf");
    for (path, text) in [
        (&path, text.as_str()),
        (&dir.join("pcp.conf"), ""),
        (&dir.join("pool_hba.conf"), ""),
    ] {
        std::fs::write(path, text).map_err(Error::io("write", path.display()))?;
    }
    Ok(path)
}

impl System for Pgpool {
    fn name(&self) -> &str {
        "pgpool"
    }

    fn description(&self) -> String {
        let said = std::process::Command::new(PROGRAM)
            .arg("--version")
            .output();
        // It says so on standard error.
        let said = said.map(|done| String::from_utf8_lossy(&done.stderr).trim().to_owned());
        format!(
            "{} in snapshot-isolation mode over {BACKENDS} servers of {}; a commit is on the disks of all",
            said.unwrap_or_else(|_| "Pgpool-II".to_owned()),
            self.setup.version()
        )
    }

    fn start(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            self.running = Some(self.run().await?);
            Ok(())
        })
    }

    fn dsn(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(String::new, |running| dsn(running.address, DATABASE))
    }

    fn hosts(&self) -> Vec<&Host> {
        // The servers first: they have the quota of which the report speaks.
        let own = self.running.iter().map(|running| &running.host);
        let servers = self.backends().iter().map(Postgres::host);
        servers.chain(own).collect()
    }

    fn relays(&self) -> Vec<&Relay> {
        let routes = self.running.iter().flat_map(|running| &running.routes);
        routes.filter_map(|route| route.relay.as_ref()).collect()
    }

    fn settle(&self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            for server in self.backends() {
                server.execute("CHECKPOINT").await?;
            }
            Ok(())
        })
    }

    fn stop(&mut self) -> Later<'_, Result<(), Error>> {
        Box::pin(async {
            let Some(running) = self.running.take() else {
                return Ok(());
            };
            running.pgpool.stop().await?;
            drop(running.host);
            for server in running.backends {
                server.stop().await?;
            }
            Ok(())
        })
    }
}
