//! A private PostgreSQL on a host: made anew or copied from a primary, with the settings that all systems share.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::network::free_port;
use crate::{Error, Host};

/// Where Debian keeps all majors side by side.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The superuser that all clients are.
pub const USER: &str = "bench";

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(60);

/// How long a statement of the testbed's own, a new data directory or a copy may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the servers of all systems have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory of `initdb`, `postgres` and `pgbench`.
    pub bin_dir: PathBuf,
    pub shared_buffers_mib: u32,
    pub max_connections: u32,
}

impl Settings {
    /// Debian's newest server, else that of PATH; 64 MiB of shared buffers, 200 connections.
    pub fn found() -> Result<Settings, Error> {
        let majors = crate::names::entries(DEBIAN.as_ref());
        let mut dirs: Vec<(u32, PathBuf)> = majors
            .filter_map(|dir| Some((dir.file_name()?.to_str()?.parse().ok()?, dir.join("bin"))))
            .collect();
        dirs.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let debian = dirs.into_iter().rev().map(|(_, dir)| dir);
        let mut dirs = debian.chain(std::env::split_paths(&path));
        let complete = |dir: &PathBuf| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| dir.join(name).is_file())
        };
        let bin_dir = dirs.find(complete).ok_or_else(|| {
            Error::new("there is no PostgreSQL server")
                .cause(format!(
                    "initdb and postgres are neither in {DEBIAN} nor in PATH"
                ))
                .next("apt-get install postgresql")
        })?;
        Ok(Settings {
            bin_dir,
            shared_buffers_mib: 64,
            max_connections: 200,
        })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// `PostgreSQL 15.18`.
    pub fn version(&self) -> String {
        let said = Command::new(self.program("postgres"))
            .arg("--version")
            .output();
        let said = said
            .map(|done| String::from_utf8_lossy(&done.stdout).into_owned())
            .unwrap_or_default();
        let number = said
            .split_whitespace()
            .nth(2)
            .unwrap_or("of an unknown version");
        format!("PostgreSQL {number}")
    }

    /// What stands in every server's configuration. Larger logs between checkpoints than PostgreSQL's default, as SteelDB's
    /// own servers have: a checkpoint begins each measurement.
    fn text(&self, address: SocketAddr, further: &[(&str, String)]) -> String {
        let given = [
            ("listen_addresses", address.ip().to_string()),
            ("port", address.port().to_string()),
            ("shared_buffers", format!("{}MB", self.shared_buffers_mib)),
            ("max_connections", self.max_connections.to_string()),
        ];
        let fixed = FIXED
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let mut text = String::from("# Written by the testbed.\n");
        for (name, value) in given
            .into_iter()
            .chain(fixed)
            .chain(further.iter().cloned())
        {
            writeln!(text, "{name} = '{}'", value.replace('\'', "''")).expect("a String takes all");
        }
        text
    }
}

const FIXED: &[(&str, &str)] = &[
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("default_transaction_isolation", "repeatable read"),
    ("autovacuum", "on"),
    ("max_wal_size", "512MB"),
    ("checkpoint_timeout", "10min"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("update_process_title", "off"),
    ("log_checkpoints", "off"),
    // Clients' errors are theirs to count.
    ("log_min_messages", "log"),
    // A paused standby answers late, and is not lost for that.
    ("wal_sender_timeout", "0"),
    ("wal_receiver_timeout", "0"),
];

/// Only hosts of this machine reach the address, and they are believed: the data are a benchmark's.
const HBA: &str = "# Written by the testbed.\n\
    host all all samenet trust\nhost all all 127.0.0.0/8 trust\n\
    host replication all samenet trust\nhost replication all 127.0.0.0/8 trust\n";

/// One server with its host; both end when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    // Ended before its host is.
    daemon: Option<Daemon>,
    settings: Settings,
    address: SocketAddr,
    data_dir: PathBuf,
    host: Host,
}

impl Postgres {
    /// A new server on `host`, not started. `further` settings win over the common ones.
    pub async fn make(
        host: Host,
        settings: &Settings,
        further: &[(&str, String)],
    ) -> Result<Postgres, Error> {
        let server = Postgres::on(host, settings)?;
        let mut command = server.host.command_as_account(settings.program("initdb"));
        command.args([
            "-U",
            USER,
            "--locale=C.UTF-8",
            "-E",
            "UTF8",
            "-N",
            "-A",
            "trust",
            "-D",
        ]);
        run(command.arg(&server.data_dir), PATIENCE).await?;
        server.configure(further)?;
        Ok(server)
    }

    /// A standby on `host` that calls itself `name` and follows the primary at `primary`; not started.
    pub async fn copy(
        host: Host,
        settings: &Settings,
        primary: SocketAddr,
        name: &str,
    ) -> Result<Postgres, Error> {
        let server = Postgres::on(host, settings)?;
        let source = format!("{} application_name={name}", dsn(primary, "postgres"));
        let mut command = server
            .host
            .command_as_account(settings.program("pg_basebackup"));
        command.args([
            "-d", &source, "-X", "stream", "-c", "fast", "-N", "-R", "-D",
        ]);
        run(command.arg(&server.data_dir), PATIENCE).await?;
        server.configure(&[])?;
        Ok(server)
    }

    fn on(host: Host, settings: &Settings) -> Result<Postgres, Error> {
        Ok(Postgres {
            daemon: None,
            settings: settings.clone(),
            address: free_port(host.address())?,
            data_dir: host.dir().join("data"),
            host,
        })
    }

    fn configure(&self, further: &[(&str, String)]) -> Result<(), Error> {
        let conf = self.settings.text(self.address, further);
        for (name, text) in [("postgresql.conf", conf.as_str()), ("pg_hba.conf", HBA)] {
            let path = self.data_dir.join(name);
            std::fs::write(&path, text).map_err(Error::io("write", path.display()))?;
        }
        Ok(())
    }

    /// Starts it and waits until it answers.
    pub async fn start(&mut self) -> Result<(), Error> {
        let mut command = self
            .host
            .command_as_account(self.settings.program("postgres"));
        command.arg("-D").arg(&self.data_dir);
        let daemon = self.daemon.insert(Daemon::start(
            &self.host,
            "postgresql",
            command,
            Signal::SIGQUIT,
        )?);
        let dsn = dsn(self.address, "postgres");
        daemon
            .ready(START, || async { execute(&dsn, "SELECT 1").await })
            .await
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Statements by themselves, in the database `postgres` of this server, past every relay.
    pub async fn execute(&self, statements: &str) -> Result<(), Error> {
        execute(&dsn(self.address, "postgres"), statements).await
    }

    /// Ends it; its host goes with it.
    pub async fn stop(mut self) -> Result<(), Error> {
        match self.daemon.take() {
            Some(daemon) => daemon.stop().await,
            None => Ok(()),
        }
    }
}

/// The connection string of a database, for tokio-postgres and libpq.
pub fn dsn(address: SocketAddr, database: &str) -> String {
    format!(
        "host={} port={} user={USER} dbname={database}",
        address.ip(),
        address.port()
    )
}

/// One connection for these statements.
pub async fn execute(dsn: &str, statements: &str) -> Result<(), Error> {
    with_client(dsn, async |client| client.batch_execute(statements).await).await
}

/// One connection for this work, which may take five minutes.
pub async fn with_client<T>(
    dsn: &str,
    work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Error> {
    let all = async {
        let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await?;
        let work = async {
            let done = work(&client).await;
            // Without its client, the connection ends by itself.
            drop(client);
            done
        };
        let (done, _) = tokio::join!(work, connection);
        Ok(done?)
    };
    let late = |_| {
        Err(Error::new(format!(
            "the server did not answer within {PATIENCE:?}"
        )))
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .unwrap_or_else(late)
}

/// A program that ends by itself, and is killed after `limit`.
pub(crate) async fn run(command: &mut Command, limit: Duration) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy();
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect();
    let shown = format!("{program} {}", arguments.join(" "));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("")));
    let done = tokio::time::timeout(limit, command.kill_on_drop(true).output()).await;
    let done = done.map_err(|_| Error::new(format!("{shown} did not end within {limit:?}")))?;
    let done = done.map_err(Error::io("run", &shown))?;
    if !done.status.success() {
        return Err(Error::io("do", &shown)(String::from_utf8_lossy(
            &done.stderr,
        )));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
