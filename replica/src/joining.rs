//! How a replica takes its place: its keys, the view that it begins with, its links.

use cluster::Cluster;
use consensus::{PublicKey, ReplicaId, SigningKey, View};
use net::{Endpoint, EndpointConfig, Events, Identity, Membership, PeerId};

use crate::config::Config;
use crate::run::Error;

/// What the files say.
pub(crate) struct Start {
    cluster: Cluster,
    /// The view in which the cluster began; the log knows how it changed since.
    pub first: View,
    /// The key, then one that a later view may name.
    identities: Vec<Identity>,
}

/// The replica's place among the others.
pub(crate) struct Joined {
    pub endpoint: Endpoint,
    pub events: Events,
    pub key: SigningKey,
    pub spare_keys: Vec<SigningKey>,
    /// The view that the links were made for.
    pub links_since: u64,
    pub view: View,
}

impl Start {
    /// `genesis.toml` beside the cluster file is written when the membership first changes; `identity.next` beside the
    /// identity when a new key is made.
    pub fn load(config: &Config) -> Result<Start, Error> {
        let cluster = Cluster::load(&config.cluster)?;
        let first = Cluster::load_genesis(&config.cluster)?.membership();
        let mut identities = vec![Identity::load(&config.identity)?];
        let next = config.identity.with_file_name("identity.next");
        if next.exists() {
            identities.push(Identity::load(&next)?);
        }
        Ok(Start {
            cluster,
            first,
            identities,
        })
    }

    /// It is to take a place in a cluster that began without it, or without its present key.
    pub fn joins(&self) -> bool {
        self.cluster.membership().id > self.first.id
    }

    /// Starts the links: of the log's view, or of the cluster file's where that is newer, as for one that joins.
    pub async fn join(self, me: ReplicaId, logged: Option<&View>) -> Result<Joined, Error> {
        let filed = self.cluster.membership();
        // Of one view the file may say anew where members listen.
        let view = logged.filter(|view| view.id > filed.id).unwrap_or(&filed);
        let Some(mine) = view.replica_key(me) else {
            return Err(Error::Removed {
                replica: me.0,
                view: view.id,
            });
        };
        let fits = |identity: &Identity| PublicKey(identity.public_key()) == *mine;
        let mut identities = self.identities;
        let at = identities.iter().position(fits).ok_or_else(|| {
            Error::Config(format!(
                "view {} names another key for replica {}: restore the identity file that belongs to it",
                view.id, me.0
            ))
        })?;
        let identity = identities.swap_remove(at);
        let contact = view.contacts.get(&me).map_or("", String::as_str);
        let listen = contact.parse().map_err(|_| {
            Error::Config(format!(
                "the contact {contact:?} of replica {} is no address",
                me.0
            ))
        })?;
        let Membership { directory, dial } = order::links(me, view).map_err(Error::Config)?;
        let key = identity.signing_key().clone();
        let (endpoint, events) = Endpoint::start(EndpointConfig {
            me: PeerId::Replica(me.0),
            identity,
            directory,
            listen: Some(listen),
            dial,
            limits: net::Limits::default(),
        })
        .await?;
        let spare_keys = identities.iter().map(|i| i.signing_key().clone()).collect();
        for identity in identities {
            endpoint.offer(identity);
        }
        Ok(Joined {
            endpoint,
            events,
            key,
            spare_keys,
            links_since: view.id,
            view: view.clone(),
        })
    }
}
