//! Clusters in which nobody lies: n = 2f + 1 and some more, majorities, no WRITE.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Mode, ReplicaId};

use crate::rng::Rng;

use super::{Fault, HEAL_AT, Kind, Plan, faults};

impl Plan {
    /// The plan of a seed in crash-only mode: everything of [`Plan::byzantine`] but the liars, and more crashes.
    pub fn crash_only(seed: u64) -> Self {
        let mut plan = Self::byzantine(seed);
        let rng = &mut Rng::new(seed ^ 0xc4a5);
        (plan.kind, plan.mode) = (Kind::CrashOnly, Mode::CrashOnly);
        (plan.byzantine, plan.collude) = (BTreeMap::new(), false);
        (plan.n, plan.f) = size(rng);
        let replicas: Vec<_> = (0..plan.n).map(ReplicaId).collect();
        plan.clocks = replicas
            .iter()
            .map(|id| (*id, rng.between(0, 800) as i64))
            .collect();
        if rng.chance(40) {
            // Slow disks: what was said and what is durable lie far apart.
            plan.fsync = (5, 80);
        }
        plan.faults = faults::draw(rng, &replicas);
        for _ in 0..rng.between(0, 5) {
            let at = rng.between(50, HEAL_AT - 500);
            let Some(replica) = rng.pick(&replicas) else {
                break;
            };
            let down = rng.between(1, 600);
            plan.faults.push((at, Fault::Crash { replica, down }));
        }
        plan.fast = BTreeSet::new();
        if rng.chance(25) {
            let mut order = replicas;
            rng.shuffle(&mut order);
            plan.fast = order.into_iter().take(plan.f.into()).collect();
        }
        plan
    }
}

/// n from 3 to 8, f from 1 to 3.
fn size(rng: &mut Rng) -> (u16, u16) {
    match rng.between(0, 99) {
        0..=34 => (3, 1),
        35..=59 => (4, 1),
        60..=79 => (5, 2),
        80..=87 => (6, 2),
        88..=94 => (7, 3),
        _ => (8, 3),
    }
}
