//! Plans in which replicas are away for so long, or come back with nothing, that only a checkpoint helps.

use std::collections::BTreeSet;

use consensus::ReplicaId;

use crate::byzantine::Habit;
use crate::plan::{Fault, Plan};
use crate::rng::Rng;

impl Plan {
    /// The plan of a seed, with checkpoints so frequent and absences so long that logs no longer suffice. Liars lie
    /// about state too.
    pub fn with_absences(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        let rng = &mut Rng::new(seed ^ 0xab5e);
        plan.settings.checkpoint_every = rng.between(1, 2);
        plan.settings.max_batch_requests = rng.between(1, 2) as usize;
        plan.clients = (0..rng.between(2, 4))
            .map(|_| rng.between(15, 40))
            .collect();
        // The absent one is correct and keeps its disk, so f others may lie.
        while plan.byzantine.len() < usize::from(plan.f) && rng.chance(70) {
            let liar = ReplicaId(rng.between(0, u64::from(plan.n) - 1) as u16);
            plan.byzantine.entry(liar).or_default().insert(Habit::Forge);
        }
        let honest: Vec<_> = (0..plan.n)
            .map(ReplicaId)
            .filter(|id| !plan.byzantine.contains_key(id))
            .collect();
        if let Some(replica) = rng.pick(&honest) {
            let at = rng.between(0, 900);
            let fault = if rng.chance(50) {
                Fault::Crash {
                    replica,
                    down: rng.between(2_500, 4_900),
                }
            } else {
                let side = BTreeSet::from([replica]);
                Fault::Partition {
                    side,
                    lasts: rng.between(2_500, 4_900),
                }
            };
            plan.faults.push((at, fault));
        }
        plan
    }
}
