//! Runs in which the first leaders delay each proposal so that no time-out is ever met, while clients ask steadily.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{ReplicaId, Settings};

use crate::byzantine::Habit;
use crate::latency::Latency;
use crate::rng::Rng;

use super::{Plan, Steady};

impl Plan {
    /// The plan of a seed with f leaders, one after another, that are slow rather than dead.
    pub fn with_slow_leaders(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        let rng = &mut Rng::new(seed ^ 0x510);
        let far = rng.chance(25);
        (plan.n, plan.f) = if far || rng.chance(70) {
            (4, 1)
        } else {
            (7, 2)
        };
        let liars = (0..plan.f).map(|i| (ReplicaId(i), [Habit::Drag].into()));
        plan.byzantine = liars.collect();
        plan.fast = BTreeSet::new();
        (plan.faults, plan.lying_clients) = (Vec::new(), Vec::new());
        (plan.loss, plan.tail, plan.duplicates) = (0, 0, 0);
        plan.clocks = BTreeMap::new();
        plan.fsync = (0, 4);
        plan.clients = vec![2; 2];
        plan.settings = Settings {
            // Above one decision, as on any network.
            request_timeout_ms: if far { 1_500 } else { 800 },
            ..Settings::default()
        };
        plan.latency = if far {
            Latency::FiveRegions
        } else {
            Latency::Even(1, 8)
        };
        plan.steady = Some(Steady {
            every: 40,
            until: 40_000,
            promised_from: 30_000,
            median: if far { 1_000 } else { 100 },
        });
        plan
    }
}
