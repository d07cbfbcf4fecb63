//! Plans in which a replica is away for so long that only a checkpoint helps.

use std::collections::{BTreeMap, BTreeSet};

use consensus::ReplicaId;

use crate::byzantine::Habit;
use crate::latency::Latency;
use crate::plan::{Fault, Kind, Plan};
use crate::rng::Rng;

impl Plan {
    /// The plan of a seed, with checkpoints so frequent and absences so long that logs no longer reach back. Liars lie
    /// about state; the rest is calmer than in [`Plan::of`], or the others would be too busy with themselves to leave
    /// anybody behind.
    pub fn with_absences(seed: u64) -> Self {
        let mut plan = Self::byzantine(seed);
        plan.kind = Kind::Absences;
        let rng = &mut Rng::new(seed ^ 0xab5e);
        plan.settings.checkpoint_every = rng.between(1, 3);
        plan.settings.max_batch_requests = rng.between(1, 2) as usize;
        plan.settings.request_timeout_ms = rng.between(100, 200);
        plan.clients = (0..3).map(|_| rng.between(30, 60)).collect();
        (plan.latency, plan.tail, plan.loss) = (Latency::Even(1, 8), 0, plan.loss / 4);
        plan.byzantine = BTreeMap::new();
        // The absent one is correct and keeps its disk, so f others may lie.
        let mut order: Vec<_> = (0..plan.n).map(ReplicaId).collect();
        rng.shuffle(&mut order);
        let liars = if rng.chance(75) { plan.f } else { 0 };
        for liar in order.iter().rev().take(liars.into()) {
            let habits = if rng.chance(50) {
                vec![Habit::Forge]
            } else {
                vec![Habit::Replay, Habit::Delay]
            };
            plan.byzantine.insert(*liar, habits.into_iter().collect());
        }
        // Power losses, also right after checkpoints on disks that are slow to say that the log is durable.
        plan.fsync = if rng.chance(40) { (2, 60) } else { (0, 4) };
        plan.faults.retain(|_| rng.chance(15));
        for _ in 0..rng.between(0, 3) {
            let down = rng.between(50, 300);
            plan.faults
                .push((rng.between(500, 5_500), Fault::CrashAll { down }));
        }
        let side = BTreeSet::from([order[0]]);
        let lasts = rng.between(4_000, 5_600);
        plan.faults
            .push((rng.between(0, 300), Fault::Partition { side, lasts }));
        plan
    }
}
