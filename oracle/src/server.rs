//! The one PostgreSQL of a replay: fresh, private, gone afterwards.

use crate::Error;
use pgsession::{Session, Target};
use replica::executor::again::Contents;
use replica::postgres::{PostgresConfig, PostgresServer, StopMode};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

const DATABASE: &str = "postgres";

/// What waits for a lock waits for nothing that comes: nothing runs beside a replay.
const LOCK_TIMEOUT: (&str, &str) = ("lock_timeout", "20s");

/// A database with the schema `steel` and nothing else, as sessions find it.
#[derive(Clone)]
pub struct Database {
    /// Sessions of the clients' role.
    pub clients: Target,
    /// Sessions of the superuser.
    pub control: Target,
    pub token: Arc<str>,
}

/// A running server; it ends with this value.
pub struct Server {
    pub database: Database,
    own: PostgresServer,
    // Last: the server's data lie in it.
    _dir: tempfile::TempDir,
}

impl Server {
    /// Makes and starts one below the directory for temporary files, of the programs, account and settings of a replica's.
    ///
    /// # Errors
    /// When there is no room or no PostgreSQL.
    pub async fn start(like: &PostgresConfig) -> Result<Server, Error> {
        let dir = tempfile::Builder::new()
            .prefix("steeldb-replay-")
            .tempdir()?;
        // PostgreSQL's account has to pass.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711))?;
        let mut config = PostgresConfig {
            data_dir: dir.path().join("postgres"),
            socket_dir: None,
            ..like.clone()
        };
        // What is replayed is durable elsewhere.
        config.settings.push(("fsync".into(), "off".into()));
        let mut own = PostgresServer::prepare(config).await?;
        own.start().await?;
        let token = own.tokens().get(DATABASE).cloned();
        let token = token.ok_or_else(|| Error::Tables("the schema steel has no token".into()))?;
        let address = own.address();
        let mut clients = address.client("postgres", DATABASE, Some(token.clone()));
        let (name, value) = LOCK_TIMEOUT;
        clients.options.push((name.into(), value.into()));
        Ok(Server {
            database: Database {
                clients,
                control: address.control(DATABASE),
                token,
            },
            own,
            _dir: dir,
        })
    }

    /// Stops it; its data go with this value.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(mut self) -> Result<(), Error> {
        Ok(self.own.stop(StopMode::Immediate).await?)
    }
}

impl Database {
    /// The digests of all tables, and of the schema.
    pub(crate) async fn contents(&self) -> Result<Contents, Error> {
        let mut session = Session::connect(&self.control).await?;
        let contents = replica::executor::again::contents(&mut session).await;
        session.close().await;
        contents.map_err(Error::Tables)
    }
}
