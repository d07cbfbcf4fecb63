//! The life of a private server, with real PostgreSQL processes.

mod crash;
mod life;
mod refusals;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pgsession::Session;

use super::{PostgresConfig, PostgresServer};

/// A directory that the server's account can enter.
pub(super) fn room() -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("steeldb-test-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
    dir
}

pub(super) fn config(dir: &Path) -> PostgresConfig {
    PostgresConfig {
        shared_buffers_mib: 16,
        ..PostgresConfig::new(dir.join("data"))
    }
}

pub(super) async fn started(config: PostgresConfig) -> PostgresServer {
    let mut server = PostgresServer::prepare(config).await.unwrap();
    server.start().await.unwrap();
    server
}

pub(super) async fn ask(session: &mut Session, sql: &str) -> Option<String> {
    let outcome = session.execute(sql).await.unwrap();
    outcome
        .into_result()
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .scalar()
}

pub(super) async fn client(server: &PostgresServer) -> Session {
    Session::connect(&server.client("postgres", "postgres"))
        .await
        .unwrap()
}
