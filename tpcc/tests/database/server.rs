//! A private PostgreSQL for this binary's one test, on a host of the testbed: gone with it, after a panic too.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use testbed::{Ground, Host, Postgres, Settings};
use tokio_postgres::{Client, NoTls};

/// For what is sure to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    postgres: Postgres,
    // Removed last.
    _base: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Server {
        // PostgreSQL's account has to pass.
        let passage = std::fs::Permissions::from_mode(0o711);
        let base = tempfile::Builder::new()
            .permissions(passage)
            .tempdir()
            .unwrap();
        let ground = Ground {
            base: base.path().to_owned(),
            cores: None,
            network: None,
        };
        let settings = Settings {
            shared_buffers_mib: 256,
            ..Settings::found().unwrap()
        };
        // What is tested here is not the disk.
        let quick = [
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("autovacuum", "off"),
            ("work_mem", "64MB"),
            ("max_wal_size", "4GB"),
        ];
        let host = Host::new("tpcc", "postgresql", &ground).unwrap();
        let quick = quick.map(|(name, value)| (name, value.to_owned()));
        let mut postgres = Postgres::make(host, &settings, &quick).await.unwrap();
        postgres.start().await.unwrap();
        Server {
            postgres,
            _base: base,
        }
    }

    pub fn dsn(&self, database: &str) -> String {
        testbed::postgres::dsn(self.postgres.address(), database)
    }

    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.dsn(database), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// A database like another one, to which nobody may be connected.
    pub async fn copy(&self, name: &str, template: &str) -> String {
        let control = self.connect("postgres").await;
        let began = Instant::now();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        loop {
            match control.batch_execute(&sql).await {
                Ok(()) => return self.dsn(name),
                // Sessions that were just closed take a moment to end.
                Err(_) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{sql}: {error:?}"),
            }
        }
    }

    /// Room for the next copy.
    pub async fn drop(&self, name: &str) {
        let sql = format!("DROP DATABASE {name} WITH (FORCE)");
        let control = self.connect("postgres").await;
        control.batch_execute(&sql).await.unwrap();
    }
}

/// The one number that a query returns.
pub async fn number(client: &Client, sql: &str) -> i64 {
    let row = client
        .query_one(&format!("SELECT ({sql})::bigint"), &[])
        .await;
    row.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}
