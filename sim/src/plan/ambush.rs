//! Runs in which all that SYNC must carry over is at stake: a value that one replica decided
//! alone, regencies that fail one after another, and liars who would have the value forgotten.

use consensus::ReplicaId;

use crate::byzantine::Habit;
use crate::latency::Latency;
use crate::rng::Rng;

use super::{Fault, Plan};

/// How long a replica stays alone with its decision.
const ALONE: u64 = 2_700;

/// Makes a plan an ambush.
pub(super) fn set(rng: &mut Rng, plan: &mut Plan) {
    (plan.n, plan.f) = if rng.chance(80) { (4, 1) } else { (7, 2) };
    (plan.latency, plan.tail, plan.loss) = (Latency::Even(1, 8), 0, 0);
    plan.clocks.retain(|id, _| id.0 < plan.n);
    // Regencies change fast, so that several fall into one ambush.
    plan.settings.request_timeout_ms = rng.between(150, 220);
    plan.settings.max_timeout_ms = 400;
    // The first liar leads at first, or next.
    let first = u16::from(rng.chance(50));
    plan.byzantine = (first..first + plan.f)
        .map(|i| {
            let mut habits = [Habit::LieInStopData].into();
            if rng.chance(70) {
                habits = [Habit::LieInStopData, Habit::Equivocate].into();
            }
            (ReplicaId(i), habits)
        })
        .collect();
    let replicas = (0..plan.n).map(ReplicaId);
    let correct: Vec<_> = replicas
        .filter(|id| !plan.byzantine.contains_key(id))
        .collect();
    plan.faults = [150, 3_100]
        .into_iter()
        .filter_map(|at| {
            let replica = rng.pick(&correct)?;
            let at = at + rng.between(0, 100);
            Some((
                at,
                Fault::Lonely {
                    replica,
                    lasts: ALONE,
                },
            ))
        })
        .collect();
}
