//! What goes wrong when: drawn from a seed, so that a run can be repeated.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// One fault, or a spell of several, and the quiet after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    pub fault: Fault,
    /// From the beginning to the end of the fault.
    pub lasts: Duration,
    /// From when all have caught up to the next episode.
    pub quiet: Duration,
}

/// What is done. Within f: one replica is faulty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One replica, by one fault.
    One(Victim, Hurt),
    /// Beyond f: nothing can be ordered while it lasts.
    Beyond(Spell),
}

/// Who is chosen when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Leader,
    /// One that does not lead: the n-th of them, counted round.
    Follower(u16),
}

/// What happens to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hurt {
    /// SIGKILL, and a start on the same log.
    Kill,
    /// SIGSTOP, SIGCONT.
    Pause,
    /// Nothing reaches it, and nothing that it sends arrives.
    Isolated,
    /// Clients reach it, replicas do not.
    CutFromReplicas,
    /// Nothing reaches it.
    Deaf,
    /// Nothing that it sends arrives.
    Mute,
    /// One other replica and it do not hear each other.
    CutFromOne,
    /// What it sends to one other replica is lost.
    MuteToOne,
}

/// More than f at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spell {
    /// Two are killed.
    TwoKilled,
    /// Two are stopped.
    TwoPaused,
    /// Two and two do not hear each other; clients hear all.
    Split,
    /// All are killed at once.
    AllKilled,
}

const HURTS: [(Hurt, u32); 8] = [
    (Hurt::Kill, 6),
    (Hurt::Pause, 5),
    (Hurt::Isolated, 4),
    (Hurt::CutFromReplicas, 2),
    (Hurt::Deaf, 2),
    (Hurt::Mute, 2),
    (Hurt::CutFromOne, 2),
    (Hurt::MuteToOne, 2),
];

const SPELLS: [Spell; 4] = [
    Spell::TwoKilled,
    Spell::TwoPaused,
    Spell::Split,
    Spell::AllKilled,
];

/// An episode in so many is beyond f.
const BEYOND_EVERY: u32 = 8;

impl Hurt {
    fn needs_partitions(self) -> bool {
        !matches!(self, Hurt::Kill | Hurt::Pause)
    }
}

/// Episodes without end.
pub struct Schedule {
    draws: StdRng,
    partitions: bool,
    /// The longest that a fault lasts, in seconds.
    longest: f64,
    made: u32,
}

impl Schedule {
    /// For a run of this length.
    pub fn new(seed: u64, partitions: bool, run: Duration) -> Schedule {
        Schedule {
            draws: StdRng::seed_from_u64(seed),
            partitions,
            longest: (run.as_secs_f64() / 6.0).clamp(4.0, 18.0),
            made: 0,
        }
    }

    fn fault(&mut self) -> Fault {
        let partitions = self.partitions;
        if self.made.is_multiple_of(BEYOND_EVERY) {
            let allowed = |spell: &&Spell| partitions || **spell != Spell::Split;
            let spells: Vec<&Spell> = SPELLS.iter().filter(allowed).collect();
            let spell = spells.choose(&mut self.draws);
            return Fault::Beyond(**spell.expect("three of the spells are always allowed"));
        }
        let victim = match self.draws.random_ratio(1, 2) {
            true => Victim::Leader,
            false => Victim::Follower(self.draws.random_range(0..1_000)),
        };
        let allowed = |hurt: &&(Hurt, u32)| partitions || !hurt.0.needs_partitions();
        let hurts: Vec<&(Hurt, u32)> = HURTS.iter().filter(allowed).collect();
        let hurt = hurts.choose_weighted(&mut self.draws, |hurt| hurt.1);
        Fault::One(victim, hurt.expect("their weights are not zero").0)
    }
}

impl Iterator for Schedule {
    type Item = Episode;

    fn next(&mut self) -> Option<Episode> {
        self.made += 1;
        let fault = self.fault();
        let seconds: f64 = match fault {
            // Short: nobody is served meanwhile.
            Fault::Beyond(_) => self.draws.random_range(1.5..5.0),
            // Mostly short, some long enough that links are given up and logs run ahead.
            Fault::One(..) if self.draws.random_ratio(1, 4) => self.draws.random_range(8.0..18.0),
            Fault::One(..) => self.draws.random_range(0.3..6.0),
        };
        Some(Episode {
            fault,
            lasts: Duration::from_secs_f64(seconds.min(self.longest)),
            quiet: Duration::from_secs_f64(self.draws.random_range(1.5..3.5)),
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (victim, hurt) = match self {
            Fault::One(victim, hurt) => (victim, hurt),
            Fault::Beyond(spell) => return f.write_str(spell.name()),
        };
        let victim = match victim {
            Victim::Leader => "leader",
            Victim::Follower(_) => "follower",
        };
        write!(f, "{victim} {}", hurt.name())
    }
}

impl Hurt {
    fn name(self) -> &'static str {
        match self {
            Hurt::Kill => "killed",
            Hurt::Pause => "stopped",
            Hurt::Isolated => "isolated",
            Hurt::CutFromReplicas => "cut from replicas",
            Hurt::Deaf => "deaf",
            Hurt::Mute => "mute",
            Hurt::CutFromOne => "cut from one",
            Hurt::MuteToOne => "mute to one",
        }
    }
}

impl Spell {
    fn name(self) -> &'static str {
        match self {
            Spell::TwoKilled => "two killed",
            Spell::TwoPaused => "two stopped",
            Spell::Split => "split two and two",
            Spell::AllKilled => "all killed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RUN: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_draws_its_schedule_again_and_another_a_different_one() {
        let of = |seed| Schedule::new(seed, true, RUN).take(50).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn all_faults_come_up_and_the_leader_often() {
        let episodes: Vec<Episode> = Schedule::new(1, true, RUN).take(800).collect();
        let kinds: BTreeSet<String> = episodes.iter().map(|e| e.fault.to_string()).collect();
        assert_eq!(kinds.len(), 2 * HURTS.len() + SPELLS.len(), "{kinds:?}");
        let leader = |e: &&Episode| matches!(e.fault, Fault::One(Victim::Leader, _));
        let leaders = episodes.iter().filter(leader).count();
        assert!((280..420).contains(&leaders), "{leaders}");
    }

    #[test]
    fn without_partitions_there_are_none() {
        for episode in Schedule::new(1, false, RUN).take(500) {
            match episode.fault {
                Fault::One(_, hurt) => assert!(!hurt.needs_partitions()),
                Fault::Beyond(spell) => assert_ne!(spell, Spell::Split),
            }
        }
    }
}
