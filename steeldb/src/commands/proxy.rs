//! `steeldb proxy`: the process of one proxy.

use std::path::PathBuf;
use std::time::Duration;

use client_shim::Shim;
use cluster::Cluster;
use consensus::ClientId;
use net::Identity;

use crate::failure::Failure;
use crate::proxy_file::ProxyFile;
use crate::{logging, signals};

/// How often it is said that the replicas do not answer yet.
const REMIND: Duration = Duration::from_secs(30);

/// Run one proxy in the foreground (`up` does this for you)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its configuration file, proxy.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    logging::start()?;
    let stop_wish = signals::stop_wish()?;
    let mut stop_wish = std::pin::pin!(stop_wish);
    let file = ProxyFile::load(&args.config)?.resolved(&args.config);
    let failed = |cause: String| Failure::new("the proxy cannot start").cause(cause);
    let cluster = Cluster::load(&file.cluster).map_err(|error| failed(error.to_string()))?;
    let identity = Identity::load(&file.identity).map_err(|error| failed(error.to_string()))?;
    let me = owner(&cluster, &identity).ok_or_else(|| {
        failed(format!(
            "{} names no client with the key in {}",
            file.cluster.display(),
            file.identity.display()
        ))
        .next("take the identity and the cluster file of one cluster")
    })?;
    let shim = Shim::connect(&cluster, me, identity, file.shim_settings())
        .await
        .map_err(|error| failed(error.to_string()))?;
    tokio::select! {
        () = &mut stop_wish => return Ok(()),
        () = replicas_answer(&shim) => {}
    }
    let front = ::proxy::Proxy::bind(file.front, shim)
        .await
        .map_err(|error| failed(error.to_string()))?;
    front.run(stop_wish).await;
    Ok(())
}

async fn replicas_answer(shim: &Shim) {
    while let Err(error) = shim.ready(REMIND).await {
        tracing::warn!(%error, detail = error.detail.as_deref(), "still waiting for the replicas");
    }
    // Applications remember what the proxy before this one told them; its first reads must not show them less.
    while let Err(error) = shim.catch_up().await {
        tracing::warn!(%error, detail = error.detail.as_deref(), "still waiting for the replicas to agree");
    }
}

/// The client of the cluster file that has this key.
fn owner(cluster: &Cluster, identity: &Identity) -> Option<ClientId> {
    let key = hex::encode(identity.public_key());
    let entry = cluster
        .clients
        .iter()
        .find(|client| client.key.eq_ignore_ascii_case(&key))?;
    Some(ClientId(entry.id))
}
