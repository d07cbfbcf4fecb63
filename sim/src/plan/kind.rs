//! The kinds of plans, and how many seeds are of which.

use crate::rng::Rng;

use super::Plan;

/// What a plan is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Fixed members, up to f of which lie.
    Byzantine,
    /// Spare replicas and weighted votes.
    Weights,
    /// Checkpoints, and absences that only they end.
    Absences,
    /// Clients make MAC vectors.
    Macs,
    /// n = 2f + 1 and more; nobody lies.
    CrashOnly,
    /// The view changes; now and then in crash-only mode.
    Reconfiguration,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Byzantine,
        Self::Weights,
        Self::Absences,
        Self::Macs,
        Self::CrashOnly,
        Self::Reconfiguration,
    ];

    /// The kind of a seed. It is drawn apart from the plan: a seed's plan of one kind is the same however it was chosen.
    pub fn of(seed: u64) -> Self {
        match Rng::new(seed ^ 0x6b1d).between(0, 99) {
            0..=34 => Self::Byzantine,
            35..=44 => Self::Macs,
            45..=54 => Self::Weights,
            55..=59 => Self::Absences,
            60..=74 => Self::CrashOnly,
            _ => Self::Reconfiguration,
        }
    }

    /// The plan of a seed.
    pub fn plan(self, seed: u64) -> Plan {
        match self {
            Self::Byzantine => Plan::byzantine(seed),
            Self::Weights => Plan::with_weights(seed),
            Self::Absences => Plan::with_absences(seed),
            Self::Macs => Plan::with_macs(seed),
            Self::CrashOnly => Plan::crash_only(seed),
            Self::Reconfiguration => Plan::reconfiguring(seed),
        }
    }

    /// As the summary of a soak names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Byzantine => "byzantine",
            Self::Weights => "weights",
            Self::Absences => "absences",
            Self::Macs => "macs",
            Self::CrashOnly => "crash-only",
            Self::Reconfiguration => "reconfiguration",
        }
    }
}
