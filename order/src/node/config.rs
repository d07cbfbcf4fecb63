//! What a node is started with, and how it takes its place by it.

use std::net::SocketAddr;
use std::path::PathBuf;

use cluster::Cluster;
use consensus::transfer::TransferLimits;
use consensus::{PublicKey, ReplicaId, View};
use net::Identity;

use super::bounds::CHECKPOINT_EVERY;
use super::error::NodeError;
use crate::log::LogOptions;

/// What a [`Node`](super::Node) is started with.
#[derive(Debug)]
pub struct NodeConfig {
    /// Members, addresses and keys. A replica that joins needs the view that names it; for one that was in an earlier view
    /// already, the log knows the later ones.
    pub cluster: Cluster,
    /// The view in which the cluster began, equal at every replica, when `cluster` is a later one.
    pub genesis: Option<Cluster>,
    /// Which replica this is.
    pub me: ReplicaId,
    /// Its key.
    pub identity: Identity,
    /// A key that a later view may name: the replica goes over to it by itself.
    pub next_identity: Option<Identity>,
    /// Where its log lies; made if it is not there. No two replicas share one.
    pub log: PathBuf,
    /// Where its checkpoints lie, if not in the log's directory under `checkpoints`.
    pub checkpoints: Option<PathBuf>,
    /// Where to listen, if not at its address in the view.
    pub listen: Option<SocketAddr>,
    /// Bounds and time-outs of the total order; its `max_*` values of batches and `checkpoint_every` must be equal at all replicas.
    pub settings: consensus::Settings,
    /// How the log is kept.
    pub log_options: LogOptions,
    /// Bounds of state transfer.
    pub transfer: TransferLimits,
    /// Bounds of the links.
    pub limits: net::Limits,
}

impl NodeConfig {
    /// With the defaults for everything else.
    pub fn new(
        cluster: Cluster,
        me: ReplicaId,
        identity: Identity,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            cluster,
            genesis: None,
            me,
            identity,
            next_identity: None,
            log: log.into(),
            checkpoints: None,
            listen: None,
            settings: consensus::Settings {
                checkpoint_every: CHECKPOINT_EVERY,
                ..consensus::Settings::default()
            },
            log_options: LogOptions::default(),
            transfer: TransferLimits::default(),
            limits: net::Limits::default(),
        }
    }

    /// The view in which the cluster began.
    pub(super) fn first_view(&self) -> Result<View, NodeError> {
        let view = self.genesis.as_ref().unwrap_or(&self.cluster).membership();
        match view.check() {
            Ok(()) => Ok(view),
            Err(error) => Err(NodeError::Cluster(error.to_string())),
        }
    }
}

/// A replica's place among the others.
pub(super) struct Place {
    /// The view that its links are started with: the log's, or the cluster file's where that is newer, as for one that joins.
    pub view: View,
    /// The key that this view names.
    pub identity: Identity,
    /// The other one.
    pub spare: Option<Identity>,
    pub listen: SocketAddr,
}

impl Place {
    pub fn of(config: &NodeConfig, logged: &View) -> Result<Place, NodeError> {
        let filed = config.cluster.membership();
        filed
            .check()
            .map_err(|error| NodeError::Cluster(error.to_string()))?;
        let view = if logged.id >= filed.id {
            logged.clone()
        } else {
            filed
        };
        let me = config.me;
        let Some(mine) = view.replica_key(me) else {
            return Err(match config.cluster.address(me.0) {
                Some(_) => NodeError::Removed {
                    replica: me,
                    view: view.id,
                },
                None => NodeError::Unlisted(me),
            });
        };
        let fits = |identity: &Identity| PublicKey(identity.public_key()) == *mine;
        let (identity, spare) = match (config.identity.clone(), config.next_identity.clone()) {
            (first, next) if fits(&first) => (first, next),
            (first, Some(next)) if fits(&next) => (next, Some(first)),
            _ => {
                return Err(NodeError::OtherKey {
                    replica: me,
                    view: view.id,
                });
            }
        };
        let contact = view.contacts.get(&me).map_or("", String::as_str);
        let listen = match config.listen {
            Some(address) => address,
            None => contact.parse().map_err(|_| {
                NodeError::Cluster(format!("the contact {contact:?} of {me} is no address"))
            })?,
        };
        Ok(Place {
            view,
            identity,
            spare,
            listen,
        })
    }
}
