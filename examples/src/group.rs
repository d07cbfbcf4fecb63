//! A group in a directory: `cluster.toml`, and an identity for each replica and for the client.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use client_shim::invoker::{Client, Settings};
use cluster::{ClientEntry, Cluster, FIRST_CLIENT, ReplicaEntry};
use consensus::{ClientId, ReplicaId};
use net::Identity;
use order::node::{Node, NodeConfig, Service};

/// Makes the files of a group of replicas at these addresses: 3f + 1 of them bear f faulty ones.
///
/// # Errors
/// When there are fewer than four, or the directory has such files already.
pub fn init(dir: &Path, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let f = addresses.len().saturating_sub(1) / 3;
    anyhow::ensure!(
        f > 0,
        "four replicas bear one that is faulty; fewer bear none"
    );
    let identity = |name: String| -> anyhow::Result<String> {
        let identity = Identity::generate();
        let home = dir.join(name);
        std::fs::create_dir_all(&home)
            .with_context(|| format!("cannot make {}", home.display()))?;
        identity.save(home.join("identity"))?;
        Ok(hex::encode(identity.public_key()))
    };
    let mut replicas = Vec::new();
    for (id, address) in (0..).zip(addresses) {
        replicas.push(ReplicaEntry {
            id,
            address: *address,
            key: identity(format!("replica-{id}"))?,
        });
    }
    let clients = vec![ClientEntry {
        id: FIRST_CLIENT,
        name: "client".into(),
        key: identity("client".into())?,
    }];
    let f = u16::try_from(f).context("too many replicas")?;
    let cluster = Cluster {
        f,
        mode: Default::default(),
        fast: Default::default(),
        client_authentication: Default::default(),
        administrators: Default::default(),
        leader: None,
        view: 0,
        replicas,
        clients,
    };
    let file = dir.join("cluster.toml");
    std::fs::write(&file, cluster.to_text())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Starts a replica of the group, with its log in the directory.
///
/// # Errors
/// When its files cannot be read, or it does not start.
pub async fn replica(dir: &Path, id: u16, service: impl Service) -> anyhow::Result<Node> {
    let cluster = Cluster::load(&dir.join("cluster.toml"))?;
    let home = dir.join(format!("replica-{id}"));
    let identity = Identity::load(home.join("identity"))?;
    let config = NodeConfig::new(cluster, ReplicaId(id), identity, home.join("log"));
    Ok(Node::start(config, service).await?)
}

/// Connects the group's client.
///
/// # Errors
/// When its files cannot be read, or do not fit together.
pub async fn client(dir: &Path) -> anyhow::Result<Client> {
    let cluster = Cluster::load(&dir.join("cluster.toml"))?;
    let identity = Identity::load(dir.join("client/identity"))?;
    Ok(Client::connect(
        &cluster,
        ClientId(FIRST_CLIENT),
        identity,
        Settings::default(),
    )
    .await?)
}
