//! What breaks in the safety phase, and when.

use std::collections::BTreeSet;

use consensus::ReplicaId;

use crate::rng::Rng;

use super::HEAL_AT;

/// Something that breaks for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; what was not fsynced is lost, its last bytes perhaps torn or flipped.
    Crash {
        /// Whose.
        replica: ReplicaId,
        /// For how long.
        down: u64,
    },
    /// A power loss of all at once.
    CrashAll {
        /// For how long.
        down: u64,
    },
    /// The process stands still (a stopped virtual machine): what arrives waits, its clock goes on.
    Pause {
        /// Whose.
        replica: ReplicaId,
        /// For how long.
        lasts: u64,
    },
    /// Only replicas of one side hear each other.
    Partition {
        /// One side; all others are the other.
        side: BTreeSet<ReplicaId>,
        /// For how long.
        lasts: u64,
    },
    /// Messages from one side to the other are lost; the other way works.
    OneWay {
        /// Senders.
        from: BTreeSet<ReplicaId>,
        /// Receivers.
        to: BTreeSet<ReplicaId>,
        /// For how long.
        lasts: u64,
    },
    /// ACCEPTs reach only this replica, and nothing but its PROPOSEs and WRITEs gets out:
    /// it may decide alone, and the others must find that out by themselves.
    Lonely {
        /// The one.
        replica: ReplicaId,
        /// For how long.
        lasts: u64,
    },
    /// Each fsync takes `ms`.
    SlowDisk {
        /// Whose.
        replica: ReplicaId,
        /// How slow.
        ms: u64,
        /// For how long.
        lasts: u64,
    },
    /// No fsync succeeds.
    FullDisk {
        /// Whose.
        replica: ReplicaId,
        /// For how long.
        lasts: u64,
    },
    /// The clock steps by `by` milliseconds, and back at the end.
    ClockStep {
        /// Whose.
        replica: ReplicaId,
        /// Forward, or back if negative.
        by: i64,
        /// For how long.
        lasts: u64,
    },
}

/// Draws the faults of a run and their times.
pub(super) fn draw(rng: &mut Rng, replicas: &[ReplicaId]) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..rng.between(0, 8) {
        let at = rng.between(50, HEAL_AT - 500);
        let Some(replica) = rng.pick(replicas) else {
            break;
        };
        let lasts = rng.between(50, 2_500);
        let fault = match rng.between(0, 19) {
            0..=4 => Fault::Crash {
                replica,
                down: lasts,
            },
            5 => Fault::CrashAll {
                down: lasts.min(800),
            },
            6 | 7 => Fault::Pause { replica, lasts },
            8 | 9 => Fault::Partition {
                side: some_of(rng, replicas, 40),
                lasts,
            },
            10 | 11 => Fault::OneWay {
                from: some_of(rng, replicas, 40),
                to: some_of(rng, replicas, 40),
                lasts,
            },
            12..=15 => Fault::Lonely {
                replica,
                lasts: lasts.max(800),
            },
            16 | 17 => Fault::SlowDisk {
                replica,
                ms: rng.between(20, 400),
                lasts,
            },
            18 => Fault::FullDisk { replica, lasts },
            _ => Fault::ClockStep {
                replica,
                by: rng.between(0, 8_000) as i64 - 4_000,
                lasts,
            },
        };
        faults.push((at, fault));
    }
    faults
}

fn some_of(rng: &mut Rng, replicas: &[ReplicaId], percent: u64) -> BTreeSet<ReplicaId> {
    let all = replicas.iter().copied();
    all.filter(|_| rng.chance(percent)).collect()
}
