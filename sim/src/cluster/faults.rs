//! What breaks, and how it heals.

use std::collections::BTreeSet;

use consensus::{Input, ReplicaId};

use crate::plan::{Fault, HEAL_AT};

use super::node::Node;
use super::{Cluster, Event};

impl Cluster {
    pub(super) fn breaks(&mut self, number: u64, fault: Fault) {
        if self.healed {
            return;
        }
        self.trace.line(self.now, || format!("FAULT {fault:?}"));
        let lasts = match &fault {
            Fault::Crash { replica, down } => {
                self.crash(*replica);
                *down
            }
            Fault::CrashAll { down } => {
                self.nodes
                    .keys()
                    .copied()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|id| self.crash(id));
                *down
            }
            Fault::Partition { side, lasts } => {
                self.network.part(number, side.clone());
                self.tell_parted(side, false);
                *lasts
            }
            Fault::OneWay { from, to, lasts } => {
                self.network.cut(number, from.clone(), to.clone());
                *lasts
            }
            Fault::Lonely { replica, lasts } => {
                self.network.isolate_decision(number, *replica);
                *lasts
            }
            Fault::SlowDisk { replica, ms, lasts } => {
                if let Some(node) = self.node(*replica) {
                    node.fsync_ms = Some(*ms);
                }
                *lasts
            }
            Fault::FullDisk { replica, lasts } => {
                if let Some(node) = self.node(*replica) {
                    node.full.get_or_insert(false);
                }
                *lasts
            }
            Fault::Pause { replica, lasts } => {
                let until = (self.now + lasts).min(HEAL_AT);
                if let Some(node) = self.node(*replica) {
                    node.paused_until = until;
                }
                *lasts
            }
            Fault::ClockStep { replica, by, lasts } => {
                if let Some(node) = self.node(*replica) {
                    node.clock_ahead += by;
                }
                *lasts
            }
        };
        let at = (self.now + lasts).min(HEAL_AT);
        self.at(at, Event::Mend(number, fault));
    }

    pub(super) fn mends(&mut self, number: u64, fault: &Fault) {
        match fault {
            Fault::Crash { replica, .. } => self.restart(*replica),
            Fault::CrashAll { .. } => self.start_all(),
            Fault::Partition { side, .. } => {
                self.network.mend(number);
                self.tell_parted(side, true);
            }
            Fault::OneWay { .. } | Fault::Lonely { .. } => self.network.mend(number),
            Fault::SlowDisk { replica, .. } => {
                if let Some(node) = self.node(*replica) {
                    node.fsync_ms = None;
                }
            }
            Fault::FullDisk { replica, .. } => self.make_room(*replica),
            Fault::Pause { .. } => {}
            Fault::ClockStep { replica, by, .. } => {
                if let Some(node) = self.node(*replica) {
                    node.clock_ahead -= by;
                }
            }
        }
    }

    /// Plans also name replicas that join later, or never.
    fn node(&mut self, replica: ReplicaId) -> Option<&mut Node> {
        self.nodes.get_mut(&replica)
    }

    /// The disk has room again; an fsync that failed is tried again.
    fn make_room(&mut self, replica: ReplicaId) {
        let full = self.node(replica).and_then(|node| node.full.take());
        if full == Some(true) {
            self.fsync(replica);
        }
    }

    /// Until when the replica that an event concerns stands still, if it does.
    pub(super) fn paused(&self, event: &Event) -> Option<u64> {
        let replica = match event {
            Event::Deliver { to, .. } | Event::ClientSays { to, .. } => *to,
            Event::Timer { replica, .. }
            | Event::Synced { replica, .. }
            | Event::Loaded { replica, .. } => *replica,
            _ => return None,
        };
        let until = self.nodes.get(&replica)?.paused_until;
        (until > self.now).then_some(until)
    }

    pub(super) fn start_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.restart(id);
        }
    }

    pub(super) fn tell_parted(&mut self, side: &BTreeSet<ReplicaId>, up: bool) {
        if !self.plan.link_events {
            return;
        }
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for a in ids.iter().filter(|id| side.contains(id)) {
            for b in ids.iter().filter(|id| !side.contains(id)) {
                let link = |id| {
                    if up {
                        Input::LinkUp(id)
                    } else {
                        Input::LinkDown(id)
                    }
                };
                if !up || self.network.connects(*a, *b) {
                    self.feed(*a, link(*b));
                    self.feed(*b, link(*a));
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.trace.line(self.now, || "HEAL".to_owned());
        self.healed = true;
        self.network.heal();
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if let Some(node) = self.node(id) {
                node.fsync_ms = None;
            }
            self.make_room(id);
        }
        self.start_all();
        if self.plan.link_events {
            let ids: Vec<_> = self.nodes.keys().copied().collect();
            for id in ids {
                self.tell_links(id, true);
            }
        }
    }
}
