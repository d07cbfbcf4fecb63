//! What a seed means: the cluster's size, who lies and how, and when what breaks.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{ReplicaId, Settings};

use crate::byzantine::Habit;
use crate::rng::Rng;

/// The safety phase ends and everything heals at this time (virtual milliseconds).
pub const HEAL_AT: u64 = 6_000;
/// The liveness phase must be through after this time.
pub const DEADLINE: u64 = HEAL_AT + 120_000;

/// Something that breaks for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; what was not fsynced is lost; it returns after `down` ms.
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
    /// Only replicas of one side hear each other.
    Partition {
        /// One side; all others are the other.
        side: BTreeSet<ReplicaId>,
        /// For how long.
        lasts: u64,
    },
    /// Messages from `from` to `to` are lost (the other way works).
    OneWay {
        /// Sender.
        from: ReplicaId,
        /// Receiver.
        to: ReplicaId,
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
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Replicas.
    pub n: u16,
    /// Fault bound.
    pub f: u16,
    /// The liars and what they do.
    pub byzantine: BTreeMap<ReplicaId, BTreeSet<Habit>>,
    /// When what breaks.
    pub faults: Vec<(u64, Fault)>,
    /// Milliseconds that a message takes, from and to.
    pub latency: (u64, u64),
    /// Percent of messages that take twenty times as long.
    pub tail: u64,
    /// Percent lost in the safety phase.
    pub loss: u64,
    /// Percent delivered twice.
    pub duplicates: u64,
    /// Milliseconds that an fsync takes, from and to.
    pub fsync: (u64, u64),
    /// Each replica's clock, ahead of the true time by so many ms.
    pub clocks: BTreeMap<ReplicaId, u64>,
    /// Whether replicas hear when links break.
    pub link_events: bool,
    /// Honest clients and how many requests each submits in the safety phase.
    pub clients: Vec<u64>,
    /// Whether a client signs different requests under one number.
    pub lying_client: bool,
    /// The core's settings.
    pub settings: Settings,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let f = if rng.chance(85) { 1 } else { 2 };
        let n = 3 * f + 1;
        let replicas: Vec<ReplicaId> = (0..n).map(ReplicaId).collect();
        let hostile = if rng.chance(70) {
            rng.between(1, f.into())
        } else {
            0
        };
        let byzantine = liars(rng, &replicas, hostile);
        let faults = faults(rng, &replicas);
        let slow = rng.chance(25);
        let settings = Settings {
            max_batch_requests: rng.between(1, 8) as usize,
            request_timeout_ms: rng.between(150, 400),
            max_timeout_ms: 4_000,
            resend_ms: 100,
            status_ms: 500,
            max_fetch: rng.between(1, 8) as u32,
            ..Settings::default()
        };
        Self {
            n,
            f,
            byzantine,
            faults,
            latency: if slow { (5, 60) } else { (1, 8) },
            tail: if rng.chance(30) { 3 } else { 0 },
            loss: if rng.chance(50) {
                rng.between(1, 20)
            } else {
                0
            },
            duplicates: if rng.chance(30) { 5 } else { 0 },
            fsync: if rng.chance(30) { (2, 40) } else { (0, 4) },
            clocks: replicas
                .iter()
                .map(|id| (*id, rng.between(0, 800)))
                .collect(),
            link_events: rng.chance(50),
            clients: (0..rng.between(1, 4)).map(|_| rng.between(3, 12)).collect(),
            lying_client: rng.chance(20),
            settings,
        }
    }
}

fn liars(
    rng: &mut Rng,
    replicas: &[ReplicaId],
    count: u64,
) -> BTreeMap<ReplicaId, BTreeSet<Habit>> {
    let mut liars = BTreeMap::new();
    while (liars.len() as u64) < count {
        // Early leaders are the most interesting liars.
        let among = if rng.chance(70) {
            &replicas[..replicas.len() / 2]
        } else {
            replicas
        };
        let Some(liar) = rng.pick(among) else { break };
        let habits = Habit::ALL
            .iter()
            .copied()
            .filter(|_| rng.chance(45))
            .collect();
        liars.insert(liar, habits);
    }
    liars
}

fn faults(rng: &mut Rng, replicas: &[ReplicaId]) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..rng.between(0, 7) {
        let at = rng.between(50, HEAL_AT - 500);
        let (Some(replica), Some(other)) = (rng.pick(replicas), rng.pick(replicas)) else {
            break;
        };
        let lasts = rng.between(50, 2_500);
        let fault = match rng.between(0, 12) {
            0..=3 => Fault::Crash {
                replica,
                down: lasts,
            },
            4 => Fault::CrashAll {
                down: lasts.min(800),
            },
            5 | 6 => {
                let side = replicas
                    .iter()
                    .copied()
                    .filter(|_| rng.chance(40))
                    .collect();
                Fault::Partition { side, lasts }
            }
            7 => Fault::OneWay {
                from: replica,
                to: other,
                lasts,
            },
            8..=10 => Fault::Lonely {
                replica,
                lasts: lasts.max(800),
            },
            _ => Fault::SlowDisk {
                replica,
                ms: rng.between(20, 400),
                lasts,
            },
        };
        faults.push((at, fault));
    }
    faults
}
