//! A client follows the membership by itself.

use std::sync::Arc;

use consensus::{ReplicaId, View};

use super::{Inner, Waiting};
use crate::links;

impl Inner {
    /// What a replica says of the membership.
    pub(super) fn announced(&self, waiting: &mut Waiting, from: ReplicaId, view: View) {
        let Some(view) = waiting.views.hear(&self.view(), from, view) else {
            return;
        };
        let view = Arc::new(view);
        waiting
            .epochs
            .retain(|id, _| view.replicas.contains_key(id));
        for pending in waiting.ordered.values_mut() {
            pending.counter.in_view(view.clone());
        }
        *self.view.write().unwrap_or_else(|e| e.into_inner()) = view.clone();
        links::follow(&self.endpoint, self.me, &self.key, &view);
        self.links.send_modify(|n| *n += 1);
    }
}
