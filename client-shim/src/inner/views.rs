//! A client follows the membership by itself: it believes a view that f+1 members of the one it knows announce alike.

use std::net::SocketAddr;
use std::sync::Arc;

use consensus::{ReplicaId, View};
use net::{Directory, PeerId};

use super::{Inner, Waiting};

impl Inner {
    /// What a replica says of the membership.
    pub(super) fn announced(&self, waiting: &mut Waiting, from: ReplicaId, view: View) {
        let now = self.view();
        if view.id <= now.id || !now.replicas.contains_key(&from) {
            return;
        }
        waiting.views.insert(from, view);
        let said = &waiting.views[&from];
        let alike = waiting.views.values().filter(|other| *other == said);
        if alike.count() < now.one_correct() || said.check().is_err() {
            return;
        }
        let view = Arc::new(said.clone());
        waiting.views.clear();
        waiting
            .epochs
            .retain(|id, _| view.replicas.contains_key(id));
        tracing::info!(
            view = view.id,
            replicas = view.n(),
            "the membership changed"
        );
        for pending in waiting.ordered.values_mut() {
            pending.counter.in_view(view.clone());
        }
        *self.view.write().unwrap_or_else(|e| e.into_inner()) = view.clone();
        self.connect_to(&view);
        self.links.send_modify(|n| *n += 1);
    }

    fn connect_to(&self, view: &View) {
        let me = (PeerId::Client(self.me.0), self.key.0);
        let replicas = view.replicas.iter();
        let peers = replicas.map(|(id, key)| (PeerId::Replica(id.0), key.0));
        let dial = view.contacts.iter().filter_map(|(id, contact)| {
            let address: SocketAddr = contact.parse().ok()?;
            Some((PeerId::Replica(id.0), address))
        });
        let membership = Directory::new(peers.chain([me])).map(|directory| net::Membership {
            directory,
            dial: dial.collect(),
        });
        let changed = membership
            .map_err(|error| error.to_string())
            .and_then(|m| self.endpoint.change(m).map_err(|error| error.to_string()));
        if let Err(error) = changed {
            tracing::error!(
                view = view.id,
                error,
                "the links do not follow the membership"
            );
        }
    }
}
