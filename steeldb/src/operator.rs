//! The operator: the client of the cluster that asks for its state.
//!
//! A client has one connection per replica, and a later one replaces the earlier. So that commands can run side by side,
//! the operator has several identities; a command takes one that no other command holds.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use client_shim::{Settings, Shim};
use cluster::{ClientEntry, Cluster};
use net::Identity;

use crate::failure::Failure;
use crate::layout::Layout;

/// Commands that can run side by side.
const IDENTITIES: usize = 4;

/// How long a command waits for an identity.
const PATIENCE: Duration = Duration::from_secs(30);

/// The names of the operator's identities in the cluster file.
pub fn names() -> impl Iterator<Item = String> {
    (0..IDENTITIES).map(|n| {
        if n == 0 {
            "operator".into()
        } else {
            format!("operator-{n}")
        }
    })
}

/// The clients that serve applications: neither operators nor administrators.
pub fn applications(cluster: &Cluster) -> impl Iterator<Item = &ClientEntry> {
    let operators: Vec<String> = names().collect();
    cluster.clients.iter().filter(move |client| {
        !operators.contains(&client.name) && !cluster.administrators.contains(&client.id)
    })
}

/// The client whose requests change the membership.
pub const ADMINISTRATOR: &str = "administrator";

/// Where its key lies.
pub fn administrator(layout: &Layout) -> PathBuf {
    layout.operator_home().join(ADMINISTRATOR)
}

/// Where the key of one of them lies.
pub fn identity(layout: &Layout, name: &str) -> PathBuf {
    let file = name.replacen("operator", "identity", 1);
    layout.operator_home().join(file)
}

/// A connection to the cluster and the identity that it uses.
pub struct Operator {
    pub shim: Shim,
    _identity: File,
}

impl Operator {
    /// Starts the links; they come up one by one.
    pub async fn connect(layout: &Layout, cluster: &Cluster) -> Result<Operator, Failure> {
        let start = Instant::now();
        loop {
            for name in names() {
                if let Some(operator) = try_connect(layout, cluster, &name).await? {
                    return Ok(operator);
                }
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::new("cannot speak to the cluster")
                    .cause(format!("{IDENTITIES} other steeldb commands do"))
                    .next("wait for them, then try again"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The administrator's key, for what others ask in its name.
///
/// # Errors
/// When the cluster has none, or the key is not here.
pub fn administrator_key(layout: &Layout, cluster: &Cluster) -> Result<Identity, Failure> {
    let path = administrator(layout);
    let failed = Failure::new("the cluster cannot be administered");
    if cluster.client(ADMINISTRATOR).is_none() {
        return Err(
            failed.cause("the cluster file names no administrator: an older steeldb made it")
        );
    }
    Identity::load(&path).map_err(|error| {
        failed.cause(error).next(format!(
            "restore {}; `steeldb init` wrote it",
            path.display()
        ))
    })
}

/// The administrator's connection to the cluster.
///
/// # Errors
/// When another command uses it, or the cluster has none.
pub async fn administrator_shim(layout: &Layout, cluster: &Cluster) -> Result<Operator, Failure> {
    if cluster.client(ADMINISTRATOR).is_none() {
        return Err(Failure::new("the cluster cannot be administered")
            .cause("the cluster file names no administrator: an older steeldb made it")
            .next("make a new cluster and load a dump of this one"));
    }
    let operator = try_connect(layout, cluster, ADMINISTRATOR).await?;
    operator.ok_or_else(|| {
        Failure::new("the cluster cannot be administered now")
            .cause("another `steeldb reconfigure` is at it")
            .next("wait for it, then try again")
    })
}

/// `None` when another command uses this identity.
async fn try_connect(
    layout: &Layout,
    cluster: &Cluster,
    name: &str,
) -> Result<Option<Operator>, Failure> {
    let path = identity(layout, name);
    let failed = |cause: String| {
        Failure::new("cannot speak to the cluster")
            .cause(cause)
            .next(format!(
                "restore {}; `steeldb init` wrote it",
                path.display()
            ))
    };
    let file = File::open(&path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => {
            return Err(failed(format!("{}: {error}", path.display())));
        }
    }
    let key = Identity::load(&path).map_err(|error| failed(error.to_string()))?;
    let me = cluster
        .client(name)
        .ok_or_else(|| failed(format!("the cluster file names no client {name:?}")))?;
    let shim = Shim::connect(cluster, me, key, Settings::default())
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(Some(Operator {
        shim,
        _identity: file,
    }))
}
