//! A private PostgreSQL on a host: made anew or copied from a primary.

mod session;
mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

pub use session::{USER, dsn, execute, with_client};
pub use settings::Settings;

use crate::daemon::Daemon;
use crate::network::free_port;
use crate::program::run;
use crate::{Error, Host};
use settings::HBA;

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(60);

/// How long a new data directory or a copy may take.
const PATIENCE: Duration = Duration::from_secs(300);

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
