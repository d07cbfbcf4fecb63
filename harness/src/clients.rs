//! Clients of the proxy, and what an administrator asks for.

use crate::Cluster;
use client_shim::Isolation;
use tokio_postgres::{Client, NoTls};

impl Cluster {
    /// A client of the proxy.
    pub async fn client(&self) -> Client {
        self.try_client().await.unwrap()
    }

    pub(crate) async fn try_client(&self) -> Result<Client, tokio_postgres::Error> {
        self.client_as("postgres").await
    }

    /// A client of the proxy with this role.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn client_as(&self, role: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.front.port())
            .user(role)
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Has what an administrator may ask for carried out, in one transaction (`steel.provision`).
    pub async fn provision(&self, requests: &[&str]) {
        let mut transaction = self.operator.begin(Vec::new(), Isolation::Snapshot, false);
        for request in requests {
            let key = self.key("administrator").signing_key();
            let operation = txn::provision::sign(key, transaction.id(), request);
            let outcome = transaction.execute(operation, false).await.unwrap();
            let failed = outcome.frames.iter().find_map(txn::result::sqlstate);
            assert_eq!(failed, None, "{request}");
        }
        transaction.commit().await.unwrap();
    }
}
