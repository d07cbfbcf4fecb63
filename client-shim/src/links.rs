//! A client's links, and how they follow the membership: it believes a view that f + 1 members of the one it knows announce alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::Cluster;
use consensus::{ClientId, PublicKey, ReplicaId, View};
use net::{Directory, DirectoryError, Endpoint, EndpointConfig, Events, Identity, Limits};
use net::{Membership, PeerId, StartError};

/// Why there are no links.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinksError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Links to all replicas of the cluster file. Returns at once: they come up when they do.
pub(crate) async fn connect(
    cluster: &Cluster,
    me: ClientId,
    identity: Identity,
    limits: Limits,
) -> Result<(Endpoint, Events), LinksError> {
    let replicas = cluster.replicas.iter();
    let config = EndpointConfig {
        me: PeerId::Client(me.0),
        identity,
        directory: cluster.directory()?,
        listen: None,
        dial: replicas
            .map(|r| (PeerId::Replica(r.id), r.address))
            .collect(),
        limits,
    };
    Ok(Endpoint::start(config).await?)
}

/// Grows with every start of a client, so that the replicas' windows for it begin anew.
pub(crate) fn incarnation() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_nanos() as u64
}

/// The newest view that each member announced, if it is later than the one that is believed.
#[derive(Debug, Default)]
pub(crate) struct Announced(BTreeMap<ReplicaId, View>);

impl Announced {
    /// A replica announces a view. Returns it once f + 1 members of `now` say the same: one of them is correct.
    pub fn hear(&mut self, now: &View, from: ReplicaId, said: View) -> Option<View> {
        if said.id <= now.id || !now.replicas.contains_key(&from) {
            return None;
        }
        let alike = self.0.iter();
        let alike = alike.filter(|(member, other)| **member != from && **other == said);
        if alike.count() + 1 < now.one_correct() || said.check().is_err() {
            self.0.insert(from, said);
            return None;
        }
        self.0.clear();
        tracing::info!(
            view = said.id,
            replicas = said.n(),
            "the membership changed"
        );
        Some(said)
    }
}

/// The links go over to a view.
pub(crate) fn follow(endpoint: &Endpoint, me: ClientId, key: &PublicKey, view: &View) {
    let me = (PeerId::Client(me.0), key.0);
    let replicas = view.replicas.iter();
    let peers = replicas.map(|(id, key)| (PeerId::Replica(id.0), key.0));
    let dial = view.contacts.iter().filter_map(|(id, contact)| {
        let address: SocketAddr = contact.parse().ok()?;
        Some((PeerId::Replica(id.0), address))
    });
    let membership = Directory::new(peers.chain([me])).map(|directory| Membership {
        directory,
        dial: dial.collect(),
    });
    let changed = membership
        .map_err(|error| error.to_string())
        .and_then(|m| endpoint.change(m).map_err(|error| error.to_string()));
    if let Err(error) = changed {
        tracing::error!(
            view = view.id,
            error,
            "the links do not follow the membership"
        );
    }
}

#[cfg(test)]
mod tests {
    use consensus::SigningKey;

    use super::*;

    fn view(id: u64, members: std::ops::Range<u16>) -> View {
        let key = |id: u16| PublicKey::of(&SigningKey::from_bytes(&[id as u8 + 1; 32]));
        View {
            id,
            f: 1,
            replicas: members.map(|id| (ReplicaId(id), key(id))).collect(),
            ..View::default()
        }
    }

    #[test]
    fn a_view_is_believed_when_two_members_say_the_same() {
        let (now, next) = (view(1, 0..4), view(2, 0..5));
        let mut announced = Announced::default();
        let mut hear = |from, said: &View| announced.hear(&now, ReplicaId(from), said.clone());
        assert_eq!(hear(0, &next), None);
        assert_eq!(hear(0, &next), None, "one member counts once");
        assert_eq!(hear(4, &next), None, "it is no member yet");
        assert_eq!(hear(1, &view(2, 1..5)), None, "another one");
        assert_eq!(hear(2, &view(1, 0..5)), None, "no later one");
        assert_eq!(hear(3, &next), Some(next.clone()));
    }

    #[test]
    fn a_view_that_cannot_be_used_is_believed_from_nobody() {
        let (now, useless) = (view(1, 0..4), view(2, 0..3));
        let mut announced = Announced::default();
        for from in 0..4 {
            let heard = announced.hear(&now, ReplicaId(from), useless.clone());
            assert_eq!(heard, None);
        }
    }
}
