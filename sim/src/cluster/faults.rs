//! What breaks, and how it heals.

use std::collections::BTreeSet;

use consensus::{Input, ReplicaId};

use crate::plan::{Fault, HEAL_AT};

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
                self.network.cut(number, *from, *to);
                *lasts
            }
            Fault::Lonely { replica, lasts } => {
                self.network.isolate_decision(number, *replica);
                *lasts
            }
            Fault::SlowDisk { replica, ms, lasts } => {
                if let Some(node) = self.nodes.get_mut(replica) {
                    node.fsync_ms = Some(*ms);
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
                if let Some(node) = self.nodes.get_mut(replica) {
                    node.fsync_ms = None;
                }
            }
        }
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
        for node in self.nodes.values_mut() {
            node.fsync_ms = None;
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
