//! The cluster that a measurement makes for itself, in a directory of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ::consensus::ClientAuthentication;
use cluster::{ClientEntry, Cluster, FIRST_CLIENT, ReplicaEntry};
use net::Identity;

use crate::failure::Failure;
use crate::ports;

/// A cluster's files and its clients' keys.
pub struct Layout {
    /// Removed when this is dropped.
    dir: tempfile::TempDir,
    pub cluster: Cluster,
    pub clients: Vec<Identity>,
}

impl Layout {
    /// New keys for everybody, on free loopback ports.
    pub fn create(
        replicas: u16,
        clients: usize,
        client_authentication: ClientAuthentication,
    ) -> Result<Layout, Failure> {
        let failed = |cause: String| {
            Failure::new("cannot write the cluster to be measured")
                .cause(cause)
                .next("give a directory with room in TMPDIR")
        };
        let dir = tempfile::Builder::new()
            .prefix("steeldb-bench-")
            .tempdir()
            .map_err(|error| failed(error.to_string()))?;
        let entries = (0..replicas).zip(ports::free(usize::from(replicas), 0)?);
        let replicas = entries
            .map(|(id, port)| {
                let identity = Identity::generate();
                identity
                    .save(identity_file(dir.path(), id))
                    .map_err(|error| failed(error.to_string()))?;
                Ok(ReplicaEntry {
                    id,
                    address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                    key: hex::encode(identity.public_key()),
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let clients: Vec<Identity> = (0..clients).map(|_| Identity::generate()).collect();
        let listed = (FIRST_CLIENT..)
            .zip(&clients)
            .map(|(id, identity)| ClientEntry {
                id,
                name: format!("client-{}", id - FIRST_CLIENT),
                key: hex::encode(identity.public_key()),
            });
        let cluster = Cluster {
            f: (replicas.len() as u16 - 1) / 3,
            mode: Default::default(),
            fast: Default::default(),
            client_authentication,
            administrators: Default::default(),
            leader: Default::default(),
            view: 0,
            replicas,
            clients: listed.collect(),
        };
        std::fs::write(cluster_file(dir.path()), cluster.to_text())
            .map_err(|error| failed(error.to_string()))?;
        Ok(Layout {
            dir,
            cluster,
            clients,
        })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

pub fn cluster_file(dir: &Path) -> PathBuf {
    dir.join("cluster.toml")
}

pub fn identity_file(dir: &Path, replica: u16) -> PathBuf {
    dir.join(format!("replica-{replica}.key"))
}

pub fn log_dir(dir: &Path, replica: u16) -> PathBuf {
    dir.join(format!("replica-{replica}.log"))
}
