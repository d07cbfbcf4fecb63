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
        authentication: ClientAuthentication,
    ) -> Result<Layout, Failure> {
        let ports = ports::free(usize::from(replicas), 0)?;
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses: Vec<SocketAddr> = ports.into_iter().map(address).collect();
        Layout::scratch()?.cluster(&addresses, clients, |cluster| {
            cluster.client_authentication = authentication;
        })
    }

    /// An empty directory for a cluster.
    pub fn scratch() -> Result<Scratch, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("steeldb-bench-")
            .tempdir()
            .map_err(|error| unwritten(error.to_string()))?;
        Ok(Scratch(dir))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Where a cluster will be; removed when it is dropped.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// New keys for everybody: as many replicas as there are addresses, and so many clients. `adjust` may change the cluster
    /// before it is written.
    pub fn cluster(
        self,
        addresses: &[SocketAddr],
        clients: usize,
        adjust: impl FnOnce(&mut Cluster),
    ) -> Result<Layout, Failure> {
        let dir = self.0;
        let replicas = (0..)
            .zip(addresses)
            .map(|(id, address)| {
                let identity = Identity::generate();
                identity
                    .save(identity_file(dir.path(), id))
                    .map_err(|error| unwritten(error.to_string()))?;
                Ok(ReplicaEntry {
                    id,
                    address: *address,
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
        let mut cluster = Cluster {
            f: (replicas.len() as u16 - 1) / 3,
            mode: Default::default(),
            fast: Default::default(),
            client_authentication: Default::default(),
            administrators: Default::default(),
            leader: Default::default(),
            view: 0,
            replicas,
            clients: listed.collect(),
        };
        adjust(&mut cluster);
        std::fs::write(cluster_file(dir.path()), cluster.to_text())
            .map_err(|error| unwritten(error.to_string()))?;
        Ok(Layout {
            dir,
            cluster,
            clients,
        })
    }
}

fn unwritten(cause: String) -> Failure {
    Failure::new("cannot write the cluster to be measured")
        .cause(cause)
        .next("give a directory with room in TMPDIR")
}

pub fn cluster_file(dir: &Path) -> PathBuf {
    dir.join("cluster.toml")
}

/// Of a replica that needs another one than all.
pub fn own_cluster_file(dir: &Path, replica: u16) -> PathBuf {
    dir.join(format!("replica-{replica}.toml"))
}

pub fn identity_file(dir: &Path, replica: u16) -> PathBuf {
    dir.join(format!("replica-{replica}.key"))
}

pub fn log_dir(dir: &Path, replica: u16) -> PathBuf {
    dir.join(format!("replica-{replica}.log"))
}
