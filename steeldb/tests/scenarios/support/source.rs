//! A plain PostgreSQL of a test's own: where an import comes from, and where a dump goes.

use std::os::unix::fs::PermissionsExt;

use testbed::postgres::{Postgres, Settings, USER, with_client};
use testbed::{Ground, Host};

/// The server; it ends with this value.
pub struct Source {
    server: Postgres,
    _base: tempfile::TempDir,
}

impl Source {
    pub async fn start() -> Source {
        let base = tempfile::Builder::new()
            .prefix("steeldb-source-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let ground = Ground {
            base: base.path().to_owned(),
            cores: None,
            network: None,
        };
        let host = Host::new("source", "source", &ground).unwrap();
        let settings = Settings::found().unwrap();
        let mut server = Postgres::make(host, &settings, &[("wal_level", "logical".into())])
            .await
            .unwrap();
        server.start().await.unwrap();
        Source {
            server,
            _base: base,
        }
    }

    /// A new database with what a script makes.
    pub async fn database(&self, name: &str, script: &str) {
        self.server
            .execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        self.execute(name, script).await;
    }

    pub async fn execute(&self, database: &str, script: &str) {
        with_client(&self.key_values(database), async |client| {
            client.batch_execute(script).await
        })
        .await
        .unwrap();
    }

    /// The first column of the first row.
    pub async fn ask(&self, database: &str, query: &str) -> String {
        with_client(&self.key_values(database), async |client| {
            Ok(client.query_one(query, &[]).await?.get(0))
        })
        .await
        .unwrap()
    }

    fn key_values(&self, database: &str) -> String {
        testbed::postgres::dsn(self.server.address(), database)
    }

    pub fn dsn(&self, database: &str) -> String {
        format!("postgresql://{USER}@{}/{database}", self.server.address())
    }
}
