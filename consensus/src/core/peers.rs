//! What this replica knows of its peers: where they stand, and whether their links do.

use std::collections::BTreeMap;

use crate::ids::{Height, Regency, ReplicaId};
use crate::message::Message;
use crate::settings::mutated;
use crate::view::View;

use super::{Action, Core};

/// A peer is told at most so often where we stand, in answer to it (milliseconds).
const NUDGE_MS: u64 = 100;

/// One peer, as far as it is to be believed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub regency: Regency,
    pub free_from: Option<Height>,
    /// Its last decided height, as it says.
    pub decided: Height,
    /// Its link broke then, and nothing was heard of it since.
    pub down_since: Option<u64>,
    /// Its link stands again.
    pub linked: bool,
    /// When it last said anything.
    pub heard_at: u64,
    pub nudged_at: Option<u64>,
    /// Its decisions are being read from the log since then.
    pub loading_since: Option<u64>,
    /// The first height that its log holds, as it says.
    pub oldest: Height,
}

/// All peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub all: BTreeMap<ReplicaId, Peer>,
}

impl Peers {
    pub fn of(view: &View, me: ReplicaId) -> Self {
        let others = view.replicas.keys().filter(|id| **id != me);
        Self {
            all: others.map(|id| (*id, Peer::default())).collect(),
        }
    }

    /// Keeps what is known of those who stay.
    pub fn change(&mut self, view: &View, me: ReplicaId) {
        let mut known = std::mem::take(&mut self.all);
        *self = Self::of(view, me);
        for (id, peer) in &mut self.all {
            let old = known.remove(id).unwrap_or_default();
            // Its regency was one of the view before.
            *peer = Peer {
                regency: 0,
                free_from: None,
                ..old
            };
        }
    }

    pub fn link_down(&mut self, now: u64, peer: ReplicaId) {
        if let Some(peer) = self.all.get_mut(&peer) {
            peer.down_since.get_or_insert(now);
            peer.linked = false;
        }
    }

    /// A link that stands says nothing of the core behind it, which may still read its log; its word does.
    pub fn heard(&mut self, now: u64, peer: ReplicaId) {
        if let Some(peer) = self.all.get_mut(&peer) {
            peer.heard_at = now;
            if peer.linked {
                peer.down_since = None;
            }
        }
    }

    /// For how long nothing was heard of a peer.
    pub fn silent_for(&self, now: u64, peer: ReplicaId) -> u64 {
        let heard_at = self.all.get(&peer).map_or(now, |peer| peer.heard_at);
        now.saturating_sub(heard_at)
    }

    /// Notes that a peer decided up to `decided`.
    pub fn seen_at(&mut self, peer: ReplicaId, decided: Height) {
        if let Some(peer) = self.all.get_mut(&peer) {
            peer.decided = peer.decided.max(decided);
        }
    }

    /// The highest claim; not to be believed, only to be asked about.
    pub fn furthest(&self) -> Height {
        self.all
            .values()
            .map(|peer| peer.decided)
            .max()
            .unwrap_or(0)
    }

    /// The highest that at least `count` peers claim to have decided.
    pub fn decided_by(&self, count: usize) -> Height {
        let mut claims: Vec<_> = self.all.values().map(|peer| peer.decided).collect();
        nth_largest(&mut claims, count).unwrap_or(0)
    }

    /// How many say that their logs begin above `height`.
    pub fn without(&self, height: Height) -> usize {
        self.all
            .values()
            .filter(|peer| peer.oldest > height)
            .count()
    }

    /// How long the link to `peer` has been down.
    pub fn down_for(&self, now: u64, peer: ReplicaId) -> Option<u64> {
        let since = self.all.get(&peer)?.down_since?;
        Some(now.saturating_sub(since))
    }

    /// The largest regency that at least `count` peers have reached.
    pub fn regency_of(&self, count: usize) -> Regency {
        let mut claims: Vec<_> = self.all.values().map(|peer| peer.regency).collect();
        nth_largest(&mut claims, count).unwrap_or(0)
    }

    /// The smallest height from which at least `count` peers say that `regency` is free.
    pub fn free_from(&self, regency: Regency, count: usize) -> Option<Height> {
        let claims = self.all.values().filter(|peer| peer.regency == regency);
        let mut claims: Vec<_> = claims.filter_map(|peer| peer.free_from).collect();
        claims.sort_unstable();
        claims.get(count.checked_sub(1)?).copied()
    }
}

/// The `count`-th largest value, counted from 1.
pub(crate) fn nth_largest(values: &mut [u64], count: usize) -> Option<u64> {
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(count.checked_sub(1)?).copied()
}

impl Core {
    pub(crate) fn my_status(&self) -> Message {
        Message::Status {
            view: self.view.id,
            regency: self.regency,
            free_from: self.start.map(|start| start.free_from()),
            decided: self.summary.height(),
        }
    }

    /// Tells a peer that is behind where we stand, but not at every word of it.
    pub(crate) fn nudge(&mut self, now: u64, to: ReplicaId, out: &mut Vec<Action>) {
        let message = self.my_status();
        let Some(peer) = self.peers.all.get_mut(&to) else {
            return;
        };
        if peer.nudged_at.is_some_and(|at| now < at + NUDGE_MS) {
            return;
        }
        peer.nudged_at = Some(now);
        out.push(Action::Send { to, message });
        // The SYNC, if this replica made it, tells a peer how the regency began.
        let needs_sync = peer.regency < self.regency || peer.free_from.is_none();
        if let Some(sync) = self.stopping.sync.clone().filter(|_| needs_sync) {
            out.push(Action::Send {
                to,
                message: Message::Sync(sync),
            });
        }
    }

    pub(crate) fn on_link_up(&mut self, now: u64, peer: ReplicaId, out: &mut Vec<Action>) {
        let Some(known) = self.peers.all.get_mut(&peer) else {
            return;
        };
        known.linked = true;
        out.push(Action::Send {
            to: peer,
            message: self.my_status(),
        });
        // What was under way when the link broke is lost: say it again.
        self.repeat_stop(Some(peer), out);
        self.repeat_votes(Some(peer), out);
        if peer == self.leader() {
            self.send_stopdata(now, out);
        }
    }

    pub(crate) fn on_status(
        &mut self,
        now: u64,
        from: ReplicaId,
        (view, regency): (u64, Regency),
        free_from: Option<Height>,
        decided: Height,
        out: &mut Vec<Action>,
    ) {
        let here = self.is_member() && view == self.view.id;
        let Some(peer) = self.peers.all.get_mut(&from) else {
            return;
        };
        if !here {
            // Regencies of another view say nothing here; heights do.
            peer.decided = decided;
            if decided < self.summary.height() {
                self.nudge(now, from, out);
            }
            self.catch_up(now, out);
            return;
        }
        (peer.regency, peer.free_from, peer.decided) = (regency, free_from, decided);
        let unsynced = regency == self.regency && free_from.is_none() && self.start.is_some();
        if regency < self.regency || unsynced || decided < self.summary.height() {
            self.nudge(now, from, out);
        }
        // At least one correct replica entered this regency: 2f + 1 wanted it.
        let planted = usize::from(mutated!(self.settings, ClaimsByF));
        let reached = self.peers.regency_of(self.view.one_correct() - planted);
        if reached > self.regency {
            self.enter(now, reached, out);
        }
        self.catch_up(now, out);
        self.advance(now, out);
    }
}
