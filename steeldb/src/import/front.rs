//! A proxy of the import's own, in this process: what is imported takes the way of every client's statements, and no client
//! needs to be let in meanwhile.

use std::net::{Ipv4Addr, SocketAddr};

use client_shim::Shim;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::sql_error;
use crate::failure::Failure;

/// The proxy; it ends with this value.
pub struct Front {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Front {
    /// Listens on a free loopback port.
    pub async fn open(shim: Shim) -> Result<Front, Failure> {
        let config = proxy::ProxyConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ..proxy::ProxyConfig::default()
        };
        let front = proxy::Proxy::bind(config, shim)
            .await
            .map_err(|error| Failure::new("the import's proxy cannot start").cause(error))?;
        let address = front.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(front.run(async {
            // The sender is used, or gone with its owner: both end the proxy.
            let _ = stopped.await;
        }));
        Ok(Front {
            address,
            stop: Some(stop),
            task,
        })
    }

    /// A session as an application has it.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let dsn = format!(
            "host={} port={} user=postgres dbname=postgres application_name='steeldb import'",
            self.address.ip(),
            self.address.port()
        );
        let (client, connection) = tokio_postgres::connect(&dsn, NoTls)
            .await
            .map_err(|error| sql_error("the cluster cannot be spoken to", &error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a session with the cluster has ended");
            }
        });
        Ok(client)
    }

    /// Ends it, and waits until it has.
    pub async fn close(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "the import's proxy did not end well");
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}
