//! Those whom a view leaves behind, and this replica when it is one of them.
//!
//! A view cuts the links to the members that it does not name, or names by another key. Whoever has not decided the height
//! that made the view would never learn of it: its peers refuse it. Two things mend that. Links to removed members stay open for some
//! seconds, in which nothing is heard of the order but where they stand and their question for decisions. And a replica that nobody speaks with tries its
//! other key. One that was removed keeps its links as long: what was ordered before it left is voted on in the view that named it.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::{Message, PublicKey, ReplicaId, View};
use net::PeerId;

use crate::past::load;

use super::{Done, Order};

/// How long the links to a member that was removed stay open.
pub const LAST_WORDS: Duration = Duration::from_secs(5);
/// Decisions that it is sent at a time.
const DECISIONS: usize = 64;
/// How often this replica looks whether anybody speaks with it.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// So often in vain, and it tries its other key.
const LOOKS: u32 = 4;

/// What is remembered for it.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Members of the last view that this one does not name.
    leavers: BTreeSet<ReplicaId>,
    /// Those whose decisions are being read.
    served: BTreeSet<ReplicaId>,
    /// Looks without any replica connected.
    alone: u32,
    /// The key in use is not the view's.
    other_key: bool,
}

impl Order {
    /// The links follow the view, `old` before it.
    pub(super) fn links_follow(&mut self, old: &View) {
        self.leaving = Leaving::default();
        match crate::membership::with_leavers(old, &self.view) {
            // Whoever runs this replica stops it.
            Some(both) if !self.view.replicas.contains_key(&self.me) => self.change_links(&both),
            Some(both) => {
                let gone = |id: &&ReplicaId| !self.view.replicas.contains_key(*id);
                self.leaving.leavers = both.replicas.keys().filter(gone).copied().collect();
                self.change_links(&both);
                let (done, view) = (self.done.clone(), self.view.id);
                tokio::spawn(async move {
                    tokio::time::sleep(LAST_WORDS).await;
                    // The order may have ended meanwhile.
                    let _ = done.send(Done::Parted { view });
                });
            }
            None => self.change_links(&self.view),
        }
    }

    /// Time is up for those that this view has left behind.
    pub(super) fn parted(&mut self, view: u64) {
        if view == self.view.id {
            self.leaving.leavers.clear();
            self.change_links(&self.view);
        }
    }

    /// A removed member says where it stands, and is told how far the others are; it asks for the decisions that it lacks, and one of them
    /// tells it. What else it says is nothing.
    pub(super) fn hear_leaver(&mut self, from: ReplicaId, message: &Message) -> bool {
        if !self.leaving.leavers.contains(&from) {
            return false;
        }
        let here = self.core.status();
        if let Message::Status { decided, .. } = *message
            && decided < here.height
        {
            // It cannot know that it lags: nobody votes with it any more, and with several instances in flight
            // the last votes said little of what was decided.
            let message = Message::Status {
                view: here.view,
                regency: here.regency,
                free_from: None,
                decided: here.height,
            };
            self.send(from, &message.encode().into());
        }
        if let Message::FetchDecisions { from: first, .. } = *message
            && self.leaving.served.insert(from)
        {
            let (log, done) = (self.log.clone(), self.done.clone());
            self.log_work.spawn_blocking(move || {
                let decisions = load(&log, first, DECISIONS);
                let _ = done.send(Done::LoadedForLeaver {
                    to: from,
                    decisions,
                });
            });
        }
        true
    }

    pub(super) fn answer_leaver(&mut self, to: ReplicaId, message: &Message) {
        if self.leaving.served.remove(&to) {
            self.send(to, &message.encode().into());
        }
    }

    /// Nobody speaks with this replica: perhaps a view names its other key.
    pub(super) fn look_for_peers(&mut self) {
        let connected = self.endpoint.connected();
        if self.spare_keys.is_empty()
            || self.view.id < self.links_since
            || connected
                .iter()
                .any(|peer| matches!(peer, PeerId::Replica(_)))
        {
            self.leaving.alone = 0;
            return;
        }
        self.leaving.alone += 1;
        if !self.leaving.alone.is_multiple_of(LOOKS) {
            return;
        }
        let mut view = View::clone(&self.view);
        let Some(mine) = view.replicas.get_mut(&self.me) else {
            return;
        };
        self.leaving.other_key = !self.leaving.other_key;
        if self.leaving.other_key {
            let keys = std::iter::once(&self.key).chain(&self.spare_keys);
            let other = keys.map(PublicKey::of).find(|key| key != mine);
            let Some(other) = other else { return };
            *mine = other;
        }
        tracing::debug!(
            other_key = self.leaving.other_key,
            "no replica is connected: the other key is tried"
        );
        self.change_links(&view);
    }

    fn change_links(&self, view: &View) {
        let changed = crate::links(self.me, view)
            .and_then(|links| self.endpoint.change(links).map_err(|e| e.to_string()));
        if let Err(error) = changed {
            tracing::error!(view = view.id, error, "the links do not follow the view");
        }
    }
}
