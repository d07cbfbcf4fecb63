//! Where a server is, and how its two kinds of sessions log in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pgsession::{Alarm, Target};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::Error;

/// The bootstrap superuser, which only the replica itself is.
pub const SUPERUSER: &str = "steel";

/// What an owner of a database may have set for all who connect must not reach the replica's own
/// sessions: what is given at log-in wins over `ALTER DATABASE … SET` and `ALTER ROLE … SET`.
const CONTROL: &[(&str, &str)] = &[
    ("search_path", "pg_catalog, pg_temp"),
    ("role", "none"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("client_min_messages", "warning"),
];

/// A PostgreSQL server as its Unix socket is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Directory of the socket.
    pub socket_dir: PathBuf,
    /// Part of the socket's name.
    pub port: u16,
    /// The superuser of the replica's own sessions.
    pub superuser: String,
}

impl Address {
    /// A session for a client's statements, as an ordinary role.
    pub fn client(&self, user: &str, database: &str, token: Option<Arc<str>>) -> Target {
        Target {
            socket_dir: self.socket_dir.clone(),
            port: self.port,
            user: user.into(),
            database: database.into(),
            application_name: "steeldb".into(),
            options: Vec::new(),
            token,
            alarm: Alarm::default(),
        }
    }

    /// A session of the replica itself, as the superuser, with settings that no client can have
    /// changed.
    pub fn control(&self, database: &str) -> Target {
        let options = CONTROL.iter().map(|&(n, v)| (n.into(), v.into())).collect();
        Target {
            application_name: "steeldb control".into(),
            options,
            ..self.client(&self.superuser, database, None)
        }
    }

    /// As [`control`](Self::control), with typed queries.
    pub(crate) async fn query(&self, database: &str) -> Result<Query, Error> {
        let options: Vec<String> = CONTROL
            .iter()
            .map(|(name, value)| format!("-c {name}={}", value.replace(' ', "\\ ")))
            .collect();
        let (client, connection) = tokio_postgres::Config::new()
            .host_path(&self.socket_dir)
            .port(self.port)
            .user(&self.superuser)
            .dbname(database)
            .application_name("steeldb control")
            .options(options.join(" "))
            .connect_timeout(Duration::from_secs(10))
            .connect(NoTls)
            .await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control session ended");
            }
        });
        Ok(Query { client, connection })
    }
}

/// A session of the superuser with typed queries; it ends when it is dropped.
pub(crate) struct Query {
    pub client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Query {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
